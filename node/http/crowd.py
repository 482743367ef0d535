"""How many public reads are in hand and how long they have waited: beyond what a worker can do in time, the next one is
refused at once, before anything is made for it.

A queue that everybody joins serves nobody: each waits until its caller has gone. So as soon as a crowd has waited
longer than `OVERLOAD_SECONDS` no more are taken in than were answered in that time, which is what will be answered in
it; the rest, a share and not all, is told to come again. Judged is the wait itself, whatever it is for: the event
loop, a connection to PostgreSQL, Valkey.
"""

from __future__ import annotations

import asyncio
import logging

from node import metrics

_CROWD = 16  # so many must have waited too long: one page with a slow link is no overload
_TICKS = 4  # looks in the time of the bound
_TWICE = 2  # looks in a row: one pause of the whole worker (a collection, a neighbour) is none either
_FEWEST = 32  # in hand, that are always taken in
_CALM = 8  # looks without a refusal, and all is as before
_ANY = 1 << 62
_log = logging.getLogger(__name__)


class Crowd:
    """The reads in hand of one worker. `begin` and `end` are asked for each, so they count and do nothing else."""

    def __init__(self, seconds: float) -> None:
        self._every = seconds / _TICKS
        self.inside = 0
        self.most = _ANY  # that may be inside; whoever comes then is refused
        self._now = 0  # the number of the present look
        self._begun = [0] * (_TICKS + 1)  # still inside, by the look in which they came: the last ones
        self._old = 0  # those inside who came before these
        self._done = [0] * _TICKS  # answered in each of the last looks
        self._late = self._calm = 0  # looks in a row
        self._refused = 0  # since the last look
        self._looked = 0.0  # the loop's time of it
        self._loop: asyncio.AbstractEventLoop | None = None  # while it looks

    @property
    def full(self) -> bool:
        return self.inside >= self.most

    def begin(self) -> int:
        """One more is inside; what to `end` it with."""
        self.inside += 1
        self._begun[self._now % len(self._begun)] += 1
        if self._loop is None and self._every:
            self._loop = asyncio.get_running_loop()
            self._looked = self._loop.time()
            self._loop.call_later(self._every, self._look)
        return self._now

    def end(self, begun: int) -> None:
        self.inside -= 1
        self._done[self._now % _TICKS] += 1
        if begun > self._now - len(self._begun):
            self._begun[begun % len(self._begun)] -= 1
        else:
            self._old -= 1

    def refuse(self, what: str) -> None:
        """Count one that was refused."""
        self._refused += 1
        metrics.shed.count(what)

    def _look(self) -> None:
        assert self._loop is not None
        if not self.inside and self.most == _ANY:
            self._loop = None  # until somebody comes
            return
        self._loop.call_later(self._every, self._look)
        now = self._loop.time()
        asleep = now - self._looked - self._every  # in which whoever came waited in the kernel, unseen
        late = self._old >= _CROWD or (asleep > 2 * self._every and self.inside >= _CROWD)
        self._late = self._late + 1 if late else 0
        if self._late >= _TWICE or (self.most != _ANY and self._refused):
            if self.most == _ANY:
                _log.warning(
                    "too many wait: %d reads in hand, %d of them for too long; the loop is %d ms late",
                    self.inside,
                    self._old,
                    1000 * asleep,
                )
            self.most, self._calm = max(_FEWEST, sum(self._done)), 0
        elif self.most != _ANY:
            self._calm += 1
            if self._calm >= _CALM:
                self.most = _ANY
                _log.warning("nobody is refused any more")
        self._refused = 0
        # A loop that is late looks seldom: what it did meanwhile is that much less for its time, and has waited longer.
        for _ in range(max(1, min(len(self._begun), int((now - self._looked) / self._every)))):
            self._turn_over()
        self._looked = now

    def _turn_over(self) -> None:
        self._now += 1
        self._done[self._now % _TICKS] = 0
        here = self._now % len(self._begun)
        self._old += self._begun[here]  # they came as many looks before as are kept
        self._begun[here] = 0
