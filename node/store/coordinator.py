"""SQL over what stays on the coordinator: idempotency keys, outbox and fence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from node.runtime import Connection, ReadConnection

KEPT_HOURS = 72  # an Idempotency-Key is honoured this long

_CLAIM = """
    INSERT INTO idempotency (scope, key, method, path, digest) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (scope, key, method, path) DO NOTHING
    RETURNING true
"""
_CLAIMED = "SELECT digest, status, body FROM idempotency WHERE scope = $1 AND key = $2 AND method = $3 AND path = $4"
_ANSWER = """
    UPDATE idempotency SET status = $5, body = $6 WHERE scope = $1 AND key = $2 AND method = $3 AND path = $4
"""
_EXPIRE = "DELETE FROM idempotency WHERE created_at < now() - make_interval(hours => $1)"

_POST = "INSERT INTO outbox (topic, body) VALUES ($1, $2) RETURNING id"
_POST_EACH = "INSERT INTO outbox (topic, body) SELECT $1, n.body FROM unnest($2::bytea[]) AS n (body)"
_DONE = "DELETE FROM outbox WHERE id = ANY ($1::bigint[])"
_DUE = """
    SELECT id, body FROM outbox WHERE topic = $1 AND created_at <= now() - make_interval(secs => $2)
     ORDER BY id LIMIT $3 FOR UPDATE SKIP LOCKED
"""
_OLDEST = "SELECT coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8 FROM outbox"
_PING = "SELECT count(*) FROM (SELECT FROM prefix LIMIT 1) AS one"
# Takes a transaction id, so a read-only or full server refuses it; leaves nothing behind.
_PROBE_WRITE = "SELECT pg_current_xact_id()"


async def claim(conn: Connection, scope: str, key: str, method: str, path: str, digest: bytes) -> Any:
    """Take an idempotency key for this transaction; None when it is ours, else what was stored under it.

    Waits while another transaction holds the same key, so that two never do the work.
    """
    if await conn.fetchval(_CLAIM, scope, key, method, path, digest):
        return None
    return await conn.fetchrow(_CLAIMED, scope, key, method, path)


async def answer(
    conn: Connection, scope: str, key: str, method: str, path: str, status: int, body: bytes | None
) -> None:
    await conn.execute(_ANSWER, scope, key, method, path, status, body)


async def expire_claims(conn: Connection) -> None:
    await conn.execute(_EXPIRE, KEPT_HOURS)


async def post(conn: Connection, topic: str, message: Any) -> int:
    return int(await conn.fetchval(_POST, topic, orjson.dumps(message)))


async def post_each(conn: Connection, topic: str, messages: Sequence[Any]) -> None:
    """The same of many, in their order."""
    if messages:
        await conn.execute(_POST_EACH, topic, [orjson.dumps(message) for message in messages])


async def done(conn: Connection, ids: Sequence[int]) -> None:
    await conn.execute(_DONE, list(ids))


async def due(conn: Connection, topic: str, older: float, limit: int = 500) -> list[tuple[int, Any]]:
    """Messages of at least `older` s, held against other relays for this transaction."""
    return [(r["id"], orjson.loads(r["body"])) for r in await conn.fetch(_DUE, topic, older, limit)]


async def oldest_message(conn: ReadConnection) -> float:
    """Age in seconds of the oldest message, 0 when there is none."""
    return float(await conn.fetchval(_OLDEST))


async def ping(conn: ReadConnection) -> None:
    await conn.fetchval(_PING)


async def probe_write(conn: Connection) -> None:
    await conn.fetchval(_PROBE_WRITE)
