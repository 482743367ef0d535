"""`make five-million`: a season of the seven industries over REST, its ledger held against what was sent row by row,
ten thousand of its handles resolved; one report, reports/five-million.html and .json.

examples:
  python -m loadtest.five_million                              five million rows on a node of its own
  python -m loadtest.five_million --rows 20000
  python -m loadtest.five_million --url http://127.0.0.1:8000 --key iid_... --prefix 88.999.1001
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import asyncpg
import httpx

from loadtest import season_report
from loadtest.client import Load, Request, drive, request
from loadtest.industry_rows import OUTCOMES, Goods
from loadtest.observing import memory, memory_of, observed
from loadtest.servers import dev_node
from node.templates import load_industries

IN_FLIGHT = 2
SAMPLES = 10_000
_LOTS_AT_ONCE = 8
PUBLIC = {t.code: {f.code for f in t.fields if f.visibility == "public"} for t in load_industries()}


@dataclass
class Part:
    """One import: what was acknowledged, when, and what of it was not as expected."""

    id: str = ""
    seconds: float = 0.0
    done: list[tuple[float, int, float]] = field(default_factory=list)  # (since the start, rows, seconds it took)
    sums: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    generator: dict[str, float] = field(default_factory=dict)  # cpu_seconds, peak_mib


class Season:
    """A node, an enterprise, and the rows that are sent to it."""

    def __init__(self, ready: dict[str, Any], goods: Goods) -> None:
        self.ready, self.goods = ready, goods
        self.headers = {"Authorization": f"Bearer {ready['api_key']}"}
        self.client = httpx.AsyncClient(base_url=ready["url"], headers=self.headers, timeout=300)
        self.port = httpx.URL(ready["url"]).port or 80
        self.rows = 0  # acknowledged

    async def register_lots(self) -> int:
        lots = list(self.goods.lots())
        turns = iter(lots)

        async def some() -> None:
            for lot in turns:
                (await self.client.post("/api/v1/lots", json=lot)).raise_for_status()

        await asyncio.gather(*(some() for _ in range(_LOTS_AT_ONCE)))
        return len(lots)

    async def send(self, number: int) -> Part:
        """Import part `number`, each chunk's answer held against what has to become of its rows, and close it."""
        part = Part((await self.client.post("/api/v1/imports", json={"name": f"season, part {number}"})).json()["id"])
        start = time.perf_counter()
        async with _generated(self.goods, number) as chunks:

            async def sender() -> None:
                while found := await chunks.take():
                    await self._put(part, start, *found)

            await asyncio.gather(*(sender() for _ in range(IN_FLIGHT)))
            part.seconds = time.perf_counter() - start
            part.generator = chunks.used
        ledger = {"chunks": self.goods.chunks(number), "rows": self.goods.size(number)}
        closed = await self.client.post(f"/api/v1/imports/{part.id}:commit", json=ledger)
        closed.raise_for_status()
        part.sums = {name: closed.json()[name] for name in ("rows", *OUTCOMES.values())}
        if part.sums["rows"] != sum(part.sums[name] for name in OUTCOMES.values()):
            part.wrong.append(f"the ledger does not close: {part.sums}")
        await self.compare_errors(part, number)
        return part

    async def _put(self, part: Part, start: float, head: dict[str, int], body: bytes) -> None:
        route = f"/api/v1/imports/{part.id}/chunks/{head['chunk']}"
        begin = time.perf_counter()
        answer = await self.client.put(route, content=body, headers={"Content-Type": "application/x-ndjson"})
        if answer.status_code != 200:
            raise RuntimeError(f"{route}: {answer.status_code} {answer.text[:500]}")
        now, counts = time.perf_counter(), answer.json()
        part.done.append((now - start, counts["rows"], now - begin))
        self.rows += counts["rows"]
        if got := [f"{k} {counts[k]}, expected {v}" for k, v in head.items() if k in counts and counts[k] != v]:
            part.wrong.append(f"chunk {head['chunk']}: {'; '.join(got)}")

    async def compare_errors(self, part: Part, number: int) -> None:
        """Every row that was not taken, by name: these and no others, for the reason that was put into them."""
        expected = self.goods.errors(number)
        seen: tuple[int, int] | None = None
        codes: set[str] = set()
        wanted: tuple[int, int, str, str] | None = None
        async with self.client.stream("GET", f"/api/v1/imports/{part.id}/errors") as answer:
            async for line in answer.aiter_lines():
                error = json.loads(line)
                if (error["chunk"], error["row"]) != seen:
                    _hold(part, wanted, codes)
                    seen, codes, wanted = (error["chunk"], error["row"]), set(), next(expected, None)
                    if wanted is None or (*seen, error["outcome"]) != wanted[:3]:
                        part.wrong.append(f"an error that was not to be expected: {error}, expected {wanted}")
                        return
                codes.add(error["code"])
        _hold(part, wanted, codes)
        if (left := next(expected, None)) is not None:
            part.wrong.append(f"a row was taken that was not right: {left}")

    async def sample(self, count: int) -> Load:
        """Resolve handles as anybody does; each answer is held against its row."""
        pick = Random(self.goods.seed)
        size = self.goods.size(0)
        numbers = [n for n in (pick.randrange(size) for _ in range(count)) if self.goods.kind(0, n) == "new"]
        requests: Iterator[Request] = ((request("GET", "/" + self.goods.handle(n)), n) for n in numbers)

        def check(number: int, body: bytes) -> str | None:
            return self.goods.wrong(number, json.loads(body), PUBLIC[self.goods.industry(number)])

        load = await drive(self.port, requests, 600, 8, check, every=1)
        if set(load.statuses) != {200} or len(load.latencies) != len(numbers):
            load.wrong.append(f"{len(numbers)} asked, answered {load.statuses}")
        return load

    async def stored(self) -> int | None:
        """Rows of items in PostgreSQL, where it can be asked."""
        if not self.ready.get("database_url"):
            return None
        conn = await asyncpg.connect(self.ready["database_url"])
        try:
            found: int = await conn.fetchval(
                "SELECT count(*) FROM handle WHERE shard >= 0 AND kind = 0 AND starts_with(suffix, $1)", self.goods.run
            )
        finally:
            await conn.close()
        return found


