"""`make bench-slow`: what honest clients notice of some thousand slow and half-open connections to the same worker.

Rounds with and without them alternate; the p99 of resolving is compared. The slow ones live in a process of their own
and come back when they are cut off. They are, in equal parts: silent; dripping a head, a byte a second; stopped in a
body; and taking none of the answers they ask for.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import resource
import statistics
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from loadtest.bench import BATCH, Subject
from loadtest.client import Load, drive, request
from loadtest.servers import dev_node
from loadtest.workload import Goods, hot_and_cold

_HONEST = 16  # connections
_SPARE = 300  # descriptors for all else
_DRIP = 1.0  # s between bytes
_BODY = b"POST /api/v1/handles HTTP/1.1\r\nHost: slow\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n["


async def _slow(port: int, number: int) -> None:
    """One slow client: opens a connection again whenever it is cut off."""
    while True:
        with suppress(OSError):
            await _once(port, number % 4)
        await asyncio.sleep(1)


async def _once(port: int, kind: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
    try:
        if kind == 1:
            for byte in b"GET / HTTP/1.1\r\nX: " + b"y" * 1000:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(_DRIP)
        elif kind == 2:
            writer.write(_BODY)
        elif kind == 3:
            writer.write(request("GET", "/api/openapi.json") * 40)
            await asyncio.sleep(60)
        await reader.read(1)
    finally:
        writer.transport.abort()


async def attack(port: int, count: int) -> None:
    """Be `count` slow clients until killed; says `open` once all have been opened."""
    tasks = []
    for number in range(count):
        tasks.append(asyncio.create_task(_slow(port, number)))
        if number % 50 == 49:
            await asyncio.sleep(0.05)  # the backlog is 2,048, and nobody's point
    print("open", flush=True)
    await asyncio.gather(*tasks)


def allowed(wanted: int) -> int:
    """How many connections the descriptor limit allows of those wanted, after raising it as far as it goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = hard if hard != resource.RLIM_INFINITY else max(soft, wanted + _SPARE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    count = max(0, min(wanted, limit - _SPARE))
    if count < wanted:
        print(f"ulimit -n is {limit}: {count} slow connections instead of {wanted}", file=sys.stderr)
    return count


async def _attacked(subject: Subject, count: int, turn: Any) -> Load:
    command = [sys.executable, "-m", "loadtest.slow_clients", "--attack", str(subject.port), "--slow", str(count)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        if not await asyncio.wait_for(process.stdout.readline(), 120):
            raise RuntimeError("the slow clients did not start")
        load: Load = await turn()
        if process.returncode is not None:
            raise RuntimeError("the slow clients ended early")
        return load
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def bench(rounds: int, seconds: float, count: int, slow: int) -> dict[str, Any]:
    """p99 in ms without and with the slow clients, and their ratio."""
    slow = allowed(slow)
    servers, client = ({0}, {1}) if (os.cpu_count() or 1) > 1 else (None, None)
    if client:
        os.sched_setaffinity(0, client)
    async with dev_node({"POOL_SIZE": "8"}, servers) as node:
        key = {"Authorization": f"Bearer {node['api_key']}"}
        ours = Subject("node", int(node["url"].rpartition(":")[2]), Goods(node["prefix"]), key)
        batches = iter([ours.batch(ours.goods, n) for n in range(0, count, BATCH)])
        await drive(ours.port, batches, 300, 4, lambda n, body: None)

        async def turn() -> Load:
            requests = (ours.resolve(n) for n in itertools.cycle(hot_and_cold(count, 1)))
            load = await drive(ours.port, requests, seconds, _HONEST, ours.check)
            if set(load.statuses) != {200} or load.wrong:
                raise RuntimeError(f"honest clients saw {load.statuses}, {load.wrong[:3]}")
            return load

        await turn()  # the caches are warm in all rounds
        alone, beset = [], []
        for _ in range(rounds):
            alone.append(await turn())
            beset.append(await _attacked(ours, slow, turn))
    report: dict[str, Any] = {"slow_connections": slow, "honest_connections": _HONEST, "rounds": rounds}
    for name, loads in (("alone", alone), ("beset", beset)):
        report[name] = {
            "rate": statistics.median(load.rate for load in loads),
            "p50_ms": statistics.median(load.percentile(0.5) for load in loads),
            "p99_ms": statistics.median(load.percentile(0.99) for load in loads),
        }
    report["p99_ratio"] = report["beset"]["p99_ms"] / report["alone"]["p99_ms"]
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20, help="of each turn; beyond the 10 s given to a head")
    parser.add_argument("--count", type=int, default=20_000, help="handles")
    parser.add_argument("--slow", type=int, default=2000, help="slow connections")
    parser.add_argument("--attack", type=int, metavar="PORT", help=argparse.SUPPRESS)
    parser.add_argument("--report", type=Path, default=Path("reports/slow.json"))
    options = parser.parse_args()
    if options.attack:
        asyncio.run(attack(options.attack, allowed(options.slow)))
        return
    report = asyncio.run(bench(options.rounds, options.seconds, options.count, options.slow))
    for name in ("alone", "beset"):
        one = report[name]
        print(f"{name:<6} {one['rate']:>9,.0f}/s  p50 {one['p50_ms']:.2f} ms  p99 {one['p99_ms']:.2f} ms")
    print(f"p99 with {report['slow_connections']} slow connections: {report['p99_ratio']:.2f} times that without")
    options.report.parent.mkdir(parents=True, exist_ok=True)
    options.report.write_text(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
