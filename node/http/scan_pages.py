"""What a person sees of a handle: its page with the scans before this one, and the way out to the enterprise."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import urlsplit

from node import hosts, scans
from node.fence import changes_name, events_name
from node.http import pages, refusals
from node.http.answers import Answer
from node.http.frames import Kept, Proof, Showing
from node.http.negotiation import Reader
from node.joining import Found
from node.kept import Form
from node.lookups import dependents_of, may_be_kept
from node.model import Kind
from node.reads import reads_of
from node.records import Resolved, gone, gone_again
from node.resolution import ask, parsed, resolve, resolve_for_page
from node.runtime import Node
from node.scan_memory import Scans as Counted
from node.scan_tokens import LOT, SHIPPED, UNSHIPPED, VOID, Claims
from node.scanning import NOT_COUNTED, Scans, events_of

Shows = Callable[[Kept], None]
# A page that was just found right: its entry in Valkey (b"" where PostgreSQL's row said so), a generation of its
# prefix's changes that was there before what it was made of was read, and when that began (monotonic s).
Keeps = Callable[[Kept, bytes, bytes, float], None]
Answers = Callable[[Answer | BaseException], None]
COUNT_SECONDS = 1.0  # for which a number of scans may be told
_STATES = {"unshipped": UNSHIPPED, "void": VOID}


async def public(node: Node, handle: str, reader: Reader, keeps: Keeps | None = None) -> Answer:
    """The page that anybody sees; raises HandleGone for a tombstone."""
    names_known, generations, started = node.fence.turn, dict(reads_of(node).generations), time.monotonic()
    resolved = await resolve_for_page(node, handle)
    if resolved.is_gone:
        raise gone(resolved.handle, resolved.row)
    answer = await page_of(node, resolved, reader)
    kept = _prove(node, resolved, reader, names_known, generations)
    if kept is not None and keeps is not None and kept.events is not None and not kept.links:
        keeps(kept, b"", generations.get(changes_name(resolved.prefix.prefix), b""), started)
    return answer


def begin(node: Node, handle: str, reader: Reader, shows: Shows, answers: Answers, keeps: Keeps) -> bool:
    """The same without a task where a page of this record is kept: `shows` is told of it; False for `public`.

    A kept page is shown where Valkey's entry or PostgreSQL's row is of the record that the page was made of, where
    either no event of its enterprise was acknowledged since, as Valkey says, or none ever of it and its lot, as
    PostgreSQL says together with its scans, and where no link hangs on a proved host. Whatever else is found, `public`
    makes the answer, and `answers` is told. Raises what `ask` raises.
    """
    prefix_text, suffix = parsed(handle)
    key = pages.frame_key(node, f"{prefix_text}/{suffix}", reader)
    kept = pages.LOOK.frames.known(key)
    if kept is None or kept.proof is None or kept.events is None or kept.links:
        return False
    begun = _Begun(node, kept, handle, reader, shows, answers, keeps)
    if not ask(node, handle, begun):
        return False
    if not told_lately(node, kept, begun.started):
        begun.waiting, begun.traced, row = 2, True, kept.resolved.row
        scans.tell(node, kept.resolved.prefix, row.suffix, _Counting(begun), row.lot)
    return True


def recount(node: Node, kept: Kept, handle: str, reader: Reader, shows: Shows, answers: Answers, keeps: Keeps) -> None:
    """The same for a page that is right but for its scans."""
    begun = _Begun(node, kept, handle, reader, shows, answers, keeps)
    begun.right = begun.current = True
    scans.tell(node, kept.resolved.prefix, kept.resolved.row.suffix, _Counting(begun))


def no_event_since(node: Node, kept: Kept) -> bool:
    """Whether the page's trace is all that was acknowledged when Valkey was last asked."""
    name, proof = events_name(kept.resolved.prefix.registrant_id), kept.proof
    return proof is not None and proof.events != b"" and reads_of(node).generations.get(name) == proof.events


