"""`make bench-scan`: the page with its claimed scan, beside the baseline's resolve route on the same servers, in turn.

One scan is two requests on one connection: the page, then the image that it shows, with the phone's cookie. Then the
latency at half the highest rate, arrivals by the clock (a late answer is late for those behind it too), and a storm:
100,000 claims of 1,000 items from 50,000 phones, counted exactly. Absolute figures are those of this machine.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import re
import statistics
import sys
import time
import timeit
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg
import psutil  # type: ignore[import-untyped]
import uvloop

from loadtest.bench import BATCH, CONNECTIONS, Subject, _prepare
from loadtest.client import Load, drive, request
from loadtest.servers import baseline, dev_node
from loadtest.storm import counted, faults, send, storm
from loadtest.workload import Goods, hot_and_cold
from node import scan_tokens, scans
from node.scan_memory import ScanMemory
from node.scan_tokens import DeviceToken
from node.sealing import Sealer
from node.tally import Tally

_IMAGE = re.compile(rb'"(/[^"]*?s/[A-Za-z0-9_-]+\.gif)"')
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_PHONES = 50_000
_WARM = 3  # a record is kept in Valkey from its second read on
_TARGET_RATIO, _TARGET_MS = 8.0, 30.0


class Phones:
    """Scans one after another: which handle, by which phone."""

    def __init__(self, goods: Goods, sealer: Sealer, numbers: list[int]) -> None:
        self.goods, self.sealer = goods, sealer
        pick = random.Random(7)
        now = time.time()
        tokens = [scan_tokens.device_token(sealer, DeviceToken(int(now), pick.randbytes(12))) for _ in range(_PHONES)]
        self._cookies = itertools.cycle([{"Cookie": f"scan_device={token}"} for token in tokens])
        accept = {"Accept": "text/html"}
        self._pages = itertools.cycle([(n, request("GET", "/" + goods.handle(n), headers=accept)) for n in numbers])
        self.signed_here = 0

    def next(self) -> tuple[int, bytes, dict[str, str]]:
        number, page = next(self._pages)
        return number, page, next(self._cookies)

    def warm(self, numbers: Iterable[int]) -> list[tuple[bytes, int]]:
        """Requests for these pages, none of which is claimed."""
        accept = {"Accept": "text/html"}
        return [(request("GET", "/" + self.goods.handle(n), headers=accept), n) for n in numbers]

    def image(self, number: int, body: bytes) -> str:
        """The address that the page shows; where it shows none (before pages have it) one that is signed here."""
        found = _IMAGE.search(body)
        if found:
            return found[1].decode()
        self.signed_here += 1
        return f"/s/{scan_tokens.claim_token(self.sealer, self.goods.handle(number), time.time())}.gif"


def cpu_seconds(port: int) -> float:
    """What the process that serves this port has used, user and system; without its children."""
    for found in psutil.net_connections("tcp"):
        if found.status == psutil.CONN_LISTEN and found.laddr.port == port and found.pid:
            times = psutil.Process(found.pid).cpu_times()
            return float(times.user + times.system)
    raise RuntimeError(f"nobody listens on {port}")


class Scanner(asyncio.Protocol):
    """One connection that scans: a page, then the image that it shows. Bytes in, bytes out: a client of streams takes
    as long for a scan as a fast node does, and would measure itself."""

    def __init__(self, phones: Phones, load: Load, due: Iterator[float], until: float, timed: bool) -> None:
        self.phones, self.load, self.due, self.until, self.timed = phones, load, due, until, timed
        self.done = asyncio.get_running_loop().create_future()
        self.begin, self.number, self.cookie, self.in_page = 0.0, 0, {}, False  # type: ignore[var-annotated]
        self.received, self.wanted = bytearray(), 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self._next()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error or ConnectionResetError("closed before its answer"))

    def _next(self) -> None:
        due, now = next(self.due), time.perf_counter()
        if due >= self.until or now >= self.until:
            self.done.set_result(None)
            self.transport.close()
        elif due > now:
            asyncio.get_running_loop().call_later(due - now, self._scan, due)
        else:
            self._scan(due)

    def _scan(self, due: float) -> None:
        self.begin = due if self.timed else time.perf_counter()
        self.number, page, self.cookie = self.phones.next()
        self.in_page = True
        self.transport.write(page)

    def data_received(self, data: bytes) -> None:
        self.received += data
        if not self.wanted:
            end = self.received.find(b"\r\n\r\n")
            if end < 0:
                return
            found = _LENGTH.search(self.received, 0, end + 2)
            assert found is not None
            self.wanted = end + 4 + int(found[1])
        if len(self.received) < self.wanted:
            return
        answer, self.received, self.wanted = bytes(self.received), bytearray(), 0
        good = answer[9:12] == b"200"
        if self.in_page:
            self.in_page = False
            self.transport.write(request("GET", self.phones.image(self.number, answer), headers=self.cookie))
        else:
            self.load.latencies.append(time.perf_counter() - self.begin)
            good = good and b"\r\n\r\nGIF89a" in answer
            self._next()
        if not good:
            self.load.wrong.append(f"{self.phones.goods.handle(self.number)}: {answer[:60]!r}")


async def scan_load(
    port: int, phones: Phones, seconds: float, rate: float | None, connections: int, most: int | None = None
) -> Load:
    """Scans from all connections for so long, `most` of them; with a `rate`, that many a second by the clock."""
    load, start = Load(), time.perf_counter()
    turns: Iterator[float] = (
        (start + n / rate for n in itertools.count()) if rate else (start for _ in itertools.count())
    )
    if most is not None:
        turns = itertools.chain(itertools.islice(turns, most), itertools.repeat(float("inf")))
    loop, made = asyncio.get_running_loop(), []
    for _ in range(connections):
        _, scanner = await loop.create_connection(
            lambda: Scanner(phones, load, turns, start + seconds, rate is not None), "127.0.0.1", port
        )
        made.append(scanner.done)
    await asyncio.gather(*made)
    load.seconds = time.perf_counter() - start
    if load.wrong:
        raise RuntimeError(f"{len(load.wrong)} wrong answers: {load.wrong[:3]}")
    return load


async def rates(node: dict[str, Any], port: int, sealer: Sealer, rounds: int, seconds: float) -> dict[str, Any]:
    """The highest rate of both, and the latency of scans at half of it."""
    count = 20 * BATCH
    key = {"Authorization": f"Bearer {node['api_key']}"}
    own = int(node["url"].rpartition(":")[2])
    ours, plain = Subject("node", own, Goods(node["prefix"]), key), Subject("baseline", port, Goods(node["prefix"]), {})
    for subject in (ours, plain):
        await _prepare(subject, count)
    numbers, hot = hot_and_cold(count, 1), range(1000)
    phones = Phones(ours.goods, sealer, numbers)
    scanned: list[Load] = []
    resolves: list[Load] = []
    # Both as they are after a minute of such scans: the hot thousand asked for three times, as in a season.
    for _ in range(_WARM):
        await drive(own, iter(phones.warm(hot)), 60.0, CONNECTIONS, lambda number, body: None)
        await drive(port, iter([plain.resolve(n) for n in hot]), 60.0, CONNECTIONS, plain.check)
    cpu = {"scan": 0.0, "resolve": 0.0}
    for _ in range(rounds):
        before = cpu_seconds(own)
        scanned.append(await scan_load(own, phones, seconds, None, CONNECTIONS))
        between, begun = cpu_seconds(own), cpu_seconds(port)
        turn = (plain.resolve(n) for n in itertools.cycle(numbers))
        resolves.append(await drive(port, turn, seconds, CONNECTIONS, plain.check))
        cpu["scan"] += between - before
        cpu["resolve"] += cpu_seconds(port) - begun
    scan_us = 1e6 * cpu["scan"] / sum(len(load.latencies) for load in scanned)
    resolve_us = 1e6 * cpu["resolve"] / sum(len(load.latencies) for load in resolves)
    highest = statistics.median(load.rate for load in scanned)
    base = statistics.median(load.rate for load in resolves)
    # Every item has had its first scan, as after some minutes of such scans.
    await scan_load(own, Phones(ours.goods, sealer, list(range(count))), 60.0, None, CONNECTIONS, most=count)
    before = cpu_seconds(own)
    known = await scan_load(own, phones, seconds, None, CONNECTIONS)
    known_us = 1e6 * (cpu_seconds(own) - before) / len(known.latencies)
    half = await scan_load(own, phones, max(seconds, 5.0), highest / 2, CONNECTIONS * 4)
    return {
        "scans_per_second": highest,
        "baseline_resolves_per_second": base,
        "scan_cpu_us": scan_us,
        "baseline_resolve_cpu_us": resolve_us,
        "ratio_per_core": resolve_us / scan_us,
        "known_scans_per_second": known.rate,
        "known_scan_cpu_us": known_us,
        "known_ratio_per_core": resolve_us / known_us,
        "ratio_of_rates": highest / base,
        "half_rate": half.rate,
        "half_p50_ms": half.percentile(0.5),
        "half_p99_ms": half.percentile(0.99),
        "images_signed_here": phones.signed_here,
    }


async def storms(node: dict[str, Any], sealer: Sealer, claims: int) -> dict[str, Any]:
    """Send the storm; how fast it went, and what is wrong with the counts (nothing)."""
    sent = storm(sealer, node["prefix"], max(1, claims // 100), max(1, claims // 2), claims, time.time(), 11)
    port = int(node["url"].rpartition(":")[2])
    start = time.perf_counter()
    unanswered = await send(sent, [port], range(len(sent.claims)), connections=256)
    seconds = time.perf_counter() - start
    conn = await asyncpg.connect(node["database_url"])
    try:
        wrong = ["not settled"]
        for _ in range(100):  # settled within the second; on a slow machine a few
            wrong = faults(sent, found := await counted(conn, node["prefix"]))
            if not wrong:
                break
            await asyncio.sleep(0.2)
    finally:
        await conn.close()
    if unanswered or wrong or set(sent.statuses) != {200}:
        raise RuntimeError(f"unanswered {len(unanswered)}, statuses {sent.statuses}, faults {wrong[:5]}")
    mine = {claim.suffix for claim in sent.claims}
    return {
        "claims": len(sent.claims),
        "items": len(mine),
        "phones_on_items": len({(c.suffix, c.mark) for c in sent.claims}),
        "counted": sum(n for suffix, n in found.counts.items() if suffix in mine),
        "first_scans": sum(found.firsts[suffix] is not None for suffix in mine),
        "claims_per_second": len(sent.claims) / seconds,
    }


def costs(sealer: Sealer) -> dict[str, Any]:
    """Microseconds of a worker's loop: to count one resolution, to sign a claim, to take one. No I/O in any of them."""
    counts, memory, now = Tally(), ScanMemory(), time.time()
    handle = "88.999.1001/LC-2026-HARVEST-00001"
    memory.know(("88.999.1001", "LC-2026-HARVEST-00001"))
    node: Any = SimpleNamespace(sealer=sealer, scan_memory=memory)
    claim = scan_tokens.claim_token(sealer, handle, now)
    cookie = scan_tokens.device_token(sealer, DeviceToken(int(now), bytes(12)))

    def each(call: Callable[[], Any], number: int) -> float:
        return min(timeit.repeat(call, number=number, repeat=5)) / number * 1e6

    return {
        "count_resolution_us": each(lambda: counts.count(7, True, 0.0001, "192.0.2.1", now), 100_000),
        "sign_claim_us": each(lambda: scan_tokens.claim_token(sealer, handle, now), 10_000),
        "take_claim_us": each(lambda: scans.accept(node, claim, cookie, now), 10_000),
    }


