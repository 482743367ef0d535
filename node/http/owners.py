"""Resolving with credentials: from PostgreSQL alone, the owner sees all. `?explain=1` says how a code is read."""

from __future__ import annotations

import time
from typing import Any

from starlette.types import Scope

import handle_codec
from node import access
from node.errors import HandleNotFound
from node.http import pages, scan_pages
from node.http.answers import Answer, private_json
from node.http.handle_api import handle_document
from node.http.negotiation import Reader
from node.http.queries import Query
from node.http.requests import client_address
from node.records import gone, values_of_record
from node.resolution import ANYBODY, resolve, resolve_as
from node.runtime import Node


async def answer(
    node: Node,
    scope: Scope,
    headers: dict[bytes, bytes],
    handle: str,
    query: Query,
    *,
    api: bool,
    reader: Reader | None,
) -> Answer:
    """What the holder of the request's key may see; with a cookie alone the public view, of its own making."""
    begin = time.perf_counter()
    identity = ANYBODY
    if b"authorization" in headers:
        scheme, _, token = headers[b"authorization"].decode("latin-1").partition(" ")
        address = client_address(scope, node.settings)
        identity = await access.enterprise(node, token.strip() if scheme.lower() == "bearer" else "", address)
    if "explain" in query:
        access.require_scope(identity, "resolve")
        explained = await _explained(node, handle)
        return private_json(explained, [_timing(explained["tier"], begin)])
    resolved = await resolve_as(node, identity, handle)
    if "qr" in query:
        return pages.as_answer(pages.qr(node, resolved.handle, query))
    timing = [_timing("pg", begin)] if identity is not ANYBODY else []
    if api:
        if resolved.is_gone:
            raise HandleNotFound.of(handle=resolved.handle)
        values = values_of_record(resolved.record(), resolved.compiled)
        return private_json(handle_document(resolved.handle, values, query), timing)
    if resolved.is_gone:
        raise gone(resolved.handle, resolved.row)
    if reader is not None:
        return await scan_pages.page_of(node, resolved, reader)
    return private_json(resolved.record(), timing)


def _timing(tier: str, begin: float) -> tuple[bytes, bytes]:
    return b"server-timing", f"{tier};dur={1000 * (time.perf_counter() - begin):.2f}".encode()


async def _explained(node: Node, handle: str) -> dict[str, Any]:
    """How the public gets this code: as what it is read, where its row lies, which tier answers and in what time."""
    begin = time.perf_counter()
    view = await resolve(node, handle)
    seconds = time.perf_counter() - begin
    prefix_text, _, suffix = view.handle.partition("/")
    prefix = node.fence.prefixes[prefix_text]
    return {
        "handle": view.handle,
        "as_given": handle,
        "serial": handle_codec.is_serial(suffix),
        "shard": handle_codec.shard_of(suffix, prefix.home, prefix.spread),
        "home": prefix.home,
        "spread": prefix.spread,
        "tier": view.source,
        "milliseconds": round(1000 * seconds, 3),
        "form": view.form.name.lower(),
        "version": view.version,
        "etag": view.etag,
        "bytes": len(view.body),
        "fence": {"epoch": node.fence.epoch, "enabled": node.fence.enabled},
        "codec": handle_codec.IMPLEMENTATION,
    }
