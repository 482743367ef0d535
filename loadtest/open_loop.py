"""Requests at a given rate, whatever the answers do: latency counts from when a request was due (no coordinated
omission)."""

from __future__ import annotations

import asyncio
import gc
import time
from collections import deque
from collections.abc import Callable


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
    waits, and its waiting counts.

    Wants a core of its own: it asks the clock in each turn of the loop. A timer of 1 ms sent ten at once at 10,000 a
    second, which nobody's requests do; nor are requests made, or garbage collected, while it counts."""
    loop = asyncio.get_running_loop()
    free: deque[_Connection] = deque()
    waiting: deque[float] = deque()
    taken: list[float] = []
    total, finished = int(rate * seconds), asyncio.Event()
    requests = iter([f"GET {paths()} HTTP/1.1\r\nHost: bench\r\n\r\n".encode() for _ in range(total)])

    def done(connection: _Connection) -> None:
        taken.append(time.perf_counter() - connection.due)
        if len(taken) == total:
            finished.set()
        if waiting:
            start(connection, waiting.popleft())
        else:
            free.append(connection)

    def start(connection: _Connection, due: float) -> None:
        connection.send(next(requests), due)

    for _ in range(most):
        free.append((await loop.create_connection(lambda: _Connection(done), "127.0.0.1", port))[1])
    everyone = list(free)
    gc.disable()
    try:
        await _sent(start, free, waiting, rate, total)
        async with asyncio.timeout(30):
            await finished.wait()
    finally:
        gc.enable()
        for connection in everyone:
            connection.transport.close()
    return sorted(taken)


async def _sent(
    start: Callable[[_Connection, float], None],
    free: deque[_Connection],
    waiting: deque[float],
    rate: float,
    total: int,
) -> None:
    """Start each when it is due."""
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
        await asyncio.sleep(0)
