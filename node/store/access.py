"""SQL over `api_key`, `operator` and `operator_session`; none of them sharded."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from node.runtime import Connection, ReadConnection

# Whether a key is live is told by the server's clock, the only one that all workers share.
_LIVE = "revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())"
_SELECT = f"""
    SELECT id, registrant_id, name, digest, generation, scopes, networks, created_at, expires_at, revoked_at,
           last_used_at, {_LIVE} AS live
      FROM api_key
"""
_SELECT_KEY = f"{_SELECT} WHERE id = $1"
_SELECT_KEYS = f"{_SELECT} WHERE id = ANY ($1::text[])"
# A prefix is held as by store.prefixes.hold, which tells why; read it in a later statement, for this one's snapshot is
# older than the locks. Without a single key nothing is held, and nothing may be registered.
_KEYS_AND_HOLD = f"""
    WITH held AS MATERIALIZED (
         SELECT count(pg_advisory_xact_lock_shared(88, hashtext(name))) FROM unnest($2::text[]) AS name)
    SELECT k.* FROM ({_SELECT_KEYS}) AS k CROSS JOIN held
"""
_KEYS_OF = f"{_SELECT} WHERE registrant_id = $1 ORDER BY created_at, id"
_LIVE_KEYS = f"SELECT count(*) FROM api_key WHERE registrant_id = $1 AND {_LIVE}"
# Two that issue at once would each count one live key: they take turns.
_HOLD_KEYS = "SELECT pg_advisory_xact_lock(90, $1)"
_INSERT_KEY = """
    INSERT INTO api_key (id, registrant_id, name, digest, generation, scopes, networks, expires_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7::text[]::cidr[], $8)
"""
_REVOKE = "UPDATE api_key SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL RETURNING registrant_id"
_USED = """
    UPDATE api_key SET last_used_at = now()
     WHERE id = ANY ($1::text[]) AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')
"""

_INSERT_OPERATOR = """
    INSERT INTO operator (login, password_hash, role) VALUES ($1, $2, $3)
    ON CONFLICT (login) DO NOTHING RETURNING true
"""
# Counted before the password is looked at: however many try at once, no more than the limit are let through.
_ATTEMPT = """
    UPDATE operator
       SET failures = CASE WHEN failures + 1 >= $2 THEN 0 ELSE failures + 1 END,
           locked_until = CASE WHEN failures + 1 >= $2 THEN now() + make_interval(mins => $3) END
     WHERE login = $1 AND (locked_until IS NULL OR locked_until <= now())
    RETURNING password_hash, locked_until IS NOT NULL AS last
"""
_LOCKED_FOR = """
    SELECT ceil(extract(epoch FROM locked_until - now()))::integer FROM operator
     WHERE login = $1 AND locked_until > now()
"""
_SUCCEEDED = "UPDATE operator SET failures = 0, locked_until = NULL WHERE login = $1"
_OPEN_SESSION = "INSERT INTO operator_session (digest, login, expires_at) VALUES ($1, $2, $3)"
_SESSION = """
    SELECT o.login, o.role FROM operator_session s JOIN operator o ON o.login = s.login
     WHERE s.digest = $1 AND s.expires_at > now()
"""
_CLOSE_SESSION = "DELETE FROM operator_session WHERE digest = $1"
_EXPIRE_SESSIONS = "DELETE FROM operator_session WHERE expires_at < now()"


async def fetch_key(conn: ReadConnection, key_id: str) -> Any:
    return await conn.fetchrow(_SELECT_KEY, key_id)


async def keys_holding(conn: Connection, key_ids: Sequence[str], prefixes: Sequence[str]) -> dict[str, Any]:
    """The keys of these ids that there are; holds prefixes shared for this transaction, locked in the order given."""
    return {record["id"]: record for record in await conn.fetch(_KEYS_AND_HOLD, key_ids, prefixes)}


async def keys_of(conn: ReadConnection, registrant_id: int) -> list[Any]:
    return await conn.fetch(_KEYS_OF, registrant_id)


async def live_keys(conn: Connection, registrant_id: int) -> int:
    """How many keys of a registrant are live, held for this transaction."""
    await conn.execute(_HOLD_KEYS, registrant_id)
    return int(await conn.fetchval(_LIVE_KEYS, registrant_id))


async def insert_key(
    conn: Connection,
    key_id: str,
    registrant_id: int,
    *,
    name: str,
    digest: bytes,
    generation: int,
    scopes: Sequence[str],
    networks: Sequence[str],
    expires_at: datetime | None,
) -> None:
    await conn.execute(
        _INSERT_KEY, key_id, registrant_id, name, digest, generation, list(scopes), list(networks), expires_at
    )


async def revoke(conn: Connection, key_id: str) -> int | None:
    """The registrant whose key was revoked; None where there was no live key of that id."""
    found = await conn.fetchval(_REVOKE, key_id)
    return None if found is None else int(found)


async def mark_used(conn: Connection, key_ids: Sequence[str]) -> None:
    await conn.execute(_USED, list(key_ids))


async def insert_operator(conn: Connection, login: str, password_hash: str, role: str) -> bool:
    return bool(await conn.fetchval(_INSERT_OPERATOR, login, password_hash, role))


async def attempt(conn: Connection, login: str, limit: int, minutes: int) -> Any:
    """Count a login before it is tried: (password_hash, last), None where there is no such operator or it is
    locked. The `limit`-th in a row is the last: it locks for `minutes` unless it succeeds."""
    return await conn.fetchrow(_ATTEMPT, login, limit, minutes)


async def locked_for(conn: ReadConnection, login: str) -> int | None:
    """Seconds that an operator stays locked; None where it is not."""
    seconds = await conn.fetchval(_LOCKED_FOR, login)
    return None if seconds is None else int(seconds)


async def login_succeeded(conn: Connection, login: str) -> None:
    await conn.execute(_SUCCEEDED, login)


async def open_session(conn: Connection, digest: bytes, login: str, expires_at: datetime) -> None:
    await conn.execute(_EXPIRE_SESSIONS)
    await conn.execute(_OPEN_SESSION, digest, login, expires_at)


async def session(conn: ReadConnection, digest: bytes) -> Any:
    return await conn.fetchrow(_SESSION, digest)


async def close_session(conn: Connection, digest: bytes) -> None:
    await conn.execute(_CLOSE_SESSION, digest)
