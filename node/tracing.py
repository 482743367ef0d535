"""The trace: what happened to an item, to its lot and to the packages it was in. Recorded by node/capturing.py."""

from __future__ import annotations

from collections.abc import Sequence

import handle_codec
from node.containment import events_around
from node.drafts import issued_handle
from node.model import Event, Identity, Prefix
from node.revision import visible_prefix
from node.runtime import Node, ReadConnection, reading
from node.store import events
from node.store.events import Place

_LISTED = 1000


async def trace(conn: ReadConnection, prefix: Prefix, suffixes: Sequence[str]) -> list[Event]:
    """What happened to an item, to its lot and to what they were in, in the order in which it happened, without what
    was declared wrong."""
    return [event for event in await events_around(conn, prefix, suffixes) if not event.withdrawn]


async def of_handle(node: Node, identity: Identity, handle: str) -> list[Event]:
    """The newest 1,000 events of one of the caller's handles, in order, those declared wrong among them."""
    prefix_text, suffix = issued_handle(handle)
    async with reading(node) as conn:
        prefix = await visible_prefix(conn, identity, prefix_text)
        shard = handle_codec.shard_of(suffix, prefix.home, prefix.spread)
        (found,) = await events.of_each(conn, [Place(shard, prefix.id, suffix)], _LISTED)
    return found[::-1]
