"""How an import goes beside readers: in smaller pieces where there are any, with rests between them while they wait.

Measured is what a reader meets too: how late a timer of the event loop comes, and how long the reading of the fence
takes, which is one small read of PostgreSQL eight times a second. Without readers nothing is given away: pieces are
whole and there are no rests. No clock is read here but the loop's own, given from outside.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TypeVar

_T = TypeVar("_T")
_EVERY = 0.02  # s between looks, while an import is at work
_LATE = 0.008  # s that a timer may come late: four pieces of two imports
_SLOW = 0.025  # s for one small read of PostgreSQL; 2 to 4 on a machine that has a core to spare
_LOOKS = 10  # readers are there where so many looks saw `_ANSWERS` requests answered
_ANSWERS = 3  # more than the chunks of an import alone
_SMALLER = 5  # pieces of a fifth: about 1 ms of the loop instead of 5
_MORE, _LESS = 0.5, 0.93  # the rest for each second of work: added where a look was late, kept where it was not
_LONGEST = 0.05  # s of one rest, whatever the piece took
_IDLE = 1.0  # s without a piece, and the looks end


class Pace:
    """Of one worker. `least`: the share of its time that an import works, however much readers wait."""

    def __init__(self, least: float, clock: Callable[[], float] = time.monotonic) -> None:
        share = min(1.0, max(0.02, least))  # an import that never ends helps nobody
        self._most = (1 - share) / share
        self._clock = clock
        self.answered: Callable[[], int] = int  # how many requests the worker has answered; told by who counts them
        self.ratio = 0.0  # s of rest for each second of work
        self._seen: deque[int] = deque(maxlen=_LOOKS)
        self._used, self._slow = 0.0, False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def beside_readers(self) -> bool:
        """Whether others have been answered in the last fifth of a second."""
        return self._most > 0 and len(self._seen) > 1 and self._seen[-1] - self._seen[0] >= _ANSWERS

    def felt(self, seconds: float) -> None:
        """The fence was read, and took so long."""
        self._slow = self._slow or seconds > _SLOW

    def judge(self, late: float) -> None:
        """A look that came `late` s too late."""
        self._seen.append(self.answered())
        slow, self._slow = self._slow or late > _LATE, False
        if not self.beside_readers:
            self.ratio = 0.0
        elif slow:
            self.ratio = min(self._most, self.ratio + _MORE)
        else:
            self.ratio *= _LESS

    def rows(self, whole: int) -> int:
        """How many rows to do in one piece where it would be `whole` without readers."""
        return max(1, whole // _SMALLER) if self.beside_readers else whole

    def rest(self, worked: float) -> float:
        """How long to rest, s, after a piece that took so long; 0: others only have their turn."""
        return min(_LONGEST, self.ratio * worked)

    def used(self) -> None:
        """An import is at work: look how readers fare."""
        self._used = self._clock()
        if self._timer is None and self._most:
            self._look_again()

    def _look_again(self) -> None:
        due = self._clock() + _EVERY
        self._timer = asyncio.get_running_loop().call_later(_EVERY, self._look, due)

    def _look(self, due: float) -> None:
        now = self._clock()
        self.judge(now - due)
        if now - self._used > _IDLE:
            self._timer, self.ratio = None, 0.0
            self._seen.clear()
        else:
            self._look_again()


class Stride:
    """One import at work, with rests for its first `patience` s alone: a transaction that went on for long would hold
    its locks for as long, and its connection."""

    def __init__(self, pace: Pace, patience: float) -> None:
        self._pace = pace
        self._since = time.monotonic()
        self._until = self._since + patience

    def rows(self, whole: int) -> int:
        """How many rows the next piece has."""
        self._pace.used()
        return self._pace.rows(whole)

    async def breathe(self) -> None:
        """Between two pieces: others have their turn, and a rest where they wait."""
        now = time.monotonic()
        await asyncio.sleep(self._pace.rest(now - self._since) if now < self._until else 0)
        self._since = time.monotonic()

    async def pieces(self, rows: Sequence[_T], whole: int) -> AsyncIterator[Sequence[_T]]:
        """`rows` in pieces of at most `whole`, with a breath before each."""
        first = 0
        while first < len(rows):
            await self.breathe()
            size = self.rows(whole)
            yield rows[first : first + size]
            first += size
