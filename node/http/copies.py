"""Answers of very hot records in the worker's own memory, for at most `COPIES_SECONDS` from the start of the read that
filled them. Never of a refusal. A change of a record waits that long before it is acknowledged (node/writing.py).

What is hot is read again by a timer, a few dozen in one MGET, before its copy is too old: reading it at the next
request would cost each copy a miss, for at 40 requests a second the next one comes too late as often as not.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from node.http.answers import Answer
from node.kept import View
from node.runtime import cancelled

_AGAIN = 0.6  # of its life: then a copy is read again
_TURN = 0.1  # of its life: so often is looked who is due; with the read itself it is not 0.8 old
_IDLE = 4  # reads in a row without a request between them, and the copy is given up
_MOST = 4096  # whatever is hot at more than 10 requests a second is among them
_PORTION = 256  # of one MGET
_LARGEST = 8 * 1024  # bytes of a body; kept are the answer, the entry and the wire: 4096 of them 100 MiB at the most

_log = logging.getLogger(__name__)

Count = Callable[[int, int, float, str], None]  # prefix_id, how many, seconds each, address
# (handle, entry, turn of the fence in which it was found good) each -> (started, turn, which still are)
StillKept = Callable[[Sequence[tuple[str, bytes, int]]], Awaitable[tuple[float, int, list[bool]]]]


class Used(Protocol):
    """What was shown without being counted: how often since that was told, by the address of who asked, and the
    seconds that all of it took."""

    uses: dict[str, int]
    took: float


def tell_uses(copy: Used, prefix_id: int, count: Count) -> None:
    """The mean of its times stands for each use: a clock and two comparisons less for every one."""
    if copy.uses:
        uses, each = copy.uses, copy.took / sum(copy.uses.values())
        copy.uses, copy.took = {}, 0.0
        for address, number in uses.items():
            count(prefix_id, number, each, address)


@dataclass(slots=True)
class Copy:
    """An answer, and until when it is right (monotonic s)."""

    until: float
    answer: Answer
    view: View
    target: bytes
    uses: dict[str, int] = field(default_factory=dict)  # since they were last told, by the address of who asked
    took: float = 0.0  # s, all of these
    idle: int = 0
    turn: int = -1  # of the fence, in which it was last found good
    wire: tuple[object, bytes, bytes] | None = None  # as on the wire around the request's id, and of which second


class Copies:
    """By request target as it came; without query, credentials or conditions."""

    def __init__(self, seconds: float, still_kept: StillKept, count: Count) -> None:
        self.seconds = seconds
        self._still_kept, self._count = still_kept, count
        self.by_target: dict[bytes, Copy] = {}  # whoever uses one looks at its `until`
        self._due: deque[tuple[float, Copy]] = deque()  # in the order in which they were read
        self._refreshing: asyncio.Task[None] | None = None
        self._ticking = False

    def put(self, target: bytes, answer: Answer, view: View, started: float) -> None:
        """Keep an answer that was made of what Valkey said, asked at `started`."""
        until = started + self.seconds
        known = self.by_target.get(target)
        full = known is None and len(self.by_target) >= _MOST
        if until <= time.monotonic() or full or len(answer.body) > _LARGEST:
            return
        if known is not None:
            self._tell(known)
        copy = self.by_target[target] = Copy(until, answer, view, target)
        self._due.append((started + self.seconds * _AGAIN, copy))
        if not self._ticking:
            self._ticking = True
            self._later(asyncio.get_running_loop())

    def _later(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.call_later(self.seconds * _TURN, self._tick, loop)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self._ticking = bool(self._due)
        if not self._ticking:
            return
        self._later(loop)
        # One at a time: where Valkey is slow copies run out, they do not queue.
        if self._refreshing is None or self._refreshing.done():
            copies = self._taken()
            if copies:
                self._refreshing = loop.create_task(self._refresh(copies))

    def _taken(self) -> list[Copy]:
        """Those that are due and still asked for; the others are dropped."""
        now = time.monotonic()
        taken: list[Copy] = []
        while self._due and self._due[0][0] <= now and len(taken) < _PORTION * 4:
            copy = self._due.popleft()[1]
            copy.idle = 0 if copy.uses else copy.idle + 1
            self._tell(copy)
            if copy.idle < _IDLE and self.by_target.get(copy.target) is copy:
                taken.append(copy)
            else:
                self._drop(copy)
        return taken

    async def _refresh(self, copies: list[Copy]) -> None:
        for first in range(0, len(copies), _PORTION):
            portion = copies[first : first + _PORTION]
            started, turn, good = 0.0, -1, [False] * len(portion)
            try:
                wanted = [(copy.view.handle, copy.view.entry, copy.turn) for copy in portion]
                started, turn, good = await self._still_kept(wanted)
            except Exception:  # then they are dropped below: one that stayed would keep its place for ever
                _log.exception("copies could not be read again")
            for copy, yes in zip(portion, good, strict=True):
                if yes:
                    copy.until, copy.turn = started + self.seconds, turn
                    self._due.append((started + self.seconds * _AGAIN, copy))
                else:
                    self._drop(copy)

    def tell(self) -> None:
        """Count what was answered since it was last told."""
        for copy in self.by_target.values():
            self._tell(copy)

    def _tell(self, copy: Copy) -> None:
        tell_uses(copy, copy.view.prefix_id, self._count)

    async def close(self) -> None:
        """Nothing is kept or read any more."""
        self.tell()
        self.by_target.clear()
        self._due.clear()
        if self._refreshing is not None:
            await cancelled([self._refreshing])

    def _drop(self, copy: Copy) -> None:
        self._tell(copy)
        if self.by_target.get(copy.target) is copy:
            del self.by_target[copy.target]
