"""Which of many handles of a prefix are registered, in three statements however many there are."""

from __future__ import annotations

from collections.abc import Sequence

import handle_codec
from node import serials
from node.errors import HandleNotFound, NodeError
from node.model import Prefix, Status
from node.records import gone
from node.runtime import Connection, Node
from node.store import handles, intervals


async def missing(node: Node, conn: Connection, prefix: Prefix, suffixes: Sequence[str]) -> dict[str, NodeError]:
    """Why something cannot be said of these: not there, deleted, forged, or a serial that is only reserved.

    Rows are not locked: an event that meets a deletion is as one that came just before it.
    """
    shards = handle_codec.shards_of(list(suffixes), prefix.home, prefix.spread)
    minted = [s for s in suffixes if handle_codec.is_serial(s)]
    counted, refused = await _serials(node, conn, prefix, minted) if minted else (set[str](), dict[str, NodeError]())
    rows = await handles.fetch_many(conn, prefix.id, shards, list(suffixes))
    for suffix in suffixes:
        row, name = rows.get(suffix), f"{prefix.prefix}/{suffix}"
        if suffix in refused:
            continue
        if row is not None and row.status == Status.TOMBSTONE:
            refused[suffix] = gone(name, row)
        elif row is None and suffix not in counted:
            refused[suffix] = HandleNotFound.of(handle=name)
    return refused


async def _serials(
    node: Node, conn: Connection, prefix: Prefix, minted: list[str]
) -> tuple[set[str], dict[str, NodeError]]:
    """(registered without a row of their own, forged) of minted serials; their intervals are held from here on."""
    await intervals.hold(conn, prefix)
    ring = await serials.keyring(node, conn, prefix)
    counters, forged = dict[str, int](), dict[str, NodeError]()
    for suffix in minted:
        try:
            counters[suffix] = ring.counter_of(suffix)
        except NodeError as error:
            forged[suffix] = error
    found = await intervals.at_each(conn, prefix, list(counters.values()))
    return {s for s, n in counters.items() if n in found and found[n].counted}, forged
