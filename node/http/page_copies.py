"""Pages in the worker's own memory, right for at most `COPIES_SECONDS` from the start of the read that found them so.

Nothing is read page by page to know that: Valkey keeps a generation of each prefix's changes, and one of each
enterprise's events, and who changes something gives it another before that is acknowledged, and waits as long as a copy
lives (node/writing.py). While the generation under which a page's entry was read stands, so does the page; where it is
another one the entries are compared. What else a page is made of are dependents of the fence: each turn is judged.

Its scans are of a second ago at the most, and never none: whether an item had its first scan is asked of PostgreSQL for
each page. What this worker settled it knows.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field

from node.http.copies import Count, tell_uses
from node.http.frames import Kept
from node.http.negotiation import Reader
from node.reads import reads_of
from node.runtime import Node, cancelled

_TURN = 0.4  # of a copy's life: so often is looked whether the generations stand
_MOST = 16_000  # as many as rendered pages are kept; what comes on top of those is the entry, for most 1 KB
_LARGEST = 8 * 1024  # bytes of an entry
_PORTION = 256  # entries of one MGET
_IDLE = 60.0  # s without a request, and the copy is given up
_SWEEP = 5.0  # s

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class PageCopy:
    """A page; its scans are those that the kept page says."""

    key: bytes
    kept: Kept
    reader: Reader
    entry: bytes
    group: Group
    asked: float  # when it was last (monotonic s)
    uses: dict[str, int] = field(default_factory=dict)  # since they were last told, by the address of who asked
    took: float = 0.0  # s, all of these


@dataclass(slots=True, eq=False)
class Group:
    """Copies of a prefix's pages that were read under the same generation of its changes."""

    prefix: str
    generation: bytes
    events: bytes  # the generation of the enterprise's, under which all of them are
    until: float  # monotonic s
    turn: int  # of the fence in which all of them were found good
    copies: dict[bytes, PageCopy] = field(default_factory=dict)


