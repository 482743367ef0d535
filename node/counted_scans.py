# cython: annotation_typing=False
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
_EXACT, _STEPS, _AGAIN_SECONDS = 64, 8, 60.0
_time_of = attrgetter("at")
_MOST_AFTER = 2**24 - 1  # ms; a claim is over after ten minutes, but clocks are set
Spot = tuple[float, float, float]  # time, lat, lon


@dataclass(slots=True)
class Addition:
    """What one batch adds to one item."""

    item: Item
    shard: int
    prefix: Prefix
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
    places = await _places(node, conn, claims)
    given = [claim for claim in claims if claim.item in places]
    nonces = {claim.nonce_mark for claim in given}
    if len(nonces) < len(given):  # the same claim several times: the first of them
        given = list({claim.nonce_mark: claim for claim in reversed(given)}.values())[::-1]
    own = await _own(conn, [claim for claim in given if claim.registrant])
    # Devices that a claim of the batch makes, and that scan the same item again, are met when it was used up.
    again = [claim for claim in given if claim.device_mark in nonces and claim.device_mark != claim.nonce_mark]
    if again:
        apart = {id(claim) for claim in again}
        given = [claim for claim in given if id(claim) not in apart]
    counts = await _count(node, conn, places, given, own) if given else {}
    return counts | await _count(node, conn, places, again, own) if again else counts


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


async def _count(node: Node, conn: Connection, places: _Places, claims: list[Claim], own: set[int]) -> Counts:
    begin, started = min(map(_time_of, claims)), time.monotonic()
    additions, records = _additions(places, claims, own, begin)
    known = node.scan_memory.known
    items = zip(*[_row(addition, new=addition.item not in known) for addition in additions.values()], strict=True)
    stored, idle = await store.count(conn, [list(column) for column in items], records, begin, WINDOW_SECONDS)
    for claim in (claims[number] for number in idle):
        if id(claim) not in own:
            additions[places[claim.item][1].id, claim.item[1]].claims.remove(claim)
    counts = {
        additions[row["prefix_id"], row["suffix"]].item: (row["count"], started) for row in stored if row["count"]
    }
    await _judge(node, conn, additions, stored)
    return counts


def _additions(
    places: _Places, claims: Sequence[Claim], own: set[int], begin: float
) -> tuple[dict[tuple[int, str], Addition], bytes]:
    """What the claims may add to their items, and the claims as PostgreSQL reads them."""
    found: dict[Item, Addition] = {}
    numbers, records, pack, item = dict[Item, int](), list[bytes](), store.RECORD.pack, ("", "")
    for claim in claims:
        if claim.item != item:  # those of an item mostly come together
            item = claim.item
            if item not in found:
                numbers[item] = len(found)
                found[item] = Addition(item, *places[item])
            addition, number = found[item], numbers[item]
        flags = 0
        if claim.state != SHIPPED:
            addition.is_lot |= claim.state == LOT
            flags = store.EARLY if claim.state != LOT else 0
        if claim.lot:
            addition.lot = claim.lot
        if own and id(claim) in own:
            flags |= store.OWN
        else:
            addition.claims.append(claim)
        after = min(int(1000 * (claim.at - begin) + 0.5), _MOST_AFTER)
        records.append(pack(number, addition.shard, after << 8 | flags, claim.nonce_mark, claim.device_mark))
    return {(addition.prefix.id, item[1]): addition for item, addition in found.items()}, b"".join(records)


async def _judge(
    node: Node, conn: Connection, additions: dict[tuple[int, str], Addition], stored: Sequence[Any]
) -> None:
    """Take down what the scans are evidence of, and have scored what there is to score."""
    changed = []
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
    if changed:
        await store.set_evidence(conn, [list(column) for column in zip(*changed, strict=True)])


def _row(addition: Addition, *, new: bool) -> tuple[Any, ...]:
    """What is said of an item; of one that is `new` what goes in with it, which of others is merged with what is there.
    Should one of its claims not count after all, `_judge` says it again, but for the place."""
    if not new or not addition.claims:
        return addition.prefix.id, addition.item[1], None, None, *_NOWHERE
    first, spots = addition.claims[0].place, addition.spots
    place = first.name if first else None
    return addition.prefix.id, addition.item[1], place, addition.devices(), *(spots[-1] if spots else _NOWHERE)


_NOWHERE = (None, None, None)
_Evidence = tuple[bytes, int, Spot | None]  # devices, impossible travels and last place of an item


def _before(record: Any) -> _Evidence:
    """As it was, or as it was put in."""
    at = record["spot_at"]
    spot = None if at is None else (at, round(record["spot_lat"], 1), round(record["spot_lon"], 1))
    return record["devices"], record["travels"], spot


def _evidence(node: Node, addition: Addition, before: _Evidence, *, fresh: bool) -> _Evidence:
    """The same with this batch in it; of a row that is `fresh` there is nothing from before it."""
    devices, travels, spot = before if not fresh else (b"", 0, None)
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
