"""What is read again is kept: a lease is asked for, then PostgreSQL, then Valkey keeps it.

Beside the answers, which wait for none of it. When the second reader of a handle was answered by what was then kept, it
waited for a batch in Valkey, for a lease and for the fill of the batch before it: at half of the highest rate such
readers were the last hundredth of all.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from itertools import islice

from node.bodies import Bodies
from node.cache import Fill
from node.errors import NodeError
from node.joining import Ask
from node.kept import packed, packed_absent
from node.lookups import SLOW, KnownLots, dependents_of, find_each, may_be_kept
from node.records import Resolved
from node.runtime import Node, reading

_log = logging.getLogger(__name__)

# Of the worker's time, measured with 5,000,000 rows: one alone 0.8 ms, of ten together each 0.15, of 64 each 0.06.
_SIZE = 64  # of a batch
_REST = 0.05  # s between two that are smaller
_MOST = 1024  # that wait; what is more is read again anyway, or need not be kept


class Admissions:
    """Of one worker."""

    def __init__(self, node: Node, lots: KnownLots, bodies: Bodies) -> None:
        self._node, self._lots, self._bodies = node, lots, bodies
        self._pending: dict[str, Ask] = {}
        self._wanted = asyncio.Event()
        node.tasks.append(asyncio.create_task(self._keep()))

    def add(self, ask: Ask) -> None:
        """Have this kept soon: at once where nothing was for a moment."""
        if ask.handle in self._pending or len(self._pending) >= _MOST:
            return
        # One of its own: who answers the other may set its prefix while this one is read.
        self._pending[ask.handle] = Ask(ask.handle, ask.prefix, ask.suffix, ask.counter)
        self._wanted.set()

    async def _keep(self) -> None:
        while await self._wanted.wait():
            batch = [self._pending.pop(handle) for handle in list(islice(self._pending, _SIZE))]
            try:
                await self._admit(batch)
            except (NodeError, TimeoutError):
                pass  # PostgreSQL is away: who reads these again has them kept
            except Exception:
                _log.exception("a batch was not kept")
            if len(self._pending) < _SIZE:
                await asyncio.sleep(_REST)
            if not self._pending:
                self._wanted.clear()

    async def _admit(self, asks: list[Ask]) -> None:
        """Read, and keep, those of which the lease is given."""
        fence = self._node.fence
        epoch, turn = fence.epoch, fence.turn
        token, generations = await self._leases(epoch, asks)
        asks = [ask for ask in asks if ask.handle in generations]
        if not asks:
            return
        for ask in asks:  # what is known of their prefixes in this turn is right
            ask.prefix = fence.prefixes.get(ask.prefix.prefix, ask.prefix)
        async with asyncio.timeout(SLOW), reading(self._node) as conn:
            rows = await find_each(self._node, conn, asks, self._lots)
        fills: list[Fill] = []
        for ask, resolved in zip(asks, rows, strict=True):
            fills += self._fill(resolved, ask, turn, generations[ask.handle])
        if fills:
            await self._node.cache.fill(epoch, token, fills)

    async def _leases(self, epoch: int, asks: list[Ask]) -> tuple[str, dict[str, bytes]]:
        """(token, generation of its prefix by handle) for those that this reader may fill."""
        if not self._node.fence.enabled:
            return "", {}
        token = secrets.token_hex(8)
        prefixes = list(dict.fromkeys(ask.prefix.prefix for ask in asks))
        granted, found = await self._node.cache.lease(epoch, token, [ask.handle for ask in asks], prefixes)
        generations = dict(zip(prefixes, found, strict=True))
        return token, {a.handle: generations[a.prefix.prefix] for a, yes in zip(asks, granted, strict=True) if yes}

    def _fill(self, resolved: Resolved | None, ask: Ask, turn: int, generation: bytes) -> list[Fill]:
        fence, settings = self._node.fence, self._node.settings
        if resolved is None:
            return [(ask.handle, packed_absent([], generation), settings.negative_ttl)] if generation else []
        names = dependents_of(resolved)
        # A dependent that moved while it was read: its number is known, not whether the read saw it.
        if fence.moved_since(names, turn) or not may_be_kept(resolved):
            return []
        view = self._bodies.view(resolved)
        return [(ask.handle, packed(view, [(name, fence.stamp(name)) for name in names]), settings.cache_ttl)]
