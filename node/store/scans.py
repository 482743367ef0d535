"""SQL over `scan` and `scan_mark`, sharded like the handles, and over `scanner`."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from node.runtime import Connection, ReadConnection

# Of a claim: the number of its item, its shard, ms << 8 | flags, the mark of its nonce and that of its device.
RECORD = struct.Struct(">HHI12s12s")
OWN, EARLY = 1, 2  # flags: a scan by the item's own enterprise; one before the item was shipped
# One statement for a batch: each round trip and each element of an array cost a worker more than all that PostgreSQL
# does for a claim, so what is said of a claim is one record of $3. Of it: `item` its number among $1 and $2, `at`
# milliseconds after $4, `flags`. What is there already was used before. A device counts again on the same item once the
# window ($5) since it last counted is over; one that its claim made is met by using the claim up. The first scan is
# whichever transaction gave the row its time first: it never changes afterwards. Rows go in by key order, so that two
# workers cannot deadlock. In the last row stand, where others have a sketch, the places in $3 of claims that do not
# count: hardly any, or, of one phone that scans the same again and again, all.
_COUNT = f"""
    WITH claim AS (
        SELECT n, 256 * get_byte($3, n) + get_byte($3, n + 1) + 1 AS item,
               (256 * get_byte($3, n + 2) + get_byte($3, n + 3))::smallint AS shard,
               $4 + (65536 * get_byte($3, n + 4) + 256 * get_byte($3, n + 5) + get_byte($3, n + 6)) / 1000.0::float8
               AS at,
               get_byte($3, n + 7) & {OWN} <> 0 AS own, get_byte($3, n + 7) & {EARLY} <> 0 AS early,
               substring($3 FROM n + 9 FOR 12) AS nonce, substring($3 FROM n + 21 FOR 12) AS device
          FROM generate_series(0, length($3::bytea) - 1, {RECORD.size}) AS n),
    used AS (
        INSERT INTO scan_mark (shard, mark, at)
        SELECT shard, nonce, at FROM claim ORDER BY shard, nonce
        ON CONFLICT (shard, mark) DO NOTHING
        RETURNING mark),
    fresh AS (SELECT * FROM claim WHERE (nonce IN (SELECT mark FROM used)) IS TRUE),
    once AS (SELECT DISTINCT ON (device) * FROM fresh WHERE NOT own AND device <> nonce ORDER BY device, n),
    met AS (
        INSERT INTO scan_mark AS m (shard, mark, at)
        SELECT shard, device, at FROM once ORDER BY shard, device
        ON CONFLICT (shard, mark) DO UPDATE SET at = EXCLUDED.at WHERE m.at <= EXCLUDED.at - $5::float8
        RETURNING mark),
    counted AS (
        SELECT * FROM fresh WHERE own OR device = nonce
        UNION ALL SELECT * FROM once WHERE (device IN (SELECT mark FROM met)) IS TRUE),
    sum AS (
        SELECT item, min(shard) AS shard, count(*) FILTER (WHERE NOT own) AS count, count(*) FILTER (WHERE own) AS own,
               count(*) FILTER (WHERE early AND NOT own) AS early, min(at) FILTER (WHERE NOT own) AS first_at,
               max(at) AS last_at
          FROM counted GROUP BY item),
    added AS (
        INSERT INTO scan AS s (shard, prefix_id, suffix, count, own, early, first_at, first_place, last_at, devices,
                               spot_at, spot_lat, spot_lon)
        SELECT shard, ($1::integer[])[item], ($2::text[])[item], count, own, early, to_timestamp(first_at),
               coalesce(($6::text[])[item], ''), to_timestamp(last_at), coalesce(($7::bytea[])[item], ''),
               to_timestamp(($8::float8[])[item]), coalesce(($9::real[])[item], 0), coalesce(($10::real[])[item], 0)
          FROM sum ORDER BY 1, 2, 3
        ON CONFLICT (shard, prefix_id, suffix) DO UPDATE
           SET count = s.count + EXCLUDED.count,
               own = s.own + EXCLUDED.own,
               early = s.early + EXCLUDED.early,
               first_at = coalesce(s.first_at, EXCLUDED.first_at),
               first_place = CASE WHEN s.first_at IS NULL THEN EXCLUDED.first_place ELSE s.first_place END,
               last_at = greatest(s.last_at, EXCLUDED.last_at)
        RETURNING prefix_id, suffix, count, early, travels, devices, spot_lat, spot_lon,
                  extract(epoch FROM spot_at)::float8 AS spot_at, s.xmax = 0 AS fresh)
    SELECT * FROM added
    UNION ALL
    SELECT NULL, NULL, NULL, NULL, NULL, string_agg(int2send((n / {RECORD.size})::smallint), ''), NULL, NULL, NULL, NULL
      FROM claim WHERE n NOT IN (SELECT n FROM counted)
"""
_RARE_EVIDENCE = (4, 5, 6, 7)  # columns of _SET_EVIDENCE
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


async def count(
    conn: Connection, items: Sequence[Sequence[Any]], records: bytes, begin: float, window: float
) -> tuple[list[Any], tuple[int, ...]]:
    """Count those of the claims that count, and add them to their items.

    `items`: of each its prefix_id and suffix; where it is new a place, a sketch of devices, time and place of its last
    scan with one. `records`: RECORD of each claim, no nonce twice, none with a device that another one makes; times in
    ms after `begin`. What the items are then that something was added to, evidence as it was before except for those
    that are new; and the numbers of the claims that do not count.
    """
    prefix_ids, suffixes, *rest = _said(items, range(2, 7))
    rows = await conn.fetch(_COUNT, prefix_ids, suffixes, records, begin, window, *rest)
    idle = rows.pop()["devices"] or b""
    return rows, struct.unpack(f">{len(idle) // 2}H", idle)


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
