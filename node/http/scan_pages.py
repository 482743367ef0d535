"""What a person sees of a handle: its page with the scans before this one, and the way out to the enterprise."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from node import hosts, scans
from node.errors import NodeError
from node.fence import events_name
from node.http import pages, refusals
from node.http.answers import Answer
from node.http.frames import Kept, Proof
from node.http.negotiation import Reader
from node.joining import Found
from node.kept import Form, View
from node.lookups import dependents_of, may_be_kept
from node.model import Kind
from node.reads import reads_of
from node.records import Resolved, gone, gone_again
from node.resolution import ask, parsed, resolve, resolve_for_page
from node.runtime import Node
from node.scan_memory import Scans as Counted
from node.scan_tokens import LOT, SHIPPED, UNSHIPPED, VOID
from node.scanning import NOT_COUNTED, Scans, events_of

# The page that was shown, the view that proved it, and when it was asked for (monotonic s).
Keep = Callable[[Kept, View, float], None]
COUNT_SECONDS = 1.0  # for which a number of scans may be told
_STATES = {"unshipped": UNSHIPPED, "void": VOID}


async def public(node: Node, handle: str, reader: Reader) -> Answer:
    """The page that anybody sees; raises HandleGone for a tombstone."""
    names_known = node.fence.turn
    resolved = await resolve_for_page(node, handle)
    if resolved.is_gone:
        raise gone(resolved.handle, resolved.row)
    answer = await page_of(node, resolved, reader)
    _prove(node, resolved, reader, names_known)
    return answer


def begin(node: Node, handle: str, reader: Reader, keep: Keep | None = None) -> asyncio.Future[Answer] | None:
    """The same without a task where a page of this record is kept; None for `public`.

    A kept page is shown where Valkey's entry is of the record that the page was made of, where no event of its
    enterprise was acknowledged since, and where no link hangs on a proved host. Whatever else is found, `public` makes
    the answer. `keep` is told of what was shown. Raises what `ask` raises.
    """
    prefix_text, suffix = parsed(handle)
    key = pages.frame_key(node, f"{prefix_text}/{suffix}", reader)
    kept = pages.LOOK.frames.known(key)
    if kept is None or kept.proof is None or kept.events is None or kept.links:
        return None
    started = time.monotonic()
    asked: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
    if not ask(node, handle, asked):
        return None
    counted = None if _told_lately(kept, started) else scans.ask(node, kept.resolved.prefix, kept.resolved.row.suffix)
    answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    waiting = 2 if counted else 1

    def arrived(done: asyncio.Future[Any]) -> None:
        nonlocal waiting
        waiting -= 1
        if waiting or answer.done():
            return
        try:
            view = _proved(node, kept, asked)
            if view is None or not _counted(node, kept, counted, started):
                _ordinary(node, handle, reader, answer)
                return
            before = kept.scans or NOT_COUNTED
            answer.set_result(pages.fill(kept, reader, before, _claim(node, kept.resolved)))
            if keep is not None:
                keep(kept, view, started)
        except Exception as error:  # a fault of ours: said by whoever waits
            if not answer.done():
                answer.set_exception(error)

    asked.add_done_callback(arrived)
    if counted:
        counted.add_done_callback(arrived)
    return answer


def _told_lately(kept: Kept, now: float) -> bool:
    """Whether the scans that this page said last may be said again: a second old, and more than none, for none is
    untrue from the moment of the first scan on."""
    return kept.scans is not None and bool(kept.scans.before) and now - kept.counted < COUNT_SECONDS


def _proved(node: Node, kept: Kept, asked: asyncio.Future[Found]) -> View | None:
    """Valkey's view, where the kept page is right by it."""
    if asked.cancelled() or asked.exception():
        return None
    view = asked.result().kept
    return view if view is not None and kept.proof is not None and kept.proof.holds(view, node.fence) else None


def _counted(node: Node, kept: Kept, counted: asyncio.Future[Counted] | None, started: float) -> bool:
    """Whether the page has its scans: as they were told lately, or as they were found."""
    if counted is None:
        return True
    if counted.cancelled() or counted.exception():
        return False
    found, resolved = counted.result(), kept.resolved
    if found.before:
        node.scan_memory.know((resolved.prefix.prefix, resolved.row.suffix))
    kept.scans, kept.counted = Scans(found.before, found.first_at, found.first_place), started
    return True


def _ordinary(node: Node, handle: str, reader: Reader, answer: asyncio.Future[Answer]) -> None:
    async def work() -> None:
        try:
            found = await public(node, handle, reader)
        except BaseException as error:
            if not answer.done():
                answer.set_exception(error if isinstance(error, NodeError) else NodeError())
            if not isinstance(error, NodeError):
                raise
        else:
            if not answer.done():
                answer.set_result(found)

    task = asyncio.ensure_future(work())
    node.scan_memory.tasks.add(task)
    task.add_done_callback(node.scan_memory.tasks.discard)


def _prove(node: Node, resolved: Resolved, reader: Reader, turn: int) -> None:
    """Note by what the page of this record is known; `turn` of the fence was before it was read."""
    names = [*dependents_of(resolved), events_name(resolved.prefix.registrant_id)]
    if node.fence.moved_since(names, turn) or not may_be_kept(resolved):
        return
    view = reads_of(node).view_of(resolved)
    stamps = tuple((name, node.fence.stamp(name)) for name in names)
    key = pages.frame_key(node, resolved.handle, reader)
    until = time.monotonic() + node.settings.cache_ttl
    pages.LOOK.frames.prove(key, resolved, Proof(view.etag, view.version, stamps, until))


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
    found = await scans.scans_of(node, prefix, row.suffix, row.lot)
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