async def bench(rounds: int, seconds: float, claims: int) -> dict[str, Any]:
    servers, client = ({0}, {1}) if (os.cpu_count() or 1) > 1 else (None, None)
    if client:
        os.sched_setaffinity(0, client)
    async with dev_node({"POOL_SIZE": "8"}, servers) as node, baseline(node, servers) as port:
        sealer = Sealer.from_file(Path(node["env"]["NODE_SECRET_FILE"]))
        found = await rates(node, port, sealer, rounds, seconds)
        return {**costs(sealer), **found, **await storms(node, sealer, claims)}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtest.bench_scan", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each turn (4)")
    parser.add_argument("--claims", type=int, default=100_000, help="of the storm (100,000)")
    arguments = parser.parse_args()
    found = uvloop.run(bench(arguments.rounds, arguments.seconds, arguments.claims))
    for name, value in found.items():
        print(f"{name:30} {value:,.2f}" if isinstance(value, float) else f"{name:30} {value:,}")
    for what, reached in (
        (f"ratio of {_TARGET_RATIO:g} per core", found["ratio_per_core"] >= _TARGET_RATIO),
        (f"p99 under {_TARGET_MS:g} ms at half the rate", found["half_p99_ms"] < _TARGET_MS),
    ):
        print(f"{what}: {'reached' if reached else 'NOT REACHED'}")
    if found["images_signed_here"]:
        print("the pages showed no image: claims were signed by the benchmark")
    report = Path("reports/bench-scan.json")
    report.parent.mkdir(exist_ok=True)
    report.write_text(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
