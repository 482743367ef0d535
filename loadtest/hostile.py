"""Connections that are slow, silent or half-open, in a process of their own: what they cost is not the honest ones'.

Started by `loadtest.slow_clients`. Says `held` once the node has closed the first of them: from then on it goes on as
it will, some are cut and come again. On SIGTERM it says what the node closed.
"""

from __future__ import annotations

import asyncio
import json
import random
import resource
import signal
import socket
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import repeat

import uvloop

KINDS = ("silent", "slow_header", "slow_body", "deaf")
_PAUSE = (0.5, 3.0)  # s between two things that one sends
_BURST, _APART = 50, 0.05  # so many are opened at once, s between: all at once would only measure the accept queue
_DEAF_BUFFER = 4096  # bytes the kernel keeps for one that reads nothing: the rest waits at the node


def _sent(kind: str, handle: str) -> Iterator[bytes]:
    """What one of this kind sends, bit by bit."""
    if kind == "slow_header":
        head = b"GET / HTTP/1.1\r\nHost: a\r\nX-A: " + b"a" * 4000
        yield from (head[at : at + 1] for at in range(len(head)))
    elif kind == "slow_body":
        yield b"POST /api/v1/applications HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        yield b"Content-Length: 4000\r\n\r\n{"
        yield from repeat(b" ", 3999)
    elif kind == "deaf":
        yield from repeat(f"GET /{handle} HTTP/1.1\r\nHost: a\r\n\r\n".encode())


class Hostile:
    """`count` of them, a quarter of each kind; who is closed by the node comes again."""

    def __init__(self, port: int, handle: str, seed: int) -> None:
        self.port, self.handle, self.pick = port, handle, random.Random(seed)
        self.open = 0
        self.closed: Counter[str] = Counter()
        self.steady = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def again(self, kind: str) -> None:
        task = asyncio.ensure_future(self.connect(kind))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def connect(self, kind: str) -> None:
        sock = socket.socket()
        sock.setblocking(False)
        if kind == "deaf":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _DEAF_BUFFER)
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_connect(sock, ("127.0.0.1", self.port))
            await loop.create_connection(lambda: _Connection(self, kind), sock=sock)
        except OSError:
            sock.close()
            loop.call_later(self.pick.uniform(*_PAUSE), self.again, kind)


class _Connection(asyncio.Protocol):
    def __init__(self, crowd: Hostile, kind: str) -> None:
        self._crowd, self._kind, self._data = crowd, kind, _sent(kind, crowd.handle)
        self._blocked = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]  # uvloop's is no subclass
        self._crowd.open += 1
        if self._kind == "deaf":
            self._transport.pause_reading()
        self._next()

    def pause_writing(self) -> None:
        self._blocked = True

    def resume_writing(self) -> None:
        self._blocked = False

    def _next(self) -> None:
        if self._transport.is_closing():
            return
        data = b"" if self._blocked else next(self._data, b"")
        if data:
            self._transport.write(data)
        if self._kind != "silent":
            asyncio.get_running_loop().call_later(self._crowd.pick.uniform(*_PAUSE), self._next)

    def connection_lost(self, _error: Exception | None) -> None:
        crowd = self._crowd
        crowd.open -= 1
        crowd.closed[self._kind] += 1
        crowd.steady.set()
        asyncio.get_running_loop().call_later(crowd.pick.uniform(*_PAUSE), crowd.again, self._kind)


async def main(port: int, handle: str, count: int, seed: int) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    crowd = Hostile(port, handle, seed)
    for number in range(count):
        crowd.again(KINDS[number % len(KINDS)])
        if number % _BURST == _BURST - 1:
            await asyncio.sleep(_APART)
    async with asyncio.timeout(60):
        await crowd.steady.wait()
    print("held", flush=True)
    await ended.wait()
    print(json.dumps({"held": crowd.open, "closed_by_the_node": dict(crowd.closed)}), flush=True)


if __name__ == "__main__":
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    uvloop.run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
