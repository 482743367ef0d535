"""SQL over `event`: sharded like the handle it happened to, append-only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from node.model import Event
from node.runtime import Connection, ReadConnection

_INSERT = """
    INSERT INTO event (shard, prefix_id, suffix, event_id, event_type, action, biz_step, disposition,
                       event_time, read_point, biz_location, corrects, actor, body)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
    ON CONFLICT (shard, prefix_id, suffix, event_id) DO NOTHING
    RETURNING recorded_at
"""

_COLUMNS = (
    "suffix, event_id, event_type, action, biz_step, disposition, event_time, recorded_at, "
    "read_point, biz_location, corrects, body"
)

_SELECT = f"""
    SELECT {_COLUMNS} FROM event
     WHERE shard = $1 AND prefix_id = $2 AND suffix = $3
     ORDER BY event_time, recorded_at, event_id
     LIMIT $4
"""

_SELECT_ONE = f"""
    SELECT {_COLUMNS} FROM event WHERE shard = $1 AND prefix_id = $2 AND suffix = $3 AND event_id = $4
"""


def _event(record: Any) -> Event:
    return Event(
        event_id=record["event_id"],
        event_type=record["event_type"],
        action=record["action"],
        biz_step=record["biz_step"],
        disposition=record["disposition"],
        event_time=record["event_time"],
        recorded_at=record["recorded_at"],
        read_point=record["read_point"],
        biz_location=record["biz_location"],
        body=orjson.loads(record["body"]),
        corrects=record["corrects"],
    )


async def insert(
    conn: Connection, shard: int, prefix_id: int, suffix: str, fields: Sequence[Any], actor: str, body: bytes
) -> bool:
    """Store one event; False where its id is taken. `fields`: event_id, event_type, action, biz_step,
    disposition, event_time, read_point, biz_location, corrects."""
    return bool(await conn.fetchval(_INSERT, shard, prefix_id, suffix, *fields, actor, body))


async def of_handle(conn: ReadConnection, shard: int, prefix_id: int, suffix: str, limit: int = 200) -> list[Event]:
    """What happened to one handle, in the order in which it happened."""
    return [_event(r) for r in await conn.fetch(_SELECT, shard, prefix_id, suffix, limit)]


async def fetch(conn: ReadConnection, shard: int, prefix_id: int, suffix: str, event_id: str) -> Event | None:
    record = await conn.fetchrow(_SELECT_ONE, shard, prefix_id, suffix, event_id)
    return _event(record) if record else None
