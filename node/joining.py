"""Joins what is asked in one turn of the event loop into one call, and equal questions into one.

A few calls are in flight at a time; what is asked meanwhile waits and makes the next call larger. Only a call that has
not begun is joined: one under way may have read before the asker's own beginning, and would tell it what is older.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from itertools import islice

from node.errors import NodeError, Unavailable
from node.kept import View
from node.model import Prefix
from node.records import Resolved

_log = logging.getLogger(__name__)


class Found:
    """An answer: the view as it was kept, or what was read from PostgreSQL; neither for a handle that is not there."""

    __slots__ = ("_view", "resolved", "started")

    def __init__(self, started: float, view: View | None = None, resolved: Resolved | None = None) -> None:
        self.started, self._view, self.resolved = started, view, resolved

    @property
    def kept(self) -> View | None:
        """The view, where Valkey kept it."""
        return self._view if self.resolved is None else None

    def view(self, make: Callable[[Resolved], View]) -> View | None:
        """The view, made once however many asked."""
        if self._view is None and self.resolved is not None:
            self._view = make(self.resolved)
        return self._view


class Ask:
    """One handle that is wanted, and by whom. `started`: monotonic s, when the first of them began."""

    __slots__ = ("counter", "handle", "prefix", "started", "suffix", "waiters")

    def __init__(self, handle: str, prefix: Prefix, suffix: str, counter: int) -> None:
        self.handle, self.prefix, self.suffix, self.counter = handle, prefix, suffix, counter
        self.started = time.monotonic()
        self.waiters: list[asyncio.Future[Found]] = []

    def answer(self, found: Found) -> None:
        for waiter in self.waiters:
            if not waiter.done():  # its caller may have gone away
                waiter.set_result(found)

    def fail(self, error: BaseException) -> None:
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_exception(error)


Work = Callable[[list[Ask]], Awaitable[None]]


class Joiner:
    """`flights` calls of `work` at a time with up to `size` asks; beyond `queue` waiting ones Unavailable.

    Calls begin at least `apart` s after each other: who comes alone does not wait, and a crowd travels together.
    """

    def __init__(self, work: Work, *, flights: int, size: int, queue: int, apart: float = 0.0) -> None:
        self._work, self._flights, self._size, self._queue = work, flights, size, queue
        self._apart, self._begun = apart, 0.0
        self._pending: dict[str, Ask] = {}
        self._flying: set[asyncio.Task[None]] = set()
        self._scheduled = False
        self._loop: asyncio.AbstractEventLoop | None = None  # asking for it is a system call each time

    def ask(self, handle: str, prefix: Prefix, suffix: str, counter: int) -> asyncio.Future[Found]:
        """A future of its own for each caller: one that is cancelled takes nothing from the others."""
        loop = self._loop or asyncio.get_running_loop()
        self._loop = loop
        ask = self._pending.get(handle)
        if ask is None:
            ask = Ask(handle, prefix, suffix, counter)
            self._add(ask, loop)
        future: asyncio.Future[Found] = loop.create_future()
        ask.waiters.append(future)
        return future

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
        if not self._scheduled and len(self._flying) < self._flights:
            self._scheduled = True
            early = self._begun + self._apart - loop.time() if self._apart else 0.0
            if early > 0:
                loop.call_later(early, self._start, loop)
            else:
                loop.call_soon(self._start, loop)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._scheduled = False
        batch = [self._pending.pop(handle) for handle in list(islice(self._pending, self._size))]
        if not batch:
            return
        self._begun = loop.time()
        task = loop.create_task(self._run(batch))
        self._flying.add(task)
        task.add_done_callback(lambda done: self._landed(done, loop))
        if self._pending:
            self._schedule(loop)

    def _landed(self, task: asyncio.Task[None], loop: asyncio.AbstractEventLoop) -> None:
        self._flying.discard(task)
        if self._pending:
            self._schedule(loop)

    async def _run(self, batch: list[Ask]) -> None:
        try:
            await self._work(batch)
        except NodeError as error:
            _fail(batch, error)
        except TimeoutError:
            _fail(batch, Unavailable.of(what="PostgreSQL", retry_after=1))
        except asyncio.CancelledError:
            _fail(batch, Unavailable.of(what="reads", retry_after=1))
            raise
        except Exception:
            _log.exception("a batch of reads failed")
            _fail(batch, NodeError())


def _fail(batch: list[Ask], error: NodeError) -> None:
    for ask in batch:
        ask.fail(error)
