"""HTTP/1.1 as uvicorn speaks it (its httptools protocol), with two things besides: a hot record is answered before a
task is made, and slow or endless requests are cut off.

What is not answered here goes the ordinary way, with the same bytes. There is no second parser: a head is answered
without parsing only where exactly these bytes were parsed before, alone, and found to be a plain request for a target.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from node.config import Settings
from node.errors import BadRequest
from node.http import problems
from node.http.answers import Answer, complete, request_id
from node.http.copies import Copy
from node.http.negotiation import wants_page
from node.http.requests import MAX_HEADERS, client_address
from node.http.resolver import Begun, FrontDoor, plain

# A request with one of these is not for everybody, not whole in its head, or asks for more than the record.
_NOT_PLAIN = frozenset(
    b"authorization cookie if-none-match if-match if-modified-since range expect upgrade"
    b" content-length transfer-encoding connection te trailer".split()
)
_OK = STATUS_LINE[200]
_HEADS = 4096  # parsed heads that are remembered; of 2 KiB at the most: 8 MiB
_LONGEST_HEAD = 2048
_ENDLESS = 2 * MAX_HEADERS  # bytes of a head that has not ended
_SWEEP = 1.0  # s between looks at connections that let themselves be waited for


class Direct:
    """Stands for uvicorn's cycle of request and answer while a record is read without a task."""

    __slots__ = (
        "begun",
        "body",
        "disconnected",
        "keep_alive",
        "message_event",
        "more_body",
        "response_complete",
        "target",
    )

    def __init__(self, target: bytes, begun: Begun) -> None:
        self.target, self.begun = target, begun
        self.response_complete = self.disconnected = self.more_body = False
        self.keep_alive = True
        self.message_event = _nobody_waits
        self.body = b""


_nobody_waits = asyncio.Event()


