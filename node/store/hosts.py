"""SQL over `host` and `host_check`: what enterprises claimed and proved. Coordinator tables."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from node.runtime import Connection, ReadConnection

_COLUMNS = """registrant_id, host, token, state, method, claimed_at, proved_at, checked_at, failing_since, failures,
    last_error, next_at"""
_HOLD = "SELECT pg_advisory_xact_lock(93, $1)"
_COUNT = "SELECT count(*) FROM host WHERE registrant_id = $1"
_INSERT = f"INSERT INTO host (registrant_id, host, token) VALUES ($1, $2, $3) RETURNING {_COLUMNS}"
_FETCH = f"SELECT {_COLUMNS} FROM host WHERE registrant_id = $1 AND host = $2"
_FETCH_HELD = f"{_FETCH} FOR UPDATE"
_OF = f"SELECT {_COLUMNS} FROM host WHERE registrant_id = $1 ORDER BY host"
_PROVED = "SELECT registrant_id, host FROM host WHERE registrant_id = ANY ($1::integer[]) AND state = 1"
_DELETE = "DELETE FROM host WHERE registrant_id = $1 AND host = $2 RETURNING state"
_JUDGED = f"""
    UPDATE host SET state = $3, method = $4, proved_at = $5, checked_at = now(), failing_since = $6, failures = $7,
                    last_error = $8, next_at = $9
     WHERE registrant_id = $1 AND host = $2 RETURNING {_COLUMNS}
"""
_ALLOW = """
    INSERT INTO host_check AS c (registrant_id, hour, checks) VALUES ($1, date_trunc('hour', now()), 1)
    ON CONFLICT (registrant_id) DO UPDATE
       SET checks = CASE WHEN c.hour = excluded.hour THEN c.checks + 1 ELSE 1 END, hour = excluded.hour
    RETURNING checks, ceil(extract(epoch FROM hour + interval '1 hour' - now()))::integer AS seconds
"""
# The next check moved on is the lease: whoever dies with it loses a quarter of an hour, no proof.
_DUE = """
    UPDATE host h SET next_at = now() + interval '15 minutes'
      FROM (SELECT registrant_id, host FROM host WHERE next_at <= now() ORDER BY next_at LIMIT $1
               FOR UPDATE SKIP LOCKED) due
     WHERE h.registrant_id = due.registrant_id AND h.host = due.host
    RETURNING h.registrant_id, h.host, h.token
"""
_NOW = "SELECT now()"


async def insert(conn: Connection, registrant_id: int, host: str, token: str) -> Any:
    return await conn.fetchrow(_INSERT, registrant_id, host, token)


async def hold_count(conn: Connection, registrant_id: int) -> int:
    """How many hosts an enterprise has, its claims held for this transaction."""
    await conn.execute(_HOLD, registrant_id)
    return int(await conn.fetchval(_COUNT, registrant_id))


async def fetch(conn: ReadConnection, registrant_id: int, host: str) -> Any:
    return await conn.fetchrow(_FETCH, registrant_id, host)


async def hold(conn: Connection, registrant_id: int, host: str) -> Any:
    return await conn.fetchrow(_FETCH_HELD, registrant_id, host)


async def of_registrant(conn: ReadConnection, registrant_id: int) -> list[Any]:
    return await conn.fetch(_OF, registrant_id)


async def proved(conn: ReadConnection, registrant_id: int) -> list[str]:
    return (await proved_of(conn, [registrant_id])).get(registrant_id, [])


async def proved_of(conn: ReadConnection, registrant_ids: Sequence[int]) -> dict[int, list[str]]:
    """The hosts that each of these has proved; without those that have none."""
    found: dict[int, list[str]] = {}
    for row in await conn.fetch(_PROVED, registrant_ids):
        found.setdefault(row["registrant_id"], []).append(row["host"])
    return found


async def delete(conn: Connection, registrant_id: int, host: str) -> bool:
    return await conn.fetchval(_DELETE, registrant_id, host) is not None


async def judged(
    conn: Connection,
    registrant_id: int,
    host: str,
    *,
    state: int,
    method: str,
    proved_at: datetime | None,
    failing_since: datetime | None,
    failures: int,
    last_error: str,
    next_at: datetime | None,
) -> Any:
    """Write the outcome of a check down; the row as it is then."""
    return await conn.fetchrow(
        _JUDGED, registrant_id, host, state, method, proved_at, failing_since, failures, last_error, next_at
    )


async def allow_check(conn: Connection, registrant_id: int) -> tuple[int, int]:
    """(checks of this hour with this one, seconds until the next hour)."""
    row = await conn.fetchrow(_ALLOW, registrant_id)
    return row["checks"], row["seconds"]


async def take_due(conn: Connection, limit: int) -> list[Any]:
    """Proofs to look at again, (registrant_id, host, token); nobody else takes them for a quarter of an hour."""
    return await conn.fetch(_DUE, limit)


async def now(conn: ReadConnection) -> datetime:
    """The server's clock, the only one that all workers share."""
    moment: datetime = await conn.fetchval(_NOW)
    return moment
