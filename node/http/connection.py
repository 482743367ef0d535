# cython: annotation_typing=False
"""A connection as uvicorn serves it (its httptools protocol), made safe against clients that are slow, endless or odd.

A client that keeps us waiting is cut off: for a head, for a body, for its next request, or with answers it does not
take. What the parser refuses is answered after all that was asked before it. A sweep looks at each connection once a
second, some at a time: a timer each would cost as much as a hot answer.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import struct
import termios
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from node.errors import BadRequest, HeadTooLarge, NodeError
from node.http.answers import Answer, complete, refusal

ENDLESS = 32 * 1024  # bytes of a head, of trailers, or of chunk extensions
_SWEEP = 1.0  # s between looks at one connection
_SLICE = 16  # are looked at in one turn: 2,256 at once, a hundred of them to be cut, held everybody up for 6 ms
_LINGER = 2.0  # s in which a refused client may read why: closed with unread bytes, TCP would take the answer back
_BODY = (b"content-length", b"transfer-encoding")
_CLOSE = b"connection: close\r\n"
_log = logging.getLogger(__name__)


class Connection(HttpToolsProtocol):
    """One connection."""

    open: set[Connection] = set()  # noqa: RUF012  # of the process
    sweeping = False
    date: tuple[object, bytes] = (None, b"")  # uvicorn's default headers and their bytes, new each second
    header_seconds, body_seconds = 10.0, 30.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.in_message = self._in_head = self.refused = False
        self._refusal: Answer | None = None  # waits for the answers before it
        self._messages = 0  # begun in the data at hand
        self._barren = 0  # bytes since something came of them: of a head not ended, of trailers, of chunk extensions
        self.idle_seconds = self.header_seconds  # for the first request; uvicorn's own from then on
        self.since = self.loop.time()  # what is waited for now is waited for from then
        self._unsent, self._unsent_since = 0, 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        Connection.open.add(self)
        if not Connection.sweeping:
            Connection.sweeping = True
            self.loop.call_later(_SWEEP, _sweep, self.loop)

    def connection_lost(self, exc: Exception | None) -> None:
        Connection.open.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.refused:
            return
        self._unset_keepalive_if_required()
        if self.in_message and not self._in_head:
            self.since = self.loop.time()
        self._messages = 0
        self._barren += len(data)
        error = self._feed(data)
        if error is None and self.in_message and self._barren > ENDLESS:
            error = HeadTooLarge.of()
        if error is not None:
            self._refuse(error)

    def _feed(self, data: bytes) -> NodeError | None:
        """Parse; what is wrong with it."""
        rest = memoryview(data)
        while rest:
            try:
                self.parser.feed_data(rest)
                break
            except httptools.HttpParserUpgrade as upgrade:
                rest = rest[upgrade.args[0] :]  # no other protocol is spoken here: passed over (RFC 9110 7.8)
            except httptools.HttpParserCallbackError as error:
                return _fault(error.__context__)
            except httptools.HttpParserError:
                return BadRequest.of(reason="this is not HTTP/1.1", reason_zh="不是有效的 HTTP/1.1 请求")
        if self._in_head and self._messages:  # what stands before it in the data is not of this head
            self._barren = self._head_size()
        return None

    def _head_size(self) -> int:
        """Bytes of the head that is being read, as far as they are known."""
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def on_message_begin(self) -> None:
        self.in_message = self._in_head = True
        self._messages += 1
        self.since = self.loop.time()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if self._head_size() > ENDLESS:
            raise HeadTooLarge.of()
        # The parser takes such a body for another protocol's: it would be lost, or requests be read in it.
        if self.parser.should_upgrade() and any(name in _BODY for name, _ in self.headers):
            raise BadRequest.of(reason="Upgrade with a body", reason_zh="Upgrade 请求不得带请求体")
        self.head_done()
        super().on_headers_complete()
        self.headers = []  # trailers are no headers: an application that has begun would see them appear

    def head_done(self) -> None:
        self._in_head = False
        self._barren = 0

    def on_body(self, body: bytes) -> None:
        self._barren = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self.message_done()
        super().on_message_complete()

    def message_done(self) -> None:
        self.in_message = False
        self._barren = 0
        self.idle_seconds = float(self.timeout_keep_alive)
        self.since = self.loop.time()

    def on_response_complete(self) -> None:
        last = not self.pipeline
        self.since = self.loop.time()
        super().on_response_complete()
        if last:
            self.all_answered()

    def all_answered(self) -> None:
        """Nothing is under way any more: a refusal that waited is said."""
        if self._refusal is not None:
            refused, self._refusal = self._refusal, None
            self._say_last(refused)

    def done(self) -> bool:
        """Nothing waits for its answer."""
        return (self.cycle is None or self.cycle.response_complete) and not self.pipeline

    def _refuse(self, error: NodeError) -> None:
        """Answer `error` in its turn and close; nothing more is read from this client."""
        self.refused = True
        answer = refusal(error)
        cycle = self.cycle
        if self.in_message and not self._in_head:  # the request that is broken has been handed on already
            cycle.disconnected = True
            cycle.message_event.set()
            if self.pipeline:
                self.pipeline.popleft()  # never begun, and never will be
                self._refusal = answer
            elif cycle.response_complete:
                self._linger()
            elif cycle.response_started:
                self.transport.close()  # half an answer can but break off
            else:
                self._say_last(answer)
        elif self.done():
            self._say_last(answer)
        else:
            self._refusal = answer

    def _say_last(self, answer: Answer) -> None:
        if not self.transport.is_closing():
            self.send(answer, _CLOSE)
            self._linger()

    def _linger(self) -> None:
        self.transport.write_eof()
        self.flow.resume_reading()
        self.since = self.loop.time()

    def send(self, answer: Answer, extra: bytes = b"") -> None:
        """Head and body in one write, as uvicorn would have them; `extra`: lines for the end of the head."""
        lines = b"".join([b"%s: %s\r\n" % header for header in complete(answer)])
        head = (STATUS_LINE[answer.status], self.date_lines(), lines, extra, b"\r\n")
        self.transport.write(b"".join((*head, answer.body)))

    def date_lines(self) -> bytes:
        """uvicorn's default headers, put together once a second."""
        defaults = self.server_state.default_headers
        if Connection.date[0] is not defaults:
            Connection.date = (defaults, b"".join(b"%s: %s\r\n" % header for header in defaults))
        return Connection.date[1]

    def shutdown(self) -> None:
        if self.refused and self._refusal is None:
            self.transport.close()  # all is said
        else:
            super().shutdown()

    def overdue(self, now: float) -> bool:
        """Whether the client has kept us waiting too long: for a head, for a body, or for its next request."""
        if self.refused:
            return self._refusal is None and now - self.since > _LINGER
        body = self.in_message and not self._in_head
        if self.flow.read_paused or not (body or self.done()) or (body and self._continue_unsaid()):
            self.since = now  # it is we who keep the client waiting
            return False
        limit = self.body_seconds if body else self.header_seconds if self._in_head else self.idle_seconds
        return now - self.since > limit

    def _continue_unsaid(self) -> bool:
        return bool(getattr(self.cycle, "waiting_for_100_continue", False))

    def stuck(self, now: float) -> bool:
        """Whether there are bytes for the client, and it has taken none of them for as long as a body may pause."""
        size = self.transport.get_write_buffer_size()
        if size:
            size += _in_kernel(self.transport.get_extra_info("socket").fileno())
        if not size or size != self._unsent:
            self._unsent, self._unsent_since = size, now
            return False
        return now - self._unsent_since > self.body_seconds