def _hold(part: Part, wanted: tuple[int, int, str, str] | None, codes: set[str]) -> None:
    if wanted is not None and wanted[3] not in codes:
        part.wrong.append(f"expected {wanted}, the reasons given were {sorted(codes)}")


class _Chunks:
    """What the generator writes, one chunk at a time: it is never far ahead, for the pipe is full."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self.used: dict[str, float] = {}
        self._reader, self._turn, self._ended = reader, asyncio.Lock(), False

    async def take(self) -> tuple[dict[str, int], bytes] | None:
        async with self._turn:
            if self._ended:
                return None
            line = await self._reader.readline()
            if not line:
                raise RuntimeError("the generator ended early")
            head = json.loads(line)
            if "cpu_seconds" in head:
                self.used, self._ended = head, True
                return None
            return head, await self._reader.readexactly(head["bytes"])


@asynccontextmanager
async def _generated(goods: Goods, part: int) -> AsyncIterator[_Chunks]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "loadtest.industry_rows", "--prefix", goods.prefix, "--rows", str(goods.count)),
        *("--seed", str(goods.seed), "--run", goods.run, "--part", str(part)),
        stdout=asyncio.subprocess.PIPE,
        limit=2**20,
    )
    assert process.stdout is not None
    try:
        yield _Chunks(process.stdout)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def run(given: argparse.Namespace) -> dict[str, Any]:
    """Send, verify, sample; the figures, as they stand in the JSON report."""
    async with AsyncExitStack() as stack:
        if given.url:
            ready = {"url": given.url, "api_key": given.key, "prefix": given.prefix, "database_url": given.database_url}
        else:
            ready = await stack.enter_async_context(dev_node())
        season = Season(ready, Goods(ready["prefix"], given.rows, given.seed, f"M{secrets.token_hex(2)}"))
        stack.push_async_callback(season.client.aclose)
        begin = time.perf_counter()
        lots = await season.register_lots()
        lots_seconds = time.perf_counter() - begin
        every = 1.0 if given.rows > 200_000 else 0.1
        async with observed(lambda: season.rows, season.port, ready.get("database_url") or "", every) as moments:
            parts = [await season.send(number) for number in (0, 1)]
        sample = await season.sample(given.samples)
        stored = await season.stored()
        peak = memory(season.port, "VmHWM")
    return season_report.figures(season.goods, parts, moments, sample) | {
        "lots": lots,
        "lots_seconds": lots_seconds,
        "rows_in_postgresql": stored,
        "peak_mib_of_a_worker": peak,
        "client_cpu_seconds": time.process_time(),
        "client_peak_mib": memory_of(Path("/proc/self")),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.five_million",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rows", type=int, default=5_000_000, help="of the season (5,000,000)")
    parser.add_argument("--samples", type=int, default=SAMPLES, help="handles resolved afterwards (10,000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--url", help="a node that runs already; without it one is started and stopped")
    parser.add_argument("--key", help="API key of an enterprise of that node")
    parser.add_argument("--prefix", help="its prefix")
    parser.add_argument("--database-url", default="", help="to watch its size and count its rows")
    parser.add_argument("--report-dir", type=Path, default=Path("reports"))
    given = parser.parse_args()
    if given.rows < 1400:
        parser.error("--rows: at least 1400, a hundred for each industry in both parts")
    if given.url and not (given.key and given.prefix):
        parser.error("--url needs --key and --prefix")
    return season_report.write(asyncio.run(run(given)), given.report_dir)


if __name__ == "__main__":
    sys.exit(main())
