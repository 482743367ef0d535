"""SQL over `audit`: an append-only chain."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from node.runtime import Connection, ReadConnection

_COLUMNS = "id, at, actor, action, object, detail, previous, hash"
_HOLD = "SELECT pg_advisory_xact_lock(91, 0)"
# clock_timestamp(), not now(): entries are in order of time only if the clock is read under the lock.
_HEAD = "SELECT id, hash, clock_timestamp() AS at FROM audit ORDER BY id DESC LIMIT 1"
_NOW = "SELECT clock_timestamp()"
_APPEND = f"INSERT INTO audit ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
_PAGE = f"SELECT {_COLUMNS} FROM audit WHERE id > $1 ORDER BY id LIMIT $2"


@dataclass(slots=True, frozen=True)
class Entry:
    """One entry without its own hash; `detail` is canonical JSON, `previous` the hash of the entry before."""

    id: int
    at: datetime
    actor: str
    action: str
    object: str
    detail: bytes
    previous: bytes


def utc(at: datetime) -> str:
    """The one way in which a time is written down here, whatever zone the connection speaks."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


async def head(conn: Connection) -> tuple[int, bytes, datetime]:
    """(id, hash) of the last entry and the time now, held so that the next entry is the caller's."""
    await conn.execute(_HOLD)
    record = await conn.fetchrow(_HEAD)
    if record is None:
        return 0, b"", await conn.fetchval(_NOW)
    return record["id"], record["hash"], record["at"]


async def append(conn: Connection, entry: Entry, digest: bytes) -> None:
    await conn.execute(
        _APPEND,
        entry.id,
        entry.at,
        entry.actor,
        entry.action,
        entry.object,
        entry.detail,
        entry.previous,
        digest,
    )


async def page(conn: ReadConnection, after: int, limit: int) -> list[tuple[Entry, bytes]]:
    """Entries after an id, each with its stored hash."""
    return [
        (Entry(r["id"], r["at"], r["actor"], r["action"], r["object"], r["detail"], r["previous"]), r["hash"])
        for r in await conn.fetch(_PAGE, after, limit)
    ]
