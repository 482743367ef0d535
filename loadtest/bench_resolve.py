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
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import uvloop

from loadtest import open_loop
from loadtest.bulk import Bench
from loadtest.servers import _listens, _until, baseline, dev_node, started
from loadtest.wrk import CONNECTIONS, Measured, pids_of, script, wrk
from node.embedded_process import free_port

HOT = 1000
_WARM = 2.0  # s
_HIGHEST = 12_000  # requests a second of the open loop: what it does with half of its core
_HOT = 'local path = string.format("/%s/S%09d", prefix, math.random(0, 999) * math.floor(n / 1000))'
_ANY = 'local path = string.format("/%s/S%09d", prefix, math.random(0, n - 1))'
_MIXED = f"local path; if math.random() < 0.8 then {_HOT.removeprefix('local ')} else {_ANY.removeprefix('local ')} end"
_UNKNOWN = 'local path = string.format("/%s/X%09d", prefix, math.random(0, 999999999))'
# turn: what picks the path, wanted ratio to the baseline, whether every answer is a refusal
TURNS = {
    "1,000 hot handles": (_HOT, 30.0, False),
    "80 % on 1,000 hot, 20 % on all": (_MIXED, 12.0, False),
    "uniform over all, cache cold": (_ANY, 8.0, False),
    "unknown handles": (_UNKNOWN, 10.0, True),
}


@dataclass
class Place:
    """What is measured, and where."""

    ready: dict[str, Any]
    plain: int
    bare: int
    rows: int
    folder: Path
    core: int | None
    seconds: float
    metrics: int

    @property
    def port(self) -> int:
        return httpx.URL(self.ready["url"]).port or 0

    async def run(
        self, name: str, pick: str, port: int, seed: int, count: int | None = None, seconds: float = 0.0
    ) -> Measured:
        lua = script(self.folder, name, pick, self.ready["prefix"], count or self.rows, seed)
        pids = pids_of("node.cli", "serve", str(port)) or pids_of(str(port))
        return await wrk(port, lua, seconds or self.seconds, self.core, pids)


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


async def check(place: Place, headers: dict[str, str]) -> None:
    """A sample of the node's answers after the load: each must be of the handle that was asked for."""
    pick = random.Random(7)
    async with httpx.AsyncClient(base_url=place.ready["url"], headers=headers) as client:
        for _ in range(300):
            number = pick.randrange(place.rows)
            handle = f"{place.ready['prefix']}/S{number:09d}"
            record = (await client.get(f"/{handle}")).json()
            if record["handle"] != handle or record["attributes"]["carton_id"] != f"C{number:09d}":
                raise RuntimeError(f"a wrong answer for {handle}: {record}")


async def turns(place: Place, rounds: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for name, (pick, wanted, refused) in TURNS.items():
        taken: dict[str, list[Measured]] = {"node": [], "baseline": []}
        if name.startswith("1,000 hot"):
            taken["bare"] = []
        ports = {"node": place.port, "baseline": place.plain, "bare": place.bare}
        for subject in taken:  # the interpreter has seen each path, and what is hot is hot, before it is measured
            await place.run(f"w{len(rows)}", pick, ports[subject], 500 + len(rows), seconds=_WARM)
        for round_ in range(rounds):
            for subject, measured in taken.items():
                port = ports[subject]
                found = await place.run(f"t{len(rows)}", pick, port, 1000 * len(rows) + round_)
                if subject == "node" and not refused:  # at once after the load: beside it, it would share wrk's core
                    await check(place, {})
                if subject != "bare" and (found.refused != found.answers if refused else found.refused):
                    raise RuntimeError(f"{subject}, {name}: {found.refused} of {found.answers} refused")
                measured.append(found)
        row: dict[str, Any] = {"what": name, "wanted": wanted}
        for subject, measured in taken.items():
            row[subject] = statistics.median(m.rate for m in measured)
            row[f"{subject}_cpu_us"] = statistics.median(m.cpu_us for m in measured)
        row["ratio"] = row["node"] / row["baseline"]
        rows.append(row)
        print(_line(row), flush=True)
    return rows


def _line(row: dict[str, Any]) -> str:
    line = (
        f"{row['what']:34} node {row['node']:9,.0f}/s {row['node_cpu_us']:6.1f} us | baseline {row['baseline']:7,.0f}/s"
    )
    line += f" {row['baseline_cpu_us']:6.1f} us | ratio {row['ratio']:6.1f} (wanted {row['wanted']:g})"
    if "bare" in row:
        line += f" | bare {row['bare']:9,.0f}/s, {row['node'] / row['bare']:.2f} of it (wanted 0.6)"
    return line


async def further(place: Place, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Latency at half the rate of the mixed turn, large table against small, others' hits beside lot changes."""
    half = min(rows[1]["node"] / 2, _HIGHEST)
    pick = random.Random(5)
    prefix, step = place.ready["prefix"], max(1, place.rows // HOT)

    def path() -> str:
        hot = pick.random() < 0.8
        return f"/{prefix}/S{pick.randrange(HOT) * step if hot else pick.randrange(place.rows):09d}"

    p99 = {port: await _p99(port, path, half, place.seconds) for port in (place.bare, place.port)}
    small = [(await place.run("small", _ANY, place.port, 9000 + n, 50_000)).rate for n in range(3)]
    large = [(await place.run("large", _ANY, place.port, 9100 + n)).rate for n in range(3)]
    quiet, busy = await hits(place, 0), await hits(place, 20)
    return {
        "p99_ms_at_half": p99[place.port],
        "p99_ms_of_bare_at_that_rate": p99[place.bare],  # as much of it is the machine's and the load's own
        "half_rate": half,
        "uniform_large_to_small": statistics.median(large) / statistics.median(small),
        "hit_share": quiet,
        "hit_share_with_20_lot_changes_a_second": busy,
    }


async def _p99(port: int, path: Callable[[], str], rate: float, seconds: float) -> float:
    taken = await open_loop.latencies(port, path, rate, seconds)
    return 1000 * taken[int(0.99 * len(taken))]


async def hits(place: Place, changes: int) -> float:
    """The share of hot answers from memory or Valkey while `changes` other lots a second are changed."""
    headers = {"Authorization": f"Bearer {place.ready['api_key']}"}
    async with httpx.AsyncClient(base_url=place.ready["url"], headers=headers, timeout=60) as client:
        names = [f"{place.ready['prefix']}/OTHER-{n}" for n in range(40)]
        for name in names:
            await client.post("/api/v1/lots", json={"handle": name, "template": "pear@1", "attributes": {}})
        before = await _sources(place.metrics)
        load = asyncio.create_task(place.run("hits", _HOT, place.port, 77))
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
                found = await turns(place, rounds)
                more = await further(place, found)
    for name, value in more.items():
        print(f"{name:42} {value:,.3f}")
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
    figures = uvloop.run(bench(arguments.rows, arguments.rounds, arguments.seconds))
    report = Path("reports/bench-resolve.json")
    report.parent.mkdir(exist_ok=True)
    report.write_text(json.dumps(figures, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