def _fault(cause: BaseException | None) -> NodeError:
    """What a callback has raised, as an error for the client."""
    if isinstance(cause, NodeError):
        return cause
    if isinstance(cause, httptools.HttpParserInvalidURLError | UnicodeError):
        return BadRequest.of(reason="the target is not a URL", reason_zh="请求目标不是有效的 URL")
    _log.error("a request could not be taken", exc_info=cause)
    return NodeError()


def _in_kernel(descriptor: int) -> int:
    """Bytes that the socket holds and the client has not acknowledged: a slow reader shows here first (tcp(7))."""
    try:
        return int(struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, b"\0" * 4))[0])
    except OSError:
        return 0


def _sweep(loop: asyncio.AbstractEventLoop) -> None:
    """Begin a look at all connections."""
    Connection.sweeping = bool(Connection.open)
    if Connection.sweeping:
        _look(loop, list(Connection.open), _SWEEP / -(-len(Connection.open) // _SLICE))


def _look(loop: asyncio.AbstractEventLoop, left: list[Connection], pause: float) -> None:
    """Look at some of those `left`, at the others after a `pause`; then all over again."""
    some, rest = left[:_SLICE], left[_SLICE:]
    again = (_look, loop, rest, pause) if rest else (_sweep, loop)
    loop.call_later(pause, *again)  # first, so that nothing below can end it
    now = loop.time()
    for connection in some:  # who was lost meanwhile has nothing unsent and is closing: passed over
        if connection.stuck(now):  # closing or not: it closes when the client has taken what there is
            connection.transport.abort()
        elif not connection.transport.is_closing() and connection.overdue(now):
            connection.transport.close()
