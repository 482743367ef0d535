"""SQL over `handle`, `handle_history` and `event`: sharded tables, so every statement names the shard.

Content goes in and comes out in its stored form (handle_codec/pure/contents.py), here and in the COPY of store/imports:
nothing outside knows of it, and no SQL compares it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from handle_codec.errors import UnreadableContent
from handle_codec.twin import restore_content, shorten_content
from node.errors import UnreadableRow
from node.model import Kind, Row, Status
from node.runtime import Connection, ReadConnection
from node.store.fence import Held

_COLUMNS = "suffix, kind, status, lot, template_id, values, reason, successor, version, created_at, updated_at"
# Times as seconds, rounded to the microseconds that PostgreSQL keeps: a cached row equals a stored one.
_ROW = (
    "h.suffix, h.kind, h.status, h.lot, h.template_id, h.values, h.reason, h.successor, h.version, "
    "date_part('epoch', h.created_at) AS created_at, date_part('epoch', h.updated_at) AS updated_at"
)

_SELECT_ONE = f"SELECT {_ROW} FROM handle h WHERE h.shard = $1 AND h.prefix_id = $2 AND h.suffix = $3"

# The prefix with each wish: were it `= $1`, all of the prefix would be a way to begin, good while it has few rows.
_SELECT_MANY = f"""
    SELECT {_ROW}
      FROM unnest($1::integer[], $2::smallint[], $3::text[]) AS wanted (prefix_id, shard, suffix)
      JOIN handle h ON h.shard = wanted.shard AND h.prefix_id = wanted.prefix_id AND h.suffix = wanted.suffix
"""

# Of any prefixes: which row belongs to which wish is said by its number.
_SELECT_EACH = f"""
    SELECT wanted.n, {_ROW}
      FROM unnest($1::integer[], $2::smallint[], $3::integer[], $4::text[]) AS wanted (n, shard, prefix_id, suffix)
      JOIN handle h ON h.shard = wanted.shard AND h.prefix_id = wanted.prefix_id AND h.suffix = wanted.suffix
"""

# What is new is stored, what is there already is left alone; the rows come back in no order.
_INSERT = """
    INSERT INTO handle (shard, prefix_id, suffix, kind, status, lot, template_id, values, created_at, updated_at)
    SELECT n.shard, $1, n.suffix, n.kind, 1, n.lot, n.template_id, n.values, now(), now()
      FROM unnest($2::smallint[], $3::text[], $4::smallint[], $5::text[], $6::integer[], $7::bytea[])
           AS n (shard, suffix, kind, lot, template_id, values)
     ORDER BY n.shard, n.suffix
    ON CONFLICT (shard, prefix_id, suffix) DO NOTHING
    RETURNING suffix
"""

# Counted in the same statement (today, UTC); HAVING, for a group that is all there already counts nothing.
_STORED = f"""
    WITH stored AS ({_INSERT}),
         counted AS (INSERT INTO registration_delta (prefix_id, day, created, deleted, rowless)
                     SELECT $1, $8, count(*), 0, 0 FROM stored HAVING count(*) > 0)
"""
_INSERT_COUNTED = f"{_STORED} SELECT suffix FROM stored"
# The fence is held last: the call stands above the aggregate, which ends when all rows are in.
_INSERT_LAST = f"{_STORED} SELECT array_agg(suffix) AS suffixes, fence_hold() AS held FROM stored"

_LOCK = f"""
    SELECT {_ROW} FROM handle h WHERE h.shard = $1 AND h.prefix_id = $2 AND h.suffix = $3 FOR UPDATE
"""

_KEEP_OLD = f"""
    INSERT INTO handle_history (shard, prefix_id, actor, {_COLUMNS})
    SELECT shard, prefix_id, $4, {_COLUMNS} FROM handle WHERE shard = $1 AND prefix_id = $2 AND suffix = $3
"""

_REPLACE = f"""
    UPDATE handle AS h
       SET status = $4, lot = $5, template_id = $6, values = $7, reason = $8, successor = $9,
           version = h.version + 1, updated_at = now()
     WHERE h.shard = $1 AND h.prefix_id = $2 AND h.suffix = $3
    RETURNING {_ROW}
"""

# A prefix's shards are an interval on a ring of 1,024: (home + k) mod 1024 for k below spread.
_PAGE = f"""
    SELECT h.shard, {_ROW}
      FROM handle h
     WHERE h.shard = ANY ($1::smallint[]) AND h.prefix_id = $2
     ORDER BY h.shard, h.suffix
     LIMIT $3
"""
# Of the shard in which the last page ended, apart: by (shard, suffix) > ($1, $3) PostgreSQL reads all that came before,
# for the prefix lies between the two in the key. 110 ms against 2 for 2,000 of 360,000 rows of a shard.
_PAGE_ON = f"""
    SELECT h.shard, {_ROW}
      FROM handle h
     WHERE h.shard = $1 AND h.prefix_id = $2 AND h.suffix > $3
     ORDER BY h.suffix
     LIMIT $4
"""

_HAS_ITEMS = """
    SELECT EXISTS (SELECT FROM handle WHERE shard = ANY ($1::smallint[]) AND prefix_id = $2 AND lot = $3)
"""

_TEMPLATES = """
    SELECT DISTINCT template_id FROM handle WHERE shard = ANY ($1::smallint[]) AND prefix_id = $2 ORDER BY template_id
"""

_HISTORY = f"""
    SELECT h.actor, {_ROW} FROM handle_history h
     WHERE h.shard = $1 AND h.prefix_id = $2 AND h.suffix = $3 ORDER BY h.version
