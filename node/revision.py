"""Changing and deleting registered handles, and reading them as their owner."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import orjson

import handle_codec
from node import catalogue, items, templates
from node.drafts import Replacement, checked_values, issued_handle, lot_suffix, replacement_of
from node.errors import (
    ForeignPrefix,
    HandleNotFound,
    InvalidRow,
    LotInUse,
    RowError,
    StaleVersion,
    UnknownLot,
    UnknownPrefix,
)
from node.fence import lot_name
from node.model import Identity, Kind, Prefix, Row, Status
from node.records import Resolved, gone, pack, unpack
from node.registration import checked_attributes, fetch_lots, owned_prefix, template_of
from node.runtime import Connection, Node, ReadConnection, reading
from node.store import handles, intervals, prefixes
from node.writing import Change, change

_Rewrite = Callable[[Change, Prefix, Row], Any]
_NO_REASON = "未说明原因 / no reason given"


async def put(node: Node, identity: Identity, handle: str, body: bytes, version: int | None) -> Resolved:
    """Replace the whole content; the same content changes nothing. `version`: If-Match, None for any."""
    given = replacement_of(body)

    async def rewrite(doing: Change, prefix: Prefix, row: Row) -> Row:
        _same_handle(given, handle)
        full = msgspec.structs.replace(
            given,
            lot=given.lot or "",
            attributes=_or_nothing(given.attributes),
            values=given.values or [],
        )
        return await _rewritten(node, doing.conn, prefix, row, full)

    return await _revise(node, identity, handle, version, rewrite)


async def patch(node: Node, identity: Identity, handle: str, body: bytes, version: int | None) -> Resolved:
    """Change the members given; `attributes` by RFC 7396: null removes one, what is absent stays."""
    given = replacement_of(body)

    async def rewrite(doing: Change, prefix: Prefix, row: Row) -> Row:
        _same_handle(given, handle)
        attributes, _ = unpack(row.content)
        if bytes(given.attributes):
            attributes = _merged(attributes, given.attributes)
        full = msgspec.structs.replace(
            given,
            lot=row.lot if given.lot is None else given.lot,
            attributes=msgspec.Raw(orjson.dumps(attributes)),
        )
        return await _rewritten(node, doing.conn, prefix, row, full)

    return await _revise(node, identity, handle, version, rewrite)


async def delete(
    node: Node, identity: Identity, handle: str, reason: str, successor: str, version: int | None
) -> Resolved:
    """Make a tombstone of it: the row stays, so that the suffix is never used again."""
    if successor:
        successor = "/".join(issued_handle(successor, "successor"))
        if successor == "/".join(issued_handle(handle)):
            raise InvalidRow.of(RowError("successor", "own_successor", "不能以自身为后继", "it cannot succeed itself"))
    checked = templates.plain_text(reason, "reason", 500) if reason else _NO_REASON

    async def rewrite(doing: Change, prefix: Prefix, row: Row) -> Row:
        if row.kind == Kind.LOT and await handles.has_items(doing.conn, shards_of(prefix), prefix.id, row.suffix):
            raise LotInUse.of(lot=handle, reason="delete or move them first", reason_zh="请先注销或移出")
        await prefixes.count(doing.conn, prefix.id, deleted=1)
        tombstone = {"status": Status.TOMBSTONE, "content": b"", "lot": "", "reason": checked, "successor": successor}
        return row.changed(**tombstone)

    return await _revise(node, identity, handle, version, rewrite)


async def _revise(node: Node, identity: Identity, handle: str, version: int | None, rewrite: _Rewrite) -> Resolved:
    """Lock the row, rewrite it, keep the old version; announced and forgotten like every change."""
    prefix_text, suffix = issued_handle(handle)
    name = f"{prefix_text}/{suffix}"

    async def work(doing: Change) -> Resolved:
        prefix = await owned_prefix(doing.conn, identity, prefix_text)
        if handle_codec.is_serial(suffix):
            await intervals.hold(doing.conn, prefix)  # before lots, as everywhere
        shard = handle_codec.shard_of(suffix, prefix.home, prefix.spread)
        known = await handles.fetch(doing.conn, shard, prefix.id, suffix)
        if known is None or known.kind == Kind.LOT:
            # Before the row's lock: registrations hold the lot shared and then look at it. What is an item stays one,
            # and would wait for whole chunks of imports: 64 locks stand for all lots of a prefix.
            await prefixes.hold_lots(doing.conn, prefix.id, [suffix], alone=True)
        item = await items.lock(node, doing.conn, prefix, suffix)
        row = item.row
        if row is None or not items.is_registered(item):
            raise HandleNotFound.of(handle=name)
        if row.status == Status.TOMBSTONE:
            raise gone(name, row)
        if version is not None and version != row.version:
            raise StaleVersion.of(given=version, version=row.version)
        new = await rewrite(doing, prefix, row)
        if (
            row.kind == Kind.LOT
        ):  # also for the same content: whoever stored it may have died before it was safe to say so
            doing.dependents.append(lot_name(name))
        if new != row:
            if item.rowless:
                await items.give_row(doing.conn, prefix, item)
            new = await handles.replace(doing.conn, shard, prefix.id, new, identity.actor)
        return await _resolved(node, doing.conn, prefix, new, item)

    return await change(node, work, handles=[name])


async def _rewritten(node: Node, conn: Connection, prefix: Prefix, row: Row, given: Replacement) -> Row:
    """The row with the content of `given`, checked as a registration is."""
    lot_name = lot_suffix(given.lot or "", prefix.prefix)
    if lot_name and (row.kind == Kind.LOT or lot_name == row.suffix):
        raise InvalidRow.of(RowError("lot", "lot_in_lot", "批次不能属于批次", "a lot cannot be in a lot"))
    lot = (await fetch_lots(conn, prefix, {lot_name} if lot_name else set())).get(lot_name)
    if lot_name and lot is None:
        raise UnknownLot.of(RowError("lot", "unknown_lot", "没有此批次", "no such lot"), lot=lot_name)
    if given.template or lot:
        template_id, compiled = await template_of(node, conn, given.template or "", lot, lot_name)
    else:
        template_id, compiled = row.template_id, await catalogue.by_id(node, row.template_id, conn)
    attributes = checked_attributes(compiled, _or_nothing(given.attributes), lot, row.kind)
    if row.kind == Kind.LOT:
        await _items_stay_complete(conn, prefix, row, template_id, compiled, attributes)
    values = unpack(row.content)[1] if given.values is None else checked_values(given.values)
    return row.changed(lot=lot_name, template_id=template_id, content=pack(attributes, values))


async def _items_stay_complete(
    conn: Connection, prefix: Prefix, row: Row, template_id: int, compiled: Any, attributes: dict[str, Any]
) -> None:
    """A lot that has items keeps its template and the required attributes that it gives them."""
    required = {f.code for f in compiled.template.fields if f.required} if compiled else set()
    lost = (required & unpack(row.content)[0].keys()) - attributes.keys()
    if template_id == row.template_id and not lost:
        return
    if await handles.has_items(conn, shards_of(prefix), prefix.id, row.suffix):
        what = ", ".join(sorted(lost)) or "template"
        raise LotInUse.of(lot=f"{prefix.prefix}/{row.suffix}", reason=f"they need {what}", reason_zh=f"它们需要 {what}")


def _same_handle(given: Replacement, handle: str) -> None:
    if given.handle and issued_handle(given.handle) != issued_handle(handle):
        raise InvalidRow.of(
            RowError("handle", "other_handle", "与地址中的标识不同", "differs from the handle in the address")
        )


def _or_nothing(attributes: msgspec.Raw) -> msgspec.Raw:
    return attributes if bytes(attributes) else msgspec.Raw(b"{}")


def _merged(attributes: dict[str, Any], raw: msgspec.Raw) -> dict[str, Any]:
    try:
        changes = orjson.loads(bytes(raw))
    except orjson.JSONDecodeError as error:
        raise InvalidRow.of(RowError("attributes", "broken", f"无法解析：{error}", str(error))) from None
    if not isinstance(changes, dict):
        raise InvalidRow.of(RowError("attributes", "wrong_type", "须为对象", "must be an object"))
    merged = {**attributes, **changes}
    return {code: value for code, value in merged.items() if value is not None}


def shards_of(prefix: Prefix) -> list[int]:
    """All shards of a prefix, in key order: an interval on the ring of 1,024."""
    return sorted((prefix.home + k) % 1024 for k in range(prefix.spread))


async def read(node: Node, identity: Identity, handle: str) -> Resolved:
    """The handle as its owner sees it, from PostgreSQL; raises HandleGone for a tombstone."""
    prefix_text, suffix = issued_handle(handle)
    async with reading(node) as conn:
        prefix = await visible_prefix(conn, identity, prefix_text)
        item = await items.find(node, conn, prefix, suffix)
        row = item.row
        if row is None:
            raise HandleNotFound.of(handle=handle)
        if row.status == Status.TOMBSTONE:
            raise gone(handle, row)
        return await _resolved(node, conn, prefix, row, item)


async def visible_prefix(conn: ReadConnection, identity: Identity, text: str) -> Prefix:
    """The prefix if it is the caller's; a suspended one may still be read by its owner."""
    prefix = await prefixes.fetch(conn, text) if handle_codec.is_prefix(text) else None
    if prefix is None:
        raise UnknownPrefix.of(prefix=text[:64])
    if prefix.registrant_id != identity.registrant_id:
        raise ForeignPrefix.of(prefix=text)
    return prefix


async def _resolved(node: Node, conn: ReadConnection, prefix: Prefix, row: Row, item: items.Item) -> Resolved:
    lot = None
    if row.lot:
        shard = handle_codec.shard_of(row.lot, prefix.home, prefix.spread)
        lot = await handles.fetch(conn, shard, prefix.id, row.lot)
    compiled = await catalogue.by_id(node, row.template_id, conn)
    return Resolved(f"{prefix.prefix}/{row.suffix}", prefix, row, lot, compiled, "private", item.interval)
