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


@dataclass(slots=True, frozen=True, kw_only=True)
class Cause:
    """What raises an alarm. `subject` is the handle of an item or a lot, or the prefix itself; `kind` a word such as
    "copied"; `score` 0 to 100; `at` when it happened, by default now; it happened `count` times."""

    registrant_id: int
    prefix: str
    subject: str
    kind: str
    score: int
    reasons: Sequence[Reason]
    count: int = 1
    at: datetime | None = None

    @property
    def key(self) -> store.Key:
        return self.registrant_id, self.subject, self.kind

    def row(self, now: datetime) -> dict[str, Any]:
        """The alarm where there is none yet."""
        at, score = self.at or now, max(0, min(100, self.score))
        told = orjson.dumps([{"code": r.code, "zh": r.zh, "en": r.en} for r in self.reasons[:MAX_REASONS]])
        return {"registrant_id": self.registrant_id, "prefix": self.prefix, "subject": self.subject, "kind": self.kind,
                "score": score, "told_score": score, "count": self.count, "reasons": told, "first_at": at,
                "last_at": at}  # fmt: skip


@dataclass(slots=True, frozen=True)
class Raised:
    id: int
    told: bool  # there was something new to tell: a message is in the outbox


async def raise_alarms(conn: Connection, causes: Sequence[Cause]) -> list[Raised]:
    """Raise alarms in the caller's transaction, or count earlier ones up, in order; each subject and kind once.

    All of an enterprise's are raised in turn with those of other transactions: a reader that goes on from the last
    `seq` it saw must not miss one that commits later with a lower one, and nobody waits for another's row. Five
    statements however many they are: one by one a copied roll of a thousand codes took a second of the loop.
    """
    if not causes:
        return []
    now = await store.take_turns(conn, sorted({cause.registrant_id for cause in causes}))
    held = await store.hold(conn, [cause.key for cause in causes])
    new = [cause.row(now) for cause in causes if cause.key not in held]
    changed = [again(held[cause.key], cause.row(now), now) for cause in causes if cause.key in held]
    rows = await store.insert(conn, new) + await store.update(conn, changed)
    told = {store.key_of(row) for row in new} | {store.key_of(row) for row, tell in changed if tell}
    by_key = {store.key_of(row): row for row in rows}
    await coordinator.post_each(conn, TOPIC, [_message(by_key[c.key]) for c in causes if c.key in told])
    return [Raised(by_key[cause.key]["id"], cause.key in told) for cause in causes]


def again(row: Mapping[str, Any], raised: Mapping[str, Any], now: datetime) -> tuple[dict[str, Any], bool]:
    """(the alarm after it was raised once more, as `raised` would be a new one; whether the enterprise is told)."""
    after = dict(row)
    after["count"] += raised["count"]
    after["first_at"] = min(row["first_at"], raised["first_at"])
    after["last_at"] = max(row["last_at"], raised["last_at"])
    acknowledged = row["acknowledged_at"]
    reopened = acknowledged is not None and now - acknowledged >= QUIET
    if reopened or raised["score"] >= row["score"]:
        after["score"], after["reasons"] = raised["score"], raised["reasons"]
    tell = reopened or after["score"] >= row["told_score"] + RISE
    if tell:
        after |= {"told_score": after["score"], "acknowledged_at": None, "acknowledged_by": ""}
    return after, tell


def _message(row: Mapping[str, Any]) -> dict[str, Any]:
    message = {"id": f"msg_{secrets.token_hex(16)}", "type": "alarm.raised", "alarm": document(row)}
    return {"registrant": row["registrant_id"], **message}


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
