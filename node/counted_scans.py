"""From claims to counts: which of them count, and what they add to their items; inside one transaction."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import log2
from operator import attrgetter
from typing import Any

import handle_codec
from node import sketch
from node.model import Prefix
from node.places import kilometres
from node.runtime import Connection, Node
from node.scan_memory import MAX_TOUCHED, Claim, Counts, Item, Touched
from node.scan_tokens import LOT, SHIPPED
from node.store import prefixes
from node.store import scans as store

WINDOW_SECONDS = 600.0  # the same phone on the same item is one scan for this long (domain.md 5, point 6)
# Devices of a sketch are 13 % wrong from 64 on: steps of 9 % lose nothing, and a step is 2 points of the score. Events
# come later than scans: what is told by them shows within the minute.
_NOT_EARLY = (SHIPPED, LOT)
_EXACT, _STEPS, _AGAIN_SECONDS = 64, 8, 60.0
_time_of = attrgetter("at")
Spot = tuple[float, float, float]  # time, lat, lon


@dataclass(slots=True)
class Addition:
    """What one batch adds to one item."""

    item: Item
    shard: int
    prefix: Prefix
    lot: str = ""
    is_lot: bool = False
    claims: list[Claim] = field(default_factory=list)  # that count, in order of time
    own: int = 0
    early: int = 0
    last_at: float = 0.0

    def devices(self, before: bytes = b"") -> bytes:
        """The sketch with these in it. Of a lot none: its code is on every carton, many devices are as it should be."""
        return before if self.is_lot else sketch.merged(before, [claim.device_mark for claim in self.claims])

    @property
    def spots(self) -> Sequence[Spot]:
        """Of the scans whose place is known, in order of time."""
        if self.is_lot or not any(claim.place for claim in self.claims):
            return ()
        return [(round(c.at, 3), c.place.lat, c.place.lon) for c in self.claims if c.place and c.place.located]


async def add(node: Node, conn: Connection, claims: Sequence[Claim]) -> Counts:
    """Count those of the claims that count; of the items that have had their first scan how many they have then. May be
    run again."""
    places = await _places(node, conn, claims)
    once: dict[bytes, Claim] = {}
    for claim in sorted(claims, key=_time_of):
        if claim.item in places:
            once.setdefault(claim.nonce_mark, claim)
    fresh = await _unused(conn, places, once)
    own = await _own(conn, [claim for claim in fresh if claim.registrant])
    public = [claim for claim in fresh if id(claim) not in own] if own else fresh
    additions = _additions(places, await _met(conn, places, public), [c for c in fresh if id(c) in own] if own else [])
    return await _store(node, conn, additions) if additions else {}


_Places = dict[Item, tuple[int, Prefix]]  # of each item its shard


async def _places(node: Node, conn: Connection, claims: Sequence[Claim]) -> _Places:
    """Where the items lie; without those of prefixes that there are not."""
    known, items = node.scan_memory.prefixes, {claim.item for claim in claims}
    for text in {prefix for prefix, _ in items} - known.keys():
        found = await prefixes.fetch(conn, text)
        if found is not None:
            known[text] = found  # where its handles lie never changes, and nothing else of it is used
    return {
        item: (handle_codec.shard_of(item[1], prefix.home, prefix.spread), prefix)
        for item in items
        if (prefix := known.get(item[0])) is not None
    }


async def _unused(conn: Connection, places: _Places, once: dict[bytes, Claim]) -> list[Claim]:
    """Use the claims up; those that were not used before."""
    if not once:
        return []
    claims = list(once.values())
    used = await store.use(conn, [places[c.item][0] for c in claims], list(once), [c.at for c in claims])
    return [claim for claim in claims if claim.nonce_mark not in used] if used else claims


async def _own(conn: Connection, given: Sequence[Claim]) -> set[int]:
    """Which of those with a registrant are scans by the item's own enterprise: by its key, or by a device that it
    registered and not revoked."""
    if not given:
        return set()
    ids = sorted({claim.scanner for claim in given if claim.scanner})
    live = await store.live_scanners(conn, ids) if ids else {}
    found = set()
    for claim in given:
        prefix = await prefixes.fetch(conn, claim.item[0])  # read anew: who owns it
        valid = live.get(claim.scanner) == claim.registrant if claim.scanner else True
        if valid and prefix is not None and prefix.registrant_id == claim.registrant:
            found.add(id(claim))
    return found


async def _met(conn: Connection, places: _Places, fresh: Sequence[Claim]) -> list[Claim]:
    """Those whose device has not counted on the item within the window. A device that its claim made is met for the
    first time: using the claim up was meeting it."""
    counted = [claim for claim in fresh if claim.device_mark == claim.nonce_mark]
    again: dict[bytes, Claim] = {}
    if len(counted) < len(fresh):
        for claim in fresh:
            if claim.device_mark != claim.nonce_mark:
                again.setdefault(claim.device_mark, claim)
    if again:
        claims = again.values()
        shards, times = [places[c.item][0] for c in claims], [c.at for c in claims]
        met = await store.meet(conn, shards, list(again), times, WINDOW_SECONDS)
        counted += [claim for mark, claim in again.items() if mark not in met] if met else claims
        counted.sort(key=_time_of)
    return counted


def _additions(places: _Places, counted: Sequence[Claim], own: Sequence[Claim]) -> dict[tuple[int, str], Addition]:
    found: dict[Item, Addition] = {}

    def of(claim: Claim) -> Addition:
        addition = found.get(claim.item)
        if addition is None:
            shard, prefix = places[claim.item]
            addition = found[claim.item] = Addition(claim.item, shard, prefix)
        if claim.lot:
            addition.lot = claim.lot
        if claim.state == LOT:
            addition.is_lot = True
        addition.last_at = max(addition.last_at, claim.at)
        return addition

    for claim in counted:
        addition = of(claim)
        addition.claims.append(claim)
        if claim.state not in _NOT_EARLY:
            addition.early += 1
    for claim in own:
        of(claim).own += 1
    return {(addition.prefix.id, item[1]): addition for item, addition in found.items()}


async def _store(node: Node, conn: Connection, additions: dict[tuple[int, str], Addition]) -> Counts:
    known, started = node.scan_memory.known, time.monotonic()
    rows = [_row(addition, new=addition.item not in known) for addition in additions.values()]
    stored = await store.add(conn, [list(column) for column in zip(*rows, strict=True)])
    changed, counts = [], {}
    for record in stored:
        addition = additions[record["prefix_id"], record["suffix"]]
        before = _before(record)
        after = _evidence(node, addition, before, fresh=record["fresh"])
        if addition.claims and not addition.is_lot:
            _touch(node, addition, record, after)
        if after != before:
            devices, travels, spot = after
            where = (addition.shard, addition.prefix.id, addition.item[1])
            changed.append((*where, devices, travels, *(spot or _NOWHERE)))
        if record["count"]:
            counts[addition.item] = (record["count"], started)
    if changed:
        await store.set_evidence(conn, [list(column) for column in zip(*changed, strict=True)])
    return counts


def _row(addition: Addition, *, new: bool) -> tuple[Any, ...]:
    """What is added; the devices of one that is `new` go in with it, those of others are merged with what is there."""
    first = addition.claims[0] if addition.claims else None
    spots = addition.spots if new else ()
    return (
        addition.shard, addition.prefix.id, addition.item[1], len(addition.claims), addition.own, addition.early,
        first.at if first else None, first.place.name if first and first.place else "", addition.last_at,
        addition.devices() if new else b"", *(spots[-1] if spots else _NOWHERE),
    )  # fmt: skip


_NOWHERE = (None, 0.0, 0.0)
_Evidence = tuple[bytes, int, Spot | None]  # devices, impossible travels and last place of an item


def _before(record: Any) -> _Evidence:
    """As it was, or as it was put in."""
    at = record["spot_at"]
    spot = None if at is None else (at, round(record["spot_lat"], 1), round(record["spot_lon"], 1))
    return record["devices"], record["travels"], spot


def _evidence(node: Node, addition: Addition, before: _Evidence, *, fresh: bool) -> _Evidence:
    """The same with this batch in it; of a row that is `fresh` there is nothing from before it."""
    devices, travels, spot = before if not fresh else (before[0], 0, None)
    for new in addition.spots:
        if spot is not None:
            travels += _impossible(node, spot, new)
        spot = new if spot is None or new[0] >= spot[0] else spot
    return addition.devices(devices), travels, spot


def _impossible(node: Node, a: Spot, b: Spot) -> bool:
    """Whether no carton travels from one place to the other in the time between."""
    distance = kilometres(a[1:], b[1:])
    hours = abs(b[0] - a[0]) / 3600
    return distance >= node.settings.suspect_km and distance > node.settings.suspect_kmh * hours


def _touch(node: Node, addition: Addition, record: Any, evidence: _Evidence) -> None:
    """Have the item scored each time its count has doubled, and where there is something to score that it was not
    scored by a minute ago: a thousand copied codes were all scored again each second, 12 % of the loop."""
    devices, travels, _ = evidence
    before, memory, seen = record["count"] - len(addition.claims), node.scan_memory, sketch.estimate(devices)
    doubled = before.bit_length() != record["count"].bit_length() and before > 0
    if not doubled and not record["early"] and not travels and seen < node.settings.suspect_devices:
        return
    signs = (seen if seen < _EXACT else round(_STEPS * log2(seen)), travels, record["early"])
    key = (addition.prefix.id, addition.item[1])
    known = memory.scored.get(key)
    if not doubled and known is not None and known[0] == signs and time.monotonic() - known[1] < _AGAIN_SECONDS:
        return
    if len(memory.touched) < MAX_TOUCHED:  # scored at its next scan otherwise
        memory.touched[key] = Touched(addition.prefix.id, addition.shard, addition.item[1], addition.lot, signs)