class Protocol(HttpToolsProtocol):
    """One connection."""

    heads: dict[bytes, bytes] = {}  # noqa: RUF012  # of the process: head -> target
    open: set[Protocol] = set()  # noqa: RUF012
    sweeping = False
    date: tuple[object, bytes] = (None, b"")  # uvicorn's default headers and their bytes, new each second

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._door: FrontDoor | None = self.app if isinstance(self.app, FrontDoor) else None
        self._copies = self._door.copies if self._door else None
        settings = self._door.settings if self._door else Settings("", "", Path(), "")
        self._header_seconds, self._body_seconds = settings.header_seconds, settings.body_seconds
        self._proxies = settings if settings.trusted_proxies else None
        self._in_message = self._in_head = self._answered = False
        self._messages = 0  # begun in the data at hand
        self._target = b""  # of the last message, where it was a plain request
        self._head_bytes = 0
        self._head_since = self._heard = self.loop.time()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._address = self.client[0] if self.client else "127.0.0.1"
        Protocol.open.add(self)
        if not Protocol.sweeping:
            Protocol.sweeping = True
            self.loop.call_later(_SWEEP, _sweep, self.loop)

    def connection_lost(self, exc: Exception | None) -> None:
        Protocol.open.discard(self)
        super().connection_lost(exc)

    def _quiet(self) -> bool:
        """No request is under way, and the client reads what it is sent."""
        return (
            not self._in_message
            and (self.cycle is None or self.cycle.response_complete)
            and not self.pipeline
            and not self.flow.write_paused
        )

    def data_received(self, data: bytes) -> None:
        self._heard = self.loop.time()
        clean = self._quiet()
        if clean and (target := Protocol.heads.get(data)) is not None and self._copies is not None:
            copy = self._copies.get(target)
            if copy is not None:
                self._unset_keepalive_if_required()
                self._write(copy, self._address)
                return
        self._messages, self._target = 0, b""
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > _ENDLESS:
                self._refuse_head()
        elif clean and self._target and self._messages == 1 and not self._in_message:
            self._remember(data)

    def _remember(self, data: bytes) -> None:
        """These bytes were one whole head and nothing else."""
        if self._proxies is not None or len(data) > _LONGEST_HEAD or data.find(b"\r\n\r\n") != len(data) - 4:
            return
        if len(Protocol.heads) >= _HEADS:
            Protocol.heads.clear()
        Protocol.heads[data] = self._target

    def on_message_begin(self) -> None:
        self._in_message = self._in_head = True
        self._answered = False
        self._messages += 1
        self._head_bytes = 0
        self._head_since = self._heard
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._target = self._plain_target()
        if self._target and self._door is not None and self._idle_before():
            copy = self._door.copies.get(self._target)
            if copy is not None:
                self._answered = True
                self._write(copy, self._client_address())
                return
            if plain(self._target) and self._begin(self._door, self._target):
                self._answered = True
                return
        super().on_headers_complete()

    def _begin(self, door: FrontDoor, target: bytes) -> bool:
        """Begin to read a record; False for the ordinary way."""
        begun = door.begin(target, self._client_address())
        if begun is None:
            return False
        if isinstance(begun, Answer):
            self._send(begun)
            return True
        cycle = Direct(target, begun)
        self.cycle = cycle  # type: ignore[assignment]
        begun.asked.add_done_callback(lambda done: self._finish(door, cycle))
        return True

    def _finish(self, door: FrontDoor, cycle: Direct) -> None:
        answer = door.finish(cycle.target, cycle.begun)
        cycle.response_complete = True
        if cycle.disconnected or self.transport.is_closing():
            return
        self._send(answer)
        if not cycle.keep_alive:
            self.transport.close()
        elif self.pipeline:
            self.on_response_complete()

    def _send(self, answer: Answer) -> None:
        lines = b"".join([b"%s: %s\r\n" % header for header in complete(answer)])
        self.transport.write(b"".join((STATUS_LINE[answer.status], self._date_lines(), lines, b"\r\n", answer.body)))
        self.server_state.total_requests += 1

    def _date_lines(self) -> bytes:
        """uvicorn's default headers, put together once a second."""
        defaults = self.server_state.default_headers
        if Protocol.date[0] is not defaults:
            Protocol.date = (defaults, b"".join(b"%s: %s\r\n" % header for header in defaults))
        return Protocol.date[1]

    def _idle_before(self) -> bool:
        """Nothing earlier of this connection waits for its answer."""
        done = self.cycle is None or self.cycle.response_complete
        return done and not self.pipeline and not self.flow.write_paused

    def _plain_target(self) -> bytes:
        """The target of a request that anybody's copy may answer; b"" for any other."""
        if self.parser.get_method() != b"GET" or self.parser.get_http_version() != "1.1" or b"?" in self.url:
            return b""
        accept, size = b"", 0
        for name, value in self.headers:
            if name in _NOT_PLAIN and (name, value.lower()) != (b"connection", b"keep-alive"):
                return b""
            size += len(name) + len(value)
            if name == b"accept":
                accept = value
        page = not self.url.startswith(b"/api/") and wants_page(accept.decode("latin-1"))
        return b"" if page or size > MAX_HEADERS or not self.url.startswith(b"/") else self.url

    def on_body(self, body: bytes) -> None:
        if not self._answered:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_message = False
        if not self._answered:
            super().on_message_complete()

    def _client_address(self) -> str:
        """Who asks: the peer, or whom a trusted proxy names."""
        if self._proxies is None:
            return self._address
        return client_address({"client": self.client, "headers": self.headers}, self._proxies)

    def _write(self, copy: Copy, address: str) -> None:
        """Head and body in one write, as the ordinary way has them."""
        if copy.wire is None:
            copy.wire = _wire(copy)
        before, after = copy.wire
        self.transport.write(b"".join((_OK, self._date_lines(), before, request_id(), after)))
        self.server_state.total_requests += 1
        if self._door is not None:
            self._door.count_copy(copy, self.loop.time() - self._heard, address)

    def _refuse_head(self) -> None:
        error = BadRequest.of(reason="headers over 16 KiB", reason_zh="请求头超过 16 KiB")
        body = problems.encoded(error)
        lines = b"content-type: %s\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[431] + lines % (problems.CONTENT_TYPE.encode(), len(body)) + body)
        self.transport.close()

    def overdue(self, now: float) -> bool:
        """Whether the client has kept us waiting too long: for a head, for a body, or for its next request."""
        if self.cycle is None and not self._in_message and self._messages == 0:
            return now - self._heard > self._header_seconds  # connected, and said nothing
        if self._in_head:
            return now - self._head_since > self._header_seconds
        if self._in_message:
            return now - self._heard > self._body_seconds and not self.flow.read_paused
        done = self.cycle is None or self.cycle.response_complete
        return done and now - self._heard > float(self.timeout_keep_alive)


def _wire(copy: Copy) -> tuple[bytes, bytes]:
    """(what stands before the request's id, what stands after it)."""
    before, after, found = b"", b"", False
    for name, value in complete(copy.answer):
        if name == b"x-request-id":
            before, found = before + b"x-request-id: ", True
        elif found:
            after += b"\r\n%s: %s" % (name, value)
        else:
            before += b"%s: %s\r\n" % (name, value)
    return before, after + b"\r\n\r\n" + copy.answer.body


def _sweep(loop: asyncio.AbstractEventLoop) -> None:
    """One timer for all connections: a timer each would cost as much as a hot answer."""
    now = loop.time()
    for protocol in list(Protocol.open):
        if protocol.transport is not None and not protocol.transport.is_closing() and protocol.overdue(now):
            protocol.transport.close()
    Protocol.sweeping = bool(Protocol.open)
    if Protocol.sweeping:
        loop.call_later(_SWEEP, _sweep, loop)
