"""`make bench-resolve`: resolving beside the baseline and beside a bare responder, in turn, on the same machine.

One worker with its PostgreSQL and Valkey on one core, wrk on the other, equal pools; medians of rounds. Ratios are what
counts; the worker's own processor time per answer stands beside them, for it hardly moves with the machine's load.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import astuple
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import uvloop

from loadtest import open_loop
from loadtest.bulk import Bench
from loadtest.machine import in_memory, without_autogroups
from loadtest.resolve_turns import ANY, CONNECTIONS, HOT, HOT_PATH, MIXED, Place, turns
from loadtest.servers import _listens, _until, baseline, dev_node, started
from node.embedded_process import free_port

_HIGHEST = 20_000  # requests a second of the open loop: bare's p99 is 0.6 ms at 18,000, so that is not its limit yet
_SPRINT = 2.0  # s, for the highest rate before each round of it
_WARM = 2.0  # s
_ROUNDS = 15  # of the open loop
_SECONDS = 2.0  # of one: short, so that some have no pause of the host and no checkpoint in them


async def fill(ready: dict[str, Any], folder: Path, rows: int) -> None:
    """The same items for both: over REST for the node, by one statement for the baseline."""
    bench = Bench(ready, folder, rows)
    await bench.prepare()
    await bench.send()
    await bench.client.aclose()
    conn = await asyncpg.connect(ready["database_url"])
    value = {
        "index": 1,
        "type": "URL",
        "ttl": 86400,
        "data": {"format": "string", "value": "https://goods.example.com/S"},
    }
    values = json.dumps([{**value, "index": n} for n in range(1, 5)])
    await conn.execute(
        "INSERT INTO baseline_handle (handle, values)"
        " SELECT $1 || '/S' || lpad(n::text, 9, '0'), $2::jsonb FROM generate_series(0, $3::int - 1) AS n",
        ready["prefix"],
        values,
        rows,
        timeout=900,
    )
    await conn.execute("VACUUM ANALYZE handle")
    await conn.execute("VACUUM ANALYZE baseline_handle")
    await conn.close()


@asynccontextmanager
async def bare(ready: dict[str, Any], folder: Path, cores: set[int] | None) -> AsyncIterator[int]:
    """The bare responder, with an answer of the node's own."""
    url = httpx.URL(ready["url"])
    reader, writer = await asyncio.open_connection("127.0.0.1", url.port)
    writer.write(f"GET /{ready['prefix']}/S000000000 HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n".encode())
    answer = (await reader.read()).replace(b"connection: close\r\n", b"")
    writer.close()
    (folder / "answer").write_bytes(answer)
    port = free_port(0)
    command = [sys.executable, "-m", "loadtest.bare", str(port), str(folder / "answer")]
    log = folder / "bare.log"
    async with started(command, {}, log, cores) as process:
        await _until(lambda: _listens(port), process, log)
        yield port


async def further(place: Place) -> dict[str, Any]:
    """Latency at half the rate of the mixed turn, large table against small, others' hits beside lot changes."""
    tail = await _tail(place)
    small = [(await place.run("small", ANY, place.port, 9000 + n, 50_000)).rate for n in range(3)]
    large = [(await place.run("large", ANY, place.port, 9100 + n)).rate for n in range(3)]
    quiet, busy = await hits(place, 0), await hits(place, 20)
    return {
        **tail,
        "uniform_large_to_small": statistics.median(large) / statistics.median(small),
        "hit_share": quiet,
        "hit_share_with_20_lot_changes_a_second": busy,
    }


