"""One kept-alive HTTP/1.1 connection over gevent: the request path of the generators.

Locust's FastHttpUser is for integrators' own users (locustfile.CheckedUser). It would be fast enough, with 9,000
requests a second of one core before the oracle has looked at an answer; this one does 26,000 with the oracle on, and
the difference is left to the node beside it on the same cores (calibrate.py measures both). It also knows when its
first byte was sent, which the oracle asks.
"""

from __future__ import annotations

import select
import ssl
import struct
from dataclasses import dataclass
from functools import cache
from time import monotonic, time
from typing import Any
from urllib.parse import urlsplit

from gevent import socket
from gevent.monkey import get_original

_IDLE = 20.0  # s; the node closes after 30, and a request must not meet that
_poll = get_original("select", "poll")  # gevent's own is for waiting
_FRESH = 0.02  # s; used a moment ago
_STAMPS = 35  # SO_TIMESTAMPNS of socket(7), which Python does not name
_STAMP = struct.Struct("@qq")  # s and ns of the system's clock
_ROOM = socket.CMSG_SPACE(_STAMP.size)
_LAST_ACK = 56  # offset of tcpi_last_ack_recv in tcp_info of linux/tcp.h: ms since the other side's last word


@cache
def _trust() -> ssl.SSLContext:
    """Reading the system's certificates takes 20 ms: once, and not for each connection."""
    return ssl.create_default_context()


@cache
def _address(host: str, port: int) -> tuple[int, object]:
    """Family and address: gevent asks a thread each time, even for an address in numbers."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    return family, address


class NoAnswer(Exception):
    """Refused, broken off or too late: whether the request was carried out is unknown. Its text is a short cause."""


@dataclass(slots=True)
class Reply:
    status: int
    head: bytes
    body: bytes
    begun: float  # monotonic s, before the first byte was sent
    ended: float


@dataclass(frozen=True, slots=True)
class Target:
    """Where a node is."""

    host: str
    port: int
    secure: bool = False
    base: str = ""  # path before every route

    @classmethod
    def of(cls, url: str) -> Target:
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        return cls(parts.hostname or "", parts.port or (443 if secure else 80), secure, parts.path.rstrip("/"))

    def request(
        self, method: str, path: str, body: bytes = b"", key: str = "", kind: str = "application/json", **more: str
    ) -> bytes:
        """A request as bytes; `if_match='"3"'` becomes the header If-Match."""
        lines = [f"{method} {self.base}{path} HTTP/1.1", f"Host: {self.host}:{self.port}"]
        if key:
            lines.append(f"Authorization: Bearer {key}")
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in more.items()]
        if body or method in ("POST", "PUT"):
            lines += [f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


class Lean:
    """A connection, made anew when it is lost. Nothing is ever sent twice.

    `lain`: s in all that answers, and connections that were open, had been here before this process came to look, by
    the kernel's own stamps; of answers over TLS 0, whose records are not read as they come. `came`: monotonic s, when
    the last answer, or what stands for it, was here."""

    def __init__(self, target: Target, timeout: float) -> None:
        self._target, self._timeout = target, timeout
        self._socket: Any = None
        self._used = self.lain = self.came = 0.0

    def ask(self, request: bytes) -> Reply:
        """The answer to one request; NoAnswer where there is none within the time-out."""
        begun, lain = monotonic(), self.lain
        try:
            if self._socket is None or (begun - self._used > _FRESH and not self._alive(begun)):
                self._connect()
            self._socket.sendall(request)
            status, head, body = self._answer(begun)
        except TimeoutError:
            self.close()
            raise NoAnswer("timeout") from None
        except (OSError, ValueError) as error:
            self.close()
            raise NoAnswer(type(error).__name__) from None
        finally:
            self._used = ended = monotonic()
            self.came = ended - (self.lain - lain)
        if b"\r\nconnection: close" in head:
            self.close()
        return Reply(status, head, body, begun, ended)

    def _alive(self, now: float) -> bool:
        """Whether a connection that rested can still be used: one that the node has closed, or whose process is gone,
        is readable. Every client that keeps connections looks first, for else a killed worker would cost each of them
        one request."""
        if now - self._used > _IDLE:
            return False
        look = _poll()  # select() knows descriptors below 1,024 only
        look.register(self._socket.fileno(), select.POLLIN)
        return not look.poll(0)

    def _connect(self) -> None:
        self.close()
        family, address = _address(self._target.host, self._target.port)
        made = socket.socket(family, socket.SOCK_STREAM)
        self._socket = made  # closed from here on, whatever becomes of it
        made.settimeout(self._timeout)
        begun = monotonic()
        made.connect(address)
        # Beside a node on the same cores a crowd's connections were open 0.2 to 0.6 s before a greenlet came to use
        # them, and a refusal seemed that much later.
        (rested,) = struct.unpack_from("@I", made.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), _LAST_ACK)
        self.lain += min(rested / 1000, monotonic() - begun)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.setsockopt(socket.SOL_SOCKET, _STAMPS, 1)
        if self._target.secure:
            self._socket = _trust().wrap_socket(made, server_hostname=self._target.host)

    def _first(self, begun: float) -> bytes:
        """The first bytes of an answer to what was begun then."""
        if self._target.secure:
            received: bytes = self._socket.recv(65536)
            return received
        data, stamps, _, _ = self._socket.recvmsg(65536, _ROOM)
        for _, kind, stamp in stamps:
            if kind == _STAMPS:
                seconds, nanoseconds = _STAMP.unpack(stamp)
                # never more than it took: the system's clock may jump
                self.lain += min(max(0.0, time() - seconds - nanoseconds / 1e9), monotonic() - begun)
        return bytes(data)

    def _answer(self, begun: float) -> tuple[int, bytes, bytes]:
        receive = self._socket.recv
        data = self._first(begun)
        while (end := data.find(b"\r\n\r\n")) < 0:
            more = receive(65536)
            if not more:
                raise ConnectionResetError
            data += more
        head = data[: end + 2].lower()
        status = int(head[9:12])
        body = data[end + 4 :]
        at = head.find(b"\r\ncontent-length:")
        if at < 0:
            if status in (204, 304):
                return status, head, b""
            raise ValueError("an answer without a length")
        length = int(head[at + 17 : head.index(b"\r\n", at + 2)])
        if len(body) < length:
            parts, got = [body], len(body)
            while got < length:
                part = receive(65536)
                if not part:
                    raise ConnectionResetError
                parts.append(part)
                got += len(part)
            body = b"".join(parts)
        return status, head, body

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
