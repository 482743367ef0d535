"""Many handles at once from PostgreSQL, each with its lot and, for a minted serial, its interval: three statements for
any number of them. Lots are kept in the process: a thousand of them stand for five million items."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import handle_codec
from node import catalogue, items
from node.fence import Fence, lot_name, prefix_name
from node.joining import Ask
from node.model import Interval, IntervalState, Prefix, Row
from node.records import Parts, Resolved, unpack
from node.runtime import Node, ReadConnection
from node.store import handles, intervals

SLOW = 3.0  # s for one batch; PostgreSQL is away then
_MAX_LOTS = 4096
_MAX_LOT = 16 * 1024  # bytes of a lot's content; larger ones are read each time: 64 MiB at the most are kept


@dataclass(slots=True, frozen=True)
class Lot:
    """A lot's row, its content parsed."""

    row: Row
    parts: Parts


class KnownLots:
    """Rows of lots as of when their dependent had this stamp; good while it has not moved."""

    def __init__(self, fence: Fence) -> None:
        self._fence = fence
        self._rows: OrderedDict[str, tuple[Lot, int]] = OrderedDict()

    def get(self, handle: str) -> Lot | None:
        known = self._rows.get(handle)
        if known is None or self._fence.stamp(lot_name(handle)) > known[1]:
            return None
        return known[0]

    def keep(self, handle: str, lot: Lot, turn: int) -> None:
        """Keep a lot that was read after `turn` of the fence; not where it moved meanwhile."""
        name = lot_name(handle)
        if len(lot.row.content) > _MAX_LOT or self._fence.moved_since([name], turn):
            return
        self._rows[handle] = (lot, self._fence.stamp(name))
        self._rows.move_to_end(handle)
        if len(self._rows) > _MAX_LOTS:
            self._rows.popitem(last=False)


async def find_each(node: Node, conn: ReadConnection, asks: Sequence[Ask], lots: KnownLots) -> list[Resolved | None]:
    """The public view's parts of each ask, in order; None for a handle that is not there."""
    shards = [handle_codec.shard_of(a.suffix, a.prefix.home, a.prefix.spread) for a in asks]
    rows = await handles.fetch_each(conn, [a.prefix.id for a in asks], shards, [a.suffix for a in asks])
    held = await _held(conn, asks)
    names: list[str] = []
    wanted = {}
    for ask, row, interval in zip(asks, rows, held, strict=True):
        lot = row.lot if row is not None else interval.lot if interval is not None else ""
        name = f"{ask.prefix.prefix}/{lot}" if lot else ""
        names.append(name)
        if lot:
            wanted[name] = (ask.prefix, lot)
    known = await _lots(node, conn, wanted, lots) if wanted else {}
    each = zip(asks, rows, held, names, strict=True)
    found = [_found(ask, row, interval, known.get(name)) for ask, row, interval, name in each]
    for template_id in {resolved.row.template_id for resolved in found if resolved is not None}:
        await catalogue.by_id(node, template_id, conn)
    for resolved in found:
        if resolved is not None:
            resolved.compiled = node.templates.get(resolved.row.template_id)
    return found


async def _held(conn: ReadConnection, asks: Sequence[Ask]) -> list[Interval | None]:
    """For each ask the interval that holds it, if it is a minted serial."""
    held: list[Interval | None] = [None] * len(asks)
    minted = [n for n, ask in enumerate(asks) if ask.counter >= 0]
    if minted:
        found = await intervals.at_each_of(conn, [asks[n].prefix for n in minted], [asks[n].counter for n in minted])
        for n, interval in zip(minted, found, strict=True):
            held[n] = interval
    return held


def _found(ask: Ask, row: Row | None, interval: Interval | None, lot: Lot | None) -> Resolved | None:
    """All but its template, which is looked up for all of them together."""
    if row is None:
        if interval is None:
            return None
        row = items.rowless(ask.suffix, interval, lot.row.template_id if lot else 0)
    if lot is None:
        return Resolved(ask.handle, ask.prefix, row, None, None, "public", interval)
    return Resolved(ask.handle, ask.prefix, row, lot.row, None, "public", interval, lot.parts)


async def _lots(
    node: Node, conn: ReadConnection, wanted: dict[str, tuple[Prefix, str]], lots: KnownLots
) -> dict[str, Lot]:
    known = {name: lot for name in wanted if (lot := lots.get(name)) is not None}
    missing = [name for name in wanted if name not in known]
    if missing:
        turn = node.fence.turn
        pairs = [wanted[name] for name in missing]
        shards = [handle_codec.shard_of(lot, prefix.home, prefix.spread) for prefix, lot in pairs]
        rows = await handles.fetch_each(conn, [p.id for p, _ in pairs], shards, [lot for _, lot in pairs])
        for name, row in zip(missing, rows, strict=True):
            if row is not None:
                known[name] = Lot(row, unpack(row.content))
                lots.keep(name, known[name], turn)
    return known


def dependents_of(resolved: Resolved) -> list[str]:
    """Names of what the view was made from besides the handle's own row."""
    prefix = resolved.prefix.prefix
    lots: Iterable[str] = {resolved.row.lot, resolved.interval.lot if resolved.interval else ""} - {""}
    return [prefix_name(prefix), *(lot_name(f"{prefix}/{lot}") for lot in sorted(lots))]


def may_be_kept(resolved: Resolved) -> bool:
    """Not a reserved serial: its row is registered like a new one, without anything to forget."""
    return resolved.interval is None or resolved.interval.state != IntervalState.RESERVED
