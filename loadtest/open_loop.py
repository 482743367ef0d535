"""Requests at a given rate, whatever the answers do: latency counts from when a request was due (no coordinated
omission)."""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from loadtest.machine import stolen

_STOLEN = (
    0.005  # of a round's time: a p99 is disturbed when its hundredth of the requests met a machine that stood still
)
_FEWEST = 5  # undisturbed rounds that say something


@dataclass(frozen=True)
class Round:
    """What one round of requests took; `stolen` is the share of its time that the host took from this machine."""

    p50_ms: float
    p99_ms: float
    stolen: float


class P99(NamedTuple):
    """Milliseconds, medians of rounds: of all of them, and of the undisturbed ones (None if they are too few)."""

    undisturbed_ms: float | None
    all_ms: float
    undisturbed: int
    rounds: int

    @classmethod
    def of(cls, rounds: Sequence[Round]) -> P99:
        calm = [one.p99_ms for one in rounds if one.stolen <= _STOLEN]
        median = round(statistics.median(calm), 2) if len(calm) >= _FEWEST else None
        return cls(median, round(statistics.median(one.p99_ms for one in rounds), 2), len(calm), len(rounds))

    def __str__(self) -> str:
        if self.undisturbed_ms is None:
            calm = f"{self.undisturbed} of {self.rounds} rounds that the host did not disturb are too few to tell"
            return f"{self.all_ms} ms in all; {calm}"
        calm = f"{self.undisturbed} of {self.rounds} rounds that the host did not disturb"
        return f"{self.undisturbed_ms} ms in {calm}, {self.all_ms} ms in all"


async def measured(port: int, paths: Callable[[], str], rate: float, seconds: float) -> Round:
    """One round of `latencies`."""
    begin, before = time.perf_counter(), stolen()
    taken = await latencies(port, paths, rate, seconds)
    share = (stolen() - before) / (time.perf_counter() - begin)
    p50, p99 = (round(1000 * taken[int(part * len(taken))], 2) for part in (0.5, 0.99))
    return Round(p50, p99, round(share, 4))


class _Connection(asyncio.Protocol):
    def __init__(self, done: Callable[[_Connection], None]) -> None:
        self._done, self._left, self._head = done, 0, b""
        self.due = 0.0
        self.refused = 0

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
            self.refused += not self._head.startswith(b"HTTP/1.1 200 ")
            at = self._head.index(b"content-length: ") + 16
            self._left = int(self._head[at : self._head.index(b"\r", at)]) - (len(self._head) - end - 4)
        else:
            self._left -= len(data)
        if self._left == 0:
            self._done(self)


async def latencies(port: int, paths: Callable[[], str], rate: float, seconds: float, most: int = 256) -> list[float]:
    """Seconds from when each was due to its whole answer, sorted. `most` connections at the most; who finds none free
    waits, and its waiting counts.

    Each connection has had an answer before that: a client's `connect` returns before the server has accepted, and who
    still took in 256 of them when the first requests were due was late with over a hundredth of a short round.

    Wants a core of its own: it asks the clock in each turn of the loop. A timer of 1 ms sent ten at once at 10,000 a
    second, which nobody's requests do; nor are requests made, or garbage collected, while it counts."""
    loop = asyncio.get_running_loop()
    free: deque[_Connection] = deque()
    waiting: deque[float] = deque()
    taken: list[float] = []
    total, finished = int(rate * seconds), asyncio.Event()
    requests = iter([f"GET {paths()} HTTP/1.1\r\nHost: bench\r\n\r\n".encode() for _ in range(total + most)])

    def done(connection: _Connection) -> None:
        taken.append(time.perf_counter() - connection.due)
        if len(taken) == expected:
            finished.set()
        if waiting:
            start(connection, waiting.popleft())
        else:
            free.append(connection)

    def start(connection: _Connection, due: float) -> None:
        connection.send(next(requests), due)

    everyone = [(await loop.create_connection(lambda: _Connection(done), "127.0.0.1", port))[1] for _ in range(most)]
    gc.disable()
    try:
        expected = most
        for connection in everyone:
            start(connection, time.perf_counter())
        async with asyncio.timeout(30):
            await finished.wait()
        taken.clear()
        finished.clear()
        expected = total
        await _sent(start, free, waiting, rate, total)
        async with asyncio.timeout(30):
            await finished.wait()
    finally:
        gc.enable()
        for connection in everyone:
            connection.transport.close()
    if refused := sum(connection.refused for connection in everyone):
        raise RuntimeError(f"{refused} of {total} answers were not 200: their times say nothing")
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
            due = begin + (number + 1) / rate  # the first is due after one interval: `due_by_now` counts them so
            if free:
                start(free.popleft(), due)
            else:
                waiting.append(due)
        sent = due_by_now
        await asyncio.sleep(0)
