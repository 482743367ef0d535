"""The audit trail: who did what to what, when. Chained, so that an altered or missing entry shows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from node.runtime import Connection, ReadConnection
from node.store import audit as store
from node.store.audit import Entry

_PAGE = 1000


async def record(
    conn: Connection, actor: str, action: str, object_: str, detail: Mapping[str, Any] | None = None
) -> None:
    """Append an entry in the caller's transaction. `detail` holds no secret and no personal data.

    The chain's head is held until the commit, so that entries of concurrent changes queue and none is lost.
    Call it last: a lock taken after it could wait for somebody who waits for the head.
    """
    last, previous, at = await store.head(conn)
    packed = orjson.dumps(detail or {}, option=orjson.OPT_SORT_KEYS)
    entry = Entry(last + 1, at, actor, action, object_, packed, previous)
    await store.append(conn, entry, _digest(entry))


def _digest(entry: Entry) -> bytes:
    told = {
        "id": entry.id,
        "at": store.utc(entry.at),
        "actor": entry.actor,
        "action": entry.action,
        "object": entry.object,
        "detail": entry.detail.hex(),  # as stored, byte for byte, also where it is no longer UTF-8
    }
    return hashlib.sha256(entry.previous + orjson.dumps(told, option=orjson.OPT_SORT_KEYS)).digest()


async def verify(conn: ReadConnection) -> list[str]:
    """Faults of the chain: altered, missing or reordered entries. The newest ones, cut off, leave no trace:
    against that the head must be kept elsewhere."""
    faults: list[str] = []
    last, previous = 0, b""
    while page := await store.page(conn, last, _PAGE):
        for entry, digest in page:
            if entry.id != last + 1:
                faults.append(f"entries {last + 1} to {entry.id - 1} are missing")
            elif entry.previous != previous:
                faults.append(f"entry {entry.id} does not follow entry {last}")
            if _digest(entry) != digest:
                faults.append(f"entry {entry.id} was altered")
            last, previous = entry.id, digest
    return faults


async def entries(conn: ReadConnection, after: int, limit: int) -> list[dict[str, Any]]:
    """A page of the trail as documents, oldest first, from the entry after `after`."""
    return [
        {
            "id": entry.id,
            "at": store.utc(entry.at),
            "actor": entry.actor,
            "action": entry.action,
            "object": entry.object,
            "detail": orjson.loads(entry.detail),
        }
        for entry, _ in await store.page(conn, after, limit)
    ]
