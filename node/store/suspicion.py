"""SQL over `suspicion`, and the shipping times that scans are held against."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from node.runtime import Connection, ReadConnection

_PUT = """
    INSERT INTO suspicion AS s (prefix_id, kind, suffix, lot, score, reasons)
    SELECT * FROM unnest($1::integer[], $2::text[], $3::text[], $4::text[], $5::smallint[], $6::bytea[])
    ON CONFLICT (prefix_id, kind, suffix) DO UPDATE
       SET lot = EXCLUDED.lot, score = EXCLUDED.score, reasons = EXCLUDED.reasons, updated_at = now()
     WHERE s.score < EXCLUDED.score
    RETURNING prefix_id, kind, suffix, lot, score, alarmed, reasons
"""
_ALARMED = """
    UPDATE suspicion AS s SET alarmed = s.score
      FROM unnest($1::integer[], $2::text[], $3::text[]) AS n (prefix_id, kind, suffix)
     WHERE s.prefix_id = n.prefix_id AND s.kind = n.kind AND s.suffix = n.suffix
"""
_OF_LOTS = """
    SELECT s.prefix_id, s.lot, array_agg(s.score::integer ORDER BY s.score DESC) AS scores
      FROM suspicion AS s
      JOIN unnest($1::integer[], $2::text[]) AS n (prefix_id, lot) ON n.prefix_id = s.prefix_id AND n.lot = s.lot
     WHERE s.kind = 'item' AND s.score >= $3 GROUP BY s.prefix_id, s.lot
"""
_OF_PREFIX = """
    SELECT kind, suffix, lot, score, reasons, since, updated_at FROM suspicion
     WHERE prefix_id = $1 AND score >= $2 AND (kind, suffix) > ($3, $4) ORDER BY kind, suffix LIMIT $5
"""
_OWNERS = "SELECT id, prefix, registrant_id, home, spread FROM prefix WHERE id = ANY ($1::integer[])"
_PREFIX_DAYS = """
    SELECT prefix_id, forged, guessed FROM resolution_day
     WHERE day = $1 AND prefix_id > 0 AND (forged >= $2 OR guessed >= $2)
"""
_SHIPPED = """
    SELECT e.prefix_id, e.suffix, extract(epoch FROM min(e.event_time))::float8 AS at
      FROM unnest($1::smallint[], $2::integer[], $3::text[]) AS n (shard, prefix_id, suffix)
      JOIN event AS e ON e.shard = n.shard AND e.prefix_id = n.prefix_id AND e.suffix = n.suffix
     WHERE e.biz_step = 'shipping'
       AND NOT EXISTS (SELECT FROM event AS w
                        WHERE w.shard = e.shard AND w.prefix_id = e.prefix_id AND w.suffix = e.suffix
                          AND w.corrects = e.event_id AND w.corrects <> '')
     GROUP BY e.prefix_id, e.suffix
"""


async def put(conn: Connection, columns: Sequence[Sequence[Any]]) -> list[Any]:
    """Keep scores, the highest of each; columns prefix_id, kind, suffix, lot, score, reasons. Those that rose."""
    return await conn.fetch(_PUT, *columns)


async def mark_alarmed(conn: Connection, prefix_ids: Sequence[int], kinds: Sequence[str], of: Sequence[str]) -> None:
    await conn.execute(_ALARMED, prefix_ids, kinds, of)


async def of_lots(conn: ReadConnection, prefix_ids: Sequence[int], lots: Sequence[str], least: int) -> list[Any]:
    """The scores of each lot's items from `least` on, the highest first."""
    return await conn.fetch(_OF_LOTS, prefix_ids, lots, least)


async def of_prefix(conn: ReadConnection, prefix_id: int, least: int, after: tuple[str, str], limit: int) -> list[Any]:
    return await conn.fetch(_OF_PREFIX, prefix_id, least, *after, limit)


async def owners(conn: ReadConnection, prefix_ids: Sequence[int]) -> dict[int, Any]:
    """Each prefix with its registrant and where its handles lie."""
    return {record["id"]: record for record in await conn.fetch(_OWNERS, prefix_ids)}


async def prefix_days(conn: ReadConnection, day: date, least: int) -> list[Any]:
    """Prefixes with many forged or guessed look-ups on a day."""
    return await conn.fetch(_PREFIX_DAYS, day, least)


async def shipped(
    conn: ReadConnection, shards: Sequence[int], prefix_ids: Sequence[int], suffixes: Sequence[str]
) -> dict[tuple[int, str], float]:
    """When each item or lot was first said to be shipped, seconds since the epoch."""
    found = await conn.fetch(_SHIPPED, shards, prefix_ids, suffixes)
    return {(r["prefix_id"], r["suffix"]): r["at"] for r in found}
