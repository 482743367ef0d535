"""SQL over `event`, sharded like the handle that it happened to, and `event_document`, by its id; append-only."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson

import handle_codec
from node.model import SHARDS, Event
from node.runtime import Connection, ReadConnection

BEGIN, END = datetime(1900, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)  # no event is outside

# By key, so that two posts of the same events wait for each other and cannot deadlock.
_INSERT_DOCUMENTS = """
    INSERT INTO event_document (shard, registrant_id, event_id, declaration, event_time, digest, content, actor)
    SELECT n.shard, $1, n.event_id, $2, n.event_time, n.digest, n.content, $3
      FROM unnest($4::smallint[], $5::text[], $6::timestamptz[], $7::bytea[], $8::bytea[])
           AS n (shard, event_id, event_time, digest, content)
     ORDER BY n.shard, n.event_id
    ON CONFLICT (shard, registrant_id, event_id, declaration) DO NOTHING
    RETURNING event_id
"""
_DOCUMENTS = """
    SELECT d.event_id, d.declaration, d.digest, d.content, d.recorded_at, d.event_time
      FROM unnest($1::smallint[], $2::integer[], $3::text[]) AS n (shard, registrant_id, event_id)
      JOIN event_document AS d ON d.shard = n.shard AND d.registrant_id = n.registrant_id AND d.event_id = n.event_id
"""
_INSERT = """
    INSERT INTO event (shard, prefix_id, suffix, event_id, event_type, action, biz_step, disposition,
                       event_time, read_point, biz_location, corrects, actor, body, role, parent)
    SELECT n.shard, n.prefix_id, n.suffix, n.event_id, n.event_type, n.action, n.biz_step, n.disposition,
           n.event_time, n.read_point, n.biz_location, n.corrects, $1, n.body, n.role, n.parent
      FROM unnest($2::smallint[], $3::integer[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
                  $10::timestamptz[], $11::text[], $12::text[], $13::text[], $14::bytea[], $15::text[], $16::text[])
           AS n (shard, prefix_id, suffix, event_id, event_type, action, biz_step, disposition,
                 event_time, read_point, biz_location, corrects, body, role, parent)
     ORDER BY n.shard, n.prefix_id, n.suffix, n.event_id
    ON CONFLICT (shard, prefix_id, suffix, event_id) DO NOTHING
"""
_HAVE = """
    SELECT n.n FROM unnest($1::integer[], $2::smallint[], $3::integer[], $4::text[], $5::text[])
           AS n (n, shard, prefix_id, suffix, event_id)
      JOIN event AS e ON e.shard = n.shard AND e.prefix_id = n.prefix_id AND e.suffix = n.suffix
       AND e.event_id = n.event_id
"""

_COLUMNS = """
    e.prefix_id, e.suffix, e.event_id, e.event_type, e.action, e.biz_step, e.disposition, e.event_time, e.recorded_at,
    e.read_point, e.biz_location, e.corrects, e.body, e.role, e.parent,
    EXISTS (SELECT FROM event AS w
             WHERE w.shard = e.shard AND w.prefix_id = e.prefix_id AND w.suffix = e.suffix
               AND w.corrects = e.event_id AND w.corrects <> '') AS withdrawn
"""
# The newest of each: what is shown is the end of a long story.
_OF_EACH = f"""
    SELECT n.n, e.* FROM unnest($1::integer[], $2::smallint[], $3::integer[], $4::text[], $5::timestamptz[],
                                $6::timestamptz[]) AS n (n, shard, prefix_id, suffix, since, until)
     CROSS JOIN LATERAL (SELECT {_COLUMNS} FROM event AS e
                          WHERE e.shard = n.shard AND e.prefix_id = n.prefix_id AND e.suffix = n.suffix
                            AND e.event_time >= n.since AND e.event_time < n.until AND e.role <> 'declaration'
                          ORDER BY e.event_time DESC, e.recorded_at DESC, e.event_id DESC LIMIT $7) AS e
"""
_CONTAINED = f"""
    SELECT n.n, e.* FROM unnest($1::integer[], $2::smallint[], $3::integer[], $4::text[])
                         AS n (n, shard, prefix_id, suffix)
     CROSS JOIN LATERAL (SELECT {_COLUMNS} FROM event AS e
                          WHERE e.shard = n.shard AND e.prefix_id = n.prefix_id AND e.suffix = n.suffix
                            AND e.parent <> '' AND e.action <> 'OBSERVE'
                          ORDER BY e.event_time DESC, e.event_id DESC LIMIT $5) AS e
"""


class Place(NamedTuple):
    """A handle by its key, and the times [since, until) of which events are wanted."""

    shard: int
    prefix_id: int
    suffix: str
    since: datetime = BEGIN
    until: datetime = END


def shard_of(event_id: str) -> int:
    """Where a document lies: by its id, over all shards."""
    return handle_codec.hash64(event_id.encode()) % SHARDS


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
        prefix_id=record["prefix_id"],
        suffix=record["suffix"],
        role=record["role"],
        parent=record["parent"],
        withdrawn=record["withdrawn"],
    )


async def insert_documents(
    conn: Connection, registrant_id: int, declaration: bool, actor: str, columns: Sequence[Sequence[Any]]
) -> set[str]:
    """Store what is not there yet, and return their ids; columns shard, event_id, event_time, digest, content."""
    records = await conn.fetch(_INSERT_DOCUMENTS, registrant_id, declaration, actor, *columns)
    return {record["event_id"] for record in records}


async def documents(
    conn: ReadConnection, registrant_id: int, shards: Sequence[int], event_ids: Sequence[str]
) -> dict[tuple[str, bool], Any]:
    """Documents by (event_id, whether it is a declaration): digest, content, recorded_at, event_time."""
    records = await conn.fetch(_DOCUMENTS, shards, [registrant_id] * len(event_ids), event_ids)
    return {(record["event_id"], record["declaration"]): record for record in records}


async def insert(conn: Connection, actor: str, columns: Sequence[Sequence[Any]]) -> None:
    """Store a row for each handle of each event; columns as in _INSERT."""
    await conn.execute(_INSERT, actor, *columns)


async def have(conn: ReadConnection, places: Sequence[Place], event_ids: Sequence[str]) -> set[int]:
    """The numbers of the (handle, event id) that are there."""
    columns = [[p.shard for p in places], [p.prefix_id for p in places], [p.suffix for p in places]]
    return {r["n"] for r in await conn.fetch(_HAVE, range(len(places)), *columns, event_ids)}


async def of_each(conn: ReadConnection, places: Sequence[Place], limit: int) -> list[list[Event]]:
    """The newest events of each handle in its times, newest first; declarations are told by `withdrawn` alone."""
    columns = list(zip(*places, strict=True))
    return _sorted_out(len(places), await conn.fetch(_OF_EACH, range(len(places)), *columns, limit))


async def contained(conn: ReadConnection, places: Sequence[Place], limit: int) -> list[list[Event]]:
    """Of each handle when it was put into something or taken out, and when all was taken out of it; newest first."""
    columns = [[p.shard for p in places], [p.prefix_id for p in places], [p.suffix for p in places]]
    return _sorted_out(len(places), await conn.fetch(_CONTAINED, range(len(places)), *columns, limit))


def _sorted_out(count: int, records: Sequence[Any]) -> list[list[Event]]:
    found: list[list[Event]] = [[] for _ in range(count)]
    for record in records:
        found[record["n"]].append(_event(record))
    return found
