"""SQL over `import`, `import_chunk` and `import_error`, and the fast ways of rows into `handle`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import msgspec

import handle_codec
from handle_codec.columns import RowBatch
from handle_codec.rows import COPY_HEADER, COPY_TRAILER
from handle_codec.twin import copy_rows
from node.model import SHARDS, Prefix, Status
from node.pace import Stride
from node.runtime import Connection, ReadConnection

_INSERT = """
    INSERT INTO import (id, registrant_id, name, prefix, template, lot, check_only, atomic, actor)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
"""
_FETCH = """
    SELECT id, registrant_id, name, prefix, template, lot, check_only, atomic, staging, actor, created_at, committed_at
      FROM import WHERE id = $1
"""
_LOCK = f"{_FETCH} FOR UPDATE"
_OF_REGISTRANT = """
    SELECT id, registrant_id, name, prefix, template, lot, check_only, atomic, staging, actor, created_at, committed_at
      FROM import WHERE registrant_id = $1 ORDER BY created_at DESC, id LIMIT $2
"""
_COMMIT = "UPDATE import SET committed_at = now() WHERE id = $1"
_TO_STAGING = "UPDATE import SET staging = true WHERE id = $1 AND NOT staging"

_CHUNK = "number, rows, created, unchanged, conflict, rejected, digest"
# A second sender of the same number waits here for the first, then finds what that one left.
_CLAIM = """
    INSERT INTO import_chunk (import_id, number, digest, body) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING
    RETURNING number
"""
_FETCH_CHUNK = f"SELECT {_CHUNK} FROM import_chunk WHERE import_id = $1 AND number = $2"
_SETTLE = """
    UPDATE import_chunk SET rows = $3, created = $4, unchanged = $5, conflict = $6, rejected = $7, body = NULL
     WHERE import_id = $1 AND number = $2
"""
_NUMBERS = "SELECT number FROM import_chunk WHERE import_id = $1 ORDER BY number"
_BODY = "SELECT body FROM import_chunk WHERE import_id = $1 AND number = $2"
_TOTALS = """
    SELECT count(*) AS chunks, coalesce(sum(rows), 0)::bigint AS rows, coalesce(sum(created), 0)::bigint AS created,
           coalesce(sum(unchanged), 0)::bigint AS unchanged, coalesce(sum(conflict), 0)::bigint AS conflict,
           coalesce(sum(rejected), 0)::bigint AS rejected
      FROM import_chunk WHERE import_id = $1
