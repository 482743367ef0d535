# cython: annotation_typing=False
"""From claims to counts: which of them count, and what they add to their items; inside one transaction."""

from __future__ import annotations

import time
from collections.abc import Iterable, KeysView, Sequence
from dataclasses import dataclass, field
from math import log2
from typing import Any

import handle_codec
from node.model import Prefix
from node.places import kilometres
from node.runtime import Connection, Node
from node.scan_memory import MAX_TOUCHED, Claim, Counts, Item, Touched
from node.scan_tokens import LOT, SHIPPED
from node.sketch import estimate, merged
from node.store import prefixes
from node.store import scans as store

WINDOW_SECONDS = 600.0  # the same phone on the same item is one scan for this long (domain.md 5, point 6)
# Devices of a sketch are 13 % wrong from 64 on: steps of 9 % lose nothing, and a step is 2 points of the score. Events
# come later than scans: what is told by them shows within the minute.
_EXACT, _STEPS, _AGAIN_SECONDS = 64, 8, 60.0
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
    placed: bool = False  # whether the place of any is known
    claims: list[Claim] = field(default_factory=list)  # of the public, in order of time; first all, then what counts

    def devices(self, before: bytes = b"") -> bytes:
        """The sketch with these in it. Of a lot none: its code is on every carton, many devices are as it should be."""
        return before if self.is_lot else merged(before, [claim.device_mark for claim in self.claims])

    @property
    def spots(self) -> Sequence[Spot]:
        """Of the scans whose place is known, in order of time."""
        if self.is_lot or not self.placed:
            return ()
        return [(round(c.at, 3), c.place.lat, c.place.lon) for c in self.claims if c.place and c.place.located]


async def add(node: Node, conn: Connection, claims: Sequence[Claim]) -> Counts:
    """Count those of the claims that count; of the items that have had their first scan how many they have then. Claims
    of an item in order of time. May be run again."""
    by_text = await _prefixes(node, conn, claims)
    given, again, firms = _sorted_out(claims, by_text)
    own = await _own(conn, firms) if firms else set()
    counts = await _count(node, conn, by_text, given, own) if given else {}
    return counts | await _count(node, conn, by_text, again, own) if again else counts


_ByText = dict[str, Prefix]


async def _prefixes(node: Node, conn: Connection, claims: Sequence[Claim]) -> _ByText:
    """By their texts the prefixes that the items lie under: those that there are."""
    known = node.scan_memory.prefixes
    for text in _prefix_texts(claims) - known.keys():
        found = await prefixes.fetch(conn, text)
        if found is not None:
            known[text] = found  # where its handles lie never changes, and nothing else of it is used
    return known


def _prefix_texts(claims: Sequence[Claim]) -> set[str]:
    found, of = set(), None
    for claim in claims:
        if claim.of is not of:  # those of an item mostly come together
            of = claim.of
            found.add(of.item[0])
    return found


def _sorted_out(claims: Sequence[Claim], by_text: _ByText) -> tuple[list[Claim], list[Claim], list[Claim]]:
    """(the claims, those that are counted after them, those of either that came with a registrant): each claim once,
    the first where there are several, and none of a prefix that there is not. After the others are devices that a claim
    of the batch makes, and that scan the same item again: they are met when it was used up."""
    nonces, given, again, firms = set[bytes](), list[Claim](), list[Claim](), list[Claim]()
    of, there, others = None, False, list[Claim]()
    for claim in claims:
        if claim.of is not of:
            of = claim.of
            there = of.item[0] in by_text
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


async def _count(node: Node, conn: Connection, by_text: _ByText, claims: list[Claim], own: set[int]) -> Counts:
    begin, started = _begin(claims), time.monotonic()
    additions, records = _additions(by_text, claims, own, begin)
    items = _columns(additions.values(), node.scan_memory.known.keys())
    stored, idle = await store.count(conn, items, records, begin, WINDOW_SECONDS)
    if idle:
        _leave_out(additions.values(), [claims[number] for number in idle])
    counts, changed = _judged(node, additions, stored, started)
    if changed[0]:
        await store.set_evidence(conn, changed)
    return counts


def _begin(claims: Sequence[Claim]) -> float:
    """When the first was."""
    first = claims[0].at
    for claim in claims:
        first = min(first, claim.at)
    return first


