"""SQL over `scan` and `event` for many pages at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from node.runtime import ReadConnection

NOT_ASKED = -1  # for a lot's shard

# `traced`: whether anything ever happened to the item or its lot, a withdrawn event too; asked with a lot_shard.
_SEEN = """
    SELECT s.count, extract(epoch FROM s.first_at)::float8 AS first_at, s.first_place,
           w.lot_shard >= 0
           AND (EXISTS (SELECT FROM event e
                         WHERE e.shard = w.shard AND e.prefix_id = w.prefix_id AND e.suffix = w.suffix)
                OR w.lot <> '' AND EXISTS (SELECT FROM event e WHERE e.shard = w.lot_shard
                                              AND e.prefix_id = w.prefix_id AND e.suffix = w.lot)) AS traced
      FROM unnest($1::smallint[], $2::integer[], $3::text[], $4::smallint[], $5::text[])
           WITH ORDINALITY AS w (shard, prefix_id, suffix, lot_shard, lot, n)
      LEFT JOIN scan s ON s.shard = w.shard AND s.prefix_id = w.prefix_id AND s.suffix = w.suffix
     ORDER BY w.n
"""


async def seen(
    conn: ReadConnection,
    shards: Sequence[int],
    prefix_ids: Sequence[int],
    suffixes: Sequence[str],
    lot_shards: Sequence[int],
    lots: Sequence[str],
) -> list[Any]:
    """Of each handle, in order: count (None: never scanned), first_at, first_place, traced."""
    return await conn.fetch(_SEEN, shards, prefix_ids, suffixes, lot_shards, lots)
