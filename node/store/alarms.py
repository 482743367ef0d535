"""SQL over `alarm`: what an enterprise is told about its goods. A coordinator table."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from node.runtime import Connection, ReadConnection

_COLUMNS = """id, registrant_id, seq, prefix, subject, kind, score, told_score, count, reasons, first_at, last_at,
    acknowledged_at, acknowledged_by"""
_FETCH_HELD = f"""
    SELECT {_COLUMNS} FROM alarm WHERE registrant_id = $1 AND subject = $2 AND kind = $3 FOR UPDATE
"""
_INSERT = f"""
    INSERT INTO alarm (registrant_id, prefix, subject, kind, score, told_score, count, reasons, first_at, last_at)
    VALUES ($1, $2, $3, $4, $5, $5, $6, $7, $8, $8)
    ON CONFLICT (registrant_id, subject, kind) DO NOTHING
    RETURNING {_COLUMNS}
"""
_UPDATE = f"""
    UPDATE alarm SET score = $2, told_score = $3, count = $4, reasons = $5, first_at = $6, last_at = $7,
                     acknowledged_at = $8, acknowledged_by = $9,
                     seq = CASE WHEN $10 THEN nextval('alarm_seq') ELSE seq END
     WHERE id = $1 RETURNING {_COLUMNS}
"""
_UPDATED = (
    "id",
    "score",
    "told_score",
    "count",
    "reasons",
    "first_at",
    "last_at",
    "acknowledged_at",
    "acknowledged_by",
)
# A reader that goes on from the last seq it saw must not miss one that commits later with a lower seq: who tells
# an enterprise something new takes turns with the others, and holds its turn until the commit.
_TURN = "SELECT pg_advisory_xact_lock(94, $1)"
_PAGE = f"""
    SELECT {_COLUMNS} FROM alarm
     WHERE registrant_id = $1 AND seq > $2 AND ($3::boolean IS NULL OR (acknowledged_at IS NULL) = $3)
     ORDER BY seq LIMIT $4
"""
_ACKNOWLEDGE = f"""
    UPDATE alarm SET acknowledged_at = now(), acknowledged_by = $3
     WHERE registrant_id = $1 AND id = $2 AND acknowledged_at IS NULL RETURNING {_COLUMNS}
"""
_FETCH = f"SELECT {_COLUMNS} FROM alarm WHERE registrant_id = $1 AND id = $2"
_NOW = "SELECT now()"


async def take_turn(conn: Connection, registrant_id: int) -> None:
    await conn.execute(_TURN, registrant_id)


async def insert(
    conn: Connection,
    registrant_id: int,
    prefix: str,
    subject: str,
    kind: str,
    score: int,
    count: int,
    reasons: bytes,
    at: datetime,
) -> Any:
    """The new alarm; None where there is one of this subject and kind."""
    return await conn.fetchrow(_INSERT, registrant_id, prefix, subject, kind, score, count, reasons, at)


async def hold(conn: Connection, registrant_id: int, subject: str, kind: str) -> Any:
    return await conn.fetchrow(_FETCH_HELD, registrant_id, subject, kind)


async def update(conn: Connection, row: Mapping[str, Any], *, tell: bool) -> Any:
    """Write an alarm that is held; `tell` moves it to the end of what readers have yet to see."""
    return await conn.fetchrow(_UPDATE, *(row[name] for name in _UPDATED), tell)


async def page(conn: ReadConnection, registrant_id: int, after: int, open_: bool | None, limit: int) -> list[Any]:
    return await conn.fetch(_PAGE, registrant_id, after, open_, limit)


async def fetch(conn: ReadConnection, registrant_id: int, alarm_id: int) -> Any:
    return await conn.fetchrow(_FETCH, registrant_id, alarm_id)


async def acknowledge(conn: Connection, registrant_id: int, alarm_id: int, actor: str) -> Any:
    """The alarm that this acknowledged; None where there is no open one of that id."""
    return await conn.fetchrow(_ACKNOWLEDGE, registrant_id, alarm_id, actor)


async def now(conn: ReadConnection) -> datetime:
    moment: datetime = await conn.fetchval(_NOW)
    return moment
