"""How long one may wait in a queue: long where it empties now and then, as after a moment's pause; short where it only
stands, for then everybody behind would wait as long and leave as empty-handed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from weakref import WeakKeyDictionary

_STANDS = 2.0  # times the short patience without a moment in which nobody waited
_LEFT = 0.5  # of it, whatever was waited elsewhere: with a body that was long on its way there would else be none
# Since when the request that a task answers is in hand, in the loop's time. By task and not by context: a group or a
# flight of reads that a request sets off goes on without it.
_asked: WeakKeyDictionary[asyncio.Task[Any], float] = WeakKeyDictionary()


@contextmanager
def asked() -> Iterator[None]:
    """The present task answers a request: what it has waited for elsewhere, its key among it, is of its patience."""
    task = asyncio.current_task()
    assert task is not None
    _asked[task] = asyncio.get_running_loop().time()
    try:
        yield
    finally:
        del _asked[task]


class Standing:
    """Of one queue."""

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Timeout, float] = {}  # since when, in the loop's time
        self._since = 0.0  # when it was empty last
        self._look: asyncio.TimerHandle | None = None  # at whether it stands, while anybody waits

    def stands(self, short: float) -> bool:
        """Whether it has not been empty for so long that who joins now may wait `short` only."""
        return bool(short and self._waiting) and time.monotonic() - self._since > _STANDS * short

    @asynccontextmanager
    async def patience(self, most: float, short: float) -> AsyncIterator[None]:
        """Wait inside for `most` s, or for `short` where the queue stands; 0 for `short`: never. Who joined before it
        was known to stand waits twice as long as who joins then, a request from when it was `asked`. TimeoutError when
        that is over."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        now = loop.time()
        since = max(_asked.get(task, now) if task is not None else now, now - (_STANDS - _LEFT) * short)
        if not self._waiting:
            self._since = time.monotonic()
            if short:
                # A little after `stands` says so: who joins in between joins with the short patience.
                self._look = loop.call_later(1.1 * _STANDS * short, self._shorten, loop, short)
        if self.stands(short):
            most = min(most, short, since + _STANDS * short - now)
        async with asyncio.timeout(most) as limit:
            self._waiting[limit] = since
            try:
                yield
            finally:
                del self._waiting[limit]
                if not self._waiting and self._look is not None:
                    self._look.cancel()
                    self._look = None

    def _shorten(self, loop: asyncio.AbstractEventLoop, short: float) -> None:
        """The queue stands from now on. With the long patience those who came first would be refused last: 2.2 s late
        while who came behind them knew in 0.3."""
        self._look, now = None, loop.time()
        for limit, since in self._waiting.items():
            when = limit.when()
            # One that is over may still be here, and cannot be moved: uvloop's timers come up to 1 ms early.
            if when is not None and not limit.expired():
                limit.reschedule(min(when, max(now, since + _STANDS * short)))
