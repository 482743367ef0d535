"""Alarms: what the node tells an enterprise about its goods, by the API and pushed to its webhook.

There is one alarm for a subject and a kind. What happens again is counted up in it; the enterprise is told when the
alarm is new, when its score has risen by 10 since it was told last, and when it comes again a day after it was
acknowledged: a copied code is scanned a thousand times a day, and that is one thing to know.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson

from node import audit
from node.access import require_scope
from node.errors import NotFound
from node.model import Identity
from node.runtime import Connection, Node, reading
from node.store import alarms as store
from node.store import coordinator
from node.writing import Change, change

TOPIC = "webhook"  # in the outbox
RISE = 10  # of a score, that is told
QUIET = timedelta(days=1)  # after an acknowledgement
MAX_REASONS = 20


@dataclass(slots=True, frozen=True)
class Reason:
    """One finding behind a score, in a sentence that a person reads."""

    code: str
    zh: str
    en: str


@dataclass(slots=True, frozen=True)
class Raised:
    id: int
    told: bool  # there was something new to tell: a message is in the outbox


async def raise_alarm(
    conn: Connection,
    *,
    registrant_id: int,
    prefix: str,
    subject: str,
    kind: str,
    score: int,
    reasons: Sequence[Reason],
    count: int = 1,
    at: datetime | None = None,
) -> Raised:
    """Raise an alarm in the caller's transaction, or count an earlier one up by `count`.

    `subject` is the handle of an item or a lot, or the prefix itself; `kind` a word such as "copied"; `score` 0 to
    100; `at` when it happened, by default now. Whoever raises several in one transaction takes them in order of
    (registrant, subject, kind): each holds its row until the commit, and another order could deadlock (which is
    resolved by trying again, at the price of doing all of it twice).
    """
    now = await store.now(conn)
    at, score = at or now, max(0, min(100, score))
    told = orjson.dumps([{"code": r.code, "zh": r.zh, "en": r.en} for r in reasons[:MAX_REASONS]])
    row = await store.hold(conn, registrant_id, subject, kind)
    if row is None:
        await store.take_turn(conn, registrant_id)
        row = await store.insert(conn, registrant_id, prefix, subject, kind, score, count, told, at)
        if row is not None:
            return await _tell(conn, row)
        row = await store.hold(conn, registrant_id, subject, kind)  # somebody was quicker
    after, tell = again(row, score, told, count, at, now)
    if tell:
        await store.take_turn(conn, registrant_id)
    row = await store.update(conn, after, tell=tell)
    return await _tell(conn, row) if tell else Raised(row["id"], told=False)


def again(
    row: Mapping[str, Any], score: int, reasons: bytes, count: int, at: datetime, now: datetime
) -> tuple[dict[str, Any], bool]:
    """(the alarm after it was raised once more, whether the enterprise is told of it)."""
    after = dict(row)
    after["count"] += count
    after["first_at"], after["last_at"] = min(row["first_at"], at), max(row["last_at"], at)
    acknowledged = row["acknowledged_at"]
    reopened = acknowledged is not None and now - acknowledged >= QUIET
    if reopened or score >= row["score"]:
        after["score"], after["reasons"] = score, reasons
    tell = reopened or after["score"] >= row["told_score"] + RISE
    if tell:
        after |= {"told_score": after["score"], "acknowledged_at": None, "acknowledged_by": ""}
    return after, tell


async def _tell(conn: Connection, row: Mapping[str, Any]) -> Raised:
    message = {"id": f"msg_{secrets.token_hex(16)}", "type": "alarm.raised", "alarm": document(row)}
    await coordinator.post(conn, TOPIC, {"registrant": row["registrant_id"], **message})
    return Raised(row["id"], told=True)


def document(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": row["id"],
        "seq": row["seq"],
        "prefix": row["prefix"],
        "subject": row["subject"],
        "kind": row["kind"],
        "score": row["score"],
        "reasons": orjson.loads(row["reasons"]),
        "count": row["count"],
        "first_at": row["first_at"].isoformat(),
        "last_at": row["last_at"].isoformat(),
        "acknowledged_at": row["acknowledged_at"] and row["acknowledged_at"].isoformat(),
        "acknowledged_by": row["acknowledged_by"] or None,
    }


async def listed(node: Node, identity: Identity, after: int, open_: bool | None, limit: int) -> list[dict[str, Any]]:
    """The caller's alarms in the order in which there was something to tell, from `after` on; `open_` None for all."""
    assert identity.registrant_id is not None
    async with reading(node) as conn:
        return [document(row) for row in await store.page(conn, identity.registrant_id, after, open_, limit)]


async def acknowledge(node: Node, identity: Identity, alarm_id: int) -> dict[str, Any]:
    """Somebody has seen to it; the same again is no fault. NotFound where it is no alarm of the caller's."""
    require_scope(identity, "register")
    registrant = identity.registrant_id
    assert registrant is not None

    async def work(doing: Change) -> Any:
        row = await store.acknowledge(doing.conn, registrant, alarm_id, identity.actor)
        if row is not None:
            await audit.record(doing.conn, identity.actor, "alarm.acknowledge", str(alarm_id), {"kind": row["kind"]})
            return row
        return await store.fetch(doing.conn, registrant, alarm_id)

    row = await change(node, work)
    if row is None:
        raise NotFound.of(what=f"alarm {alarm_id}")
    return document(row)
