"""Whose turn it is at work that is heavy: a few places, given to one enterprise after the other.

Alone an enterprise has all places. Where several wait, each gets every so many-th place, however many requests one of
them has waiting; who has too many waiting is told to come back (429), and nobody else is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from node import metrics
from node.errors import TooManyRequests, Unavailable
from node.runtime import Node


class Turns:
    """`places` at work at once; `most` of one enterprise may wait, four times as many in all (their bodies are in
    memory). `what` names the work in metrics and refusals."""

    def __init__(self, what: str, places: int, most: int) -> None:
        self.what, self.most = what, most
        self.free = places
        self._queues: dict[int | None, deque[asyncio.Future[None]]] = {}  # whose turn is next stands first

    @property
    def waiting(self) -> int:
        return sum(map(len, self._queues.values()))

    @asynccontextmanager
    async def turn(self, who: int | None) -> AsyncIterator[None]:
        """A place for a request of enterprise `who`. TooManyRequests where too many of its own wait, Unavailable where
        too many of all do."""
        await self._take(who)
        try:
            yield
        finally:
            self._give_back()

    async def _take(self, who: int | None) -> None:
        if self.free:
            self.free -= 1  # then nobody waits
            return
        own = len(self._queues.get(who, ()))
        if own >= self.most:
            metrics.refused_turns_total.labels(self.what, "own").inc()
            raise TooManyRequests.of(what=self.what, limit=self.most, retry_after=1)
        if self.waiting >= 4 * self.most:
            metrics.refused_turns_total.labels(self.what, "all").inc()
            raise Unavailable.of(what=self.what, retry_after=1)
        queue = self._queues.setdefault(who, deque())
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._give_back()  # it was given in the moment in which nobody wanted it any more
            else:
                self._forget(who, place)
            raise

    def _forget(self, who: int | None, place: asyncio.Future[None]) -> None:
        queue = self._queues[who]
        queue.remove(place)
        if not queue:
            del self._queues[who]

    def _give_back(self) -> None:
        """The next place is of whoever had none for the longest."""
        if not self._queues:
            self.free += 1
            return
        who, queue = next(iter(self._queues.items()))
        del self._queues[who]
        place = queue.popleft()
        if queue:
            self._queues[who] = queue  # behind the others
        place.set_result(None)


def batches(node: Node) -> Turns:
    """Of the worker's batches of rows and of events. A quarter of its connections: two of 2,000 rows each keep the loop
    busy, and more only make each other and everybody else wait."""
    if node.batch_turns is None:
        node.batch_turns = Turns("batches", max(1, node.settings.pool_size // 4), node.settings.pool_size * 2)
    found: Turns = node.batch_turns
    return found
