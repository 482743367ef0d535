"""What an enterprise may know of the scans of its handles: numbers, no devices and no addresses."""

from __future__ import annotations

from typing import Any

import handle_codec
from node import sketch
from node.model import Prefix
from node.records import iso
from node.runtime import ReadConnection
from node.store import scans as store


async def of_handle(conn: ReadConnection, prefix: Prefix, suffix: str) -> dict[str, Any]:
    """All zero where it was never scanned, whether or not it exists."""
    shard = handle_codec.shard_of(suffix, prefix.home, prefix.spread)
    rows = await store.of_items(conn, [shard], [prefix.id], [suffix])
    row = rows[0] if rows else None
    first = row["first_at"] if row else None
    return {
        "handle": f"{prefix.prefix}/{suffix}",
        "scans": row["count"] if row else 0,
        "own_scans": row["own"] if row else 0,
        "first_at": iso(first) if first is not None else None,
        "first_place": (row["first_place"] or None) if row else None,
        "devices": sketch.estimate(row["devices"]) if row else 0,
    }
