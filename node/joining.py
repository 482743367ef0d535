"""Joins what is asked in one turn of the event loop into one call, and equal questions into one.

A few calls are in flight at a time; what is asked meanwhile waits and makes the next call larger. Only a call that has
not begun is joined: one under way may have read before the asker's own beginning, and would tell it what is older.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from itertools import islice
from typing import Any, Protocol

from node.errors import NodeError, Unavailable
from node.kept import View
from node.model import Prefix
from node.records import Resolved

_log = logging.getLogger(__name__)


class Found:
    """An answer: the view as it was kept, or what was read from PostgreSQL; neither for a handle that is not there."""

    __slots__ = ("_make", "_view", "generation", "resolved", "started")

    def __init__(self, started: float, view: View | None = None, generation: bytes = b"") -> None:
        self.started, self._view = started, view
        self.generation = generation  # of its prefix's changes, read with the view; b"" for not known
        self.resolved: Resolved | None = None
        self._make: Callable[[Resolved], View] | None = None

    @classmethod
    def stored(cls, started: float, resolved: Resolved, make: Callable[[Resolved], View]) -> Found:
        """Of what was read from PostgreSQL."""
        found = cls(started)
        found.resolved, found._make = resolved, make
        return found

    @property
    def kept(self) -> View | None:
        """The view, where Valkey kept it."""
        return self._view if self.resolved is None else None

    def view(self) -> View | None:
        """The view, made once however many asked."""
        if self._view is None and self.resolved is not None and self._make is not None:
            self._view = self._make(self.resolved)
        return self._view


class Waiter(Protocol):
    """Who asked: a future, or what is told at once, not a turn of the event loop later as a future's callbacks are."""

    def done(self) -> bool: ...
    def set_result(self, found: Found, /) -> None: ...
    def set_exception(self, error: BaseException, /) -> None: ...


class Ask:
    """One handle that is wanted, and by whom. `started`: monotonic s, when the first of them began."""

    __slots__ = ("counter", "handle", "prefix", "started", "suffix", "waiters")

    def __init__(self, handle: str, prefix: Prefix, suffix: str, counter: int) -> None:
        self.handle, self.prefix, self.suffix, self.counter = handle, prefix, suffix, counter
        self.started = time.monotonic()
        self.waiters: list[Waiter] = []

    def answer(self, found: Found) -> None:
        for waiter in self.waiters:
            if not waiter.done():  # its caller may have gone away
                waiter.set_result(found)

    def fail(self, error: BaseException) -> None:
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_exception(error)


Work = Callable[[list[Ask], Any], Awaitable[None]]
Hold = Callable[[], AbstractAsyncContextManager[Any]]

_CROWD = 16  # so many are worth a further call: smaller ones wait for the one in flight, which costs them less
_COMING = 3  # in the first quarter of the patience
_CALLS = 32  # in a row with what is held; then others that wait for it have their turn
_QUIET = 2  # turns of the event loop that bring nothing, and a call begins
_LINGER = 0.003  # s for which it is held without anything to ask: those just answered may be asking again


