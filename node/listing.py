"""Listing a prefix's handles for its owner, in pages by cursor."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from node.errors import BadRequest
from node.model import SHARDS, Identity, Kind, Prefix, Row
from node.records import iso, unpack
from node.revision import shards_of, visible_prefix
from node.runtime import Node, reading
from node.store import handles

MAX_PAGE = 1000


async def page(
    node: Node, identity: Identity, prefix_text: str, after: str, limit: int
) -> tuple[list[dict[str, Any]], str | None]:
    """A page of a prefix's handles in key order, tombstones included, and the cursor of the next page."""
    async with reading(node) as conn:
        prefix = await visible_prefix(conn, identity, prefix_text)
        rows = await handles.page(conn, shards_of(prefix), prefix.id, _cursor(after), limit + 1)
    listed = [_listed(prefix, row) for _, row in rows[:limit]]
    if len(rows) <= limit:
        return listed, None
    shard, last = rows[limit - 1]
    return listed, base64.urlsafe_b64encode(f"{shard}:{last.suffix}".encode()).decode()


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


def _cursor(text: str) -> tuple[int, str]:
    if not text:
        return -1, ""
    try:
        shard, _, suffix = base64.urlsafe_b64decode(text.encode("ascii")).decode().partition(":")
        if not -1 <= int(shard) < SHARDS or "\0" in suffix:
            raise ValueError(text)
        return int(shard), suffix
    except (ValueError, binascii.Error):
        raise BadRequest.of(reason="the cursor is not one of ours", reason_zh="游标无效") from None
