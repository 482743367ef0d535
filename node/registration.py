"""Registering handles, items and lots alike. A single one is a batch of one; a bad row does not spoil the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from math import inf
from typing import Any

import msgspec

import handle_codec
from node import catalogue, minted_rows
from node.drafts import Draft
from node.errors import (
    ForeignPrefix,
    InvalidRow,
    LotTemplate,
    NodeError,
    PrefixNotActive,
    RowError,
    UnknownLot,
    UnknownPrefix,
)
from node.minted_rows import MintedRows
from node.model import Identity, Interval, Kind, Prefix, PrefixStatus, Row, Status
from node.outcomes import TURN, Outcome, ReadRows, compare, read_rows, tally
from node.pace import Stride
from node.records import pack, unpack
from node.runtime import Connection, Node
from node.store import handles, prefixes
from node.store.handles import NewRow
from node.templates import Compiled
from node.writing import Change, Claim, change

# How new rows get into the table: those that were not there yet are stored and counted, and their suffixes returned.
Insert = Callable[[Connection, int, Sequence[NewRow]], Awaitable[set[str]]]


async def register(
    node: Node,
    identity: Identity,
    rows: Sequence[bytes | msgspec.Raw],
    *,
    kind: Kind = Kind.ITEM,
    claim: Claim | None = None,
) -> list[Outcome]:
    """Register `rows` (JSON objects) in one transaction; one outcome for each, in order.

    What is acknowledged as created or unchanged is durable; nothing of a refused row is stored.
    """

    read = await read_rows(rows, Stride(node.pace, inf))

    async def work(doing: Change) -> list[Outcome]:
        outcomes = await store_rows(node, doing.conn, identity, read, kind=kind)
        # "It is there already" acknowledges a registration too, whose writer may have died before it forgot.
        doing.created += [outcome.handle for outcome in outcomes if outcome.outcome != "rejected"]
        return outcomes

    result = await change(node, work, claim=claim)
    tally(result)
    return result


async def store_rows(
    node: Node,
    conn: Connection,
    identity: Identity,
    read: ReadRows,
    *,
    kind: Kind = Kind.ITEM,
    insert: Insert = handles.insert_counted,
    held: Mapping[str, Prefix] | None = None,
) -> list[Outcome]:
    """Store what was read, in the caller's transaction; one outcome for each draft and each row refused, in order.
    `held` are the prefixes that there are of those named, where the caller holds them already."""
    outcomes = dict(read.refused)
    for prefix in sorted({draft.prefix for draft in read.drafts.values()}):
        mine = {n: draft for n, draft in read.drafts.items() if draft.prefix == prefix}
        try:
            found = await prefixes.hold(conn, prefix) if held is None else held.get(prefix)
            owned = _owned(found, identity, prefix)
        except NodeError as error:
            outcomes |= {n: Outcome(n, draft.handle, "rejected", error=error) for n, draft in mine.items()}
        else:
            await _register_under(node, conn, owned, mine, kind, insert, outcomes)
    return [outcomes[n] for n in sorted(outcomes)]


async def owned_prefix(conn: Connection, identity: Identity, text: str) -> Prefix:
    """The prefix, held for this transaction; raises unless it lives here, is the caller's and is enabled."""
    return _owned(await prefixes.hold(conn, text), identity, text)


def _owned(prefix: Prefix | None, identity: Identity, text: str) -> Prefix:
    if prefix is None:
        raise UnknownPrefix.of(prefix=text)
    if prefix.registrant_id != identity.registrant_id:
        raise ForeignPrefix.of(prefix=text)
    if prefix.status != PrefixStatus.ENABLED:
        raise PrefixNotActive.of(prefix=text, status=prefix.status.word, status_zh=prefix.status.zh)
    return prefix


async def _register_under(
    node: Node,
    conn: Connection,
    prefix: Prefix,
    drafts: dict[int, Draft],
    kind: Kind,
    insert: Insert,
    outcomes: dict[int, Outcome],
) -> None:
    known, refused = await minted_rows.prepare(node, conn, prefix, drafts, kind)
    lots = await fetch_lots(conn, prefix, {d.lot for d in drafts.values() if d.lot})
    new: dict[int, NewRow] = {}
    for turn, (number, draft) in enumerate(drafts.items()):
        if turn % TURN == TURN - 1:
            await asyncio.sleep(0)
        try:
            if number in refused:
                raise refused[number]
            new[number] = await _checked(node, conn, prefix, draft, lots, kind, known.intervals.get(number))
        except NodeError as error:
            outcomes[number] = Outcome(number, draft.handle, "rejected", error=error)
    await _store(conn, prefix, new, known, insert, outcomes)


