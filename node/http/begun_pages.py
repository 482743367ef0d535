# cython: annotation_typing=False
"""Pages that are shown again without a task: by the protocol class, of what this worker rendered before.

What a page still lacks is asked for with what others ask in that moment: whether its record and trace are as they were,
and its scans. `node/http/scan_pages.py` makes all others.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from urllib.parse import urlsplit

from node import scan_reads
from node.http import pages
from node.http.answers import Answer
from node.http.frames import Kept, Showing
from node.http.negotiation import Reader
from node.http.scan_pages import Keeps, public, state_of
from node.joining import Found
from node.model import Kind
from node.reads import reads_of
from node.resolution import ask, parsed
from node.runtime import Node
from node.scan_memory import Scanned
from node.scan_memory import Scans as Counted
from node.scan_tokens import Claims
from node.scanning import NOT_COUNTED, Scans

Shows = Callable[[Kept], None]
Answers = Callable[[Answer | BaseException], None]
COUNT_SECONDS = 1.0  # for which a number of scans may be told


def begin(node: Node, handle: str, reader: Reader, shows: Shows, answers: Answers, keeps: Keeps) -> bool:
    """The page that `public` makes, where a page of this record is kept: `shows` is told of it; False for `public`.

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
    if not told_lately(node, kept, begun.started) or not no_event_since(node, kept):
        begun.waiting, begun.traced, row = 2, True, kept.resolved.row
        scan_reads.tell(node, kept.resolved.prefix, row.suffix, _Counting(begun), row.lot)
    return True


def recount(node: Node, kept: Kept, handle: str, reader: Reader, shows: Shows, answers: Answers, keeps: Keeps) -> None:
    """The same for a page that is right but for its scans."""
    begun = _Begun(node, kept, handle, reader, shows, answers, keeps)
    begun.right = begun.current = True
    scan_reads.tell(node, kept.resolved.prefix, kept.resolved.row.suffix, _Counting(begun))


def no_event_since(node: Node, kept: Kept) -> bool:
    """Whether the page's trace is all that was acknowledged when Valkey was last asked."""
    proof = kept.proof
    if proof is None or not proof.events:
        return False
    return reads_of(node).generations.of_events(kept.resolved.prefix) == proof.events


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
        self._events, self._generation = generations.of_events(prefix), generations.of_changes(prefix.prefix)
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
        if kept.showing is not None:
            kept.showing.of.told = None  # may be of a time that this worker has forgotten: looked for again
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
    showing, scans = kept.showing or _showing(node, kept), kept.scans
    if showing.scans is scans and showing.lines:
        return
    if not _same_but_number(showing.scans, scans):
        is_lot = kept.resolved.row.kind == Kind.LOT
        showing.around = pages.around_number(is_lot, reader.lang, scans or NOT_COUNTED)
    showing.scans = scans
    showing.said = (b"%d" % scans.before if scans and scans.before else b"").join(showing.around)
    showing.lines = b"content-length: %d\r\nx-request-id: " % (showing.rest + len(showing.said))


def _same_but_number(said: Scans | None, scans: Scans | None) -> bool:
    """Whether of these the same is said as was of those, but for their number: that of one or none is not put in."""
    if said is None or scans is None or (said.before or 0) < pages.SEVERAL or (scans.before or 0) < pages.SEVERAL:
        return False
    return said.first_at == scans.first_at and said.place == scans.place


def _showing(node: Node, kept: Kept) -> Showing:
    resolved = kept.resolved
    state = state_of(resolved)
    claims = Claims(node.sealer, resolved.handle, resolved.row.lot, state)
    item = (resolved.prefix.prefix, resolved.row.suffix)
    of = Scanned(resolved.handle.encode(), item, resolved.row.lot, state)
    image, end = pages.around_claim(urlsplit(node.settings.public_url).path)
    _, token = claims.sign(0)  # each is as long
    rest = kept.frame.size + len(image) + len(token) + len(end)
    before, between, after = kept.frame.pieces
    kept.showing = Showing(claims, of, _head(tuple(kept.frame.lines)), before, between + image, end, after, rest)
    return kept.showing


@lru_cache(256)
def _head(lines: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """As on the wire; one for all pages that have the same."""
    return b"".join([b"%b: %b\r\n" % line for line in lines])


def told_lately(node: Node, kept: Kept, now: float) -> bool:
    """Whether the page's scans may be said as they are known: a second old, and more than none, for none is untrue from
    the moment of the first scan on. A settlement of this worker's says what it left, so hot items need no reading, and
    no item does while no other worker commits scans. A count only grows: the larger one is the later one."""
    scans = kept.scans
    if scans is None or not scans.before:
        return False
    memory, of = node.scan_memory, (kept.showing or _showing(node, kept)).of
    told = of.told
    if told is None:
        told = of.told = memory.counts.get(of.item)
    if told is not None:
        kept.counted = max(kept.counted, told.at)
        if told.count > scans.before:
            kept.scans = Scans(told.count, scans.first_at, scans.place)
    return now - memory.right_at(kept.counted) < COUNT_SECONDS


def _ordinary(node: Node, handle: str, reader: Reader, answers: Answers, keeps: Keeps) -> None:
    async def work() -> None:
        try:
            found: Answer | BaseException = await public(node, handle, reader, keeps)
        except BaseException as error:  # of a node that is closed too
            found = error
        answers(found)

    node.scan_memory.start(work())
