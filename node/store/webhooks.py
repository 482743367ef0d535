"""SQL over `webhook` and `webhook_delivery`: where to, and what is still to be delivered. Coordinator tables.

A receiver is leased, not its messages: one worker at a time speaks to it, and no row is locked while it does.
"""

from __future__ import annotations

from typing import Any

from node.runtime import Connection, ReadConnection

_COLUMNS = """registrant_id, url, host, secret, lease, next_at, failures, slow, created_at, delivered_at, failed_at,
    last_error"""
_FETCH = f"SELECT {_COLUMNS} FROM webhook WHERE registrant_id = $1"
_FETCH_HELD = f"{_FETCH} FOR UPDATE"
# A new lease number: what a worker is delivering to the old address at this moment no longer counts as delivered.
_PUT = f"""
    INSERT INTO webhook AS w (registrant_id, url, host, secret) VALUES ($1, $2, $3, $4)
    ON CONFLICT (registrant_id) DO UPDATE
       SET url = excluded.url, host = excluded.host, secret = excluded.secret, lease = w.lease + 1, next_at = now(),
           failures = 0, slow = false, created_at = now(), delivered_at = NULL, failed_at = NULL, last_error = ''
    RETURNING {_COLUMNS}
"""
_DELETE = "DELETE FROM webhook WHERE registrant_id = $1 RETURNING url"

# A registrant without a webhook has its alarms by the API: its messages end here.
_ACCEPT = """
    INSERT INTO webhook_delivery (id, registrant_id, body)
    SELECT m.id, m.registrant_id, m.body
      FROM unnest($1::text[], $2::integer[], $3::bytea[]) AS m (id, registrant_id, body)
      JOIN webhook w ON w.registrant_id = m.registrant_id
    ON CONFLICT (id) DO NOTHING
"""
_TAKE = f"""
    UPDATE webhook w SET lease = w.lease + 1, next_at = now() + make_interval(secs => $3)
      FROM (SELECT r.registrant_id FROM webhook r
             WHERE r.next_at <= now() AND (r.failures > 0 OR r.slow) = $2
               AND EXISTS (SELECT FROM webhook_delivery d WHERE d.registrant_id = r.registrant_id
                              AND d.parked_at IS NULL AND d.next_at <= now())
             ORDER BY r.next_at LIMIT $1 FOR UPDATE SKIP LOCKED) due
     WHERE w.registrant_id = due.registrant_id
    RETURNING {", ".join("w." + name.strip() for name in _COLUMNS.split(","))},
              EXISTS (SELECT FROM host h WHERE h.registrant_id = w.registrant_id AND h.host = w.host AND h.state = 1)
              AS proved
"""
_DUE = """
    SELECT id, body FROM webhook_delivery WHERE registrant_id = $1 AND parked_at IS NULL AND next_at <= now()
     ORDER BY next_at, created_at, id LIMIT $2
"""
_HELD = "EXISTS (SELECT FROM webhook WHERE registrant_id = $1 AND lease = $2)"
_DELIVERED = f"DELETE FROM webhook_delivery WHERE registrant_id = $1 AND {_HELD} AND id = $3"
# `least` keeps 2^attempts within a float; the jitter takes up to half, so that receivers do not come back in step.
_FAILED = f"""
    UPDATE webhook_delivery
       SET attempts = attempts + 1, last_error = $4,
           next_at = now() + make_interval(secs => least(3600, 2 * 2 ^ least(attempts, 20)) * (0.5 + random() / 2))
     WHERE registrant_id = $1 AND {_HELD} AND id = $3
"""
_PARK = f"""
    UPDATE webhook_delivery SET parked_at = now(), last_error = $4
     WHERE registrant_id = $1 AND {_HELD} AND parked_at IS NULL AND created_at < now() - make_interval(hours => $3)
"""
_RELEASE = """
    UPDATE webhook SET next_at = now(), failures = 0, slow = $3, delivered_at = now()
     WHERE registrant_id = $1 AND lease = $2
"""
_PAUSE = """
    UPDATE webhook
       SET next_at = now() + make_interval(secs => least(300, 2 ^ least(failures, 20)) * (0.5 + random() / 2)),
           failures = failures + 1, failed_at = now(), last_error = $3
     WHERE registrant_id = $1 AND lease = $2
"""
_REDELIVER = """
    WITH again AS (UPDATE webhook_delivery SET parked_at = NULL, next_at = now(), created_at = now(), attempts = 0
                    WHERE registrant_id = $1 AND parked_at IS NOT NULL RETURNING true),
         woken AS (UPDATE webhook SET next_at = least(next_at, now() + interval '10 seconds') WHERE registrant_id = $1)
    SELECT count(*) FROM again
"""
_PENDING = """
    SELECT count(*) FILTER (WHERE parked_at IS NULL) AS pending, count(*) FILTER (WHERE parked_at IS NOT NULL) AS parked
      FROM webhook_delivery WHERE registrant_id = $1
"""
_PARKED = """
    SELECT id, body, created_at, attempts, last_error, parked_at FROM webhook_delivery
     WHERE registrant_id = $1 AND parked_at IS NOT NULL ORDER BY created_at DESC, id LIMIT $2
"""
_EXPIRE = "DELETE FROM webhook_delivery WHERE parked_at < now() - make_interval(days => $1)"


