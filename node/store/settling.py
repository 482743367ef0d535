"""SQL over `settler`: which settlement of which worker was applied."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from node.runtime import Connection, ReadConnection

# Numbers rise, so one row a worker remembers them all. A worker that is gone sends nothing again.
_BEGIN = """
    INSERT INTO settler (worker, kind, number, taken_at) VALUES ($1, $2, $3, to_timestamp($4))
    ON CONFLICT (worker, kind) DO UPDATE SET number = EXCLUDED.number, taken_at = EXCLUDED.taken_at
     WHERE settler.number < EXCLUDED.number
    RETURNING true
"""
# Whole, not summed: a row that expires could make up for one that came.
_OTHERS = """
    SELECT md5(string_agg(worker || kind || number, ' ' ORDER BY worker, kind))
      FROM settler WHERE kind <> 'resolution' AND worker <> ALL ($1)
"""
_EXPIRE = "DELETE FROM settler WHERE taken_at < now() - interval '7 days'"


async def begin(conn: Connection, worker: uuid.UUID, kind: str, number: int, taken_at: float) -> bool:
    """Note the settlement in its own transaction; False where it was applied before and must not be again."""
    return bool(await conn.fetchval(_BEGIN, worker, kind, number, taken_at))


async def others(conn: ReadConnection, own: Sequence[uuid.UUID]) -> str:
    """Changes with each commit of scans by another worker than these."""
    return str(await conn.fetchval(_OTHERS, own))


async def expire(conn: Connection) -> None:
    """Forget workers that settled nothing for a week: none holds a settlement that long."""
    await conn.execute(_EXPIRE)
