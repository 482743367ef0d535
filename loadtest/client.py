"""A small HTTP/1.1 keep-alive client for the benchmark: the same load on whatever is measured, bounded in time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


@dataclass
class Load:
    """What a turn of load saw. Latencies in seconds."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds if self.seconds else 0.0

    def percentile(self, share: float) -> float:
        """In milliseconds."""
        ordered = sorted(self.latencies)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


Request = tuple[bytes, int]  # the request as bytes, and the number of what it is about
Check = Callable[[int, bytes], str | None]


def request(method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> bytes:
    """A request as bytes."""
    lines = [f"{method} {path} HTTP/1.1", "Host: bench", *(f"{k}: {v}" for k, v in (headers or {}).items())]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def drive(
    port: int, requests: Iterator[Request], seconds: float, connections: int, check: Check, every: int = 97
) -> Load:
    """Send from all connections until the time is over or the requests are; each `every`-th answer is checked."""
    load = Load()
    end = time.perf_counter() + seconds
    start = time.perf_counter()
    await asyncio.gather(*(_connection(port, requests, end, load, check, every) for _ in range(connections)))
    load.seconds = time.perf_counter() - start
    return load


async def _connection(port: int, requests: Iterator[Request], end: float, load: Load, check: Check, every: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**22)
    try:
        while (begin := time.perf_counter()) < end:
            following = next(requests, None)
            if following is None:
                return
            data, number = following
            writer.write(data)
            status, body = await _answer(reader)
            load.latencies.append(time.perf_counter() - begin)
            load.statuses[status] = load.statuses.get(status, 0) + 1
            if len(load.latencies) % every == 0 and (fault := check(number, body)):
                load.wrong.append(fault)
    finally:
        writer.close()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    at = head.index(b"content-length:") + 15
    length = int(head[at : head.index(b"\r\n", at)])
    return int(head[9:12]), await reader.readexactly(length) if length else b""
