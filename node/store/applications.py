"""SQL over `application`; not sharded."""

from __future__ import annotations

from typing import Any

from node.model import PrefixStatus
from node.runtime import Connection, ReadConnection

_COLUMNS = """id, credit_code, name, industry, county, contact, status, reason, decided_by, decided_at,
              registrant_id, prefix, created_at"""
# The partial unique index lets one open application of an enterprise exist; insert first, then look.
_INSERT = """
    INSERT INTO application (credit_code, name, industry, county, contact) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (credit_code) WHERE status IN (4, 5) DO NOTHING
    RETURNING id
"""
_SELECT = f"SELECT {_COLUMNS} FROM application WHERE id = $1"
_LOCK = f"{_SELECT} FOR UPDATE"
_PAGE = f"""
    SELECT {_COLUMNS} FROM application
     WHERE id > $1 AND ($2::smallint IS NULL OR status = $2) ORDER BY id LIMIT $3
"""
_DECIDE = """
    UPDATE application
       SET status = $2, reason = $3, decided_by = $4, decided_at = now(), registrant_id = $5, prefix = $6
     WHERE id = $1
"""


async def insert(
    conn: Connection, credit_code: str, name: str, industry: str, county: str, contact: bytes
) -> int | None:
    """The new application's id; None where the enterprise has an open one."""
    found = await conn.fetchval(_INSERT, credit_code, name, industry, county, contact)
    return None if found is None else int(found)


async def fetch(conn: ReadConnection, application_id: int) -> Any:
    return await conn.fetchrow(_SELECT, application_id)


async def lock(conn: Connection, application_id: int) -> Any:
    return await conn.fetchrow(_LOCK, application_id)


async def page(conn: ReadConnection, after: int, status: int | None, limit: int) -> list[Any]:
    return await conn.fetch(_PAGE, after, status, limit)


async def decide(
    conn: Connection,
    application_id: int,
    status: PrefixStatus,
    reason: str,
    actor: str,
    registrant_id: int | None,
    prefix: str | None,
) -> None:
    await conn.execute(_DECIDE, application_id, status, reason, actor, registrant_id, prefix)
