"""SQL over `registrant`, `prefix` and the registration counters."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from node.model import Prefix, PrefixStatus
from node.runtime import Connection, ReadConnection

_SELECT = """
    SELECT p.id, p.prefix, p.registrant_id, p.home, p.spread, p.status, p.used,
           r.name AS registrant_name, r.industry, r.county
      FROM prefix p JOIN registrant r ON r.id = p.registrant_id
"""
_SELECT_ONE = f"{_SELECT} WHERE p.prefix = $1"
_OF_REGISTRANT = f"{_SELECT} WHERE p.registrant_id = $1 ORDER BY p.prefix"
_ALL = f"{_SELECT} ORDER BY p.prefix LIMIT $1"
_EACH = f"{_SELECT} WHERE p.prefix = ANY ($1::text[])"

# A writer holds its prefix shared, a change of the prefix's state holds it alone: nothing is registered
# after a suspension was acknowledged. An advisory lock writes no row, FOR SHARE would write one each time.
_HOLD_SHARED = "SELECT pg_advisory_xact_lock_shared(88, hashtext($1))"
_HOLD_ALONE = "SELECT pg_advisory_xact_lock(88, hashtext($1))"

# 64 slots a prefix: a batch may name 2,000 lots, and PostgreSQL keeps room for about 6,400 locks in all.
_HOLD_LOTS_SHARED = "SELECT pg_advisory_xact_lock_shared($1, hashtext(lot) & 63) FROM unnest($2::text[]) AS lot"
_HOLD_LOTS_ALONE = "SELECT pg_advisory_xact_lock($1, hashtext(lot) & 63) FROM unnest($2::text[]) AS lot"

_MARK_USED = "UPDATE prefix SET used = true WHERE id = $1 AND NOT used"
_SET_STATUS = "UPDATE prefix SET status = $2 WHERE id = $1"

_INSERT_REGISTRANT = """
    INSERT INTO registrant (credit_code, name, industry, county) VALUES ($1, $2, $3, $4)
    ON CONFLICT (credit_code) DO UPDATE SET name = EXCLUDED.name, industry = EXCLUDED.industry,
                                            county = EXCLUDED.county
    RETURNING id
"""
_NEXT_NUMBER = """
    INSERT INTO prefix_number (node_prefix, next_number) VALUES ($1, 1002)
    ON CONFLICT (node_prefix) DO UPDATE SET next_number = prefix_number.next_number + 1
    RETURNING next_number - 1
"""
_INSERT = """
    INSERT INTO prefix (prefix, registrant_id, home, spread, status) VALUES ($1, $2, $3, $4, $5) RETURNING id
"""

_COUNT = """
    INSERT INTO registration_delta (prefix_id, day, created, deleted, rowless) VALUES ($1, $2, $3, $4, $5)
"""
# One folder at a time: another worker's turn is simply skipped.
_FOLD = """
    WITH turn AS (SELECT pg_try_advisory_xact_lock(88, -1) AS mine),
         taken AS (DELETE FROM registration_delta WHERE (SELECT mine FROM turn)
                   RETURNING prefix_id, day, created, deleted, rowless)
    INSERT INTO registration_count (prefix_id, day, created, deleted, rowless)
    SELECT prefix_id, day, sum(created), sum(deleted), sum(rowless) FROM taken GROUP BY prefix_id, day
    ON CONFLICT (prefix_id, day) DO UPDATE SET created = registration_count.created + EXCLUDED.created,
                                               deleted = registration_count.deleted + EXCLUDED.deleted,
                                               rowless = registration_count.rowless + EXCLUDED.rowless
"""
_TOTALS = """
    SELECT coalesce(sum(created), 0)::bigint AS created, coalesce(sum(deleted), 0)::bigint AS deleted,
           coalesce(sum(rowless), 0)::bigint AS rowless
      FROM (SELECT prefix_id, created, deleted, rowless FROM registration_count
            UNION ALL
            SELECT prefix_id, created, deleted, rowless FROM registration_delta) AS counts
     WHERE $1::integer IS NULL OR prefix_id = $1
