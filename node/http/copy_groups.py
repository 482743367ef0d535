# cython: annotation_typing=False
"""Copies of answers in the worker's own memory, right for at most `COPIES_SECONDS` from the start of the read that
found them so.

Nothing is read copy by copy to know that: Valkey keeps a generation of each prefix's changes, and one of each
enterprise's events, and who changes something gives it another before that is acknowledged, and waits as long as a copy
lives (node/writing.py). While the generation under which a copy's entry was read stands, so does the copy; where it is
another one the entries of what is hot are compared. What else a copy is made of are dependents of the fence: each turn
is judged. Reading 1,000 hot records again by their entries took a third of a core.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from typing import Any

from node.fence import Fence, changes_name, events_name
from node.reads import reads_of
from node.runtime import Node, cancelled

_TURN = 0.6  # of a copy's life: so often is looked whether the generations stand; with the look itself it is not 0.8
_PORTION = 256  # entries of one MGET
_COMPARED = 1024  # entries after a change of their prefix, every 60 ms: what is beside them is read when it is wanted
_LATELY = 2.0  # s since somebody wanted it
_SWEEP = 1.0  # s

_log = logging.getLogger(__name__)


class Grouped:
    """A copy; whoever shows it looks at its group's `until`. `index` is where it is found, `entry` what Valkey has, b""
    where it was not Valkey that was asked, `ends` (monotonic s) how long it may live at the most."""

    MOST, IDLE = 0, 0.0  # of its kind; s without a use, and it is given up
    group: Group

    def __init__(
        self, key: bytes, index: dict[bytes, Any], handle: str, prefix_id: int, entry: bytes, ends: float
    ) -> None:
        self.key, self.index, self.handle, self.prefix_id = key, index, handle, prefix_id
        self.entry, self.ends = entry, ends
        self.asked = time.monotonic()  # when it was last used

    def stands(self, fence: Fence, events: bytes) -> bool:
        """Whether its dependents are what they were, and its enterprise's events, whose generation now is given."""
        raise NotImplementedError  # no ABC: a structure has no other metaclass

    def drop(self) -> None:
        self.group.copies.pop(self.key, None)
        if self.index.get(self.key) is self:
            del self.index[self.key]


@dataclass(eq=False)
class Group:
    """Copies of a prefix that were read under the same generation of its changes."""

    prefix: str
    generation: bytes
    events: bytes  # the generation of the enterprise's, under which all of them are
    until: float  # monotonic s
    turn: int  # of the fence in which all of them were found good
    copies: dict[bytes, Grouped] = field(default_factory=dict)  # keys of records begin with "/", of pages do not


