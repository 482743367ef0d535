# cython: annotation_typing=False
"""From claims to counts: which of them count, and what they add to their items; inside one transaction."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
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
_EXACT, _STEPS, _AGAIN_SECONDS = 64, 8, 60.0
_time_of = attrgetter("at")
_MOST_AFTER = 2**24 - 1  # ms; a claim is over after ten minutes, but clocks are set
Spot = tuple[float, float, float]  # time, lat, lon


@dataclass(eq=False)
class Addition:
    """What one batch adds to one item."""

    item: Item
    shard: int
    prefix: Prefix
    number: int  # among the items of the batch
    lot: str = ""
    is_lot: bool = False
    claims: list[Claim] = field(default_factory=list)  # of the public, in order of time; first all, then what counts

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
    """Count those of the claims that count; of the items that have had their first scan how many they have then. Claims
    of an item in order of time. May be run again."""
    places = await _places(node, conn, _items(claims))
    given, again, firms = _sorted_out(claims, places)
    own = await _own(conn, firms) if firms else set()
    counts = await _count(node, conn, places, given, own) if given else {}
    return counts | await _count(node, conn, places, again, own) if again else counts


_Places = dict[Item, tuple[int, Prefix]]  # of each item its shard


def _items(claims: Sequence[Claim]) -> set[Item]:
    """What they are of."""
    found, of = set(), None
    for claim in claims:
        if claim.of is not of:  # those of an item mostly come together
            of = claim.of
            found.add(of.item)
    return found


def _sorted_out(claims: Sequence[Claim], places: _Places) -> tuple[list[Claim], list[Claim], list[Claim]]:
    """(the claims, those that are counted after them, those of either that came with a registrant): each claim once,
    the first where there are several, and none of what has no place. After the others are devices that a claim of the
    batch makes, and that scan the same item again: they are met when it was used up."""
    nonces, given, again, firms = set[bytes](), list[Claim](), list[Claim](), list[Claim]()
    of, there, others = None, False, list[Claim]()
    for claim in claims:
        if claim.of is not of:
            of = claim.of
            there = of.item in places
        if there and claim.nonce_mark not in nonces:
            nonces.add(claim.nonce_mark)
            others.append(claim)
            if claim.registrant:
                firms.append(claim)
    for claim in others:
        if claim.device_mark in nonces and claim.device_mark != claim.nonce_mark:
            again.append(claim)
        else:
            given.append(claim)
    return given, again, firms


async def _places(node: Node, conn: Connection, items: set[Item]) -> _Places:
    """Where the items lie; without those of prefixes that there are not."""
    known = node.scan_memory.prefixes
    for text in {prefix for prefix, _ in items} - known.keys():
        found = await prefixes.fetch(conn, text)
        if found is not None:
            known[text] = found  # where its handles lie never changes, and nothing else of it is used
    return {
        item: (handle_codec.shard_of(item[1], prefix.home, prefix.spread), prefix)
        for item in items
        if (prefix := known.get(item[0])) is not None
    }


async def _own(conn: Connection, given: Sequence[Claim]) -> set[int]:
    """Which of those with a registrant are scans by the item's own enterprise: by its key, or by a device that it
    registered and not revoked."""
    ids = sorted({claim.scanner for claim in given if claim.scanner})
    live = await store.live_scanners(conn, ids) if ids else {}
    found = set()
    for claim in given:
        prefix = await prefixes.fetch(conn, claim.of.item[0])  # read anew: who owns it
        valid = live.get(claim.scanner) == claim.registrant if claim.scanner else True
        if valid and prefix is not None and prefix.registrant_id == claim.registrant:
            found.add(id(claim))
    return found


async def _count(node: Node, conn: Connection, places: _Places, claims: list[Claim], own: set[int]) -> Counts:
    begin, started = min(map(_time_of, claims)), time.monotonic()
    additions, records = _additions(places, claims, own, begin)
    known = node.scan_memory.known
    items = zip(*[_row(addition, addition.item not in known) for addition in additions.values()], strict=True)
    stored, idle = await store.count(conn, [list(column) for column in items], records, begin, WINDOW_SECONDS)
    _leave_out(additions.values(), {id(claims[number]) for number in idle})
    counts, changed = _judged(node, additions, stored, started)
    if changed:
        await store.set_evidence(conn, [list(column) for column in zip(*changed, strict=True)])
    return counts


def _additions(
    places: _Places, claims: Sequence[Claim], own: set[int], begin: float
) -> tuple[dict[tuple[int, str], Addition], bytes]:
    """What the claims may add to their items, and the claims as PostgreSQL reads them."""
    found: dict[Item, Addition] = {}
    records, pack, of, addition = list[bytes](), store.RECORD.pack, None, None
    for claim in claims:
        if claim.of is not of:  # those of an item mostly come together
            of = claim.of
            addition = found.get(of.item)
            if addition is None:
                addition = found[of.item] = Addition(of.item, *places[of.item], number=len(found))
            addition.is_lot |= of.state == LOT
            addition.lot = of.lot or addition.lot
        assert of is not None
        assert addition is not None
        flags = store.EARLY if of.state not in (SHIPPED, LOT) else 0
        if own and id(claim) in own:
            flags |= store.OWN
        else:
            addition.claims.append(claim)
        after = min(int(1000 * (claim.at - begin) + 0.5), _MOST_AFTER)
        records.append(pack(addition.number, addition.shard, after << 8 | flags, claim.nonce_mark, claim.device_mark))
    return {(addition.prefix.id, item[1]): addition for item, addition in found.items()}, b"".join(records)


def _leave_out(additions: Iterable[Addition], idle: set[int]) -> None:
    """Of the claims those that do not count after all."""
    if idle:
        for addition in additions:
            addition.claims = [claim for claim in addition.claims if id(claim) not in idle]


def _judged(
    node: Node, additions: dict[tuple[int, str], Addition], stored: Sequence[Any], started: float
) -> tuple[Counts, list[tuple[Any, ...]]]:
    """(how many scans the items have, what the scans are evidence of, to be taken down); what there is to score is
    noted. `stored`: rows of `store.count`, by position: by name each value costs as much as all else."""
    counts, changed = Counts(), list[tuple[Any, ...]]()
    for prefix_id, suffix, count, early, travels, devices, lat, lon, at, fresh in stored:
        addition = additions[prefix_id, suffix]
        if count:
            counts[addition.item] = count, started
        before = devices, travels, None if at is None else (at, round(lat, 1), round(lon, 1))
        after = _evidence(node, addition, before if not fresh else _NOTHING)
        if addition.claims and not addition.is_lot:
            _touch(node, addition, count, early, after)
        if after != before:
            changed.append((addition.shard, prefix_id, suffix, *after[:2], *(after[2] or _NOWHERE)))
    return counts, changed


def _row(addition: Addition, new: bool) -> tuple[Any, ...]:
    """What is said of an item; of one that is `new` what goes in with it, which of others is merged with what is there.
    Should one of its claims not count after all, `_judged` says it again, but for the place."""
    if not new or not addition.claims:
        return addition.prefix.id, addition.item[1], None, None, *_NOWHERE
    first, spots = addition.claims[0].place, addition.spots
    place = first.name if first else None
    return addition.prefix.id, addition.item[1], place, addition.devices(), *(spots[-1] if spots else _NOWHERE)


_NOWHERE = (None, None, None)
_Evidence = tuple[bytes, int, Spot | None]  # devices, impossible travels and last place of an item
_NOTHING: _Evidence = (b"", 0, None)


def _evidence(node: Node, addition: Addition, before: _Evidence) -> _Evidence:
    """The same with this batch in it."""
    devices, travels, spot = before
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


def _touch(node: Node, addition: Addition, count: int, early: int, evidence: _Evidence) -> None:
    """Have the item scored each time its count has doubled, and where there is something to score that it was not
    scored by a minute ago: a thousand copied codes were all scored again each second, 12 % of the loop."""
    devices, travels, _ = evidence
    before, memory, seen = count - len(addition.claims), node.scan_memory, sketch.estimate(devices)
    doubled = before.bit_length() != count.bit_length() and before > 0
    if not doubled and not early and not travels and seen < node.settings.suspect_devices:
        return
    signs = (seen if seen < _EXACT else round(_STEPS * log2(seen)), travels, early)
    key = (addition.prefix.id, addition.item[1])
    known = memory.scored.get(key)
    if not doubled and known is not None and known[0] == signs and time.monotonic() - known[1] < _AGAIN_SECONDS:
        return
    if len(memory.touched) < MAX_TOUCHED:  # scored at its next scan otherwise
        memory.touched[key] = Touched(addition.prefix.id, addition.shard, addition.item[1], addition.lot, signs)
