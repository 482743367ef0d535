"""SQL over `scan` and `scan_mark`, sharded like the handles, and over `scanner`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from node.runtime import Connection, ReadConnection

# Rows go in by key order, so that two workers cannot deadlock; what is there already was used before.
# What comes back are the marks that are not new: hardly any, where the new ones would be nearly all.
_USE = """
    WITH new AS (
        INSERT INTO scan_mark (shard, mark, at)
        SELECT shard, mark, at FROM unnest($1::smallint[], $2::bytea[], $3::float8[]) AS n (shard, mark, at)
         ORDER BY shard, mark
        ON CONFLICT (shard, mark) DO NOTHING
        RETURNING mark)
    SELECT n.mark FROM unnest($2::bytea[]) AS n (mark) EXCEPT ALL SELECT mark FROM new
"""
# A device counts again on the same item once the window since it last counted is over.
_MEET = """
    WITH counted AS (
        INSERT INTO scan_mark AS m (shard, mark, at)
        SELECT shard, mark, at FROM unnest($1::smallint[], $2::bytea[], $3::float8[]) AS n (shard, mark, at)
         ORDER BY shard, mark
        ON CONFLICT (shard, mark) DO UPDATE SET at = EXCLUDED.at WHERE m.at <= EXCLUDED.at - $4::float8
        RETURNING mark)
    SELECT n.mark FROM unnest($2::bytea[]) AS n (mark) EXCEPT ALL SELECT mark FROM counted
