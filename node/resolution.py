"""Resolving: from a handle to what anybody may know of it, through the cache to PostgreSQL."""

from __future__ import annotations

import handle_codec
from node import catalogue, items
from node.cache import handle_key, prefix_key
from node.drafts import invalid_handle
from node.errors import ForgedHandle, ForgedSerial, HandleNotFound, UnknownPrefix
from node.model import Identity, Prefix, Row
from node.records import Resolved, public_row
from node.runtime import Node, ReadConnection, reading
from node.store import handles, prefixes

_ANYBODY = Identity("anonymous")


def parsed(text: str) -> tuple[str, str]:
    """(prefix, suffix) of any well-formed handle, a minted serial folded; raises InvalidHandleError with position
    and reason."""
    try:
        prefix, suffix = handle_codec.parse(text)
    except handle_codec.InvalidHandle as error:
        raise invalid_handle(error, text=text) from None
    return prefix, handle_codec.fold_serial(suffix)


async def resolve(node: Node, text: str) -> tuple[Resolved, str]:
    """The public view of a handle, tombstones included, and where it came from ("cache" or "pg").

    Raises UnknownPrefix, HandleNotFound, InvalidHandleError, or Unavailable when PostgreSQL is needed and away.
    """
    prefix_text, suffix = parsed(text)
    if handle_codec.is_serial(suffix):  # its interval may change at any time, with all that is kept of it
        return await resolve_as(node, _ANYBODY, text), "pg"
    handle = f"{prefix_text}/{suffix}"
    facts, tokens = await node.cache.get([prefix_key(prefix_text), handle_key(handle)])
    prefix, row = facts
    source = "cache"
    if not isinstance(prefix, Prefix):
        source = "pg"
        prefix = await _read_prefix(node, prefix_text, tokens[0])
    if not isinstance(row, Row):
        source = "pg"
        row = await _read_row(node, prefix, suffix, tokens[1])
    lot = None
    if row.lot:
        lot_handle = f"{prefix_text}/{row.lot}"
        (kept,), (token,) = await node.cache.get([handle_key(lot_handle)])
        lot = kept if isinstance(kept, Row) else await _read_row(node, prefix, row.lot, token)
    compiled = await catalogue.by_id(node, row.template_id)
    return Resolved(handle, prefix, row, lot, compiled), source


async def resolve_as(node: Node, identity: Identity, text: str) -> Resolved:
    """The same for a caller with a key, from PostgreSQL alone: the owner sees all, others the public view."""
    prefix_text, suffix = parsed(text)
    async with reading(node) as conn:
        prefix = await prefixes.fetch(conn, prefix_text)
        if prefix is None:
            raise UnknownPrefix.of(prefix=prefix_text)
        item = await _find(node, conn, prefix, suffix)
        row = item.row
        if row is None:
            raise HandleNotFound.of(handle=f"{prefix_text}/{suffix}")
        lot = await _fetch(conn, prefix, row.lot) if row.lot else None
        compiled = await catalogue.by_id(node, row.template_id, conn)
    level = "private" if identity.registrant_id == prefix.registrant_id else "public"
    return Resolved(f"{prefix_text}/{suffix}", prefix, row, lot, compiled, level, item.interval)


async def _find(node: Node, conn: ReadConnection, prefix: Prefix, suffix: str) -> items.Item:
    try:
        return await items.find(node, conn, prefix, suffix)
    except ForgedSerial:
        raise ForgedHandle.of(handle=f"{prefix.prefix}/{suffix}") from None


async def _read_prefix(node: Node, text: str, token: str) -> Prefix:
    async with reading(node) as conn:
        prefix = await prefixes.fetch(conn, text)
    if prefix is None:
        raise UnknownPrefix.of(prefix=text)
    await node.cache.fill(prefix_key(text), token, prefix)
    return prefix


async def _read_row(node: Node, prefix: Prefix, suffix: str, token: str) -> Row:
    """The public part of a row, kept for the next reader; nothing negative is kept."""
    async with reading(node) as conn:
        row = await _fetch(conn, prefix, suffix)
        compiled = await catalogue.by_id(node, row.template_id, conn)
    public = public_row(row, compiled)
    await node.cache.fill(handle_key(f"{prefix.prefix}/{suffix}"), token, public)
    return public


async def _fetch(conn: ReadConnection, prefix: Prefix, suffix: str) -> Row:
    shard = handle_codec.shard_of(suffix, prefix.home, prefix.spread)
    row = await handles.fetch(conn, shard, prefix.id, suffix)
    if row is None:
        raise HandleNotFound.of(handle=f"{prefix.prefix}/{suffix}")
    return row