class Joiner:
    """`flights` calls of `work` at a time with up to `size` asks; beyond `queue` waiting ones Unavailable.

    A call waits for more while the worker is busy, `patience` s at the most: who comes alone does not wait. `busy`: a
    number that grows with whatever the worker answers.
    What `hold` gives, a connection, is given to one call after the other while there is more to ask: taking it from its
    pool costs as much as reading two handles.
    """

    def __init__(
        self,
        work: Work,
        *,
        flights: int,
        size: int,
        queue: int,
        patience: float = 0.0,
        hold: Hold = nullcontext,
        busy: Callable[[], int] = int,
    ) -> None:
        self._work, self._flights, self._size, self._queue = work, flights, size, queue
        self._patience, self._hold, self._busy = patience, hold, busy
        self._pending: dict[str, Ask] = {}
        self._flying: set[asyncio.Task[None]] = set()
        self._scheduled = False
        self._lingering: asyncio.Future[None] | None = None  # a flight that waits for more
        self._loop: asyncio.AbstractEventLoop | None = None  # asking for it is a system call each time

    def ask(self, handle: str, prefix: Prefix, suffix: str, counter: int) -> asyncio.Future[Found]:
        """A future of its own for each caller: one that is cancelled takes nothing from the others."""
        loop = self._loop = self._loop or asyncio.get_running_loop()
        future: asyncio.Future[Found] = loop.create_future()
        self.tell(future, handle, prefix, suffix, counter)
        return future

    def tell(self, waiter: Waiter, handle: str, prefix: Prefix, suffix: str, counter: int) -> None:
        """The same for one who is told. Never before this returns."""
        ask = self._pending.get(handle)
        if ask is None:
            ask = Ask(handle, prefix, suffix, counter)
            self._loop = self._loop or asyncio.get_running_loop()
            self._add(ask, self._loop)
        ask.waiters.append(waiter)

    def take(self, asks: list[Ask]) -> None:
        """Go on with asks of another joiner."""
        loop = asyncio.get_running_loop()
        for ask in asks:
            waiting = self._pending.get(ask.handle)
            if waiting is not None:
                waiting.waiters += ask.waiters
                waiting.started = min(waiting.started, ask.started)
                continue
            try:
                self._add(ask, loop)
            except Unavailable as error:
                ask.fail(error)

    def _add(self, ask: Ask, loop: asyncio.AbstractEventLoop) -> None:
        if len(self._pending) >= self._queue:
            raise Unavailable.of(what="reads", retry_after=1)
        self._pending[ask.handle] = ask
        self._schedule(loop)

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._lingering is not None:
            _wake(self._lingering)
            return
        flying = len(self._flying)
        if not self._scheduled and (not flying or (flying < self._flights and len(self._pending) >= _CROWD)):
            self._scheduled = True
            loop.call_soon(self._start, loop)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._scheduled = False
        if not self._pending:
            return
        task = loop.create_task(self._fly())
        self._flying.add(task)
        task.add_done_callback(lambda done: self._landed(done, loop))

    def _batch(self) -> list[Ask]:
        if len(self._pending) > self._size:
            return [self._pending.pop(handle) for handle in list(islice(self._pending, self._size))]
        batch = list(self._pending.values())
        self._pending = {}
        return batch

    async def _gathered(self) -> None:
        """Wait while each turn or two of the event loop brings anything, for `patience` s at the most: a busy worker's
        calls become large, an idle one's begin at once. What is answered from memory meanwhile counts too: beside four
        such answers for each read, turns without a read are not the end of a crowd. Where a quarter of the time brings
        less than a quarter of what is worth it, no crowd comes: at half the highest rate calls of 4 waited 4 ms."""
        first, begun = len(self._pending), time.monotonic()
        quiet, known, until = 0, first + self._busy(), begun + self._patience
        look = begun + self._patience / 4
        while quiet < _QUIET and len(self._pending) < self._size and (now := time.monotonic()) < until:
            if now >= look:
                if len(self._pending) - first < _COMING:
                    return
                look = until
            await asyncio.sleep(0)
            seen = len(self._pending) + self._busy()
            quiet = quiet + 1 if seen == known else 0
            known = seen

    async def _lingered(self, *, hold: bool) -> list[Ask]:
        """What is asked shortly after; nothing where nothing is held, or another flight waits for it already."""
        if not hold or self._lingering is not None or self._loop is None:
            return []
        self._lingering = self._loop.create_future()
        over = self._loop.call_later(_LINGER, _wake, self._lingering)
        try:
            await self._lingering
        finally:
            over.cancel()
            self._lingering = None
        return self._batch()

    def _landed(self, task: asyncio.Task[None], loop: asyncio.AbstractEventLoop) -> None:
        self._flying.discard(task)
        if self._pending:
            self._schedule(loop)

    async def _fly(self) -> None:
        batch: list[Ask] = []
        try:
            async with self._hold() as held:
                for _ in range(_CALLS):
                    await self._gathered()
                    batch = self._batch() or await self._lingered(hold=held is not None)
                    if not batch:
                        break
                    await self._work(batch, held)
        except NodeError as error:
            self._fail(batch, error)
        except TimeoutError:
            self._fail(batch, Unavailable.of(what="PostgreSQL", retry_after=1))
        except asyncio.CancelledError:
            self._fail(batch, Unavailable.of(what="reads", retry_after=1))
            raise
        except Exception:
            _log.exception("a batch of reads failed")
            self._fail(batch, NodeError())

    def _fail(self, batch: list[Ask], error: NodeError) -> None:
        """Where nothing could be held for the first call yet, those who wait for it: they would wait for ever."""
        for ask in batch or self._batch():
            ask.fail(error)


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
