"""Requests at a given rate, whatever the answers do: latency counts from when a request was due (no coordinated
omission)."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

_TICK = 0.001


class _Connection(asyncio.Protocol):
    def __init__(self, done: Callable[[_Connection], None]) -> None:
        self._done, self._left, self._head = done, 0, b""
        self.due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def send(self, data: bytes, due: float) -> None:
        self.due, self._left, self._head = due, -1, b""
        self.transport.write(data)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        if self._left < 0:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            at = self._head.index(b"content-length: ") + 16
            self._left = int(self._head[at : self._head.index(b"\r", at)]) - (len(self._head) - end - 4)
        else:
            self._left -= len(data)
        if self._left == 0:
            self._done(self)


async def latencies(port: int, paths: Callable[[], str], rate: float, seconds: float, most: int = 256) -> list[float]:
    """Seconds from when each was due to its whole answer, sorted. `most` connections at the most; who finds none free
    waits, and its waiting counts."""
    loop = asyncio.get_running_loop()
    free: deque[_Connection] = deque()
    waiting: deque[float] = deque()
    taken: list[float] = []
    total, finished = int(rate * seconds), asyncio.Event()

    def done(connection: _Connection) -> None:
        taken.append(time.perf_counter() - connection.due)
        if len(taken) == total:
            finished.set()
        if waiting:
            start(connection, waiting.popleft())
        else:
            free.append(connection)

    def start(connection: _Connection, due: float) -> None:
        connection.send(f"GET {paths()} HTTP/1.1\r\nHost: bench\r\n\r\n".encode(), due)

    for _ in range(most):
        free.append((await loop.create_connection(lambda: _Connection(done), "127.0.0.1", port))[1])
    everyone = list(free)
    begin, sent = time.perf_counter(), 0
    while sent < total:
        due_by_now = min(total, int((time.perf_counter() - begin) * rate))
        for number in range(sent, due_by_now):
            due = begin + number / rate
            if free:
                start(free.popleft(), due)
            else:
                waiting.append(due)
        sent = due_by_now
        await asyncio.sleep(_TICK)
    async with asyncio.timeout(30):
        await finished.wait()
    for connection in everyone:
        connection.transport.close()
    return sorted(taken)
