"""SQL over `event` for many pages at once."""

from __future__ import annotations

from collections.abc import Sequence

from node.runtime import ReadConnection

_HAPPENED = """
    SELECT w.n FROM unnest($1::integer[], $2::smallint[], $3::integer[], $4::text[]) AS w (n, shard, prefix_id, suffix)
     WHERE EXISTS (SELECT FROM event e
                    WHERE e.shard = w.shard AND e.prefix_id = w.prefix_id AND e.suffix = w.suffix)
"""


async def happened(
    conn: ReadConnection, shards: Sequence[int], prefix_ids: Sequence[int], suffixes: Sequence[str]
) -> set[int]:
    """The positions of those handles to which anything ever happened, a withdrawn event too."""
    records = await conn.fetch(_HAPPENED, range(len(shards)), shards, prefix_ids, suffixes)
    return {record["n"] for record in records}
