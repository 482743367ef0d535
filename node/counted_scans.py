"""From claims to counts: which of them count, and what they add to their items; inside one transaction."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import handle_codec
from node import sketch
from node.model import Prefix
from node.places import kilometres
from node.runtime import Connection, Node
from node.scan_memory import Claim, Counts, Touched
from node.scan_tokens import LOT, SHIPPED
from node.store import prefixes
from node.store import scans as store

WINDOW_SECONDS = 600.0  # the same phone on the same item is one scan for this long (domain.md 5, point 6)


@dataclass(slots=True)
class Addition:
    """What one batch adds to one item."""

    shard: int
    prefix: Prefix
    suffix: str
    lot: str = ""
    is_lot: bool = False
    claims: list[Claim] = field(default_factory=list)  # that count, in order of time
    own: int = 0
    last_at: float = 0.0

    @property
    def early(self) -> int:
        return sum(claim.state not in (SHIPPED, LOT) for claim in self.claims)

    @property
    def devices(self) -> bytes:
        """Of a lot none: its code is on every carton, many devices are as it should be."""
        return b"" if self.is_lot else sketch.merged(b"", (claim.device_mark for claim in self.claims))

    @property
    def spots(self) -> list[tuple[float, float, float]]:
        """(time, lat, lon) of the scans whose place is known, in order of time."""
        if self.is_lot:
            return []
        return [(round(c.at, 3), c.place.lat, c.place.lon) for c in self.claims if c.place and c.place.located]


async def add(node: Node, conn: Connection, claims: Sequence[Claim]) -> Counts:
    """Count those of the claims that count; of the items that have had their first scan how many they have then. May be
    run again."""
    known = node.scan_memory.prefixes
    for text in {claim.item[0] for claim in claims} - known.keys():
        found = await prefixes.fetch(conn, text)
        if found is not None:
            known[text] = found  # where its handles lie never changes, and nothing else of it is used
    placed = [(_shard(known[c.item[0]], c.item[1]), c) for c in claims if c.item[0] in known]
    fresh = await _unused(conn, placed)
    own = await _own(conn, [claim for _, claim in fresh])
    public = [(shard, claim) for shard, claim in fresh if id(claim) not in own]
    additions = _additions(known, await _met(conn, public), [(s, c) for s, c in fresh if id(c) in own])
    if not additions:
        return {}
    return await _store(node, conn, additions)


def _shard(prefix: Prefix, suffix: str) -> int:
    return handle_codec.shard_of(suffix, prefix.home, prefix.spread)


_Placed = tuple[int, Claim]


async def _unused(conn: Connection, placed: Sequence[_Placed]) -> list[_Placed]:
    """Use the claims up; each one the first time it comes, in this batch too."""
    once: dict[bytes, _Placed] = {}
    for shard, claim in placed:
        once.setdefault(claim.nonce_mark, (shard, claim))
    if not once:
        return []
    used = await store.use(conn, [s for s, _ in once.values()], list(once), [c.at for _, c in once.values()])
    return [found for nonce, found in once.items() if nonce not in used] if used else list(once.values())


async def _own(conn: Connection, claims: Iterable[Claim]) -> set[int]:
    """Which are scans by the item's own enterprise: by its key, or by a device that it registered and not revoked."""
    given = [claim for claim in claims if claim.registrant]
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


async def _met(conn: Connection, fresh: Sequence[_Placed]) -> list[_Placed]:
    """Those whose device has not counted on the item within the window. A device that its claim made is met for the
    first time: using the claim up was meeting it."""
    counted = [found for found in fresh if found[1].device_mark == found[1].nonce_mark]
    again: dict[bytes, _Placed] = {}
    for shard, claim in sorted(fresh, key=lambda found: found[1].at):
        if claim.device_mark != claim.nonce_mark:
            again.setdefault(claim.device_mark, (shard, claim))
    if again:
        times = [c.at for _, c in again.values()]
        met = await store.meet(conn, [s for s, _ in again.values()], list(again), times, WINDOW_SECONDS)
        counted += [found for mark, found in again.items() if mark not in met]
    return counted


