"""Suspicions kept per item, lot and prefix: scored from what was counted, and handed on as alarms."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

import handle_codec
from node import alarms, sketch, suspicion, tally
from node.alarms import Cause
from node.runtime import Connection, Node, ReadConnection, in_transaction
from node.scan_memory import Touched
from node.store import scans
from node.store import suspicion as store
from node.suspicion import Evidence, Reason

_TURN = 500  # items scored in one transaction
_AT_ONCE = 50  # and without a turn of the event loop: 0.3 ms; all of them hold up every answer for up to 8


@dataclass(slots=True, frozen=True)
class Alarm:
    """What an enterprise is told. `handle` is the item's, the lot's, or the prefix itself; `kind` says which."""

    registrant_id: int
    handle: str
    lot: str
    kind: str
    score: int
    reasons: list[dict[str, Any]]

    def cause(self) -> Cause:
        reasons = [alarms.Reason(r["code"], r["zh"], r["en"]) for r in self.reasons]
        prefix, kind = self.handle.partition("/")[0], f"copied_{self.kind}"
        return Cause(registrant_id=self.registrant_id, prefix=prefix, subject=self.handle, kind=kind, score=self.score,
                     reasons=reasons)  # fmt: skip


def note_miss(node: Node, prefix_id: int, suffix: str, now: float, *, forged: bool = False) -> None:
    """A look-up under a prefix of this node that found nothing; `forged`: a minted form that was never issued.

    In memory only, bounded whatever is asked for; settled with the counts of resolutions.
    """
    guessed = suspicion.guesses(node.scan_memory.missed, prefix_id, suffix, now)
    if forged or guessed:
        node.tally.suspect(prefix_id, now, forged=int(forged), guessed=guessed)


async def assess(node: Node, now: float) -> list[Alarm]:
    """Score what was touched since the last time, and each prefix's day; the alarms that were raised."""
    memory, begun = node.scan_memory, time.monotonic()
    turn = [memory.touched.pop(key) for key in list(memory.touched)[:_TURN]]

    async def work(conn: Connection) -> list[Alarm]:
        found = await _items(node, conn, turn) + await _prefixes(node, conn, now)
        return await _keep(node, conn, found)

    raised = await in_transaction(node, work)
    memory.score_known(turn, begun)
    return raised


_Found = tuple[int, str, str, str, list[Reason]]  # prefix_id, kind, suffix, lot, reasons


async def _items(node: Node, conn: ReadConnection, turn: Sequence[Touched]) -> list[_Found]:
    if not turn:
        return []
    lots = {(t.prefix_id, t.suffix): t.lot for t in turn}
    rows = await scans.of_items(conn, [t.shard for t in turn], [t.prefix_id for t in turn], [t.suffix for t in turn])
    shipped = await _shipped(conn, turn)
    found: list[_Found] = []
    for number, row in enumerate(rows):
        if number % _AT_ONCE == 0:
            await asyncio.sleep(0)
        prefix_id, suffix = row["prefix_id"], row["suffix"]
        lot = lots[prefix_id, suffix]
        times = [t for t in (shipped.get((prefix_id, suffix)), shipped.get((prefix_id, lot))) if t is not None]
        before = (min(times) - row["first_at"]) / 3600 if times and row["first_at"] is not None else 0.0
        evidence = Evidence(
            sketch.estimate(row["devices"]), row["count"], row["travels"], row["early"], max(0.0, before)
        )
        found.append((prefix_id, "item", suffix, lot, suspicion.of_item(evidence, node.settings)))
    return found


async def _shipped(conn: ReadConnection, turn: Sequence[Touched]) -> dict[tuple[int, str], float]:
    """When the items and their lots were shipped, as events say."""
    owners = await store.owners(conn, sorted({t.prefix_id for t in turn}))
    asked = {(t.shard, t.prefix_id, t.suffix) for t in turn}
    for t in turn:
        if t.lot and (owner := owners.get(t.prefix_id)):
            asked.add((handle_codec.shard_of(t.lot, owner["home"], owner["spread"]), t.prefix_id, t.lot))
    keys = sorted(asked)
    return await store.shipped(conn, [k[0] for k in keys], [k[1] for k in keys], [k[2] for k in keys])


async def _prefixes(node: Node, conn: ReadConnection, now: float) -> list[_Found]:
    """Each prefix's day: one suspicion a day, so that the next wave is told again."""
    today = tally.local_day(now)
    return [
        (d["prefix_id"], "prefix", f"{today}", "", suspicion.of_prefix(d["forged"], d["guessed"], node.settings))
        for d in await store.prefix_days(conn, today, max(1, node.settings.suspect_forged))
    ]


async def _keep(node: Node, conn: Connection, found: Sequence[_Found]) -> list[Alarm]:
    """Store what is worth keeping, then the lots that it makes suspicious; what of it is alarming now."""
    kept = await _put(conn, found)
    lots = sorted({(record["prefix_id"], record["lot"]) for record in kept if record["lot"]})
    if lots:
        least = node.settings.suspect_score
        scores = await store.of_lots(conn, [lot[0] for lot in lots], [lot[1] for lot in lots], least)
        kept += await _put(conn, [(s["prefix_id"], "lot", s["lot"], "", suspicion.of_lot(s["scores"])) for s in scores])
    loud = [r for r in kept if suspicion.alarms(r["score"], r["alarmed"], node.settings)]
    if not loud:
        return []
    columns = ([r["prefix_id"] for r in loud], [r["kind"] for r in loud], [r["suffix"] for r in loud])
    await store.mark_alarmed(conn, *columns)
    owners = await store.owners(conn, sorted(set(columns[0])))
    raised = [_alarm(record, owners[record["prefix_id"]]) for record in loud if record["prefix_id"] in owners]
    await alarms.raise_alarms(conn, [alarm.cause() for alarm in raised])
    return raised


async def _put(conn: Connection, found: Sequence[_Found]) -> list[Any]:
    rows = []
    for prefix_id, kind, suffix, lot, reasons in sorted(found, key=lambda f: f[:3]):
        points = suspicion.score(reasons)
        if points >= suspicion.KEPT_SCORE:
            documents = orjson.dumps([reason.document() for reason in reasons])
            rows.append((prefix_id, kind, suffix, lot, points, documents))
    return await store.put(conn, [list(column) for column in zip(*rows, strict=True)]) if rows else []


def _alarm(record: Any, owner: Any) -> Alarm:
    prefix = owner["prefix"]
    return Alarm(
        registrant_id=owner["registrant_id"],
        handle=prefix if record["kind"] == "prefix" else f"{prefix}/{record['suffix']}",
        lot=f"{prefix}/{record['lot']}" if record["lot"] else "",
        kind=record["kind"],
        score=record["score"],
        reasons=orjson.loads(record["reasons"]),
    )


async def listed(
    conn: ReadConnection, prefix_id: int, least: int, after: tuple[str, str], limit: int
) -> list[dict[str, Any]]:
    """A prefix's suspicions from `least` points on, by kind and suffix."""
    return [
        {
            "kind": record["kind"],
            "suffix": record["suffix"],
            "lot": record["lot"] or None,
            "score": record["score"],
            "reasons": orjson.loads(record["reasons"]),
            "since": record["since"].isoformat(),
            "updated_at": record["updated_at"].isoformat(),
        }
        for record in await store.of_prefix(conn, prefix_id, least, after, limit)
    ]
