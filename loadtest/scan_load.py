"""Scans from many phones: a page, then with the phone's cookie the image that it shows, on one connection.

Bytes in, bytes out: a client of streams takes as long for a scan as a fast node does, and would measure itself.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import re
import time
from collections.abc import Iterable, Iterator
from typing import Any

from loadtest.client import Load, request
from loadtest.workload import Goods
from node import scan_tokens
from node.scan_tokens import DeviceToken
from node.sealing import Sealer

_BEFORE, _AFTER = b'class="claim" src="', b'"'
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
# Has no divisor in common with the 100,000 numbers of a workload: else a phone would come back to the items that it
# scanned in the ten minutes before, and after the first seconds nothing would count any more.
_PHONES = 49_999
_HTML = {"Accept": "text/html"}
_FIRST = request("GET", "/health/live")


class Phones:
    """Scans one after another: which handle, by which phone."""

    def __init__(self, goods: Goods, sealer: Sealer, numbers: Iterable[int]) -> None:
        self.goods, self._sealer = goods, sealer
        pick = random.Random(7)
        now = time.time()
        tokens = [scan_tokens.device_token(sealer, DeviceToken(int(now), pick.randbytes(12))) for _ in range(_PHONES)]
        ends = [f" HTTP/1.1\r\nHost: bench\r\nCookie: scan_device={token}\r\n\r\n".encode() for token in tokens]
        pages = [(number, self._page(number)) for number in numbers]
        self._scans = zip(itertools.cycle(pages), itertools.cycle(ends), strict=False)
        self.signed_here = 0

    def _page(self, number: int) -> bytes:
        return request("GET", "/" + self.goods.handle(number), headers=_HTML)

    def next(self) -> tuple[tuple[int, bytes], bytes]:
        """((number, request of its page), what follows the image's address in the request for that)."""
        return next(self._scans)

    def warm(self, numbers: Iterable[int]) -> list[tuple[bytes, int]]:
        """Requests for these pages, none of which is claimed."""
        return [(self._page(number), number) for number in numbers]

    def image(self, number: int, answer: bytes) -> bytes:
        """The address that the page shows; where it shows none one that is signed here."""
        start = answer.find(_BEFORE)
        if start >= 0:
            start += len(_BEFORE)
            return answer[start : answer.index(_AFTER, start)]
        self.signed_here += 1
        token = scan_tokens.claim_token(self._sealer, self.goods.handle(number), time.time())
        return f"/s/{token}.gif".encode()


class Scanner(asyncio.Protocol):
    """One connection that scans, from when it is told to begin. Before that it has had an answer: `ready`."""

    def __init__(self, phones: Phones, load: Load, timed: bool) -> None:
        self._phones, self._load, self._timed = phones, load, timed
        loop = asyncio.get_running_loop()
        self.ready, self.done = loop.create_future(), loop.create_future()
        self._due: Iterator[float] = iter(())
        self._until = 0.0
        self._begin, self._number, self._end, self._in_page = 0.0, 0, b"", False
        self._received, self._wanted = b"", 0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport  # uvloop's is no asyncio.Transport
        self._transport.write(_FIRST)

    def begin(self, due: Iterator[float], until: float) -> None:
        self._due, self._until = due, until
        self._next()

    def connection_lost(self, error: Exception | None) -> None:
        waited_for = self.done if self.ready.done() else self.ready
        if not waited_for.done():
            waited_for.set_exception(error or ConnectionResetError("closed before its answer"))

    def _next(self) -> None:
        due, now = next(self._due), time.perf_counter()
        if due >= self._until or now >= self._until:
            self.done.set_result(None)
            self._transport.close()
        elif due > now:
            asyncio.get_running_loop().call_later(due - now, self._scan, due)
        else:
            self._scan(due)

    def _scan(self, due: float) -> None:
        self._begin = due if self._timed else time.perf_counter()
        (self._number, page), self._end = self._phones.next()
        self._in_page = True
        self._transport.write(page)

    def data_received(self, data: bytes) -> None:
        self._received = received = self._received + data if self._received else data
        if not self._wanted:
            end = received.find(b"\r\n\r\n")
            if end < 0:
                return
            found = _LENGTH.search(received, 0, end + 2)
            assert found is not None
            self._wanted = end + 4 + int(found[1])
        if len(received) < self._wanted:
            return
        self._received, self._wanted = b"", 0
        good = received[9:12] == b"200"
        if not self.ready.done():
            self.ready.set_result(None)
        elif self._in_page:
            self._in_page = False
            self._transport.write(b"".join((b"GET ", self._phones.image(self._number, received), self._end)))
        else:
            self._load.latencies.append(time.perf_counter() - self._begin)
            good = good and b"\r\n\r\nGIF89a" in received
            self._next()
        if not good:
            self._load.wrong.append(f"{self._phones.goods.handle(self._number)}: {received[:60]!r}")


async def scan_load(
    port: int, phones: Phones, seconds: float, rate: float | None, connections: int, most: int | None = None
) -> Load:
    """Scans from all connections for so long, `most` of them; with a `rate`, that many a second by the clock, which
    starts when each connection is accepted: taking in 256 of them is a storm of its own."""
    load, loop = Load(), asyncio.get_running_loop()

    def scanner() -> Scanner:
        return Scanner(phones, load, rate is not None)

    made = [(await loop.create_connection(scanner, "127.0.0.1", port))[1] for _ in range(connections)]
    await asyncio.gather(*(one.ready for one in made))
    start = time.perf_counter()
    turns: Iterator[float] = (
        (start + n / rate for n in itertools.count()) if rate else (start for _ in itertools.count())
    )
    if most is not None:
        turns = itertools.chain(itertools.islice(turns, most), itertools.repeat(float("inf")))
    for one in made:
        one.begin(turns, start + seconds)
    await asyncio.gather(*(one.done for one in made))
    load.seconds = time.perf_counter() - start
    if load.wrong:
        raise RuntimeError(f"{len(load.wrong)} wrong answers: {load.wrong[:3]}")
    return load