async def fetch(conn: ReadConnection, registrant_id: int) -> Any:
    return await conn.fetchrow(_FETCH, registrant_id)


async def hold(conn: Connection, registrant_id: int) -> Any:
    return await conn.fetchrow(_FETCH_HELD, registrant_id)


async def put(conn: Connection, registrant_id: int, url: str, host: str, secret: bytes) -> Any:
    return await conn.fetchrow(_PUT, registrant_id, url, host, secret)


async def delete(conn: Connection, registrant_id: int) -> bool:
    """Delete the webhook with what was still to be delivered; False where there was none."""
    return await conn.fetchval(_DELETE, registrant_id) is not None


async def accept(conn: Connection, messages: list[tuple[str, int, bytes]]) -> None:
    """Queue messages (id, registrant, body); one that is queued already stays as it is."""
    ids, registrants, bodies = map(list, zip(*messages, strict=True))
    await conn.execute(_ACCEPT, ids, registrants, bodies)


async def take(conn: Connection, limit: int, ailing: bool, seconds: float) -> list[Any]:
    """Lease receivers that have something due: those that failed or were slow last time, or the others."""
    return await conn.fetch(_TAKE, limit, ailing, seconds)


async def due(conn: ReadConnection, registrant_id: int, limit: int) -> list[Any]:
    return await conn.fetch(_DUE, registrant_id, limit)


async def delivered(conn: Connection, registrant_id: int, lease: int, message_id: str) -> None:
    await conn.execute(_DELIVERED, registrant_id, lease, message_id)


async def failed(conn: Connection, registrant_id: int, lease: int, message_id: str, error: str, hours: int) -> None:
    """Put a message off, pause its receiver, and park what is older than `hours`: a receiver that was away for
    that long is told no more by itself."""
    await conn.execute(_FAILED, registrant_id, lease, message_id, error)
    await conn.execute(_PARK, registrant_id, lease, hours, error)
    await conn.execute(_PAUSE, registrant_id, lease, error)


async def release(conn: Connection, registrant_id: int, lease: int, slow: bool) -> None:
    await conn.execute(_RELEASE, registrant_id, lease, slow)


async def redeliver(conn: Connection, registrant_id: int) -> int:
    """Queue again what was parked; how many messages."""
    return int(await conn.fetchval(_REDELIVER, registrant_id))


async def pending(conn: ReadConnection, registrant_id: int) -> tuple[int, int]:
    """(messages on their way, messages parked)."""
    row = await conn.fetchrow(_PENDING, registrant_id)
    return row["pending"], row["parked"]


async def parked(conn: ReadConnection, registrant_id: int, limit: int) -> list[Any]:
    return await conn.fetch(_PARKED, registrant_id, limit)


async def expire(conn: Connection, days: int) -> None:
    await conn.execute(_EXPIRE, days)
