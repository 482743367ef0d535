"""SQL over `alarm`: what an enterprise is told about its goods. A coordinator table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from node.runtime import Connection, ReadConnection

_COLUMNS = """id, registrant_id, seq, prefix, subject, kind, score, told_score, count, reasons, first_at, last_at,
    acknowledged_at, acknowledged_by"""
# Held against an acknowledgement; against others who raise them by the turn.
_HOLD = f"""
    SELECT {_COLUMNS} FROM alarm
     WHERE (registrant_id, subject, kind) IN (SELECT * FROM unnest($1::integer[], $2::text[], $3::text[])) FOR UPDATE
"""
_INSERT = f"""
    INSERT INTO alarm (registrant_id, prefix, subject, kind, score, told_score, count, reasons, first_at, last_at)
    SELECT * FROM unnest($1::integer[], $2::text[], $3::text[], $4::text[], $5::smallint[], $6::smallint[],
                         $7::bigint[], $8::bytea[], $9::timestamptz[], $10::timestamptz[])
    RETURNING {_COLUMNS}
"""
_INSERTED = (
    "registrant_id", "prefix", "subject", "kind", "score", "told_score", "count", "reasons", "first_at", "last_at"
)  # fmt: skip
_UPDATE = f"""
    UPDATE alarm AS a SET score = n.score, told_score = n.told_score, count = n.count, reasons = n.reasons,
                          first_at = n.first_at, last_at = n.last_at, acknowledged_at = n.acknowledged_at,
                          acknowledged_by = n.acknowledged_by,
                          seq = CASE WHEN n.tell THEN nextval('alarm_seq') ELSE a.seq END
      FROM unnest($1::bigint[], $2::smallint[], $3::smallint[], $4::bigint[], $5::bytea[], $6::timestamptz[],
                  $7::timestamptz[], $8::timestamptz[], $9::text[], $10::boolean[])
           AS n (id, score, told_score, count, reasons, first_at, last_at, acknowledged_at, acknowledged_by, tell)
     WHERE a.id = n.id RETURNING {", ".join("a." + name.strip() for name in _COLUMNS.split(","))}
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
_TURNS = """
    SELECT pg_advisory_xact_lock(94, r) FROM (SELECT r FROM unnest($1::integer[]) AS n (r) ORDER BY r) AS sorted
"""
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


async def take_turns(conn: Connection, registrant_ids: Sequence[int]) -> datetime:
    """Take the turns of these, in their order; the time of the transaction."""
    await conn.execute(_TURNS, registrant_ids)
    moment: datetime = await conn.fetchval(_NOW)
    return moment


Key = tuple[int, str, str]  # registrant, subject, kind


def key_of(row: Mapping[str, Any]) -> Key:
    return row["registrant_id"], row["subject"], row["kind"]


async def hold(conn: Connection, keys: Sequence[Key]) -> dict[Key, Any]:
    """Those of these that there are."""
    rows = await conn.fetch(_HOLD, *(list(column) for column in zip(*keys, strict=True)))
    return {key_of(row): row for row in rows}


async def insert(conn: Connection, rows: Sequence[Mapping[str, Any]]) -> list[Any]:
    """New alarms; none of them is there, whose turns are held."""
    return await conn.fetch(_INSERT, *([row[name] for row in rows] for name in _INSERTED)) if rows else []


async def update(conn: Connection, rows: Sequence[tuple[Mapping[str, Any], bool]]) -> list[Any]:
    """Write alarms that are held; whether it is to be told moves each to the end of what readers have yet to see."""
    if not rows:
        return []
    columns = [[row[name] for row, _ in rows] for name in _UPDATED]
    return await conn.fetch(_UPDATE, *columns, [tell for _, tell in rows])


async def page(conn: ReadConnection, registrant_id: int, after: int, open_: bool | None, limit: int) -> list[Any]:
    return await conn.fetch(_PAGE, registrant_id, after, open_, limit)


async def fetch(conn: ReadConnection, registrant_id: int, alarm_id: int) -> Any:
    return await conn.fetchrow(_FETCH, registrant_id, alarm_id)


async def acknowledge(conn: Connection, registrant_id: int, alarm_id: int, actor: str) -> Any:
    """The alarm that this acknowledged; None where there is no open one of that id."""
    return await conn.fetchrow(_ACKNOWLEDGE, registrant_id, alarm_id, actor)
