"""Connections of a node: a hot record is answered before a task is made, and a plain record is read without one.

What is not answered here goes the ordinary way, with the same bytes. There is no second parser: a head is answered
without parsing only where exactly these bytes were parsed before, alone, and found to be a plain request for a target.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from node.config import Settings
from node.http.answers import Answer, complete, request_id
from node.http.connection import Connection
from node.http.copies import Copy
from node.http.negotiation import wants_page
from node.http.requests import MAX_HEADERS, client_address
from node.http.resolver import FrontDoor, plain

# A request with one of these is not for everybody, not whole in its head, or asks for more than the record.
_NOT_PLAIN = frozenset(
    b"authorization cookie if-none-match if-match if-modified-since range expect upgrade"
    b" content-length transfer-encoding connection te trailer".split()
)
# A path and no more (RFC 3986 pchar): uvicorn's own parsing of it changes nothing, and refuses nothing.
_PATH = re.compile(rb"/[!$%&'()*+,\-./0-9:;=@A-Z_a-z~]*")
_OK = STATUS_LINE[200]
_HEADS = 4096  # parsed heads that are remembered; of 2 KiB at the most: 8 MiB
_LONGEST_HEAD = 2048


class Direct:
    """Stands for uvicorn's cycle of request and answer while a record is read without a task."""

    __slots__ = ("begun", "disconnected", "keep_alive", "message_event", "response_complete", "target")

    def __init__(self, target: bytes, begun: Any) -> None:
        self.target, self.begun = target, begun
        self.response_complete = self.disconnected = False
        self.keep_alive = True
        self.message_event = _nobody_waits


_nobody_waits = asyncio.Event()


class Protocol(Connection):
    """One connection."""

    heads: dict[bytes, bytes] = {}  # noqa: RUF012  # of the process: head -> target

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._proxies: Settings | None = None  # where a proxy names the client
        self._door: FrontDoor | None = self.app if isinstance(self.app, FrontDoor) else None
        self._copies = self._door.copies if self._door else None
        if self._door:
            settings = self._door.settings
            self.header_seconds, self.body_seconds = settings.header_seconds, settings.body_seconds
            self._proxies = settings if settings.trusted_proxies else None
            self._idle_seconds = self.header_seconds
        self._answered = False  # the message at hand, here
        self._target = b""  # of the last message, where it was a plain request

    def _quiet(self) -> bool:
        """No request is under way, and the client reads what it is sent. In one piece: each hot answer asks."""
        cycle = self.cycle
        return (
            not self._in_message
            and not self._refused
            and (cycle is None or cycle.response_complete)
            and not self.pipeline
            and not self.flow.write_paused
        )

    def _idle_before(self) -> bool:
        """Nothing earlier of this connection waits for its answer, and the client reads what it is sent."""
        return self.done() and not self.flow.write_paused and not self.transport.is_closing()

    def data_received(self, data: bytes) -> None:
        clean = self._quiet()
        if clean and (target := Protocol.heads.get(data)) is not None and self._copies is not None:
            copy = self._copies.get(target)
            if copy is not None:
                self._unset_keepalive_if_required()
                self._since, self._idle_seconds = self.loop.time(), float(self.timeout_keep_alive)
                self._write(copy, self._peer())
                return
        self._target = b""
        super().data_received(data)
        if clean and self._target and self._messages == 1 and not self._in_message and not self._refused:
            self._remember(data)

    def _remember(self, data: bytes) -> None:
        """These bytes were one whole head and nothing else."""
        if self._proxies is not None or len(data) > _LONGEST_HEAD or data.find(b"\r\n\r\n") != len(data) - 4:
            return
        if len(Protocol.heads) >= _HEADS:
            Protocol.heads.clear()
        Protocol.heads[data] = self._target

    def on_message_begin(self) -> None:
        self._answered = False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._target = self._plain_target()
        if self._target and self._door is not None and self._idle_before() and self._direct(self._door):
            self._answered = True
            self.head_done()
            return
        super().on_headers_complete()

    def _direct(self, door: FrontDoor) -> bool:
        """Answer the plain request at hand, or begin to; False for the ordinary way."""
        copy = door.copies.get(self._target)
        if copy is not None:
            self._write(copy, self._client_address())
            return True
        return plain(self._target) and self._begin(door, self._target)

    def _begin(self, door: FrontDoor, target: bytes) -> bool:
        begun = door.begin(target, self._client_address())
        if begun is None:
            return False
        if isinstance(begun, Answer):
            self.send(begun)
            self.server_state.total_requests += 1
            return True
        cycle = Direct(target, begun)
        self.cycle = cycle  # type: ignore[assignment]
        begun.asked.add_done_callback(lambda done: self._finish(door, cycle))
        return True

    def _finish(self, door: FrontDoor, cycle: Direct) -> None:
        self._conclude(cycle, door.finish(cycle.target, cycle.begun))

    def _conclude(self, cycle: Direct, answer: Answer) -> None:
        cycle.response_complete = True
        if cycle.disconnected or self.transport.is_closing():
            return
        self.send(answer, b"" if cycle.keep_alive else b"connection: close\r\n")
        if not cycle.keep_alive:
            self.transport.close()
        elif self.pipeline:
            self.on_response_complete()  # begins the next
        else:
            self.server_state.total_requests += 1
            self._since = self.loop.time()
            self.all_answered()

    def _plain_target(self) -> bytes:
        """The target of a request that anybody's copy may answer; b"" for any other."""
        if self.parser.get_method() != b"GET" or self.parser.get_http_version() != "1.1":
            return b""
        accept, size = b"", 0
        for name, value in self.headers:
            if name in _NOT_PLAIN and (name, value.lower()) != (b"connection", b"keep-alive"):
                return b""
            size += len(name) + len(value)
            if name == b"accept":
                accept = value
        if size > MAX_HEADERS or len(self.url) > _LONGEST_HEAD or _PATH.fullmatch(self.url) is None:
            return b""
        page = not self.url.startswith(b"/api/") and wants_page(accept.decode("latin-1"))
        return b"" if page else self.url

    def on_body(self, body: bytes) -> None:
        if not self._answered:
            super().on_body(body)

    def on_message_complete(self) -> None:
        # uvicorn would tell the cycle at hand, which is an earlier request's where this one was answered here.
        if self._answered:
            self.message_done()
        else:
            super().on_message_complete()

    def _peer(self) -> str:
        return self.client[0] if self.client else "127.0.0.1"

    def _client_address(self) -> str:
        """Who asks: the peer, or whom a trusted proxy names."""
        if self._proxies is None:
            return self._peer()
        return client_address({"client": self.client, "headers": self.headers}, self._proxies)

    def _write(self, copy: Copy, address: str) -> None:
        """Head and body in one write, as the ordinary way has them."""
        if copy.wire is None:
            copy.wire = _wire(copy)
        before, after = copy.wire
        self.transport.write(b"".join((_OK, self.date_lines(), before, request_id(), after)))
        self.server_state.total_requests += 1
        if self._door is not None:
            self._door.count_copy(copy, self.loop.time() - self._since, address)


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
