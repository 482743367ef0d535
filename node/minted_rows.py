"""Rows for minted serials: what registration asks of them before it stores them, and notes afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import handle_codec
from node import items, serials
from node.drafts import Draft
from node.errors import InvalidRow, NodeError, ReservedSuffix, RowError, SerialNotUsable
from node.model import Interval, IntervalState, Kind, Prefix, Row
from node.runtime import Connection, Node
from node.store import intervals
from node.store.handles import NewRow


@dataclass(slots=True)
class MintedRows:
    """Of the rows of one batch under one prefix those with a minted suffix: counter and interval by row number."""

    counters: dict[int, int] = field(default_factory=dict)
    intervals: dict[int, Interval] = field(default_factory=dict)


async def prepare(
    node: Node, conn: Connection, prefix: Prefix, drafts: dict[int, Draft], kind: Kind
) -> tuple[MintedRows, dict[int, NodeError]]:
    """Look at the drafts with a minted suffix: each gets the lot of its interval; (what is known, refusals by number).

    The prefix's intervals are held from here on, so that a serial is counted once: now, or when it is activated.
    """
    minted = {n: draft for n, draft in drafts.items() if handle_codec.is_serial(draft.suffix)}
    known, refused = MintedRows(), dict[int, NodeError]()
    if not minted:
        return known, refused
    await intervals.hold(conn, prefix)
    keys = await serials.keyring(node, conn, prefix)
    for number, draft in minted.items():
        try:
            _check_kind(draft, kind)
            known.counters[number] = keys.counter_of(draft.suffix)
        except NodeError as error:
            refused[number] = error
    found = await intervals.at_each(conn, prefix, list(known.counters.values()))
    for number, counter in known.counters.items():
        interval = found.get(counter)
        if interval is None:
            continue
        try:
            _check_interval(minted[number], interval)
        except NodeError as error:
            refused[number] = error
            continue
        minted[number].lot = interval.lot
        known.intervals[number] = interval
    return known, refused


def _check_kind(draft: Draft, kind: Kind) -> None:
    if kind == Kind.LOT:
        named = RowError("handle", "reserved", "批次不能使用序列号形式的后缀", "a lot cannot have the form of a serial")
        raise ReservedSuffix.of(named, suffix=draft.suffix)


def _check_interval(draft: Draft, interval: Interval) -> None:
    if draft.lot and draft.lot != interval.lot:
        raise InvalidRow.of(
            RowError(
                "lot", "serial_lot", f"该序列号属于批次 {interval.lot}", f"the serial belongs to lot {interval.lot}"
            )
        )
    if interval.state in (IntervalState.VOID, IntervalState.RECALLED):
        raise SerialNotUsable.of(serial=draft.suffix, state=interval.state.word)


async def rowless_rows(
    conn: Connection, prefix: Prefix, known: MintedRows, new: Mapping[int, NewRow]
) -> dict[int, Row]:
    """Of the new rows those whose serial is registered without a row: what it is read as, by row number."""
    counted = {n: i for n, i in known.intervals.items() if i.counted and n in new}
    if not counted:
        return {}
    with_row = await intervals.items_among(conn, prefix, [known.counters[n] for n in counted])
    return {
        n: items.rowless(new[n].suffix, interval, new[n].template_id)
        for n, interval in counted.items()
        if known.counters[n] not in with_row
    }


async def note(conn: Connection, prefix: Prefix, known: MintedRows, created: Iterable[int]) -> None:
    """Remember which serials have rows now."""
    counters = [known.counters[n] for n in created if n in known.counters]
    if counters:
        await intervals.insert_items(conn, prefix, counters)
