"""Handles as they are: a stored row, or a minted serial without one, of which its interval says the rest.

A serial is rowless until its item gets something of its own. What stands for a rowless one is a row with no content, of
version 1 and as old as its interval: whatever reads rows reads it too.
"""

from __future__ import annotations

from dataclasses import dataclass

import handle_codec
from node import serials
from node.model import Interval, IntervalState, Kind, Prefix, Row, Status
from node.runtime import Connection, Node, ReadConnection
from node.store import handles, intervals, prefixes


@dataclass(slots=True, frozen=True)
class Item:
    """A handle's row, stored or made up, and for a minted serial the interval that holds it."""

    row: Row | None
    interval: Interval | None = None
    counter: int = -1  # of a minted serial
    rowless: bool = False


async def find(node: Node, conn: ReadConnection, prefix: Prefix, suffix: str) -> Item:
    """The item of a suffix; `row` is None where there is none. Raises ForgedSerial for what only looks minted."""
    shard = handle_codec.shard_of(suffix, prefix.home, prefix.spread)
    row = await handles.fetch(conn, shard, prefix.id, suffix)
    if not handle_codec.is_serial(suffix):
        return Item(row)
    return await _of_serial(node, conn, prefix, suffix, row)


async def lock(node: Node, conn: Connection, prefix: Prefix, suffix: str) -> Item:
    """As `find`, the row held until the transaction ends; a serial's interval cannot change meanwhile."""
    minted = handle_codec.is_serial(suffix)
    if minted:
        await intervals.hold(conn, prefix)
    shard = handle_codec.shard_of(suffix, prefix.home, prefix.spread)
    row = await handles.lock(conn, shard, prefix.id, suffix)
    return await _of_serial(node, conn, prefix, suffix, row) if minted else Item(row)


async def _of_serial(node: Node, conn: ReadConnection, prefix: Prefix, suffix: str, row: Row | None) -> Item:
    counter = (await serials.keyring(node, conn, prefix)).counter_of(suffix)
    interval = await intervals.at(conn, prefix, counter)
    if row is not None or interval is None:
        return Item(row, interval, counter)
    lot_shard = handle_codec.shard_of(interval.lot, prefix.home, prefix.spread)
    lot = await handles.fetch(conn, lot_shard, prefix.id, interval.lot)
    return Item(rowless(suffix, interval, lot.template_id if lot else 0), interval, counter, rowless=True)


def rowless(suffix: str, interval: Interval, template_id: int) -> Row:
    """The row that a serial without one is read as."""
    return Row(
        suffix=suffix,
        kind=Kind.ITEM,
        status=Status.ACTIVE,
        lot=interval.lot,
        template_id=template_id,
        content=b"",
        reason="",
        successor="",
        version=1,
        created_at=interval.since,
        updated_at=interval.since,
    )


def is_registered(item: Item) -> bool:
    """Reserved is not registered: a rowless serial is, once its interval was activated."""
    if item.row is None:
        return False
    return not item.rowless or (item.interval is not None and item.interval.counted)


async def give_row(conn: Connection, prefix: Prefix, item: Item) -> None:
    """Store the row of a registered rowless serial, because its item gets something of its own. Already counted."""
    row = item.row
    assert row is not None
    new = handles.NewRow(
        shard=handle_codec.shard_of(row.suffix, prefix.home, prefix.spread),
        suffix=row.suffix,
        kind=row.kind,
        lot=row.lot,
        template_id=row.template_id,
        content=row.content,
    )
    if await handles.insert(conn, prefix.id, [new]):
        await intervals.insert_items(conn, prefix, [item.counter])
        await prefixes.count(conn, prefix.id, rowless=-1)


def state_of(interval: Interval | None) -> str:
    """What an interval makes of its items: "" where it takes nothing away."""
    if interval is None or interval.state == IntervalState.ACTIVATED:
        return ""
    return "unshipped" if interval.state == IntervalState.RESERVED else interval.state.word
