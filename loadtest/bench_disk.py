"""`python -m loadtest.bench_disk`: where the bytes of an item in a lot go, and what other layouts would take: the same
rows by COPY into a table for each layout, in one run. Bytes an item, after VACUUM."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg

from handle_codec.columns import RowBatch
from handle_codec.rows import COPY_HEADER, COPY_TRAILER
from handle_codec.twin import copy_rows, decode_rows, sort_rows
from loadtest.seasons import Season
from node import embedded
from node.migrate import migrate
from node.model import Prefix, PrefixStatus
from node.row_plans import plan_of
from node.store.imports import _COLUMNS
from node.templates import compile_template, load_industries

CHUNK = 25_000
_NAMED = ", ".join(_COLUMNS)


# Seconds for times, one smallint for kind and status, template as a smallint, reason and successor elsewhere.
_NARROW = (
    "SELECT extract(epoch FROM created_at)::int4 - 946684800 AS created_at, "
    "extract(epoch FROM updated_at)::int4 - 946684800 AS updated_at, prefix_id, version, "
    "template_id::smallint AS template_id, shard, (kind * 16 + status)::smallint AS kind_status, suffix, lot, "
    "values FROM source ORDER BY shard, suffix"
)
_PLAIN = f"SELECT {_NAMED} FROM source ORDER BY shard, suffix"
# How the table is made from the rows as they are, and the fill factor of its primary key.
LAYOUTS = {
    "as it is": (_PLAIN, 90),
    "full pages of the primary key": (_PLAIN, 100),
    "narrow columns": (_NARROW, 90),
    "content as JSON": (_PLAIN.replace("values,", "json AS values,"), 90),
}


async def measure(rows: int) -> dict[str, dict[str, dict[str, float]]]:
    """Bytes an item of heap, primary key and lot index, for a prefix of one shard and one of sixteen."""
    with tempfile.TemporaryDirectory(prefix="idnode-disk-", ignore_cleanup_errors=True) as scratch:
        Path(scratch).chmod(0o755)
        async with embedded.servers(Path(scratch) / "data") as servers:
            await migrate(servers.database_url)
            conn = await asyncpg.connect(servers.database_url)
            found = {f"spread {spread}": await _of_spread(conn, rows, spread) for spread in (1, 16)}
            await conn.close()
    return found


async def _of_spread(conn: Any, rows: int, spread: int) -> dict[str, dict[str, float]]:
    await conn.execute("DROP TABLE IF EXISTS source; CREATE UNLOGGED TABLE source (LIKE handle)")
    await conn.execute("DROP TABLE IF EXISTS content; CREATE UNLOGGED TABLE content (suffix text, json bytea)")
    for batch in _batches(rows, spread):
        await _load(conn, batch)
    await conn.execute(
        "ALTER TABLE source ADD json bytea; UPDATE source s SET json = c.json FROM content c WHERE c.suffix = s.suffix"
    )
    found = {}
    for layout, (select, fill) in LAYOUTS.items():
        await conn.execute(f"DROP TABLE IF EXISTS target; CREATE TABLE target AS {select} LIMIT 0")
        await conn.execute('ALTER TABLE target ALTER suffix TYPE text COLLATE "C", ALTER lot TYPE text COLLATE "C"')
        await conn.execute(f"ALTER TABLE target ADD PRIMARY KEY (shard, prefix_id, suffix) WITH (fillfactor = {fill})")
        await conn.execute("CREATE INDEX target_lot ON target (shard, prefix_id, lot) WHERE lot <> ''")
        for first in range(0, rows, CHUNK):  # a chunk at a time, as imports arrive
            part = select.replace("FROM source", f"FROM source WHERE suffix >= '{_suffix(first)}'", 1)
            part = part.replace(" ORDER BY", f" AND suffix < '{_suffix(first + CHUNK)}' ORDER BY")
            await conn.execute(f"INSERT INTO target {part}")
        await conn.execute("VACUUM target")
        sizes = await conn.fetchrow(
            "SELECT pg_relation_size('target') heap, pg_relation_size('target_pkey') key,"
            " pg_relation_size('target_lot') lots, pg_total_relation_size('target') whole,"
            " (SELECT sum(octet_length(values)) FROM target) content"
        )
        found[layout] = {name: size / rows for name, size in sizes.items()}
    return found


def _suffix(number: int) -> str:
    return f"S{number:09d}"


def _batches(rows: int, spread: int) -> Iterator[RowBatch]:
    season = Season("88.999.1001", rows)
    prefix = Prefix(1, season.prefix, 1, 7, spread, PrefixStatus.ENABLED, True, "", "", "")
    compiled = next(compile_template(t) for t in load_industries() if t.code == "pear")
    lots = {lot["handle"].partition("/")[2]: lot["attributes"] for lot in season.lots()}
    plan = plan_of(compiled, prefix, lots)
    for first in range(0, rows, CHUNK):
        batch = decode_rows(plan, season.chunk(first, CHUNK))
        assert not batch.unsure
        yield batch


async def _load(conn: Any, batch: RowBatch) -> None:
    """COPY the rows as the node does, and their content as JSON beside them."""
    body = copy_rows(batch, sort_rows(batch)[0], 1, 1, 0)

    async def source() -> AsyncIterator[bytes]:
        for part in (COPY_HEADER, body, COPY_TRAILER):
            yield part

    await conn.copy_to_table("source", source=source(), format="binary", columns=_COLUMNS)
    contents = [(batch.suffix(i), batch.content(i)) for i in range(len(batch))]
    await conn.copy_records_to_table("content", records=contents)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtest.bench_disk", description=__doc__)
    parser.add_argument("--rows", type=int, default=500_000)
    found = asyncio.run(measure(parser.parse_args().rows))
    for spread, layouts in found.items():
        print(f"{spread:<34}{'content':>9}{'heap':>9}{'key':>9}{'lots':>9}{'whole':>9}")
        for layout, sizes in layouts.items():
            print(f"  {layout:<32}" + "".join(f"{sizes[n]:>9.1f}" for n in ("content", "heap", "key", "lots", "whole")))
    report = Path("reports/bench-disk.json")
    report.parent.mkdir(exist_ok=True)
    report.write_text(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