"""
_INSERT_ERRORS = """
    INSERT INTO import_error (import_id, chunk, row, position, outcome, handle, field, code, detail)
    SELECT $1, $2, e.row, e.position, e.outcome, e.handle, e.field, e.code, e.detail
      FROM unnest($3::integer[], $4::integer[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[])
           AS e (row, position, outcome, handle, field, code, detail)
"""
_ERRORS = """
    SELECT chunk, row, position, outcome, handle, field, code, detail FROM import_error
     WHERE import_id = $1 AND (chunk, row, position) > ($2, $3, $4) ORDER BY chunk, row, position LIMIT $5
"""

_COLUMNS = [
    "created_at", "updated_at", "prefix_id", "template_id", "version", "shard", "kind", "status", "suffix", "lot",
    "values", "reason", "successor",
]  # fmt: skip
_MAKE_STAGE = """
    CREATE TEMPORARY TABLE IF NOT EXISTS import_stage (LIKE handle INCLUDING DEFAULTS) ON COMMIT DELETE ROWS
"""
_FROM_STAGE = f"""
    WITH stored AS (
        INSERT INTO handle ({", ".join(_COLUMNS)})
        SELECT {", ".join(_COLUMNS)} FROM import_stage WHERE shard = ANY ($1::smallint[]) ORDER BY shard, suffix
        ON CONFLICT (shard, prefix_id, suffix) DO NOTHING
        RETURNING 1
    )
    SELECT count(*) FROM stored
"""
# Equal stored forms are equal contents. What differs may still be equal: that is for `compare` to say.
_OTHERS = f"""
    SELECT s.suffix
      FROM import_stage s JOIN handle h ON h.shard = s.shard AND h.prefix_id = s.prefix_id AND h.suffix = s.suffix
     WHERE s.shard = ANY ($1::smallint[])
       AND (h.status = {int(Status.TOMBSTONE)}
            OR (h.kind, h.lot, h.template_id, h.values) IS DISTINCT FROM (s.kind, s.lot, s.template_id, s.values))
"""
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)  # of PostgreSQL
_NOT_OF_THE_TRY = (
    asyncpg.PostgresConnectionError,  # class 08
    asyncpg.OperatorInterventionError,  # 57: the session or the server was ended, the statement cancelled
    asyncpg.InsufficientResourcesError,  # 53
    asyncpg.TransactionRollbackError,  # 40: a deadlock lost; the whole transaction is done again
)
_SLICE = 4096  # rows of a COPY at a time: a few milliseconds


class ErrorLine(msgspec.Struct, frozen=True, gc=False):
    """One error of one row of a chunk. Texts and numbers alone, so the collector need not look at 50,000 of them."""

    row: int
    position: int
    outcome: str
    handle: str
    field: str
    code: str
    detail: str


async def insert(conn: Connection, *values: Any) -> None:
    """(id, registrant, name, prefix, template, lot, check_only, atomic, actor)"""
    await conn.execute(_INSERT, *values)


async def fetch(conn: ReadConnection, import_id: str) -> Any:
    return await conn.fetchrow(_FETCH, import_id)


async def lock(conn: Connection, import_id: str) -> Any:
    """The import, held until the transaction ends."""
    return await conn.fetchrow(_LOCK, import_id)


async def of_registrant(conn: ReadConnection, registrant_id: int, limit: int) -> list[Any]:
    return await conn.fetch(_OF_REGISTRANT, registrant_id, limit)


async def commit(conn: Connection, import_id: str) -> None:
    await conn.execute(_COMMIT, import_id)


async def to_staging(conn: Connection, import_id: str) -> None:
    await conn.execute(_TO_STAGING, import_id)


async def claim(conn: Connection, import_id: str, number: int, digest: bytes, body: bytes | None) -> bool:
    """Take a chunk's number; False where another took it, whose record can be read then."""
    return await conn.fetchval(_CLAIM, import_id, number, digest, body) is not None


async def chunk(conn: ReadConnection, import_id: str, number: int) -> Any:
    return await conn.fetchrow(_FETCH_CHUNK, import_id, number)


async def settle(conn: Connection, import_id: str, number: int, counts: Sequence[int]) -> None:
    """Write a chunk's (rows, created, unchanged, conflict, rejected)."""
    await conn.execute(_SETTLE, import_id, number, *counts)


async def numbers(conn: ReadConnection, import_id: str) -> list[int]:
    """Numbers of the chunks that arrived, in order."""
    return [record["number"] for record in await conn.fetch(_NUMBERS, import_id)]


async def body(conn: ReadConnection, import_id: str, number: int) -> bytes:
    """The kept body of a chunk of an atomic import."""
    return bytes(await conn.fetchval(_BODY, import_id, number) or b"")


async def totals(conn: ReadConnection, import_id: str) -> dict[str, int]:
    """Sums over the chunks: chunks, rows, created, unchanged, conflict, rejected."""
    return dict(await conn.fetchrow(_TOTALS, import_id))


async def insert_errors(conn: Connection, import_id: str, number: int, lines: Sequence[ErrorLine]) -> None:
    await conn.execute(
        _INSERT_ERRORS,
        import_id,
        number,
        [line.row for line in lines],
        [line.position for line in lines],
        [line.outcome for line in lines],
        [line.handle for line in lines],
        [line.field for line in lines],
        [line.code for line in lines],
        [line.detail for line in lines],
    )


async def errors(conn: ReadConnection, import_id: str, after: tuple[int, int, int], limit: int) -> list[Any]:
    """Errors after (chunk, row, position), in order."""
    return await conn.fetch(_ERRORS, import_id, *after, limit)


def shard_of(prefix: Prefix, suffix: str) -> int:
    return handle_codec.shard_of(suffix, prefix.home, prefix.spread)


@dataclass(slots=True)
class Rows:
    """Rows that leave as COPY: those of `order`, under one prefix, by one template."""

    batch: RowBatch
    order: memoryview
    prefix_id: int
    template_id: int
    stamp: datetime
    stride: Stride

    async def binary(self) -> AsyncIterator[bytes]:
        """In PostgreSQL's binary format, a few thousand at a time."""
        micros = (self.stamp - _EPOCH) // timedelta(microseconds=1)
        yield COPY_HEADER
        async for part in self.stride.pieces(range(len(self.order)), _SLICE):
            yield copy_rows(self.batch, self.order, self.prefix_id, self.template_id, micros, part[0], len(part))
        yield COPY_TRAILER


async def copy_straight(conn: Connection, rows: Rows) -> bool:
    """COPY into the table itself, in a savepoint; False, and nothing stored, where anything stood in the way.

    Any error of the try means that: a duplicate is a unique violation here, but an internal error on Citus. A session
    that ended, a full disk, a deadlock are not of the try, and go on up.
    """
    raw: Any = conn
    source = rows.binary()
    try:
        async with raw.transaction():
            await raw.copy_to_table("handle", source=source, format="binary", columns=_COLUMNS)
    except _NOT_OF_THE_TRY:
        raise
    except asyncpg.PostgresError:
        return False
    return True


async def copy_staged(conn: Connection, rows: Rows, prefix: Prefix) -> tuple[int, set[str]]:
    """COPY into a temporary table, then what is new from there: how many those are, and the suffixes of those that are
    there with something else. All others are there already, just the same."""
    raw: Any = conn
    await conn.execute(_MAKE_STAGE)
    source = rows.binary()
    await raw.copy_to_table("import_stage", source=source, format="binary", columns=_COLUMNS)
    shards = sorted((prefix.home + k) % SHARDS for k in range(prefix.spread))
    stored = await conn.fetchval(_FROM_STAGE, shards)
    if stored == len(rows.order):
        return stored, set()
    return stored, {record["suffix"] for record in await conn.fetch(_OTHERS, shards)}