"""


@dataclass(slots=True)
class NewRow:
    """A row about to be registered; `content` as in `model.Row`."""

    shard: int
    suffix: str
    kind: Kind
    lot: str
    template_id: int
    content: bytes


# By value; a call of an enumeration costs 0.3 us.
_KINDS = {int(kind): kind for kind in Kind}
_STATUSES = {int(status): status for status in Status}


def _row(record: Any) -> Row:
    """The row in a record's last eleven columns, which are those of `_ROW`."""
    suffix, kind, status, lot, template_id, stored, *rest = tuple(record)[-11:]
    try:
        content = restore_content(stored)
    except UnreadableContent as error:
        raise UnreadableRow.of(suffix=suffix, reason=str(error)) from error
    return Row(suffix, _KINDS[kind], _STATUSES[status], lot, template_id, content, *rest)


async def fetch(conn: ReadConnection, shard: int, prefix_id: int, suffix: str) -> Row | None:
    record = await conn.fetchrow(_SELECT_ONE, shard, prefix_id, suffix)
    return _row(record) if record else None


async def fetch_many(
    conn: ReadConnection, prefix_id: int, shards: Sequence[int], suffixes: Sequence[str]
) -> dict[str, Row]:
    """The rows that exist, by suffix; `shards` goes with `suffixes`."""
    prefix_ids = [prefix_id] * len(suffixes)
    return {r["suffix"]: _row(r) for r in await conn.fetch(_SELECT_MANY, prefix_ids, shards, suffixes)}


async def fetch_each(
    conn: ReadConnection, prefix_ids: Sequence[int], shards: Sequence[int], suffixes: Sequence[str]
) -> list[Row | None]:
    """The row of each (prefix, shard, suffix), in order; None where there is none."""
    if len(suffixes) == 1:  # without arrays it takes 71 us of both sides instead of 92
        return [await fetch(conn, shards[0], prefix_ids[0], suffixes[0])]
    found: list[Row | None] = [None] * len(suffixes)
    for record in await conn.fetch(_SELECT_EACH, range(len(suffixes)), shards, prefix_ids, suffixes):
        found[record["n"]] = _row(record)
    return found


async def insert(conn: Connection, prefix_id: int, rows: Sequence[NewRow]) -> set[str]:
    """Store the rows whose handle does not exist yet, tombstones included; return their suffixes.

    Rows go in by key order, so that two batches that share handles cannot deadlock.
    """
    return {record["suffix"] for record in await conn.fetch(_INSERT, prefix_id, *_columns(rows))}


async def insert_counted(conn: Connection, prefix_id: int, rows: Sequence[NewRow]) -> set[str]:
    """The same, and count them as created."""
    found = await conn.fetch(_INSERT_COUNTED, prefix_id, *_columns(rows), datetime.now(UTC).date())
    return {record["suffix"] for record in found}


async def insert_last(conn: Connection, prefix_id: int, rows: Sequence[NewRow]) -> tuple[set[str], Held]:
    """The same as the last of a transaction, which holds the fence from here on: (suffixes, the fence)."""
    found = await conn.fetchrow(_INSERT_LAST, prefix_id, *_columns(rows), datetime.now(UTC).date())
    return set(found["suffixes"] or ()), Held(*found["held"])


def _columns(rows: Sequence[NewRow]) -> tuple[list[Any], ...]:
    """The rows as `_INSERT` takes them."""
    return (
        [r.shard for r in rows],
        [r.suffix for r in rows],
        [r.kind for r in rows],
        [r.lot for r in rows],
        [r.template_id for r in rows],
        [shorten_content(r.content) for r in rows],
    )


async def lock(conn: Connection, shard: int, prefix_id: int, suffix: str) -> Row | None:
    """The row, held against other changes until the transaction ends."""
    record = await conn.fetchrow(_LOCK, shard, prefix_id, suffix)
    return _row(record) if record else None


async def replace(conn: Connection, shard: int, prefix_id: int, row: Row, actor: str) -> Row:
    """Write `row` over the stored one, which goes to the history; returns the row with its new version and time."""
    await conn.execute(_KEEP_OLD, shard, prefix_id, row.suffix, actor)
    record = await conn.fetchrow(
        _REPLACE,
        shard,
        prefix_id,
        row.suffix,
        row.status,
        row.lot,
        row.template_id,
        shorten_content(row.content),
        row.reason,
        row.successor,
    )
    return _row(record)


async def page(
    conn: ReadConnection, shards: Sequence[int], prefix_id: int, after: tuple[int, str], limit: int
) -> list[tuple[int, Row]]:
    """Rows after the key `after` = (shard, suffix), in key order."""
    shard, suffix = after
    rows = await conn.fetch(_PAGE_ON, shard, prefix_id, suffix, limit) if shard in shards else []
    later = [s for s in shards if s > shard]
    if later and len(rows) < limit:
        rows += await conn.fetch(_PAGE, later, prefix_id, limit - len(rows))
    return [(r["shard"], _row(r)) for r in rows]


async def has_items(conn: ReadConnection, shards: Sequence[int], prefix_id: int, lot: str) -> bool:
    return bool(await conn.fetchval(_HAS_ITEMS, shards, prefix_id, lot))


async def templates_of(conn: ReadConnection, shards: Sequence[int], prefix_id: int) -> list[int]:
    """Ids of the templates that a prefix's handles have, 0 for none."""
    return [record["template_id"] for record in await conn.fetch(_TEMPLATES, shards, prefix_id)]


async def history(conn: ReadConnection, shard: int, prefix_id: int, suffix: str) -> list[tuple[Row, str]]:
    """Earlier versions, oldest first, each with who replaced it."""
    return [(_row(r), r["actor"]) for r in await conn.fetch(_HISTORY, shard, prefix_id, suffix)]