"""
_NUMBERS = """
    SELECT (SELECT count(*) FROM registrant) AS registrants, (SELECT count(*) FROM prefix) AS prefixes
"""


def _prefix(record: Any) -> Prefix:
    return Prefix(
        id=record["id"],
        prefix=record["prefix"],
        registrant_id=record["registrant_id"],
        home=record["home"],
        spread=record["spread"],
        status=PrefixStatus(record["status"]),
        used=record["used"],
        registrant_name=record["registrant_name"],
        industry=record["industry"],
        county=record["county"],
    )


async def fetch(conn: ReadConnection, prefix: str) -> Prefix | None:
    record = await conn.fetchrow(_SELECT_ONE, prefix)
    return _prefix(record) if record else None


async def of_registrant(conn: ReadConnection, registrant_id: int) -> list[Prefix]:
    return [_prefix(r) for r in await conn.fetch(_OF_REGISTRANT, registrant_id)]


async def every(conn: ReadConnection, limit: int | None = 10_000) -> list[Prefix]:
    """Prefixes in order, all of them with a limit of None."""
    return [_prefix(r) for r in await conn.fetch(_ALL, limit)]


async def fetch_each(conn: ReadConnection, names: list[str]) -> list[Prefix]:
    """Those of the prefixes that exist."""
    return [_prefix(r) for r in await conn.fetch(_EACH, names)]


async def hold(conn: Connection, prefix: str, *, alone: bool = False) -> Prefix | None:
    """Lock the prefix for the transaction, then read it: shared for writers, alone for a change of its state."""
    await conn.execute(_HOLD_ALONE if alone else _HOLD_SHARED, prefix)
    return await fetch(conn, prefix)


async def mark_used(conn: Connection, prefix_id: int) -> None:
    """From its first handle on a prefix keeps its shards (a trigger holds it)."""
    await conn.execute(_MARK_USED, prefix_id)


async def set_status(conn: Connection, prefix_id: int, status: PrefixStatus) -> None:
    await conn.execute(_SET_STATUS, prefix_id, status)


async def upsert_registrant(conn: Connection, credit_code: str, name: str, industry: str, county: str) -> int:
    return int(await conn.fetchval(_INSERT_REGISTRANT, credit_code, name, industry, county))


async def next_number(conn: Connection, node_prefix: str) -> int:
    """The next enterprise number under the node's prefix, from 1001 on; given out once."""
    return int(await conn.fetchval(_NEXT_NUMBER, node_prefix))


async def insert(
    conn: Connection, prefix: str, registrant_id: int, home: int, spread: int, status: PrefixStatus
) -> int:
    return int(await conn.fetchval(_INSERT, prefix, registrant_id, home, spread, status))


async def count(conn: Connection, prefix_id: int, *, created: int = 0, deleted: int = 0, rowless: int = 0) -> None:
    """Add to the counters of today (UTC). `rowless` of the created have no row; negative when some got one."""
    if created or deleted or rowless:
        await conn.execute(_COUNT, prefix_id, datetime.now(UTC).date(), created, deleted, rowless)


async def fold_counts(conn: Connection) -> None:
    await conn.execute(_FOLD)


async def totals(conn: ReadConnection, prefix_id: int | None = None) -> tuple[int, int, int]:
    """Handles created, deleted and, of those left, rowless; of one prefix or of the node, folded or not."""
    record = await conn.fetchrow(_TOTALS, prefix_id)
    return record["created"], record["deleted"], record["rowless"]


async def hold_lots(conn: Connection, prefix_id: int, lots: list[str], *, alone: bool = False) -> None:
    """Lock lots for the transaction: shared by who puts items in, alone by who changes or deletes one."""
    await conn.execute(_HOLD_LOTS_ALONE if alone else _HOLD_LOTS_SHARED, prefix_id, lots)


async def numbers(conn: ReadConnection) -> tuple[int, int]:
    """How many registrants and prefixes the node has."""
    record = await conn.fetchrow(_NUMBERS)
    return record["registrants"], record["prefixes"]
