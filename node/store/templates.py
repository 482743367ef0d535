"""SQL over `template`: published versions, which never change."""

from __future__ import annotations

from typing import Any

from node.runtime import Connection, ReadConnection

# Insert first, then look: of two that publish the same version at once, one stores it and both see it.
_INSERT = """
    INSERT INTO template (code, version, body, digest) VALUES ($1, $2, $3, $4)
    ON CONFLICT (code, version) DO NOTHING RETURNING id
"""
_BY_ID = "SELECT id, body FROM template WHERE id = $1"
_BY_NAME = "SELECT id, body, digest FROM template WHERE code = $1 AND version = $2"
_LATEST = "SELECT id, body FROM template WHERE code = $1 ORDER BY version DESC LIMIT 1"
_ALL = "SELECT id, body FROM template ORDER BY code, version"


async def publish(conn: Connection, code: str, version: int, body: bytes, digest: bytes) -> bool:
    """Store a version; False where the same content stands there already. Raises ValueError on other content."""
    if await conn.fetchval(_INSERT, code, version, body, digest):
        return True
    stored = await conn.fetchrow(_BY_NAME, code, version)
    if stored["digest"] != digest:
        raise ValueError(f"template {code}@{version} is published with other content: raise its version")
    return False


async def by_id(conn: ReadConnection, template_id: int) -> Any:
    """(id, body) or None."""
    return await conn.fetchrow(_BY_ID, template_id)


async def by_name(conn: ReadConnection, code: str, version: int | None) -> Any:
    """(id, body) of that version, of the newest where version is None; None where there is none."""
    if version is None:
        return await conn.fetchrow(_LATEST, code)
    return await conn.fetchrow(_BY_NAME, code, version)


async def every(conn: ReadConnection) -> list[Any]:
    return await conn.fetch(_ALL)
