"""A keep-alive HTTP/1.1 client that knows exactly when a request was sent and when its answer was whole."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from loadtest.freshness.history import clock


class NoAnswer(Exception):
    """Refused, broken off or too late: whether the request was carried out is unknown."""


@dataclass(slots=True)
class Reply:
    status: int
    head: bytes
    body: bytes
    begun: int  # ns, before the first byte was sent
    ended: int  # ns, after the last byte came

    def header(self, name: str) -> str:
        start = self.head.lower().find(f"\r\n{name.lower()}:".encode())
        if start < 0:
            return ""
        start += len(name) + 3
        return self.head[start : self.head.index(b"\r\n", start)].decode("latin-1").strip()


class _Stream(asyncio.Protocol):
    """One connection with at most one request under way."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.waiter: asyncio.Future[tuple[int, bytes, bytes]] | None = None
        self._buffer = b""
        self.closed = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        self.fail()

    def fail(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_exception(NoAnswer("the connection was lost"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[: end + 2]
        status = int(head[9:12])
        length = _length(head) if status not in (204, 304) else 0
        if len(self._buffer) < end + 4 + length:
            return
        body, self._buffer = self._buffer[end + 4 : end + 4 + length], self._buffer[end + 4 + length :]
        if self.waiter is None or self.waiter.done() or self._buffer:
            self.closed = True  # bytes that nobody asked for: never take them for an answer
            assert self.transport is not None
            self.transport.abort()
            self.fail()
            return
        self.waiter.set_result((status, head, body))


def _length(head: bytes) -> int:
    at = head.lower().find(b"\r\ncontent-length:")
    if at < 0:
        raise ValueError(f"an answer without a length: {head!r}")
    return int(head[at + 17 : head.index(b"\r\n", at + 2)])


class Client:
    """One connection to one address of loopback, made anew when it is lost."""

    def __init__(self, port: int, timeout: float) -> None:
        self.port, self.timeout = port, timeout
        self._stream: _Stream | None = None

    async def ask(self, request: bytes) -> Reply:
        """The answer; NoAnswer where there is none within `timeout` s. Nothing is ever sent twice."""
        loop = asyncio.get_running_loop()
        begun = clock()
        stream = self._stream
        if stream is None or stream.closed:
            try:
                _, stream = await loop.create_connection(_Stream, "127.0.0.1", self.port)
            except OSError as error:
                raise NoAnswer(str(error)) from None
            self._stream = stream
        waiter = stream.waiter = loop.create_future()
        assert stream.transport is not None
        stream.transport.write(request)
        timer = loop.call_later(self.timeout, stream.transport.abort)
        try:
            status, head, body = await waiter
        except asyncio.CancelledError:
            self.close()
            raise
        finally:
            timer.cancel()
        return Reply(status, head, body, begun, clock())

    def close(self) -> None:
        if self._stream is not None and self._stream.transport is not None:
            self._stream.closed = True
            self._stream.transport.abort()


def request(
    method: str, path: str, body: bytes = b"", key: str = "", kind: str = "application/json", **headers: str
) -> bytes:
    """A request as bytes; `kind` is the body's type, `if_match="x"` becomes the header If-Match."""
    lines = [f"{method} {path} HTTP/1.1", "Host: node.test"]
    if key:
        lines.append(f"Authorization: Bearer {key}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if body or method in ("POST", "PUT", "PATCH"):
        lines += [f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
