"""The public view of handles, from Valkey or PostgreSQL, batched.

The first read of a handle is answered from PostgreSQL and not kept, which is always right and needs no lease: most
codes of 一物一码 are resolved once. At the second one Valkey is asked; where it has nothing the answer is PostgreSQL's
again, and the handle is admitted (node/admissions.py).
"""

from __future__ import annotations

import asyncio
import time
from array import array
from collections.abc import Callable
from functools import partial

from node.admissions import Admissions
from node.bodies import Bodies
from node.generations import Generations
from node.joining import Ask, Found, Joiner, Waiter
from node.kept import Form, Kept, View, is_good, opened
from node.lookups import SLOW, KnownLots, find_each
from node.model import Prefix
from node.records import Resolved
from node.runtime import Node, ReadConnection, reading

_FORMS = tuple(Form)  # by value; a call costs 0.3 us
_SIZE = 256  # asks of one call: MGET of 512 was no faster
# Few flights make large batches: one of 16 costs half of two of 8.
_CACHE_FLIGHTS, _STORE_FLIGHTS = 1, 2
# s: beside hot answers cold reads would go out by fours, at three times the price of a crowd's. At half of the highest
# rate 0.004 had a p99 of 4.95 ms, this one 3.78 and 0.001 3.93, with the same highest rate.
_PATIENCE = 0.002
_NEGATIVES = 200  # made-up codes admitted a second: with a ttl of 30 s 6,000 entries of about 100 bytes at the most


class Doorkeeper:
    """Remembers which handles were asked for lately, by hash: one slot each, 8 bytes; a newer one takes its place."""

    def __init__(self, bits: int) -> None:
        self._slots = array("q", bytes(8 << bits))
        self._mask = (1 << bits) - 1

    def knows(self, number: int) -> bool:
        return self._slots[number & self._mask] == number

    def note(self, number: int) -> None:
        self._slots[number & self._mask] = number


class Reads:
    """Of one worker."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.answered: Callable[[], int] = int  # how many requests the worker has answered; told by who counts them
        node.pace.answered = lambda: self.answered()
        joiner = partial(
            Joiner,
            size=_SIZE,
            queue=node.settings.read_queue,
            patience=_PATIENCE,
            busy=lambda: self.answered(),
        )
        self._cached = joiner(self._from_cache, flights=_CACHE_FLIGHTS)
        self._stored = joiner(self._from_store, flights=_STORE_FLIGHTS, hold=partial(reading, node))
        self._lots, self._bodies = KnownLots(node.fence), Bodies()
        self._admissions = Admissions(node, self._lots, self._bodies)
        self._missed, self._absent = Doorkeeper(20), Doorkeeper(13)
        self._second, self._negatives = 0, 0
        self.generations = Generations(node)

    def ask(self, prefix: Prefix, suffix: str, counter: int) -> asyncio.Future[Found]:
        """What is known of a handle; `counter` of a minted serial, else -1. The caller's fence is fresh.

        Raises Unavailable, here where too many wait already, in the future where PostgreSQL is away.
        """
        handle = f"{prefix.prefix}/{suffix}"
        return self._joiner(handle).ask(handle, prefix, suffix, counter)

    def tell(self, waiter: Waiter, prefix: Prefix, suffix: str, counter: int) -> None:
        """The same for one who is told."""
        handle = f"{prefix.prefix}/{suffix}"
        self._joiner(handle).tell(waiter, handle, prefix, suffix, counter)

    def _joiner(self, handle: str) -> Joiner:
        """What this worker never read is hardly kept: Valkey is asked from the second time on."""
        number = hash(handle)  # salted for the process: nobody outside can aim at a slot
        if not self._missed.knows(number) and not self._absent.knows(number):
            return self._stored
        usable = self._node.fence.enabled and not self._node.cache.paused()
        return self._cached if usable else self._stored

    def ask_stored(self, prefix: Prefix, suffix: str, counter: int) -> asyncio.Future[Found]:
        """The same with the parts that a page needs, from PostgreSQL."""
        return self._stored.ask(f"{prefix.prefix}/{suffix}", prefix, suffix, counter)

    def view_of(self, resolved: Resolved) -> View:
        """The finished public view of what was read."""
        return self._bodies.view(resolved)

    async def kept(self, prefix: Prefix, suffix: str) -> View | None:
        """What Valkey keeps of a handle that exists, as far as this worker knows it to be good."""
        handle, fence = f"{prefix.prefix}/{suffix}", self._node.fence
        answer = await self._node.cache.get(fence.epoch, [handle], [])
        kept = opened(answer[0][0]) if answer and answer[0][0] is not None else None
        if kept is None or kept.form == Form.ABSENT or not is_good(kept, fence, None):
            return None
        return _kept_view(handle, prefix, kept, b"")

    async def _from_cache(self, asks: list[Ask], _: None) -> None:
        fence = self._node.fence
        prefixes = list(dict.fromkeys(ask.prefix.prefix for ask in asks))
        names = self.generations.names(prefixes)
        answer = await self._node.cache.get(fence.epoch, [ask.handle for ask in asks], prefixes + names)
        if answer is None:
            self._stored.take(asks)
            return
        entries, generations = answer[0], dict(zip(prefixes, answer[1], strict=False))
        self.generations.learn(names, answer[1][len(prefixes) :])
        missed = []
        for ask, entry in zip(asks, entries, strict=True):
            kept = opened(entry) if entry is not None else None
            if entry is None or kept is None or not is_good(kept, fence, generations[ask.prefix.prefix]):
                missed.append(ask)
            elif kept.form == Form.ABSENT:
                ask.answer(Found(ask.started))
            else:
                changes = self.generations.of_changes(ask.prefix.prefix)
                ask.answer(Found(ask.started, _kept_view(ask.handle, ask.prefix, kept, entry), changes))
        if missed:
            self._stored.take(missed)
        for ask in missed:
            if self._admitted(ask.handle):
                self._admissions.add(ask)
        await self.generations.make(names)  # what was answered above is older

    async def _from_store(self, asks: list[Ask], conn: ReadConnection) -> None:
        """Read, and not kept."""
        for ask in asks:  # its prefix may have moved while it waited; what is known in this turn is right
            ask.prefix = self._node.fence.prefixes.get(ask.prefix.prefix, ask.prefix)
        async with asyncio.timeout(SLOW):
            rows = await find_each(self._node, conn, asks, self._lots)
        for ask, resolved in zip(asks, rows, strict=True):
            found = Found.stored(ask.started, resolved, self._bodies.view) if resolved else Found(ask.started)
            ask.answer(found)
            (self._missed if resolved else self._absent).note(hash(ask.handle))

    def _admitted(self, handle: str) -> bool:
        """Made-up codes have a budget of their own: no set of them pushes real ones out."""
        if self._missed.knows(hash(handle)):
            return True
        if not self._absent.knows(hash(handle)):
            return False
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._negatives = second, 0
        self._negatives += 1
        return self._negatives <= _NEGATIVES


def reads_of(node: Node) -> Reads:
    """The worker's own, made at the first read."""
    if node.reads is None:
        node.reads = Reads(node)
    found: Reads = node.reads
    return found


def _kept_view(handle: str, prefix: Prefix, kept: Kept, entry: bytes) -> View:
    return View(handle, prefix.id, _FORMS[kept.form], kept.body, kept.etag, kept.version, "cache", False, entry)