class _Begun:
    """A page that waits for what Valkey has, and mostly for its scans; told by whoever reads these."""

    __slots__ = (
        "_answers", "_entry", "_events", "_generation", "_handle", "_keeps", "_node", "_reader", "_shows",
        "current", "kept", "right", "started", "traced", "waiting",
    )  # fmt: skip

    def __init__(
        self, node: Node, kept: Kept, handle: str, reader: Reader, shows: Shows, answers: Answers, keeps: Keeps
    ) -> None:
        self._node, self.kept, self._handle, self._reader = node, kept, handle, reader
        self._shows, self._answers, self._keeps = shows, answers, keeps
        self.started, self.waiting = time.monotonic(), 1
        self.right = False  # whether the page's record is right by what was found
        self.current = False  # and its trace
        self.traced = False  # whether PostgreSQL is asked for that too
        # As they were before anything was read: what is read has all events and changes of these generations.
        generations, prefix = reads_of(node).generations, kept.resolved.prefix
        self._events = generations.get(events_name(prefix.registrant_id), b"")
        self._generation = generations.get(changes_name(prefix.prefix), b"")
        self._entry: bytes | None = None  # as Valkey had it; b"": as PostgreSQL had the row

    def done(self) -> bool:
        return self.waiting <= 0

    def set_result(self, found: Found) -> None:
        view, kept, fence = found.kept, self.kept, self._node.fence
        if (proof := kept.proof) is not None:
            if view is not None:
                self.right, self._entry = proof.holds(view, fence), view.entry
                self.current = self.current or no_event_since(self._node, kept)
            elif found.resolved is not None:  # read from PostgreSQL just now
                self.right, self._entry = proof.stands(fence) and found.resolved == kept.resolved, b""
        self.arrived()

    def set_exception(self, error: BaseException) -> None:
        self.arrived()  # said again by `public`

    def counted(self, found: Counted) -> None:
        kept = self.kept
        if found.before:
            self._node.scan_memory.know((kept.resolved.prefix.prefix, kept.resolved.row.suffix))
        kept.scans, kept.counted = Scans(found.before, found.first_at, found.first_place), self.started
        if self.traced and not found.traced and not kept.events:
            self.current = True
            if kept.proof is not None and self._events != b"":
                kept.proof = replace(kept.proof, events=self._events)
        self.arrived()

    def uncounted(self) -> None:
        self.waiting -= 2  # whatever else arrives comes too late
        _ordinary(self._node, self._handle, self._reader, self._answers, self._keeps)

    def arrived(self) -> None:
        self.waiting -= 1
        if self.waiting:
            return
        entry, kept = self._entry, self.kept
        if not self.right or not self.current or kept.scans is None:
            _ordinary(self._node, self._handle, self._reader, self._answers, self._keeps)
            return
        try:
            ready(self._node, kept, self._reader)
            if entry is not None:
                self._keeps(kept, entry, self._generation, self.started)
            self._shows(kept)
        except Exception as error:  # a fault of ours: the others who are told now are not to blame
            self._answers(error)


class _Counting:
    """Who is told of a page's scans."""

    __slots__ = ("_begun",)

    def __init__(self, begun: _Begun) -> None:
        self._begun = begun

    def done(self) -> bool:
        return self._begun.done()

    def set_result(self, found: Counted) -> None:
        self._begun.counted(found)

    def set_exception(self, error: BaseException) -> None:
        self._begun.uncounted()


def ready(node: Node, kept: Kept, reader: Reader) -> None:
    """Have a kept page say what is known of its scans now."""
    pages.make_ready(kept, kept.showing or _showing(node, kept), reader)


def _showing(node: Node, kept: Kept) -> Showing:
    resolved = kept.resolved
    state = _state_of(resolved)
    claims = Claims(node.sealer, resolved.handle, resolved.row.lot, state)
    image = pages.around_claim(urlsplit(node.settings.public_url).path)
    head = b"".join([b"%b: %b\r\n" % line for line in kept.frame.lines]) + b"content-length: "
    _, token = claims.sign(0)  # each is as long
    rest = kept.frame.size + sum(map(len, image)) + len(token)
    item = (resolved.prefix.prefix, resolved.row.suffix)
    kept.showing = Showing(claims, item, state, image, head, rest)
    return kept.showing


def told_lately(node: Node, kept: Kept, now: float) -> bool:
    """Whether the page's scans may be said as they are known: a second old, and more than none, for none is untrue from
    the moment of the first scan on. A settlement of this worker's says what it left, so hot items need no reading."""
    scans = kept.scans
    if scans is None or not scans.before:
        return False
    resolved = kept.resolved
    settled = node.scan_memory.counts.get((resolved.prefix.prefix, resolved.row.suffix))
    if settled is not None and settled[1] > kept.counted:
        kept.counted = settled[1]
        if settled[0] != scans.before:
            kept.scans = Scans(settled[0], scans.first_at, scans.place)
    return now - kept.counted < COUNT_SECONDS


def _ordinary(node: Node, handle: str, reader: Reader, answers: Answers, keeps: Keeps) -> None:
    async def work() -> None:
        try:
            found: Answer | BaseException = await public(node, handle, reader, keeps)
        except BaseException as error:  # of a node that is closed too
            found = error
        answers(found)

    task = asyncio.ensure_future(work())
    node.scan_memory.tasks.add(task)
    task.add_done_callback(node.scan_memory.tasks.discard)


def _prove(node: Node, resolved: Resolved, reader: Reader, turn: int, generations: dict[str, bytes]) -> Kept | None:
    """Note by what the page of this record is known; `turn` of the fence, and the `generations` of events, were before
    it was read. The page, None where nothing can prove it."""
    names = dependents_of(resolved)
    if node.fence.moved_since(names, turn) or not may_be_kept(resolved):
        return None
    view = reads_of(node).view_of(resolved)
    stamps = tuple((name, node.fence.stamp(name)) for name in names)
    key = pages.frame_key(node, resolved.handle, reader)
    until = time.monotonic() + node.settings.cache_ttl
    events = generations.get(events_name(resolved.prefix.registrant_id), b"")
    return pages.LOOK.frames.prove(key, resolved, Proof(view.etag, view.version, stamps, until, events))


def _state_of(resolved: Resolved) -> str:
    """What a claim says of the handle."""
    return LOT if resolved.row.kind == Kind.LOT else _STATES.get(resolved.status, SHIPPED)


def _claim(node: Node, resolved: Resolved) -> str:
    lot, state = resolved.row.lot, _state_of(resolved)
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
