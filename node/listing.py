"""Listing a prefix's handles for its owner, in pages by cursor."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator
from typing import Any

import handle_codec
from handle_codec.serials import COUNTERS
from node import items, serials
from node.errors import BadRequest
from node.model import SHARDS, Identity, Interval, Kind, Prefix, Row
from node.records import iso, unpack
from node.revision import shards_of, visible_prefix
from node.runtime import Node, ReadConnection, reading
from node.store import handles, intervals

MAX_PAGE = 1000
_INTERVALS = 100  # read at a time
_WINDOW = 1000  # serials minted at a time
_ROWLESS = "#"  # a cursor among rowless serials; the others begin with a shard

Rowless = tuple[int, Interval, Row]


async def page(
    node: Node, identity: Identity, prefix_text: str, after: str, limit: int
) -> tuple[list[dict[str, Any]], str | None]:
    """A page of a prefix's handles, tombstones included: rows in key order, then rowless serials by counter; and the
    cursor of the next page, None on the last."""
    async with reading(node) as conn:
        prefix = await visible_prefix(conn, identity, prefix_text)
        start = _cursor(after)
        listed: list[dict[str, Any]] = []
        if isinstance(start, tuple):
            rows = await handles.page(conn, shards_of(prefix), prefix.id, start, limit + 1)
            listed = [_listed(prefix, row) for _, row in rows[:limit]]
            if len(rows) > limit:
                shard, last = rows[limit - 1]
                return listed, _encoded(f"{shard}:{last.suffix}")
            start = 0
        wanted = limit - len(listed)
        found = [item async for item in first_of(rowless_from(node, conn, prefix, start), wanted + 1)]
    listed += [_rowless_listed(prefix, interval, row) for _, interval, row in found[:wanted]]
    if len(found) <= wanted:
        return listed, None
    return listed, _encoded(f"{_ROWLESS}{found[wanted][0]}")


async def first_of(found: AsyncIterator[Rowless], count: int) -> AsyncIterator[Rowless]:
    """At most `count` of them."""
    if count <= 0:
        return
    async for item in found:
        yield item
        count -= 1
        if not count:
            return


async def rowless_from(node: Node, conn: ReadConnection, prefix: Prefix, start: int) -> AsyncIterator[Rowless]:
    """Registered serials without a row, by counter from `start` on: (counter, interval, what it is read as)."""
    keys = await serials.keyring(node, conn, prefix)
    while found := await intervals.registered_after(conn, prefix, start, _INTERVALS):
        for interval in found:
            lot = await handles.fetch(conn, *_key_of(prefix, interval.lot))
            for first in range(max(start, interval.first), interval.last + 1, _WINDOW):
                count = min(_WINDOW, interval.last + 1 - first)
                with_row = set(await intervals.items(conn, prefix, first, first + count - 1))
                names = keys.key_at(first).mint_lines(first, count).decode().split()
                for counter, suffix in enumerate(names, first):
                    if counter not in with_row:
                        yield counter, interval, items.rowless(suffix, interval, lot.template_id if lot else 0)
        start = found[-1].last + 1


def _key_of(prefix: Prefix, suffix: str) -> tuple[int, int, str]:
    return handle_codec.shard_of(suffix, prefix.home, prefix.spread), prefix.id, suffix


def _encoded(cursor: str) -> str:
    return base64.urlsafe_b64encode(cursor.encode()).decode()


def _rowless_listed(prefix: Prefix, interval: Interval, row: Row) -> dict[str, Any]:
    return _listed(prefix, row) | {"status": items.state_of(interval) or row.status.word, "rowless": True}


def _listed(prefix: Prefix, row: Row) -> dict[str, Any]:
    attributes, values = unpack(row.content)
    return {
        "handle": f"{prefix.prefix}/{row.suffix}",
        "kind": "lot" if row.kind == Kind.LOT else "item",
        "status": row.status.word,
        "lot": f"{prefix.prefix}/{row.lot}" if row.lot else None,
        "attributes": attributes,
        "values": values,
        "version": row.version,
        "updated_at": iso(row.updated_at),
    }


def _cursor(text: str) -> tuple[int, str] | int:
    """The key after which rows go on, or the counter at which rowless serials do."""
    if not text:
        return -1, ""
    try:
        plain = base64.urlsafe_b64decode(text.encode("ascii")).decode()
        if plain.startswith(_ROWLESS):
            counter = int(plain.removeprefix(_ROWLESS))
            if not 0 <= counter < COUNTERS:
                raise ValueError(text)
            return counter
        shard, _, suffix = plain.partition(":")
        if not -1 <= int(shard) < SHARDS or "\0" in suffix:
            raise ValueError(text)
        return int(shard), suffix
    except (ValueError, binascii.Error):
        raise BadRequest.of(reason="the cursor is not one of ours", reason_zh="游标无效") from None
