"""What a person sees of a handle: its page with the scans before this one, and the way out to the enterprise."""

from __future__ import annotations

import time

from node import hosts, scans
from node.http import pages, refusals
from node.http.answers import Answer
from node.http.negotiation import Reader
from node.kept import Form
from node.model import Kind
from node.records import Resolved, gone, gone_again
from node.resolution import resolve, resolve_for_page
from node.runtime import Node
from node.scan_tokens import LOT, SHIPPED, UNSHIPPED, VOID
from node.scanning import NOT_COUNTED, Scans

_STATES = {"unshipped": UNSHIPPED, "void": VOID}


async def public(node: Node, handle: str, reader: Reader) -> Answer:
    """The page that anybody sees; raises HandleGone for a tombstone."""
    resolved = await resolve_for_page(node, handle)
    if resolved.is_gone:
        raise gone(resolved.handle, resolved.row)
    return await page_of(node, resolved, reader)


async def page_of(node: Node, resolved: Resolved, reader: Reader) -> Answer:
    """The page of what was resolved, whoever asks: it is shown to others and photographed."""
    row, prefix = resolved.row, resolved.prefix
    proved = await hosts.proved(node, prefix.registrant_id)
    found = await scans.scans_of(node, prefix, row.suffix)
    before = Scans(found.before, found.first_at, found.first_place) if found else NOT_COUNTED
    state = LOT if row.kind == Kind.LOT else _STATES.get(resolved.status, SHIPPED)
    claim = scans.claim_address(node, resolved.handle, time.time(), lot=row.lot, state=state)

    def link_ok(url: str) -> bool:
        return hosts.link_ok(url, proved)

    return pages.as_answer(await pages.scan(node, resolved, reader, scans=before, claim=claim, link_ok=link_ok))


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
