"""SQL over `resolution_day`, `resolution_second` and `resolution_source`: coordinator tables, written set by set."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from node.runtime import Connection, ReadConnection

# One settlement or fold at a time: the limit of addresses is then exact, and no two wait for each other's rows.
_ALONE = "SELECT pg_advisory_xact_lock(88, -40)"

_ADD_DAYS = """
    INSERT INTO resolution_day AS d (prefix_id, day, requests, hits, total_seconds, low_seconds, low_at,
                                     high_seconds, high_at, forged, guessed, other)
    SELECT n.prefix_id, n.day, n.requests, n.hits, n.total, n.low, to_timestamp(n.low_at),
           n.high, to_timestamp(n.high_at), n.forged, n.guessed, 0
      FROM unnest($1::integer[], $2::date[], $3::bigint[], $4::bigint[], $5::float8[], $6::float8[], $7::bigint[],
                  $8::float8[], $9::bigint[], $10::bigint[], $11::bigint[])
           AS n (prefix_id, day, requests, hits, total, low, low_at, high, high_at, forged, guessed)
    ON CONFLICT (prefix_id, day) DO UPDATE
       SET requests = d.requests + EXCLUDED.requests,
           hits = d.hits + EXCLUDED.hits,
           total_seconds = d.total_seconds + EXCLUDED.total_seconds,
           low_at = CASE WHEN EXCLUDED.low_seconds < d.low_seconds THEN EXCLUDED.low_at ELSE d.low_at END,
           low_seconds = least(d.low_seconds, EXCLUDED.low_seconds),
           high_at = CASE WHEN EXCLUDED.high_seconds > d.high_seconds THEN EXCLUDED.high_at ELSE d.high_at END,
           high_seconds = greatest(d.high_seconds, EXCLUDED.high_seconds),
           forged = d.forged + EXCLUDED.forged,
           guessed = d.guessed + EXCLUDED.guessed
    RETURNING prefix_id, day, sources, forged, guessed
"""
_ADD_SECONDS = """
    INSERT INTO resolution_second AS s (second, prefix_id, requests)
    SELECT * FROM unnest($1::bigint[], $2::integer[], $3::integer[])
    ON CONFLICT (second, prefix_id) DO UPDATE SET requests = s.requests + EXCLUDED.requests
"""
_ADD_TO_SOURCES = """
    UPDATE resolution_source AS s SET count = s.count + n.count
      FROM unnest($1::date[], $2::integer[], $3::bytea[], $4::bigint[]) AS n (day, prefix_id, digest, count)
     WHERE s.day = n.day AND s.prefix_id = n.prefix_id AND s.digest = n.digest
    RETURNING s.day, s.prefix_id, s.digest
"""
_INSERT_SOURCES = """
    INSERT INTO resolution_source (day, prefix_id, digest, sealed, count)
    SELECT * FROM unnest($1::date[], $2::integer[], $3::bytea[], $4::bytea[], $5::bigint[])
"""
_ADD_OTHER = """
    UPDATE resolution_day AS d SET sources = d.sources + n.sources, other = d.other + n.other
      FROM unnest($1::integer[], $2::date[], $3::integer[], $4::bigint[]) AS n (prefix_id, day, sources, other)
     WHERE d.prefix_id = n.prefix_id AND d.day = n.day
"""
_FOLD = """
    WITH taken AS (DELETE FROM resolution_second WHERE second < $1 RETURNING prefix_id, second, requests),
         best AS (SELECT DISTINCT ON (prefix_id, day) prefix_id, day, second, requests
                    FROM (SELECT *, (to_timestamp(second) AT TIME ZONE interval '08:00')::date AS day FROM taken) AS t
                   ORDER BY prefix_id, day, requests DESC, second)
    UPDATE resolution_day AS d SET peak = b.requests, peak_at = to_timestamp(b.second)
      FROM best AS b
     WHERE d.prefix_id = b.prefix_id AND d.day = b.day AND d.peak < b.requests
"""
_EXPIRE_SOURCES = "DELETE FROM resolution_source WHERE day < $1"
# With the seconds that are not folded yet.
_DAYS = """
    SELECT d.day, d.requests, d.hits, d.total_seconds, d.low_seconds, d.low_at, d.high_seconds, d.high_at,
           d.forged, d.guessed, d.sources, d.other,
           greatest(d.peak, s.requests) AS peak,
           CASE WHEN s.requests > d.peak THEN to_timestamp(s.second) ELSE d.peak_at END AS peak_at
      FROM resolution_day AS d
      LEFT JOIN LATERAL (SELECT second, requests FROM resolution_second
                          WHERE prefix_id = d.prefix_id
                            AND (to_timestamp(second) AT TIME ZONE interval '08:00')::date = d.day
                          ORDER BY requests DESC, second LIMIT 1) AS s ON true
     WHERE d.prefix_id = $1 AND d.day BETWEEN $2 AND $3
     ORDER BY d.day
"""
_SOURCES = """
    SELECT digest, min(sealed) AS sealed, sum(count)::bigint AS count
      FROM resolution_source WHERE day = $1 AND ($2::integer IS NULL OR prefix_id = $2)
     GROUP BY digest ORDER BY count DESC, digest LIMIT $3
"""


async def alone(conn: Connection) -> None:
    """Hold all other settlements of resolutions off until the transaction ends."""
    await conn.execute(_ALONE)


async def add_days(conn: Connection, columns: Sequence[Sequence[Any]]) -> list[Any]:
    """Add to days; columns prefix_id, day, requests, hits, total, low, low_at, high, high_at, forged, guessed.
    Returns prefix_id, day, sources, forged, guessed as they are then."""
    return await conn.fetch(_ADD_DAYS, *columns)


async def add_seconds(conn: Connection, seconds: Sequence[int], prefix_ids: Sequence[int], n: Sequence[int]) -> None:
    await conn.execute(_ADD_SECONDS, seconds, prefix_ids, n)


async def add_to_sources(conn: Connection, columns: Sequence[Sequence[Any]]) -> set[tuple[date, int, bytes]]:
    """Add to addresses that are kept already; columns day, prefix_id, digest, count. The keys of those."""
    return {(r["day"], r["prefix_id"], r["digest"]) for r in await conn.fetch(_ADD_TO_SOURCES, *columns)}


async def insert_sources(conn: Connection, columns: Sequence[Sequence[Any]]) -> None:
    """Columns day, prefix_id, digest, sealed, count."""
    await conn.execute(_INSERT_SOURCES, *columns)


async def add_other(conn: Connection, columns: Sequence[Sequence[Any]]) -> None:
    """Columns prefix_id, day, how many addresses were inserted, requests from those that were not."""
    await conn.execute(_ADD_OTHER, *columns)


async def fold_seconds(conn: Connection, before: int) -> None:
    """Take each day's peak from the seconds before `before`, and let them go."""
    await conn.execute(_FOLD, before)


async def expire_sources(conn: Connection, before: date) -> None:
    await conn.execute(_EXPIRE_SOURCES, before)


async def days(conn: ReadConnection, prefix_id: int, first: date, last: date) -> list[Any]:
    """The days that have anything, in order."""
    return await conn.fetch(_DAYS, prefix_id, first, last)


async def sources(conn: ReadConnection, day: date, prefix_id: int | None, limit: int) -> list[Any]:
    """(digest, sealed, count) of one prefix or of the node, the most frequent first."""
    return await conn.fetch(_SOURCES, day, prefix_id, limit)
