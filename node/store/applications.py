"""SQL over `application`: who asked for a prefix, and what was decided."""

from __future__ import annotations

from typing import Any

from node.model import PrefixStatus
from node.runtime import Connection, ReadConnection

_SELECT = """
    SELECT id, credit_code, name, industry, county, contact, status, reason, decided_by, decided_at,
           registrant_id, prefix, created_at
      FROM application
"""
_SELECT_ONE = f"{_SELECT} WHERE id = $1"
_LOCK = f"{_SELECT_ONE} FOR UPDATE"
_PAGE = f"{_SELECT} WHERE id > $1 AND ($2::smallint IS NULL OR status = $2) ORDER BY id LIMIT $3"

# The partial unique index decides: of two applications of one enterprise at once, one is stored.
_INSERT = """
    INSERT INTO application (credit_code, name, industry, county, contact) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (credit_code) WHERE status IN (4, 5) DO NOTHING
    RETURNING id
"""
_DECIDE = """
    UPDATE application SET status = $2, reason = $3, decided_by = $4, decided_at = now(),
                           registrant_id = $5, prefix = $6
     WHERE id = $1
"""


async def insert(
    conn: Connection, credit_code: str, name: str, industry: str, *, county: str, contact: bytes
) -> int | None:
    """The new application's id; None where one of the same enterprise is open. `contact` is sealed."""
    number = await conn.fetchval(_INSERT, credit_code, name, industry, county, contact)
    return None if number is None else int(number)


async def fetch(conn: ReadConnection, number: int) -> Any:
    return await conn.fetchrow(_SELECT_ONE, number)


async def lock(conn: Connection, number: int) -> Any:
    """The application, held for this transaction: of decisions that race, one sees it undecided."""
    return await conn.fetchrow(_LOCK, number)


async def page(conn: ReadConnection, after: int, status: int | None, limit: int) -> list[Any]:
    """Applications in the order in which they came, from the one after `after`; of one status or of all."""
    return await conn.fetch(_PAGE, after, status, limit)


async def decide(
    conn: Connection,
    number: int,
    *,
    status: PrefixStatus,
    reason: str,
    actor: str,
    registrant_id: int | None,
    prefix: str | None,
) -> None:
    await conn.execute(_DECIDE, number, status, reason, actor, registrant_id, prefix)