async def fetch_lots(conn: Connection, prefix: Prefix, suffixes: set[str]) -> dict[str, Row]:
    """The lots among these that can take items; they cannot be deleted while this transaction runs."""
    if not suffixes:
        return {}
    wanted = sorted(suffixes)
    await prefixes.hold_lots(conn, prefix.id, wanted)
    shards = handle_codec.shards_of(wanted, prefix.home, prefix.spread)
    found = await handles.fetch_many(conn, prefix.id, shards, wanted)
    return {s: row for s, row in found.items() if row.kind == Kind.LOT and row.status == Status.ACTIVE}


async def _checked(
    node: Node,
    conn: Connection,
    prefix: Prefix,
    draft: Draft,
    lots: dict[str, Row],
    kind: Kind,
    interval: Interval | None = None,
) -> NewRow:
    """The draft as a row to store, valid by its template together with what its lot gives it."""
    if kind == Kind.LOT and draft.lot:
        raise InvalidRow.of(RowError("lot", "lot_in_lot", "批次不能属于批次", "a lot cannot be in a lot"))
    lot = lots.get(draft.lot)
    if draft.lot and lot is None:
        raise UnknownLot.of(RowError("lot", "unknown_lot", "没有此批次", "no such lot"), lot=draft.lot)
    template_id, compiled = await template_of(node, conn, draft.template, lot, draft.lot)
    # A registered serial without a row has no attributes of its own, whatever the template asks of rows.
    empty = interval is not None and interval.counted and bytes(draft.attributes).strip() == b"{}"
    attributes = {} if empty else checked_attributes(compiled, draft.attributes, lot, kind)
    return NewRow(
        shard=handle_codec.shard_of(draft.suffix, prefix.home, prefix.spread),
        suffix=draft.suffix,
        kind=kind,
        lot=draft.lot,
        template_id=template_id,
        content=pack(attributes, draft.values),
    )


async def template_of(
    node: Node, conn: Connection, name: str, lot: Row | None, lot_name: str
) -> tuple[int, Compiled | None]:
    """The template by name, or the lot's; an item follows the template of its lot."""
    if lot is None:
        return await catalogue.by_name(node, name, conn) if name else (0, None)
    compiled = await catalogue.by_id(node, lot.template_id, conn)
    if name:
        given, _ = await catalogue.by_name(node, name, conn)
        if given != lot.template_id:
            expected = compiled.template.name if compiled else "—"
            raise LotTemplate.of(
                RowError("template", "lot_template", f"应为 {expected}", f"must be {expected}"),
                lot=lot_name,
                expected=expected,
                template=name,
            )
    return lot.template_id, compiled


def checked_attributes(
    compiled: Compiled | None, raw: bytes | msgspec.Raw, lot: Row | None, kind: Kind
) -> dict[str, Any]:
    """Canonical own attributes; without a template none are taken (plain handle values are)."""
    if compiled is not None:
        inherited = unpack(lot.content)[0] if lot else None
        return compiled.decode(raw, inherited, partial=kind == Kind.LOT)
    if bytes(raw).strip() != b"{}":
        raise InvalidRow.of(
            RowError("template", "required", "属性需要模板", "attributes need a template that types them")
        )
    return {}


async def _store(
    conn: Connection,
    prefix: Prefix,
    new: dict[int, NewRow],
    known: MintedRows,
    insert: Insert,
    outcomes: dict[int, Outcome],
) -> None:
    """Insert first, then look at what was there already: the primary key decides races, not a check."""
    rowless = await minted_rows.rowless_rows(conn, prefix, known, new)
    asked = {n: row for n, row in new.items() if n not in rowless}
    created = await insert(conn, prefix.id, list(asked.values())) if asked else set()
    old = [row for row in asked.values() if row.suffix not in created]
    stored = await handles.fetch_many(conn, prefix.id, [r.shard for r in old], [r.suffix for r in old]) if old else {}
    for number, row in new.items():
        handle = f"{prefix.prefix}/{row.suffix}"
        if number in rowless:
            outcomes[number] = compare(number, handle, row, rowless[number])
        elif row.suffix in created:
            outcomes[number] = Outcome(number, handle, "created", 1)
        else:
            outcomes[number] = compare(number, handle, row, stored[row.suffix])
    if created:
        await minted_rows.note(conn, prefix, known, [n for n, row in asked.items() if row.suffix in created])
        if not prefix.used:
            await prefixes.mark_used(conn, prefix.id)
