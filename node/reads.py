"""The public view of handles, from Valkey or PostgreSQL, batched.

The first read of a handle is answered from PostgreSQL and not kept, which is always right and needs no lease: most
codes of 一物一码 are resolved once. At the second one Valkey is asked; where it has nothing the handle is admitted: a
lease is asked for, then PostgreSQL, then it is kept.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from array import array

import orjson

from node.cache import Fill
from node.joining import Ask, Found, Joiner
from node.kept import Form, Kept, View, etag_of, is_good, opened, packed, packed_absent
from node.lookups import KnownLots, dependents_of, find_each, may_be_kept
from node.model import Prefix, Status
from node.records import Resolved, gone
from node.runtime import Node, reading

_SIZE = 256  # asks of one call: MGET of 512 was no faster
# Few flights make large batches: one of 16 costs half of two of 8.
_CACHE_FLIGHTS, _STORE_FLIGHTS = 1, 2
_APART = 0.001  # s between calls to Valkey
_NEGATIVES = 200  # made-up codes admitted a second: with a ttl of 30 s 6,000 entries of about 100 bytes at the most
_SLOW = 3.0  # s for one batch; PostgreSQL is away then


class Doorkeeper:
    """Remembers which handles were asked for lately: one slot for each hash, 8 bytes; a newer one takes its place."""

    def __init__(self, bits: int) -> None:
        self._slots = array("q", bytes(8 << bits))
        self._mask = (1 << bits) - 1

    def knows(self, handle: str) -> bool:
        number = hash(handle)  # salted for the process: nobody outside can aim at a slot
        return self._slots[number & self._mask] == number

    def note(self, handle: str) -> None:
        number = hash(handle)
        self._slots[number & self._mask] = number


class Reads:
    """Of one worker."""

    def __init__(self, node: Node) -> None:
        self._node = node
        queue = node.settings.read_queue
        self._cached = Joiner(self._from_cache, flights=_CACHE_FLIGHTS, size=_SIZE, queue=queue, apart=_APART)
        self._stored = Joiner(self._from_store, flights=_STORE_FLIGHTS, size=_SIZE, queue=queue)
        self._lots = KnownLots(node.fence)
        self._missed, self._absent = Doorkeeper(20), Doorkeeper(13)
        self._second, self._negatives = 0, 0

    def ask(self, prefix: Prefix, suffix: str, counter: int) -> asyncio.Future[Found]:
        """What is known of a handle; `counter` of a minted serial, else -1. The caller's fence is fresh.

        Raises Unavailable, here where too many wait already, in the future where PostgreSQL is away.
        """
        handle = f"{prefix.prefix}/{suffix}"
        # What this worker never read is hardly kept: Valkey is asked from the second time on.
        seen = self._missed.knows(handle) or self._absent.knows(handle)
        usable = seen and self._node.fence.enabled and not self._node.cache.paused()
        joiner = self._cached if usable else self._stored
        return joiner.ask(handle, prefix, suffix, counter)

    def ask_stored(self, prefix: Prefix, suffix: str, counter: int) -> asyncio.Future[Found]:
        """The same with the parts that a page needs, from PostgreSQL."""
        return self._stored.ask(f"{prefix.prefix}/{suffix}", prefix, suffix, counter)

    async def kept(self, prefix: Prefix, suffix: str) -> View | None:
        """What Valkey keeps of a handle that exists, as far as this worker knows it to be good."""
        handle, fence = f"{prefix.prefix}/{suffix}", self._node.fence
        answer = await self._node.cache.get(fence.epoch, [handle], [])
        kept = opened(answer[0][0]) if answer and answer[0][0] is not None else None
        if kept is None or kept.form == Form.ABSENT or not is_good(kept, fence, None):
            return None
        return _kept_view(handle, prefix, kept)

    async def _from_cache(self, asks: list[Ask]) -> None:
        fence = self._node.fence
        prefixes = list(dict.fromkeys(ask.prefix.prefix for ask in asks))
        answer = await self._node.cache.get(fence.epoch, [ask.handle for ask in asks], prefixes)
        if answer is None:
            self._stored.take(asks)
            return
        entries, generations = answer[0], dict(zip(prefixes, answer[1], strict=True))
        missed = []
        for ask, entry in zip(asks, entries, strict=True):
            kept = opened(entry) if entry is not None else None
            if kept is None or not is_good(kept, fence, generations[ask.prefix.prefix]):
                missed.append(ask)
            elif kept.form == Form.ABSENT:
                ask.answer(Found(ask.started))
            else:
                ask.answer(Found(ask.started, _kept_view(ask.handle, ask.prefix, kept)))
        if missed:
            self._stored.take(missed)

    async def _from_store(self, asks: list[Ask]) -> None:
        node, fence = self._node, self._node.fence
        epoch, turn = fence.epoch, fence.turn
        # What callers knew of their prefixes may have moved while they waited; what is known in this turn is right.
        for ask in asks:
            ask.prefix = fence.prefixes.get(ask.prefix.prefix, ask.prefix)
        token, generations = await self._leases(epoch, asks)
        async with asyncio.timeout(_SLOW), reading(node) as conn:
            rows = await find_each(node, conn, asks, self._lots)
        fills: list[Fill] = []
        for ask, resolved in zip(asks, rows, strict=True):
            found = Found(ask.started, resolved=resolved)
            ask.answer(found)
            (self._missed if resolved else self._absent).note(ask.handle)
            if generations and ask.handle in generations:
                fills += self._fill(found, ask, turn, generations[ask.handle])
        if fills:
            await node.cache.fill(epoch, token, fills)

    async def _leases(self, epoch: int, asks: list[Ask]) -> tuple[str, dict[str, bytes]]:
        """(token, generation of its prefix by handle) for those that this reader may fill."""
        wanted = [ask for ask in asks if self._admitted(ask.handle)] if self._node.fence.enabled else []
        if not wanted:
            return "", {}
        token = secrets.token_hex(8)
        prefixes = list(dict.fromkeys(ask.prefix.prefix for ask in wanted))
        granted, found = await self._node.cache.lease(epoch, token, [ask.handle for ask in wanted], prefixes)
        generations = dict(zip(prefixes, found, strict=True))
        return token, {a.handle: generations[a.prefix.prefix] for a, yes in zip(wanted, granted, strict=True) if yes}

    def _admitted(self, handle: str) -> bool:
        """Made-up codes have a budget of their own: no set of them pushes real ones out."""
        if self._missed.knows(handle):
            return True
        if not self._absent.knows(handle):
            return False
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._negatives = second, 0
        self._negatives += 1
        return self._negatives <= _NEGATIVES

    def _fill(self, found: Found, ask: Ask, turn: int, generation: bytes) -> list[Fill]:
        fence, settings = self._node.fence, self._node.settings
        if found.resolved is None:
            if not generation:
                return []
            return [(ask.handle, packed_absent([], generation), settings.negative_ttl)]
        names = dependents_of(found.resolved)
        # A dependent that moved while it was read: its number is known, not whether the read saw it.
        if fence.moved_since(names, turn) or not may_be_kept(found.resolved):
            return []
        view = found.view(view_of)
        assert view is not None
        return [(ask.handle, packed(view, [(name, fence.stamp(name)) for name in names]), settings.cache_ttl)]


def reads_of(node: Node) -> Reads:
    """The worker's own, made at the first read."""
    if node.reads is None:
        node.reads = Reads(node)
    found: Reads = node.reads
    return found


def _kept_view(handle: str, prefix: Prefix, kept: Kept) -> View:
    return View(handle, prefix.id, Form(kept.form), kept.body, kept.etag, kept.version, "cache")


def view_of(resolved: Resolved) -> View:
    """The finished public view of what was read."""
    row = resolved.row
    if row.status == Status.TOMBSTONE:
        form, document = Form.GONE, dict(gone(resolved.handle, row).datum)
    else:
        form, document = Form.RECORD, resolved.record()
    body = orjson.dumps(document)
    return View(resolved.handle, resolved.prefix.id, form, body, etag_of(body), row.version)