def _additions(
    by_text: _ByText, claims: Sequence[Claim], own: set[int], begin: float
) -> tuple[dict[tuple[int, str], Addition], bytes]:
    """What the claims may add to their items, and the claims as PostgreSQL reads them."""
    found: dict[Item, Addition] = {}
    records, pack, of, addition = list[bytes](), store.RECORD.pack, None, None
    for claim in claims:
        if claim.of is not of:  # those of an item mostly come together
            of = claim.of
            addition = found.get(of.item)
            if addition is None:
                prefix = by_text[of.item[0]]
                shard = handle_codec.shard_of(of.item[1], prefix.home, prefix.spread)
                addition = found[of.item] = Addition(of.item, shard, prefix, len(found))
            addition.is_lot |= of.state == LOT
            addition.lot = of.lot or addition.lot
        assert of is not None
        assert addition is not None
        flags = store.EARLY if of.state not in (SHIPPED, LOT) else 0
        if own and id(claim) in own:
            flags |= store.OWN
        else:
            addition.claims.append(claim)
            addition.placed |= claim.place is not None
        after = min(int(1000 * (claim.at - begin) + 0.5), _MOST_AFTER)
        records.append(pack(addition.number, addition.shard, after << 8 | flags, claim.nonce_mark, claim.device_mark))
    return {(addition.prefix.id, item[1]): addition for item, addition in found.items()}, b"".join(records)


def _leave_out(additions: Iterable[Addition], idle: Sequence[Claim]) -> None:
    """Of the claims those that do not count after all."""
    numbers, items = {id(claim) for claim in idle}, {claim.of.item for claim in idle}
    for addition in additions:
        if addition.item in items:
            addition.claims = [claim for claim in addition.claims if id(claim) not in numbers]


def _judged(
    node: Node, additions: dict[tuple[int, str], Addition], stored: Sequence[Any], started: float
) -> tuple[Counts, tuple[list[Any], ...]]:
    """(how many scans the items have, columns of `store.set_evidence` with what the scans are evidence of); what there
    is to score is noted. `stored`: rows of `store.count`, by position: by name each value costs as much as all else."""
    counts: Counts = {}
    shards, prefix_ids, suffixes, sketches, travelled, times, lats, lons = [], [], [], [], [], [], [], []
    for prefix_id, suffix, count, early, travels, devices, lat, lon, at, fresh in stored:
        addition = additions[prefix_id, suffix]
        if count:
            counts[addition.item] = count, started
        before = devices, travels, None if at is None else (at, round(lat, 1), round(lon, 1))
        after = _evidence(node, addition, before if not fresh else _NOTHING)
        if addition.claims and not addition.is_lot:
            _touch(node, addition, count, early, after)
        if after != before:
            shards.append(addition.shard)
            prefix_ids.append(prefix_id)
            suffixes.append(suffix)
            sketches.append(after[0])
            travelled.append(after[1])
            place = after[2] or _NOWHERE
            times.append(place[0])
            lats.append(place[1])
            lons.append(place[2])
    return counts, (shards, prefix_ids, suffixes, sketches, travelled, times, lats, lons)


def _columns(additions: Iterable[Addition], known: KeysView[Item]) -> tuple[list[Any], ...]:
    """Those of `store.count`: what is said of items; of new ones what goes in with them, which of `known` ones is
    merged with what is there. Should one of their claims not count after all, `_judged` says it again, but for the
    place."""
    prefix_ids, suffixes, places, sketches, times, lats, lons = [], [], [], [], [], [], []
    for addition in additions:
        prefix_ids.append(addition.prefix.id)
        suffixes.append(addition.item[1])
        place = devices = None
        spot: Spot | tuple[None, None, None] = _NOWHERE
        if addition.claims and addition.item not in known:
            first, spots = addition.claims[0].place, addition.spots
            place, devices = first.name if first else None, addition.devices()
            spot = spots[-1] if spots else _NOWHERE
        places.append(place)
        sketches.append(devices)
        times.append(spot[0])
        lats.append(spot[1])
        lons.append(spot[2])
    return prefix_ids, suffixes, places, sketches, times, lats, lons


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
    before, memory, seen = count - len(addition.claims), node.scan_memory, estimate(devices)
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