async def _tail(place: Place) -> dict[str, Any]:
    """p99 of the bare responder and the node in turn, at half of what the node did at the most in the seconds before:
    within minutes a shared machine is half as fast and as fast again, and half of another minute's rate is not half."""
    pick = random.Random(5)
    prefix, step = place.ready["prefix"], max(1, place.rows // HOT)

    def path() -> str:
        hot = pick.random() < 0.8
        return f"/{prefix}/S{pick.randrange(HOT) * step if hot else pick.randrange(place.rows):09d}"

    # The node first: its copies of hot records are given up after two seconds without a use, and a round that began
    # after bare's would begin with reading 1,000 of them again, three requests in a hundred.
    taken: dict[int, list[open_loop.Round]] = {place.port: [], place.bare: []}
    halves: list[float] = []
    for port in taken:  # what is hot is hot again
        await open_loop.latencies(port, path, _HIGHEST / 4, _WARM)
    for number in range(_ROUNDS):
        highest = await place.run("highest", MIXED, place.port, 8000 + number, seconds=_SPRINT)
        halves.append(min(highest.rate / 2, _HIGHEST))
        for port, found in taken.items():
            found.append(await open_loop.measured(port, path, halves[-1], _SECONDS))
    return {
        **{f"p99_at_half_{name}": value for name, value in open_loop.P99.of(taken[place.port])._asdict().items()},
        # as much of it is the machine's and the load's own:
        **{f"p99_of_bare_at_that_rate_{name}": v for name, v in open_loop.P99.of(taken[place.bare])._asdict().items()},
        "half_rate": statistics.median(halves),
        "p99_rounds": [[round(half), *astuple(one)] for half, one in zip(halves, taken[place.port], strict=True)],
        "half_rate_lowest": min(halves),
        "half_rate_highest": max(halves),
    }


async def hits(place: Place, changes: int) -> float:
    """The share of hot answers from memory or Valkey while `changes` other lots a second are changed."""
    headers = {"Authorization": f"Bearer {place.ready['api_key']}"}
    async with httpx.AsyncClient(base_url=place.ready["url"], headers=headers, timeout=60) as client:
        names = [f"{place.ready['prefix']}/OTHER-{n}" for n in range(40)]
        for name in names:
            await client.post("/api/v1/lots", json={"handle": name, "template": "pear@1", "attributes": {}})
        before = await _sources(place.metrics)
        load = asyncio.create_task(place.run("hits", HOT_PATH, place.port, 77))
        tasks, number = [], 0
        while changes and not load.done():
            body = {"attributes": {"spec": f"spec {number}"}}
            url = f"/api/v1/handles/{names[number % 40]}"
            tasks.append(asyncio.create_task(client.patch(url, json=body, headers={"If-Match": "*"})))
            number += 1
            await asyncio.sleep(1 / changes)
        await load
        for answer in await asyncio.gather(*tasks):
            answer.raise_for_status()
        await asyncio.sleep(1.5)  # workers tell their counts once a second
    after = await _sources(place.metrics)
    gained = {k: after[k] - before.get(k, 0.0) for k in after}
    return (gained.get("copy", 0.0) + gained.get("cache", 0.0)) / max(1.0, sum(gained.values()))


async def _sources(port: int) -> dict[str, float]:
    async with httpx.AsyncClient() as client:
        text = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
    lines = [line for line in text.splitlines() if line.startswith('resolve_total{result="hit"')]
    return {line.split('source="')[1].split('"')[0]: float(line.rpartition(" ")[2]) for line in lines}


async def bench(rows: int, rounds: int, seconds: float) -> dict[str, Any]:
    cores = os.cpu_count() or 1
    servers, core = ({0}, 1) if cores > 1 else (None, None)
    if core is not None:
        os.sched_setaffinity(0, {core})
    metrics = free_port(0)
    with tempfile.TemporaryDirectory(prefix="idnode-resolve-") as scratch:
        folder = Path(scratch)
        async with (
            dev_node({"POOL_SIZE": "8", "METRICS_PORT": str(metrics)}, servers) as ready,
            baseline(ready, servers) as plain,
        ):
            await fill(ready, folder, rows)
            async with bare(ready, folder, servers) as bare_port:
                place = Place(ready, plain, bare_port, rows, folder, core, seconds, metrics)
                print(
                    f"\n{rows:,} items in lots, {CONNECTIONS} connections, {rounds} rounds of {seconds:g} s, one worker"
                )
                with in_memory(Path(ready["data"])) as held:
                    print(f"{held / 1e6:,.0f} MB of tables are held in memory", flush=True)
                    found = await turns(place, rounds)
                    more = await further(place)
    for name, value in more.items():
        if not isinstance(value, list):
            print(f"{name:42} {'–' if value is None else f'{value:,.3f}'}")
    print(
        "two workers against one: " + ("not on 2 cores, which the load shares" if cores < 4 else "run with more cores")
    )
    return {"rows": rows, "rounds": rounds, "seconds": seconds, "turns": found, **more}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtest.bench_resolve", description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    with without_autogroups() as even:
        if even:
            print("the kernel's autogroups are off while this runs")
        else:
            print("autogroups are on and cannot be changed here: each backend of PostgreSQL weighs as much as the node")
        figures = uvloop.run(bench(arguments.rows, arguments.rounds, arguments.seconds))
    report = Path("reports/bench-resolve.json")
    report.parent.mkdir(exist_ok=True)
    report.write_text(json.dumps(figures, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
