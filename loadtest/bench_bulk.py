"""`make bench-bulk`: a season over REST beside a plain COPY of the same rows and the baseline's batch route, on the
same PostgreSQL, in one run.

Chunks are made before the clock starts, by this process: the client's own JSON is not what is measured. `--rows` says
how many (default 1,000,000); absolute figures are those of this machine, the ratios are what counts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from handle_codec.rows import COPY_HEADER, COPY_TRAILER
from handle_codec.twin import copy_rows, decode_rows, sort_rows
from loadtest import loop_hold
from loadtest.batch_route import rate_of_batches
from loadtest.observing import memory as memory_of_node
from loadtest.seasons import Season
from loadtest.servers import dev_node
from node.model import Prefix, PrefixStatus
from node.row_plans import plan_of
from node.store.imports import _COLUMNS
from node.templates import compile_template, load_industries

CHUNK = 25_000
IN_FLIGHT = 2
BATCH_RATIO = 8  # wanted (issue 4): how many times the baseline's batch route
_SMALL = 5_000  # rows of a chunk where bloat is measured
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


class Bench:
    """A node of its own, an enterprise, a season on disk."""

    def __init__(self, ready: dict[str, Any], folder: Path, rows: int) -> None:
        self.ready, self.folder, self.rows = ready, folder, rows
        self.season = Season(ready["prefix"], rows)
        self.headers = {"Authorization": f"Bearer {ready['api_key']}"}
        self.client = httpx.AsyncClient(base_url=ready["url"], headers=self.headers, timeout=300)
        self.chunks = -(-rows // CHUNK)

    def file(self, number: int) -> Path:
        return self.folder / f"{number}.ndjson"

    async def prepare(self) -> None:
        for number in range(self.chunks):
            self.file(number).write_bytes(self.season.chunk(number * CHUNK, CHUNK))
        for lot in self.season.lots():
            answer = await self.client.post("/api/v1/lots", json=lot)
            answer.raise_for_status()

    async def send(self) -> list[tuple[float, int]]:
        """Import the season; (seconds since the start, rows acknowledged so far) after each chunk."""
        answer = await self.client.post("/api/v1/imports", json={"name": "bench"})
        import_id = answer.json()["id"]
        turns = iter(range(self.chunks))
        done: list[tuple[float, int]] = []
        start = time.perf_counter()

        async def sender() -> None:
            for number in turns:
                body = await asyncio.to_thread(self.file(number).read_bytes)
                headers = {"Content-Type": "application/x-ndjson"}
                reply = await self.client.put(
                    f"/api/v1/imports/{import_id}/chunks/{number}", content=body, headers=headers
                )
                if reply.status_code != 200 or reply.json()["created"] != reply.json()["rows"]:
                    raise RuntimeError(reply.text[:500])
                done.append((time.perf_counter() - start, (done[-1][1] if done else 0) + reply.json()["rows"]))

        await asyncio.gather(*(sender() for _ in range(IN_FLIGHT)))
        closed = await self.client.post(
            f"/api/v1/imports/{import_id}:commit", json={"chunks": self.chunks, "rows": self.rows}
        )
        closed.raise_for_status()
        return done

    async def plain(self) -> list[tuple[float, int]]:
        """The same rows by COPY alone into a table with the same indexes: a transaction a chunk, as many in flight."""
        admin = await asyncpg.connect(self.ready["database_url"])
        await admin.execute("CREATE TABLE plain_copy (LIKE handle INCLUDING ALL)")
        prefix = Prefix(1, self.season.prefix, 1, 0, 1, PrefixStatus.ENABLED, True, "", "", "")
        compiled = next(compile_template(t) for t in load_industries() if t.code == "pear")
        lots = {lot["handle"].partition("/")[2]: lot["attributes"] for lot in self.season.lots()}
        plan = plan_of(compiled, prefix, lots)
        micros = (datetime.now(UTC) - _EPOCH) // timedelta(microseconds=1)
        for number in range(self.chunks):  # made before the clock starts: what is measured is COPY
            batch = decode_rows(plan, self.file(number).read_bytes())
            assert not batch.unsure
            order, _ = sort_rows(batch)
            self.file(number).with_suffix(".copy").write_bytes(copy_rows(batch, order, 1, 1, micros))
        turns = iter(range(self.chunks))
        done: list[tuple[float, int]] = []
        start = time.perf_counter()

        async def copier() -> None:
            conn = await asyncpg.connect(self.ready["database_url"])
            for number in turns:
                body = self.file(number).with_suffix(".copy").read_bytes()

                async def source(body: bytes = body) -> AsyncIterator[bytes]:
                    yield COPY_HEADER
                    for at in range(0, len(body), 1 << 19):
                        yield body[at : at + (1 << 19)]
                    yield COPY_TRAILER

                async with conn.transaction():
                    copied = await conn.copy_to_table("plain_copy", source=source(), format="binary", columns=_COLUMNS)
                done.append((time.perf_counter() - start, (done[-1][1] if done else 0) + int(copied.split()[1])))
            await conn.close()

        await asyncio.gather(*(copier() for _ in range(IN_FLIGHT)))
        await admin.close()
        return done

    async def mint(self) -> float:
        """Seconds to mint, activate and stream a million serials."""
        lot = f"/api/v1/lots/{self.season.prefix}/{self.season.lot(0)}"
        start = time.perf_counter()
        run = (await self.client.post(f"{lot}:mint", json={"count": 1_000_000})).json()["run"]
        (await self.client.post(f"{lot}:activate", json={"run": run})).raise_for_status()
        size = 0
        async with self.client.stream("GET", f"{lot}/runs/{run}/serials") as answer:
            async for part in answer.aiter_bytes():
                size += len(part)
        assert size > 1_000_000 * 40, size
        return time.perf_counter() - start

    async def bloat(self) -> tuple[float, float]:
        """An import each of whose chunks ends with a row that is there already: (bytes of heap for a row that was
        created, the same without duplicates). The first chunks in flight fail their COPY and leave dead rows; then the
        import is on staging and leaves none."""
        conn = await asyncpg.connect(self.ready["database_url"])
        clean, held = await conn.fetchrow(
            "SELECT pg_relation_size('handle') / count(*)::float8, pg_relation_size('handle') FROM handle"
        )
        again = Season(self.ready["prefix"], max(self.rows // 10, 8 * _SMALL), run="D")
        for lot in again.lots():
            (await self.client.post("/api/v1/lots", json=lot)).raise_for_status()
        import_id = (await self.client.post("/api/v1/imports", json={"name": "duplicates"})).json()["id"]
        double, created = self.season.chunk(0, 1), 0
        turns = iter(range(0, again.count, _SMALL))

        async def sender() -> None:
            nonlocal created
            for first in turns:
                body = again.chunk(first, _SMALL) + double
                route = f"/api/v1/imports/{import_id}/chunks/{first // _SMALL}"
                answer = await self.client.put(route, content=body, headers={"Content-Type": "application/x-ndjson"})
                if answer.status_code != 200 or answer.json()["unchanged"] != 1:
                    raise RuntimeError(answer.text[:500])
                created += answer.json()["created"]

        await asyncio.gather(*(sender() for _ in range(IN_FLIGHT)))
        size = await conn.fetchval("SELECT pg_relation_size('handle')")
        await conn.close()
        return (size - held) / created, clean

    async def disk(self) -> float:
        """Bytes of table and indexes per row."""
        conn = await asyncpg.connect(self.ready["database_url"])
        await conn.execute("VACUUM handle")
        size = await conn.fetchval("SELECT pg_total_relation_size('handle')")
        count = await conn.fetchval("SELECT count(*) FROM handle")
        await conn.close()
        return float(size / count)


def rate(done: list[tuple[float, int]], first: int = 0, last: int | None = None) -> float:
    """Rows a second between two counts of rows."""
    last = done[-1][1] if last is None else last
    begin = next((s for s, n in done if n >= first), 0.0) if first else 0.0
    end = next(s for s, n in done if n >= last)
    return (last - first) / (end - begin)


async def measure(rows: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="idnode-bulk-") as scratch:
        async with dev_node() as ready:
            bench = Bench(ready, Path(scratch), rows)
            await bench.prepare()
            ours = await bench.send()
            memory = memory_of_node(httpx.URL(ready["url"]).port or 0, "VmHWM")
            disk = await bench.disk()
            with_double, without = await bench.bloat()
            minted = await bench.mint()
            holds = await loop_hold.measure(ready)
            theirs = await bench.plain()
            batches = await rate_of_batches(ready, bench.season)
            await bench.client.aclose()
    tenth = max(rows // 5, CHUNK)
    drift = [rate(d, rows - tenth) / rate(d, 0, tenth) for d in (ours, theirs)]
    return {
        "rows": rows,
        "seconds": ours[-1][0],
        "rate": rate(ours),
        "copy_seconds": theirs[-1][0],
        "copy_rate": rate(theirs),
        "ratio": rate(ours) / rate(theirs),
        "baseline_batch_rate": batches,
        "ratio to baseline's batches": rate(ours) / batches,
        "ratio wanted": BATCH_RATIO,
        "last_fifth_to_first": drift[0],
        "copy_last_fifth_to_first": drift[1],
        "bytes_per_item": disk,
        "heap_bytes_per_item": without,
        "heap_bytes_per_item, a double in each chunk": with_double,
        "peak_mib": memory,
        "million_serials_seconds": minted,
        **{f"loop_hold_ms, {kind}": hold["wall_ms"] for kind, hold in holds.items()},
        **{f"loop_hold_p99_ms, {kind}": hold["wall_p99_ms"] for kind, hold in holds.items()},
        **{f"loop_hold_cpu_ms, {kind}": hold["cpu_ms"] for kind, hold in holds.items()},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    arguments = parser.parse_args()
    found = asyncio.run(measure(arguments.rows))
    for name, value in found.items():
        print(f"{name:26} {value:,.2f}" if isinstance(value, float) else f"{name:26} {value:,}")
    report = Path("reports/bench-bulk.json")
    report.parent.mkdir(exist_ok=True)
    report.write_text(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