class PageCopies:
    """By language and request target: `zh/88.999.1001/X`. Whoever uses one looks at its group's `until`."""

    def __init__(self, seconds: float, count: Count) -> None:
        self.seconds, self._count = seconds, count
        self.by_target: dict[bytes, PageCopy] = {}
        self.used: list[PageCopy] = []  # those with uses that are to be told
        self._groups: dict[str, Group] = {}
        self._looking: asyncio.Task[None] | None = None
        self._ticking, self._swept = False, 0.0

    def open(self, node: Node) -> None:
        """From here on pages are kept."""
        self._node = node

    def keep(self, target: bytes, reader: Reader, kept: Kept, entry: bytes, generation: bytes, started: float) -> None:
        """Keep a page of what was asked for at `started`, when this generation of the prefix's changes was known
        already; `entry` is b"" where it was not Valkey that was asked."""
        key, now = reader.lang.encode() + target, time.monotonic()
        full = len(self.by_target) >= _MOST and key not in self.by_target
        if full or reader.chosen or not generation or len(entry) > _LARGEST or started + self.seconds <= now:
            return
        proof, prefix, turn = kept.proof, kept.resolved.prefix.prefix, self._node.fence.turn
        if proof is None or not proof.events or not proof.stands(self._node.fence):
            return
        group = self._groups.get(prefix)
        if group is None:
            group = self._groups[prefix] = Group(prefix, generation, proof.events, started + self.seconds, turn)
        # Either is of another time than the other: which, the next look tells.
        if (group.generation, group.events) != (generation, proof.events):
            return
        # The generation that was known then may be an old one: until the next look the page is right by its age alone.
        group.until = min(group.until, started + self.seconds)
        self._drop(key)
        copy = PageCopy(key, kept, reader, entry, group, now)
        self.by_target[key] = group.copies[key] = copy
        if not self._ticking:
            self._ticking = True
            asyncio.get_running_loop().call_later(self.seconds * _TURN, self._tick)

    def _tick(self) -> None:
        self._ticking = bool(self._groups)
        if not self._ticking:
            return
        asyncio.get_running_loop().call_later(self.seconds * _TURN, self._tick)
        # One at a time: where Valkey is slow copies run out, they do not queue.
        if self._looking is None or self._looking.done():
            self._looking = asyncio.ensure_future(self._look())

    async def _look(self) -> None:
        try:
            if self._swept + _SWEEP < time.monotonic():
                self._sweep()
            groups = list(self._groups.values())
            started = await reads_of(self._node).generations.ask([group.prefix for group in groups])
            if started is None:
                return
            changed = [group for group in groups if not self._same(group, started)]
            for group in changed:
                await self._again(group)
        except Exception:
            _log.exception("pages could not be looked at again")

    def _same(self, group: Group, started: float) -> bool:
        """Let the group live on where its generations stand, by what was learned in this turn of the event loop."""
        generations, turn = reads_of(self._node).generations, self._node.fence.turn
        if generations.of_changes(group.prefix) != group.generation:
            return False
        events = self._events_of(group.prefix)
        if turn != group.turn or events != group.events:
            for copy in list(group.copies.values()):
                if not self._stands(copy, events):
                    self._drop(copy.key)
            group.turn, group.events = turn, events
        group.until = started + self.seconds
        return True

    def _events_of(self, prefix: str) -> bytes:
        known = self._node.fence.prefixes.get(prefix)
        return reads_of(self._node).generations.of_events(known) if known else b""

    def _stands(self, copy: PageCopy, events: bytes) -> bool:
        """Whether trace and dependents are what they were; `events` is the generation of the trace now."""
        proof = copy.kept.proof
        return proof is not None and events != b"" and proof.events == events and proof.stands(self._node.fence)

    async def _again(self, group: Group) -> None:
        """Something of the prefix was changed: compare the entries of what was asked for since it was last compared."""
        del self._groups[group.prefix]
        copies = list(group.copies.values())
        for copy in copies:
            self._drop(copy.key)
        lately = group.until - self.seconds - _SWEEP
        wanted = [copy for copy in copies if copy.entry and copy.asked > lately]
        for first in range(0, len(wanted), _PORTION):
            portion = wanted[first : first + _PORTION]
            handles = [copy.kept.resolved.handle for copy in portion]
            started, generation, entries = await reads_of(self._node).generations.entries(group.prefix, handles)
            if not generation:
                return
            until, turn, events = started + self.seconds, self._node.fence.turn, self._events_of(group.prefix)
            new = self._groups.setdefault(group.prefix, Group(group.prefix, generation, events, until, turn))
            if (new.generation, new.events) != (generation, events):
                return  # changed once more
            for copy, entry in zip(portion, entries, strict=True):
                if entry == copy.entry and self._stands(copy, events) and copy.key not in self.by_target:
                    copy.group = new
                    self.by_target[copy.key] = new.copies[copy.key] = copy

    def _sweep(self) -> None:
        """Give up what nobody asks for, and what it is made of is not remembered for much longer."""
        self._swept = now = time.monotonic()
        for copy in list(self.by_target.values()):
            proof = copy.kept.proof
            if copy.asked + _IDLE < now or proof is None or proof.until <= now:
                self._drop(copy.key)
        self._groups = {prefix: group for prefix, group in self._groups.items() if group.copies}

    def _drop(self, key: bytes) -> None:
        copy = self.by_target.pop(key, None)
        if copy is not None:
            copy.group.copies.pop(key, None)

    def tell(self) -> None:
        """Count what was shown since it was last told."""
        used, self.used = self.used, []
        for copy in used:
            tell_uses(copy, copy.kept.resolved.prefix.id, self._count)

    async def close(self) -> None:
        """Nothing is kept or read any more."""
        self.tell()
        self.by_target.clear()
        self._groups.clear()
        if self._looking is not None:
            await cancelled([self._looking])
