"""Single registrations without a task: the body is gathered here, and the answer written when its group has committed.

What is out of the ordinary goes the ordinary way, with the same bytes (node/http/short_registration.py, which answers
also what comes while an earlier request of the connection waits).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from node import metrics
from node.config import Settings
from node.errors import NodeError
from node.grouping import groups_of
from node.http.answers import bare, request_id
from node.http.connection import Connection
from node.http.requests import MAX_HEADERS, client_address
from node.http.resolver import FrontDoor
from node.http.short_registration import PATH, answer_of, token_of
from node.outcomes import Outcome

_nobody_waits = asyncio.Event()
_ROUTE = PATH.decode()  # as Guard labels it
# Headers that ask for more than a plain registration, or say that the body comes in another way.
_NOT_PLAIN = frozenset(b"connection expect idempotency-key te trailer transfer-encoding upgrade".split())


class Posting:
    """Stands for uvicorn's cycle of request and answer while a registration is read and waits for its group."""

    __slots__ = (
        "address",
        "body",
        "disconnected",
        "keep_alive",
        "message_event",
        "response_complete",
        "response_started",
        "since",
        "token",
    )

    def __init__(self, token: str, address: str, since: float) -> None:
        self.token, self.address, self.since = token, address, since
        self.body = bytearray()  # bytes would be copied whole for each byte of a client that sends them singly
        self.response_complete = self.response_started = self.disconnected = False
        self.keep_alive = True
        self.message_event = _nobody_waits


class Posts(Connection):
    """A connection that takes plain single registrations."""

    _door: FrontDoor | None = None
    _posting: Posting | None = None  # whose body is being read
    _proxies: Settings | None = None  # where a proxy names the client
    address = "127.0.0.1"  # of who asks: the peer, or whom a trusted proxy names

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self.client:
            self.address = self.client[0]

    def client_address(self) -> str:
        """Who sent the head at hand: the peer, or whom a trusted proxy names."""
        if self._proxies is None:
            return self.address
        return client_address({"client": self.client, "headers": self.headers}, self._proxies)

    def idle_before(self) -> bool:
        """Nothing earlier of this connection waits for its answer, and the client reads what it is sent."""
        return self.done() and not self.flow.write_paused and not self.transport.is_closing()

    def on_headers_complete(self) -> None:
        if self.url == PATH and self._door is not None and (token := self._plain_post(self._door)) is not None:
            self._posting = Posting(token, self.client_address(), self.loop.time())
            self.cycle = self._posting  # type: ignore[assignment]
            self.headers = []
            self.head_done()
        else:
            super().on_headers_complete()

    def _plain_post(self, door: FrontDoor) -> str | None:
        """The token of a registration that may be taken here; None for the ordinary way."""
        if self.parser.get_method() != b"POST" or self.parser.get_http_version() != "1.1" or not self.idle_before():
            return None
        token = token_of(headers := dict(self.headers), door.settings.max_body)
        if token is None or len(headers) != len(self.headers) or self._head_size() > MAX_HEADERS:
            return None
        if not _NOT_PLAIN.isdisjoint(headers) and not only_keep_alive(self.headers, _NOT_PLAIN):
            return None
        return token

    def on_body(self, body: bytes) -> None:
        if self._posting is None:
            super().on_body(body)
        else:
            self._barren = 0
            self._posting.body += body

    def on_message_complete(self) -> None:
        posting, self._posting = self._posting, None
        if posting is None or self._door is None:
            super().on_message_complete()
            return
        self.message_done()
        door = self._door
        try:
            groups_of(door.node).post(
                posting.token, posting.address, bytes(posting.body), lambda what: self._registered(door, posting, what)
            )
        except NodeError as error:
            self._registered(door, posting, error)

    def _registered(self, door: FrontDoor, posting: Posting, what: Outcome | NodeError) -> None:
        posting.response_complete = True
        answer = answer_of(door.node, what)
        metrics.requests.count(_ROUTE, answer.status, self.loop.time() - posting.since)
        if posting.disconnected or self.transport.is_closing():
            return
        lines = [b"%s: %s\r\n" % header for header in bare(answer)]
        guarded = b"x-request-id: %s\r\nx-content-type-options: nosniff\r\n" % request_id()
        last = b"\r\n" if posting.keep_alive else b"connection: close\r\n\r\n"
        head = (STATUS_LINE[answer.status], self.date_lines(), *lines, guarded, last)
        self.transport.write(b"".join((*head, answer.body)))
        self.answered(posting)

    def answered(self, cycle: Any) -> None:
        """The answer of a request that needed no task is written: what comes next on this connection."""
        if not cycle.keep_alive:
            self.transport.close()
        elif self.pipeline:
            self.on_response_complete()  # begins the next
        else:
            self.server_state.total_requests += 1
            self.since = self.loop.time()
            self.all_answered()


def only_keep_alive(headers: Sequence[tuple[bytes, bytes]], not_plain: frozenset[bytes]) -> bool:
    """Whether what asks for more is but the `Connection: keep-alive` that old clients send."""
    return all(value.lower() == b"keep-alive" for name, value in headers if name in not_plain)
