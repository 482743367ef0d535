# cython: annotation_typing=False
"""Connections of a node: a hot record is answered before a task is made, and a plain record is read without one.

What is not answered here goes the ordinary way, with the same bytes. There is no second parser: a head is answered
without parsing only where what follows its target was parsed before, byte for byte, behind another plain target, and
the target is a path of characters that end no target: nothing in a head's meaning depends on more.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from node.http import known_heads
from node.http.answers import Answer, Wire, complete
from node.http.known_heads import LONGEST_HEAD, VERSION
from node.http.negotiation import wants_page
from node.http.requests import MAX_HEADERS
from node.http.resolver import FrontDoor, plain
from node.http.shedding import Shedding
from node.joining import Found

# A request with one of these is not for everybody, not whole in its head, or asks for more than the record.
_NOT_PLAIN = frozenset(
    b"authorization cookie if-none-match if-match if-modified-since range expect upgrade"
    b" content-length transfer-encoding connection te trailer".split()
)
# A path and no more (RFC 3986 pchar), of the API too.
_PATH = re.compile(rb"/[!$%&'()*+,\-./0-9:;=@A-Z_a-z~]*")
_OK = STATUS_LINE[200]
CLOSE = b"connection: close\r\n"


class Direct:
    """Stands for uvicorn's cycle of request and answer while a record is read without a task."""

    message_event = asyncio.Event()  # nobody waits for it
    response_complete, disconnected, keep_alive = False, False, True  # until they are set

    def __init__(self, protocol: Protocol, target: bytes, address: str) -> None:
        self._protocol, self.target, self.address = protocol, target, address
        self.begin, self.handle, self.place = time.perf_counter(), "", 0

    def done(self) -> bool:
        return self.response_complete

    def set_result(self, found: Found) -> None:
        self._protocol.finish(self, found, None)

    def set_exception(self, error: BaseException) -> None:
        self._protocol.finish(self, None, error)


class Protocol(Shedding):
    """One connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._door = self.app if isinstance(self.app, FrontDoor) else None
        if self._door:
            self._door.state = self.server_state
            settings = self._door.settings
            self.header_seconds, self.body_seconds = settings.header_seconds, settings.body_seconds
            self._proxies = settings if settings.trusted_proxies else None
            self.idle_seconds = self.header_seconds
        self.known = known_heads.KnownHeads(self, self._door) if self._door else None  # type: ignore[arg-type]
        if self.known is not None:
            self.data_received = self.known.data_received  # type: ignore[method-assign]  # a step less for each head
        self._answered = False  # the message at hand, here
        self._target = b""  # of the last message, where it was a plain request
        self._wants_page = False  # by its headers, whatever its target

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self.known is not None:
            self.known.transport, self.known.flow = transport, self.flow

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        # Rings with what refers to this: frozen while it lived, one is found once an hour only (node/collecting.py).
        self.known = self.cycle = None  # type: ignore[assignment]
        self.__dict__.pop("data_received", None)

    def parse(self, data: bytes, clean: bool) -> None:
        """Take what has come as uvicorn does; `clean`: nothing was under way, and what is one whole head is known from
        here on (node/http/known_heads.py)."""
        self._target = b""
        super().data_received(data)
        if clean and self._messages == 1 and not self.in_message and not self.refused:
            self._remember(data)

    def begun(self) -> None:
        """A request is here that needs no parser."""
        self._unset_keepalive_if_required()

    def begin_record(self, door: FrontDoor, target: bytes) -> bool:
        """Begin to answer a plain request; False for the ordinary way."""
        if not plain(target):
            return False
        if door.records.full:
            return self._shed(door.refuse(target, None, self.address))
        cycle = Direct(self, target, self.address)
        begun = door.begin(cycle)
        if begun is True:
            self.cycle = cycle  # type: ignore[assignment]
            return True
        if begun is False:
            return False
        self.send(begun)
        self.server_state.total_requests += 1
        return True

    def _remember(self, data: bytes) -> None:
        """These bytes were one whole head and nothing else. Not a browser's that asks the API: under any other path
        its headers ask for a page."""
        end = data.find(VERSION)
        if not self._target or self._wants_page or self._proxies is not None:
            return
        if len(data) > LONGEST_HEAD or data.find(b"\r\n\r\n") != len(data) - 4:
            return
        if data[4:end] != self._target:
            return
        known_heads.remember_record(data[end:])

    def on_message_begin(self) -> None:
        self._answered = False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._target = self._plain_target()
        if self.idle_before() and (self._direct() or self._crowded()):
            self._answered = True
            self.head_done()
            return
        super().on_headers_complete()

    def _direct(self) -> bool:
        """Answer the plain request at hand, or begin to; False for the ordinary way."""
        if self.known is None or not self._target:
            return False
        self.address = self.client_address()
        return self.known.record(self._target)

    def finish(self, cycle: Direct, found: Found | None, error: BaseException | None) -> None:
        """Answer what was begun."""
        assert self._door is not None
        self._conclude(cycle, self._door.finish(cycle, found, error))

    def _conclude(self, cycle: Any, answer: Answer | Wire) -> None:
        cycle.response_complete = True
        if cycle.disconnected or self.transport.is_closing():
            return
        if isinstance(answer, Answer):
            self.send(answer, b"" if cycle.keep_alive else CLOSE)
        else:
            closing = b"" if cycle.keep_alive else CLOSE
            self.transport.write(b"".join((STATUS_LINE[answer[0]], self.date_lines(), closing, *answer[1:])))
        self.answered(cycle)

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
        if size > MAX_HEADERS or len(self.url) > LONGEST_HEAD or _PATH.fullmatch(self.url) is None:
            return b""
        self._wants_page = wants_page(accept.decode("latin-1"))
        return b"" if self._wants_page and not self.url.startswith(b"/api/") else self.url

    def on_body(self, body: bytes) -> None:
        if not self._answered:
            super().on_body(body)
        self._barren = 0

    def on_message_complete(self) -> None:
        # uvicorn would tell the cycle at hand, which is an earlier request's where this one was answered here.
        if self._answered:
            self.message_done()
        else:
            super().on_message_complete()

    def around_id(self, answer: Answer) -> tuple[bytes, bytes]:
        """(what stands before the request's id this second, what stands after it)."""
        before, after, found = _OK + self.date_lines(), b"", False
        for name, value in complete(answer):
            if name == b"x-request-id":
                before, found = before + b"x-request-id: ", True
            elif found:
                after += b"\r\n%s: %s" % (name, value)
            else:
                before += b"%s: %s\r\n" % (name, value)
        return before, after + b"\r\n\r\n" + answer.body
