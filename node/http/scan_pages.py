"""What a person sees of a handle: its page with the scans before this one, and the way out to the enterprise."""

from __future__ import annotations

import time
from collections.abc import Callable

from node import hosts, scan_reads, scans
from node.http import pages, refusals
from node.http.answers import Answer
from node.http.frames import Kept, Proof
from node.http.negotiation import Reader
from node.kept import Form
from node.lookups import dependents_of, may_be_kept
from node.model import Kind
from node.reads import reads_of
from node.records import Resolved, gone, gone_again
from node.resolution import parsed, resolve, resolve_for_page
from node.runtime import Node
from node.scan_tokens import LOT, SHIPPED, UNSHIPPED, VOID
from node.scanning import NOT_COUNTED, Scans, events_of

# A page that was just found right: its entry in Valkey (b"" where PostgreSQL's row said so), a generation of its
# prefix's changes that was there before what it was made of was read, and when that began (monotonic s).
Keeps = Callable[[Kept, bytes, bytes, float], None]
_STATES = {"unshipped": UNSHIPPED, "void": VOID}


async def public(node: Node, handle: str, reader: Reader, keeps: Keeps | None = None) -> Answer:
    """The page that anybody sees; raises HandleGone for a tombstone."""
    started, turn, generations = time.monotonic(), node.fence.turn, reads_of(node).generations
    prefix = node.fence.prefixes.get(parsed(handle)[0])
    events, changes = (generations.of_events(prefix), generations.of_changes(prefix.prefix)) if prefix else (b"", b"")
    resolved = await resolve_for_page(node, handle)
    if resolved.is_gone:
        raise gone(resolved.handle, resolved.row)
    answer = await page_of(node, resolved, reader)
    kept = _prove(node, resolved, reader, turn, events)
    if kept is not None and keeps is not None and kept.events is not None and not kept.links:
        keeps(kept, b"", changes, started)
    return answer


def _prove(node: Node, resolved: Resolved, reader: Reader, turn: int, events: bytes) -> Kept | None:
    """Note by what the page of this record is known; `turn` of the fence, and the generation of `events`, were before
    it was read. The page, None where nothing can prove it."""
    names = dependents_of(resolved)
    if node.fence.moved_since(names, turn) or not may_be_kept(resolved):
        return None
    view = reads_of(node).view_of(resolved)
    stamps = tuple((name, node.fence.stamp(name)) for name in names)
    key = pages.frame_key(node, resolved.handle, reader)
    until = time.monotonic() + node.settings.cache_ttl
    return pages.LOOK.frames.prove(key, resolved, Proof(view.etag, view.version, stamps, until, events))


def state_of(resolved: Resolved) -> str:
    """What a claim says of the handle."""
    return LOT if resolved.row.kind == Kind.LOT else _STATES.get(resolved.status, SHIPPED)


def _claim(node: Node, resolved: Resolved) -> str:
    lot, state = resolved.row.lot, state_of(resolved)
    return scans.claim_address(node, resolved.handle, time.time(), lot=lot, state=state)


async def page_of(node: Node, resolved: Resolved, reader: Reader) -> Answer:
    """The page of what was resolved, whoever asks: it is shown to others and photographed."""
    row, prefix = resolved.row, resolved.prefix
    proved = await hosts.proved(node, prefix.registrant_id)
    found = await scan_reads.scans_of(node, prefix, row.suffix, row.lot)
    before = Scans(found.before, found.first_at, found.first_place) if found else NOT_COUNTED
    # Asked with the scans of many others: most items have no trace, and need no query of their own.
    events = await events_of(node, resolved) if found is None or found.traced else []
    claim = _claim(node, resolved)

    def link_ok(url: str) -> bool:
        return hosts.link_ok(url, proved)

    return pages.as_answer(pages.scan_page(node, resolved, events, reader, before, claim, link_ok))


async def leave(node: Node, handle: str, reader: Reader) -> Answer:
    """To the first URL among the handle's values (handle-protocol.md 4.9): a redirect where the enterprise has proved
    the host, else a page that names it in clear and goes nowhere by itself."""
    view = await resolve(node, handle)
    if view.form == Form.GONE:
        raise gone_again(view.document())
    values = view.document()["values"]
    kinds = [(v["type"].upper(), v["data"]) for v in values if isinstance(v["data"].get("value"), str)]
    address = next((d["value"] for kind, d in kinds if kind == "URL"), "")
    address = address or next((d["value"] for kind, d in kinds if kind.startswith("URL.")), "")
    prefix = node.fence.prefixes[view.handle.partition("/")[0]]
    proved = await hosts.proved(node, prefix.registrant_id)
    target = hosts.safe_link(address, proved)
    if target is None:
        return pages.as_answer(refusals.interstitial(node, view.handle, address, reader))
    return Answer(
        302,
        [(b"location", target.encode()), (b"cache-control", b"no-store"), (b"referrer-policy", b"no-referrer")],
        b"",
    )