class CopyGroups:
    """Of one worker, by prefix."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._node: Node | None = None
        self._groups: dict[str, Group] = {}
        self._looking: asyncio.Task[None] | None = None
        self._ticking, self._swept = False, 0.0

    def open(self, node: Node) -> None:
        """From here on copies are kept."""
        self._node = node

    def join(self, copy: Grouped, prefix: str, generation: bytes, started: float) -> bool:
        """Keep a copy of what was asked for at `started`, when this generation of the prefix's changes was known
        already, or was read with it. False where nobody could tell for how long it is right."""
        node = self._node
        if node is None or not generation or started + self.seconds <= time.monotonic():
            return False
        known, group = node.fence.prefixes.get(prefix), self._groups.get(prefix)
        events = reads_of(node).generations.of_events(known) if known else b""
        if not copy.stands(node.fence, events):
            return False
        if group is None:
            group = Group(prefix, generation, events, started + self.seconds, node.fence.turn)
            self._groups[prefix] = group
        # Either is of another time than the other: which, the next look tells.
        if (group.generation, group.events) != (generation, events):
            return False
        # The generation that was known then may be an old one: until the next look the copy is right by its age alone.
        group.until = min(group.until, started + self.seconds)
        self._put(copy, group)
        if not self._ticking:
            self._ticking = True
            asyncio.get_running_loop().call_later(self.seconds * _TURN, self._tick)
        return True

    def _put(self, copy: Grouped, group: Group) -> None:
        # In a full index the one that is longest there makes room. Were the newest refused, whoever reads as many as
        # fit every two seconds would keep all others out; so a hot one that has to go is back at its next request.
        before = copy.index.get(copy.key) or (next(iter(copy.index.values())) if len(copy.index) >= copy.MOST else None)
        if before is not None:
            before.drop()
        copy.group = group
        copy.index[copy.key] = group.copies[copy.key] = copy

    def _tick(self) -> None:
        self._ticking = bool(self._groups)
        if not self._ticking or self._node is None:
            return
        asyncio.get_running_loop().call_later(self.seconds * _TURN, self._tick)
        # One at a time: where Valkey is slow copies run out, they do not queue.
        if self._looking is None or self._looking.done():
            self._looking = asyncio.ensure_future(self._look(self._node))

    async def _look(self, node: Node) -> None:
        try:
            if self._swept + _SWEEP < time.monotonic():
                self._sweep()
            groups = list(self._groups.values())
            answer = await reads_of(node).generations.ask([group.prefix for group in groups])
            if answer is None:
                return
            changed = [group for group in groups if not self._same(node, group, *answer[:2])]
            for group in changed:
                await self._again(node, group)
        except Exception:
            _log.exception("copies could not be looked at again")

    def _same(self, node: Node, group: Group, started: float, found: dict[str, bytes]) -> bool:
        """Let the group live on where its generations stand, by what Valkey was asked for at `started`."""
        if found.get(changes_name(group.prefix)) != group.generation:
            return False
        turn, events = node.fence.turn, _events_in(node, group.prefix, found)
        if turn != group.turn or events != group.events:
            for copy in list(group.copies.values()):
                if not copy.stands(node.fence, events):
                    copy.drop()
            group.turn, group.events = turn, events
        group.until = started + self.seconds
        return True

    async def _again(self, node: Node, group: Group) -> None:
        """Something of the prefix was changed: compare the entries of what was asked for lately. Until its time is over
        what is in the group may be shown all the same: so long the change waits."""
        self._groups.pop(group.prefix, None)
        lately = time.monotonic() - _LATELY
        wanted: list[Grouped] = []
        for copy in list(group.copies.values()):
            if copy.entry and copy.asked > lately and len(wanted) < _COMPARED:
                wanted.append(copy)
            else:
                copy.drop()
        try:
            for first in range(0, len(wanted), _PORTION):
                if not await self._compared(node, group, wanted[first : first + _PORTION]):
                    break
        finally:
            for copy in list(group.copies.values()):
                copy.drop()

    async def _compared(self, node: Node, group: Group, portion: list[Grouped]) -> bool:
        """Take those that are as they were into the group of the new generation; False where it has moved again."""
        handles = [copy.handle for copy in portion]
        answer = await reads_of(node).generations.ask([group.prefix], handles)
        if answer is None or not (generation := answer[1].get(changes_name(group.prefix))):
            return False
        until, events = answer[0] + self.seconds, _events_in(node, group.prefix, answer[1])
        fresh = Group(group.prefix, generation, events, until, node.fence.turn)
        new = self._groups.setdefault(group.prefix, fresh)
        if (new.generation, new.events) != (generation, events):
            return False
        new.until = min(new.until, until)
        for copy, entry in zip(portion, answer[2], strict=True):
            # One that was replaced meanwhile is in no group any more.
            if entry == copy.entry and group.copies.get(copy.key) is copy and copy.stands(node.fence, events):
                del group.copies[copy.key]
                copy.group = new
                new.copies[copy.key] = copy
        return True

    def _sweep(self) -> None:
        """Give up what nobody asks for, and what has lived for long enough."""
        self._swept = now = time.monotonic()
        for group in list(self._groups.values()):
            for copy in list(group.copies.values()):
                if copy.asked + copy.IDLE < now or copy.ends <= now:
                    copy.drop()
            if not group.copies:
                del self._groups[group.prefix]

    async def close(self) -> None:
        """Nothing is kept or read any more."""
        self._node = None
        for group in list(self._groups.values()):
            for copy in list(group.copies.values()):
                copy.drop()
        self._groups.clear()
        if self._looking is not None:
            await cancelled([self._looking])


def _events_in(node: Node, prefix: str, found: dict[str, bytes]) -> bytes:
    """The generation of the events of the prefix's enterprise, b"" where Valkey has none."""
    known = node.fence.prefixes.get(prefix)
    return found.get(events_name(known.registrant_id), b"") if known else b""
