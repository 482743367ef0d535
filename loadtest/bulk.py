"""A season of goods into a node: over REST, and by COPY alone into the same table of a node that is just as empty.

What is sent is made before the clock starts, and read from a file while it runs: the client's own JSON is not what is
measured. Both sides have the same rows in the same order, chunks of the same size, a transaction for each, a client of
the same event loop, and as many chunks in flight as are best for them.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import repeat
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import orjson

from handle_codec.rows import COPY_HEADER, COPY_TRAILER
from handle_codec.twin import copy_rows, decode_rows, sort_rows
from loadtest import observing
from loadtest.client import _answer, request
from loadtest.seasons import Season
from node.model import Prefix, PrefixStatus
from node.row_plans import plan_of
from node.store.imports import _COLUMNS
from node.templates import compile_template, load_industries

CHUNK = 25_000
# A chunk is in the worker and in PostgreSQL by turns: with two of them 14 % of both cores stood idle (perf).
IN_FLIGHT = 4
# Two backends keep two cores busy: 2.5 to 2.9 s for 1,000,000 rows; with three 2.9 to 3.0, with four 2.7 to 3.3.
COPY_IN_FLIGHT = 2
_PART = 1 << 19  # bytes of a COPY handed to asyncpg at a time, about as many as the node's
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)  # of PostgreSQL


@dataclass(frozen=True)
class Side:
    """What a load saw: (seconds since the start, rows stored so far) after each chunk, and the processor time in
    seconds of the node, of PostgreSQL and of the client."""

    done: list[tuple[float, int]]
    cpu: dict[str, float]

    @property
    def seconds(self) -> float:
        return self.done[-1][0]

    def rate(self, first: int = 0, last: int | None = None) -> float:
        """Rows a second between two counts of rows."""
        last = self.done[-1][1] if last is None else last
        begin = next((s for s, n in self.done if n >= first), 0.0) if first else 0.0
        end = next(s for s, n in self.done if n >= last)
        return (last - first) / (end - begin)

    def drift(self) -> float:
        """The rate of the last fifth to that of the first."""
        rows = self.done[-1][1]
        fifth = max(rows // 5, CHUNK)
        return self.rate(rows - fifth) / self.rate(0, fifth)


def write_season(season: Season, folder: Path) -> None:
    """The season's chunks as files, by a process for each core."""
    with ProcessPoolExecutor(os.cpu_count()) as makers:
        for number, body in enumerate(makers.map(season.chunk, range(0, season.count, CHUNK), repeat(CHUNK))):
            (folder / f"{number}.ndjson").write_bytes(body)


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
        """The season's chunks, where they are not there yet, and its lots."""
        if not self.file(0).exists():
            await asyncio.to_thread(write_season, self.season, self.folder)
        for lot in self.season.lots():
            answer = await self.client.post("/api/v1/lots", json=lot)
            answer.raise_for_status()

    async def send(self, in_flight: int = IN_FLIGHT) -> Side:
        """Import the season."""
        answer = await self.client.post("/api/v1/imports", json={"name": "bench"})
        import_id = answer.json()["id"]

        url = httpx.URL(self.ready["url"])
        ends = [await asyncio.open_connection(url.host, url.port) for _ in range(in_flight)]

        def sender(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Callable[[int], Awaitable[int]]:
            async def put(number: int) -> int:
                body = await asyncio.to_thread(self.file(number).read_bytes)
                path, size = f"/api/v1/imports/{import_id}/chunks/{number}", str(len(body))
                headers = {**self.headers, "Content-Type": "application/x-ndjson", "Content-Length": size}
                writer.writelines((request("PUT", path, headers=headers), body))
                status, reply = await _answer(reader)
                counts = orjson.loads(reply)
                if status != 200 or counts["created"] != counts["rows"]:
                    raise RuntimeError(reply[:500].decode())
                return int(counts["rows"])

            return put

        side = await self._timed([sender(*end) for end in ends])
        for _, writer in ends:
            writer.close()
        closed = await self.client.post(
            f"/api/v1/imports/{import_id}:commit", json={"chunks": self.chunks, "rows": self.rows}
        )
        closed.raise_for_status()
        return side

    async def copy(self, in_flight: int = COPY_IN_FLIGHT) -> Side:
        """The same rows by COPY alone into the node's own table, which holds the lots and nothing else."""
        conns = [await asyncpg.connect(self.ready["database_url"]) for _ in range(in_flight)]
        await self._write_copies(conns[0])

        def copier(conn: Any) -> Callable[[int], Awaitable[int]]:
            async def put(number: int) -> int:
                body = await asyncio.to_thread(self.file(number).with_suffix(".copy").read_bytes)

                async def source() -> AsyncIterator[bytes]:
                    yield COPY_HEADER
                    for at in range(0, len(body), _PART):
                        yield body[at : at + _PART]
                    yield COPY_TRAILER

                async with conn.transaction():
                    copied = await conn.copy_to_table("handle", source=source(), format="binary", columns=_COLUMNS)
                return int(copied.split()[1])

            return put

        side = await self._timed([copier(conn) for conn in conns])
        for conn in conns:
            await conn.close()
        return side

    async def _timed(self, senders: list[Callable[[int], Awaitable[int]]]) -> Side:
        """All chunks by senders that each take the next one."""
        turns = iter(range(self.chunks))
        port = httpx.URL(self.ready["url"]).port or 0
        before = observing.used(port, self.ready["database_url"])
        done: list[tuple[float, int]] = []
        start = time.perf_counter()

        async def one(put: Callable[[int], Awaitable[int]]) -> None:
            for number in turns:
                rows = await put(number)
                done.append((time.perf_counter() - start, (done[-1][1] if done else 0) + rows))

        await asyncio.gather(*map(one, senders))
        after = observing.used(port, self.ready["database_url"])
        stored = await self._stored()
        if stored != self.rows:
            raise RuntimeError(f"{stored} of {self.rows} rows are stored")
        return Side(done, {name: after[name] - before[name] for name in after})

    async def _stored(self) -> int:
        conn = await asyncpg.connect(self.ready["database_url"])
        found = await conn.fetchval("SELECT count(*) FROM handle WHERE kind = 0")
        await conn.close()
        return int(found)

    async def _write_copies(self, conn: Any) -> None:
        """Each chunk as PostgreSQL's binary COPY, sorted by key, as the node itself would send it."""
        record = await conn.fetchrow("SELECT id, home, spread FROM prefix WHERE prefix = $1", self.season.prefix)
        template_id = await conn.fetchval("SELECT template_id FROM handle WHERE kind = 1 LIMIT 1")
        place = (record["home"], record["spread"])
        prefix = Prefix(record["id"], self.season.prefix, 1, *place, PrefixStatus.ENABLED, True, "", "", "")
        compiled = next(compile_template(t) for t in load_industries() if t.code == "pear")
        lots = {lot["handle"].partition("/")[2]: lot["attributes"] for lot in self.season.lots()}
        plan = plan_of(compiled, prefix, lots)
        micros = (datetime.now(UTC) - _EPOCH) // timedelta(microseconds=1)
        for number in range(self.chunks):
            batch = decode_rows(plan, self.file(number).read_bytes())
            assert not batch.unsure
            order, _ = sort_rows(batch)
            body = copy_rows(batch, order, prefix.id, template_id, micros)
            self.file(number).with_suffix(".copy").write_bytes(body)