def _additions(
    known: dict[str, Prefix], counted: Sequence[_Placed], own: Sequence[_Placed]
) -> dict[tuple[int, int, str], Addition]:
    found: dict[tuple[int, int, str], Addition] = {}

    def of(shard: int, claim: Claim) -> Addition:
        prefix, suffix = known[claim.item[0]], claim.item[1]
        addition = found.setdefault((shard, prefix.id, suffix), Addition(shard, prefix, suffix))
        addition.lot = claim.lot or addition.lot
        addition.is_lot = addition.is_lot or claim.state == LOT
        addition.last_at = max(addition.last_at, claim.at)
        return addition

    for shard, claim in sorted(counted, key=lambda placed: placed[1].at):
        of(shard, claim).claims.append(claim)
    for shard, claim in own:
        of(shard, claim).own += 1
    return found


async def _store(node: Node, conn: Connection, additions: dict[tuple[int, int, str], Addition]) -> Counts:
    rows, started = [_row(addition) for addition in additions.values()], time.monotonic()
    stored = await store.add(conn, [list(column) for column in zip(*rows, strict=True)])
    changed = []
    for record in stored:
        addition = additions[record["shard"], record["prefix_id"], record["suffix"]]
        devices, travels, spot = _evidence(node, addition, record)
        if addition.claims and not addition.is_lot:
            _touch(node, addition, record, devices, travels)
        if devices != record["devices"] or travels != record["travels"] or spot != _spot(record):
            key = (record["shard"], record["prefix_id"], record["suffix"])
            changed.append((*key, devices, travels, *(spot or (None, 0.0, 0.0))))
    if changed:
        await store.set_evidence(conn, [list(column) for column in zip(*changed, strict=True)])
    return {
        (additions[r["shard"], r["prefix_id"], r["suffix"]].prefix.prefix, r["suffix"]): (r["count"], started)
        for r in stored
        if r["count"]
    }


def _row(addition: Addition) -> tuple[Any, ...]:
    first = addition.claims[0] if addition.claims else None
    spot = addition.spots[-1] if addition.spots else (None, 0.0, 0.0)
    return (
        addition.shard, addition.prefix.id, addition.suffix, len(addition.claims), addition.own, addition.early,
        first.at if first else None, first.place.name if first and first.place else "", addition.last_at,
        addition.devices, *spot,
    )  # fmt: skip


_Spot = tuple[float, float, float]


def _spot(record: Any) -> _Spot | None:
    if record["spot_at"] is None:
        return None
    return record["spot_at"], round(record["spot_lat"], 1), round(record["spot_lon"], 1)


def _evidence(node: Node, addition: Addition, record: Any) -> tuple[bytes, int, _Spot | None]:
    """Devices, impossible travels and last place of the item with this batch in it."""
    if record["fresh"]:
        devices, before = record["devices"], None
    else:
        devices = record["devices"]
        if not addition.is_lot:
            devices = sketch.merged(devices, (claim.device_mark for claim in addition.claims))
        before = _spot(record)
    travels = record["travels"]
    for spot in addition.spots:
        if before is not None:
            travels += _impossible(node, before, spot)
        before = spot if before is None or spot[0] >= before[0] else before
    return devices, travels, before


def _impossible(node: Node, a: _Spot, b: _Spot) -> bool:
    """Whether no carton travels from one place to the other in the time between."""
    distance = kilometres(a[1:], b[1:])
    hours = abs(b[0] - a[0]) / 3600
    return distance >= node.settings.suspect_km and distance > node.settings.suspect_kmh * hours


def _touch(node: Node, addition: Addition, record: Any, devices: bytes, travels: int) -> None:
    """Have the item scored where there is something to score, and each time its count has doubled."""
    before = record["count"] - len(addition.claims)
    doubled = before.bit_length() != record["count"].bit_length() and before > 0
    telling = record["early"] or travels or sketch.estimate(devices) >= node.settings.suspect_devices
    if doubled or telling:
        touched = node.scan_memory.touched
        if len(touched) < 10_000:  # scored at its next scan otherwise
            key = (addition.prefix.id, addition.suffix)
            touched[key] = Touched(addition.prefix.id, addition.shard, addition.suffix, addition.lot)