"""
# The first scan is whichever transaction gave the row its time first: it never changes afterwards.
_ADD = """
    INSERT INTO scan AS s (shard, prefix_id, suffix, count, own, early, first_at, first_place, last_at, devices,
                           spot_at, spot_lat, spot_lon)
    SELECT shard, prefix_id, suffix, count, coalesce(own, 0), coalesce(early, 0), to_timestamp(first_at),
           coalesce(first_place, ''), to_timestamp(last_at), coalesce(devices, ''), to_timestamp(spot_at),
           coalesce(spot_lat, 0), coalesce(spot_lon, 0)
      FROM unnest($1::smallint[], $2::integer[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::float8[],
                  $8::text[], $9::float8[], $10::bytea[], $11::float8[], $12::real[], $13::real[])
           AS n (shard, prefix_id, suffix, count, own, early, first_at, first_place, last_at, devices,
                 spot_at, spot_lat, spot_lon)
     ORDER BY shard, prefix_id, suffix
    ON CONFLICT (shard, prefix_id, suffix) DO UPDATE
       SET count = s.count + EXCLUDED.count,
           own = s.own + EXCLUDED.own,
           early = s.early + EXCLUDED.early,
           first_at = coalesce(s.first_at, EXCLUDED.first_at),
           first_place = CASE WHEN s.first_at IS NULL THEN EXCLUDED.first_place ELSE s.first_place END,
           last_at = greatest(s.last_at, EXCLUDED.last_at)
    RETURNING prefix_id, suffix, count, early, travels, devices, spot_lat, spot_lon,
              extract(epoch FROM spot_at)::float8 AS spot_at, s.xmax = 0 AS fresh
"""
_RARE, _RARE_EVIDENCE = (4, 5, 7, 9, 10, 11, 12), (4, 5, 6, 7)  # columns of _ADD and of _SET_EVIDENCE
_SET_EVIDENCE = """
    UPDATE scan AS s SET devices = n.devices, travels = coalesce(n.travels, 0), spot_at = to_timestamp(n.spot_at),
                         spot_lat = coalesce(n.spot_lat, 0), spot_lon = coalesce(n.spot_lon, 0)
      FROM unnest($1::smallint[], $2::integer[], $3::text[], $4::bytea[], $5::integer[], $6::float8[], $7::real[],
                  $8::real[]) AS n (shard, prefix_id, suffix, devices, travels, spot_at, spot_lat, spot_lon)
     WHERE s.shard = n.shard AND s.prefix_id = n.prefix_id AND s.suffix = n.suffix
"""
_SELECT = """
    SELECT s.shard, s.prefix_id, s.suffix, s.count, s.own, s.early, s.travels, s.devices, s.first_place,
           extract(epoch FROM s.first_at)::float8 AS first_at, extract(epoch FROM s.last_at)::float8 AS last_at
      FROM unnest($1::smallint[], $2::integer[], $3::text[]) AS wanted (shard, prefix_id, suffix)
      JOIN scan s ON s.shard = wanted.shard AND s.prefix_id = wanted.prefix_id AND s.suffix = wanted.suffix
"""
_EXPIRE_MARKS = "DELETE FROM scan_mark WHERE shard BETWEEN 0 AND 1023 AND at < $1"

_INSERT_SCANNER = "INSERT INTO scanner (registrant_id, name) VALUES ($1, $2) RETURNING id"
_REVOKE_SCANNER = """
    UPDATE scanner SET revoked_at = now() WHERE id = $1 AND registrant_id = $2 AND revoked_at IS NULL RETURNING true
"""
_SCANNERS = """
    SELECT id, name, created_at, revoked_at FROM scanner WHERE registrant_id = $1 ORDER BY id LIMIT 1000
"""
_LIVE = "SELECT id, registrant_id FROM scanner WHERE id = ANY ($1::bigint[]) AND revoked_at IS NULL"
_COUNT_LIVE = "SELECT count(*) FROM scanner WHERE registrant_id = $1 AND revoked_at IS NULL"


async def use(conn: Connection, shards: Sequence[int], marks: Sequence[bytes], at: Sequence[float]) -> set[bytes]:
    """Use claims up, each mark once; the marks of those that were used before."""
    return {record["mark"] for record in await conn.fetch(_USE, shards, marks, at)}


async def meet(
    conn: Connection, shards: Sequence[int], marks: Sequence[bytes], at: Sequence[float], window: float
) -> set[bytes]:
    """Note devices on items, each mark once; those that do not count: last counted less than `window` s ago."""
    return {record["mark"] for record in await conn.fetch(_MEET, shards, marks, at, window)}


async def add(conn: Connection, columns: Sequence[Sequence[Any]]) -> list[Any]:
    """Add scans to items, each item once; columns as in _ADD. What the items are then, evidence as it was before
    except for those that are new."""
    return await conn.fetch(_ADD, *_said(columns, _RARE))


async def set_evidence(conn: Connection, columns: Sequence[Sequence[Any]]) -> None:
    """Columns shard, prefix_id, suffix, devices, travels, spot_at, spot_lat, spot_lon, of rows that `add` locked."""
    await conn.execute(_SET_EVIDENCE, *_said(columns, _RARE_EVIDENCE))


def _said(columns: Sequence[Sequence[Any]], rare: Sequence[int]) -> list[Sequence[Any] | None]:
    """NULL for those of the `rare` columns that say nothing: most items have no place and nothing early, and asyncpg
    takes 0.3 us for each element of an array. `unnest` makes NULLs of it, which the statements read as zeros."""
    said: list[Sequence[Any] | None] = list(columns)
    for position in rare:
        if not any(columns[position]):
            said[position] = None
    return said


async def of_items(
    conn: ReadConnection, shards: Sequence[int], prefix_ids: Sequence[int], suffixes: Sequence[str]
) -> list[Any]:
    """The items that were scanned, each with what is kept of it."""
    return await conn.fetch(_SELECT, shards, prefix_ids, suffixes)


async def expire_marks(conn: Connection, before: float) -> None:
    await conn.execute(_EXPIRE_MARKS, before)


async def insert_scanner(conn: Connection, registrant_id: int, name: str) -> int:
    return int(await conn.fetchval(_INSERT_SCANNER, registrant_id, name))


async def revoke_scanner(conn: Connection, scanner_id: int, registrant_id: int) -> bool:
    return bool(await conn.fetchval(_REVOKE_SCANNER, scanner_id, registrant_id))


async def scanners(conn: ReadConnection, registrant_id: int) -> list[Any]:
    return await conn.fetch(_SCANNERS, registrant_id)


async def live_scanners(conn: ReadConnection, ids: Sequence[int]) -> dict[int, int]:
    """Those not revoked, each with its registrant."""
    return {r["id"]: r["registrant_id"] for r in await conn.fetch(_LIVE, ids)}


async def count_scanners(conn: ReadConnection, registrant_id: int) -> int:
    return int(await conn.fetchval(_COUNT_LIVE, registrant_id))
