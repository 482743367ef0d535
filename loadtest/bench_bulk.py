"""`make bench-bulk`: a season over REST beside a plain COPY of the same rows, in one run.

Each side of each round has a node of its own with an empty cluster, so that both begin with the same tables, buffers,
WAL and checkpoints (in one cluster the second side finds WAL segments to use again, and buffers full of the first's);
who is first alternates. The medians of the rounds are printed. Memory, disk, serials, the hold of the event loop and
the baseline's batch route are measured on the node of the first import. Absolute figures are those of this machine,
the ratios are what counts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import asyncpg
import httpx
import uvloop

from loadtest import loop_hold
from loadtest.batch_route import rate_of_batches
from loadtest.bulk import COPY_IN_FLIGHT, IN_FLIGHT, Bench, Side, write_season
from loadtest.observing import memory as memory_of_node
from loadtest.seasons import Season
from loadtest.servers import dev_node

BATCH_RATIO = 8  # wanted (issue 4): how many times the baseline's batch route
COPY_RATIO = 0.7  # wanted of plain COPY's rate
DRIFT_RATIO = 0.9  # wanted: the last fifth to the first, of what it is for COPY
FIRST_PREFIX = "88.999.1001"  # of an empty node
_SMALL = 5_000  # rows of a chunk where bloat is measured


async def mint(bench: Bench) -> float:
    """Seconds to mint, activate and stream a million serials."""
    lot = f"/api/v1/lots/{bench.season.prefix}/{bench.season.lot(0)}"
    start = time.perf_counter()
    run = (await bench.client.post(f"{lot}:mint", json={"count": 1_000_000})).json()["run"]
    (await bench.client.post(f"{lot}:activate", json={"run": run})).raise_for_status()
    size = 0
    async with bench.client.stream("GET", f"{lot}/runs/{run}/serials") as answer:
        async for part in answer.aiter_bytes():
            size += len(part)
    assert size > 1_000_000 * 40, size
    return time.perf_counter() - start


async def bloat(bench: Bench) -> tuple[float, float]:
    """An import each of whose chunks ends with a row that is there already: (bytes of heap for a row that was
    created, the same without duplicates). The first chunks in flight fail their COPY and leave dead rows; then the
    import is on staging and leaves none."""
    conn = await asyncpg.connect(bench.ready["database_url"])
    clean, held = await conn.fetchrow(
        "SELECT pg_relation_size('handle') / count(*)::float8, pg_relation_size('handle') FROM handle"
    )
    again = Season(bench.ready["prefix"], max(bench.rows // 10, 8 * _SMALL), run="D")
    for lot in again.lots():
        (await bench.client.post("/api/v1/lots", json=lot)).raise_for_status()
    import_id = (await bench.client.post("/api/v1/imports", json={"name": "duplicates"})).json()["id"]
    double, created = bench.season.chunk(0, 1), 0
    turns = iter(range(0, again.count, _SMALL))

    async def sender() -> None:
        nonlocal created
        for first in turns:
            body = again.chunk(first, _SMALL) + double
            route = f"/api/v1/imports/{import_id}/chunks/{first // _SMALL}"
            answer = await bench.client.put(route, content=body, headers={"Content-Type": "application/x-ndjson"})
            if answer.status_code != 200 or answer.json()["unchanged"] != 1:
                raise RuntimeError(answer.text[:500])
            created += answer.json()["created"]

    await asyncio.gather(*(sender() for _ in range(IN_FLIGHT)))
    size = await conn.fetchval("SELECT pg_relation_size('handle')")
    await conn.close()
    return (size - held) / created, clean


async def disk(bench: Bench) -> float:
    """Bytes of table and indexes per row."""
    conn = await asyncpg.connect(bench.ready["database_url"])
    await conn.execute("VACUUM handle")
    size = await conn.fetchval("SELECT pg_total_relation_size('handle')")
    count = await conn.fetchval("SELECT count(*) FROM handle")
    await conn.close()
    return float(size / count)


async def more(bench: Bench) -> dict[str, Any]:
    """What else is asked of the node that took the import."""
    found: dict[str, Any] = {"bytes_per_item": await disk(bench)}
    with_double, without = await bloat(bench)
    found |= {"heap_bytes_per_item": without, "heap_bytes_per_item, a double in each chunk": with_double}
    found["million_serials_seconds"] = await mint(bench)
    holds = await loop_hold.measure(bench.ready)
    for name, key in (("hold", "wall_ms"), ("hold_p99", "wall_p99_ms"), ("hold_cpu", "cpu_ms")):
        found |= {f"loop_{name}_ms, {kind}": hold[key] for kind, hold in holds.items()}
    found["baseline_batch_rate"] = await rate_of_batches(bench.ready, bench.season)
    return found


async def side(name: str, folder: Path, rows: int, in_flight: int, *, wants_more: bool) -> tuple[Side, dict[str, Any]]:
    """One side on a node of its own; what else was asked of that node."""
    os.sync()  # what the side before left to be written is not this one's to wait for
    async with dev_node() as ready:
        assert ready["prefix"] == FIRST_PREFIX, ready["prefix"]
        bench = Bench(ready, folder, rows)
        await bench.prepare()
        found: dict[str, Any] = {}
        if name == "import":
            taken = await bench.send(in_flight)
            found["peak_mib"] = memory_of_node(httpx.URL(ready["url"]).port or 0, "VmHWM")
            found |= await more(bench) if wants_more else {}
        else:
            taken = await bench.copy(in_flight)
        await bench.client.aclose()
    cpu = ", ".join(f"{part} {1e6 * seconds / rows:.2f}" for part, seconds in taken.cpu.items())
    drift = f"last fifth to first {taken.drift():.2f}"
    print(f"{name:7} {taken.seconds:6.2f} s  {taken.rate():9,.0f} rows/s  {drift}  us of CPU a row: {cpu}", flush=True)
    return taken, found


def summary(rows: int, sides: dict[str, list[Side]]) -> dict[str, Any]:
    """Medians over the rounds; a ratio is the median of the ratios of each round."""
    ours, theirs = sides["import"], sides["copy"]
    pairs = list(zip(ours, theirs, strict=True))
    ratios = [a.rate() / b.rate() for a, b in pairs]
    found: dict[str, Any] = {
        "rows": rows,
        "rounds": len(pairs),
        "seconds": median(s.seconds for s in ours),
        "rate": median(s.rate() for s in ours),
        "copy_seconds": median(s.seconds for s in theirs),
        "copy_rate": median(s.rate() for s in theirs),
        "ratio": median(ratios),
        "ratio, least": min(ratios),
        "ratio, most": max(ratios),
        "ratio wanted": COPY_RATIO,
        "last_fifth_to_first": median(s.drift() for s in ours),
        "copy_last_fifth_to_first": median(s.drift() for s in theirs),
        "drift to COPY's": median(a.drift() / b.drift() for a, b in pairs),
        "drift wanted": DRIFT_RATIO,
    }
    for name, taken in (("", ours), ("copy_", theirs)):
        for part in taken[0].cpu:
            found[f"{name}cpu_us_per_row, {part}"] = median(1e6 * s.cpu[part] / rows for s in taken)
    return found


async def measure(rows: int, rounds: int, in_flight: dict[str, int], *, ratio_only: bool) -> dict[str, Any]:
    sides: dict[str, list[Side]] = {"import": [], "copy": []}
    rest: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="idnode-bulk-") as scratch:
        # Before any node runs: one that waits for its rows meets autovacuum at another time than the others.
        write_season(Season(FIRST_PREFIX, rows), Path(scratch))
        for number in range(rounds):
            for name in ("import", "copy") if number % 2 == 0 else ("copy", "import"):
                wants_more = number == 0 and not ratio_only
                taken, found = await side(name, Path(scratch), rows, in_flight[name], wants_more=wants_more)
                sides[name].append(taken)
                rest = {key: max(value, found.get(key, value)) for key, value in {**found, **rest}.items()}
    found = summary(rows, sides) | rest
    if not ratio_only:
        found["ratio to baseline's batches"] = found["rate"] / found["baseline_batch_rate"]
        found["ratio to baseline's batches wanted"] = BATCH_RATIO
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--in-flight", type=int, default=IN_FLIGHT, help="chunks of the import at a time")
    parser.add_argument("--copy-in-flight", type=int, default=COPY_IN_FLIGHT, help="chunks of COPY at a time")
    parser.add_argument("--ratio-only", action="store_true", help="the two sides and no more")
    given = parser.parse_args()
    in_flight = {"import": given.in_flight, "copy": given.copy_in_flight}
    found = uvloop.run(measure(given.rows, given.rounds, in_flight, ratio_only=given.ratio_only))
    for name, value in found.items():
        print(f"{name:42} {value:,.2f}" if isinstance(value, float) else f"{name:42} {value:,}")
    report = Path("reports/bench-bulk.json")
    report.parent.mkdir(exist_ok=True)
    report.write_text(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
