"""The turn of each second: settle what this worker counted, score what looks copied, let go of what is over."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from node import scans, statistics, suspicions
from node.errors import Unavailable
from node.runtime import Node
from node.settling import settle

# With the few milliseconds of the commits a kill loses less than a second: what is counted waits for the end of a
# period, and scans then for their part.
_PERIOD = 0.8
_SCANS_PERIOD, _SCANS_SPREAD = 0.45, 0.35
_OTHERS_PERIOD = 0.3  # s; a page may say a count that was right a second ago
_TIDY_SECONDS = 15.0
_FLUSH_SECONDS = 10.0  # PostgreSQL may be on its way back when the node is stopped
_log = logging.getLogger(__name__)


class Counting:
    """One worker's ledgers, and the task that settles them."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._statistics, self._scans = statistics.ledger(node), scans.ledger(node)
        self._settling, self._settling_scans = asyncio.Lock(), asyncio.Lock()
        self._tidied = 0.0

    async def settle(self) -> None:
        """Apply all that was counted until now; raises Unavailable while PostgreSQL is away."""
        await self._settle_statistics()
        await self._settle_scans(0.0)

    async def _settle_statistics(self) -> None:
        async with self._settling:
            await settle(self._node, self._statistics)

    async def _settle_scans(self, spread: float = _SCANS_SPREAD) -> None:
        async with self._settling_scans:
            await settle(self._node, self._scans, spread=spread)

    async def look(self) -> None:
        """Score what was touched; now and then also each prefix's day, and let go of what is over."""
        now = time.time()
        due = self._tidied < now - _TIDY_SECONDS
        if due or self._node.scan_memory.touched:
            await suspicions.assess(self._node, now)
        if due:
            self._tidied = now
            await statistics.tidy(self._node, now)
            await scans.tidy(self._node, now)

    async def keep(self) -> None:
        """Settle and look until cancelled; apart, so that a long look does not make a second longer."""
        await asyncio.gather(
            _every(_PERIOD, self._settle_statistics),
            _every(_SCANS_PERIOD, self._settle_scans),
            _every(1.0, self.look),
            _every(_OTHERS_PERIOD, lambda: scans.look_at_others(self._node)),
        )

    async def close(self) -> None:
        """Settle the rest before the pools are closed: a clean stop loses nothing."""
        try:
            await asyncio.wait_for(self._flushed(), _FLUSH_SECONDS)
        except (TimeoutError, Unavailable):
            _log.error("PostgreSQL is away: what was counted in the last second is lost")

    async def _flushed(self) -> None:
        while True:
            try:
                return await self.settle()
            except Unavailable:
                await asyncio.sleep(0.2)


async def _every(period: float, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        begin, pause = time.monotonic(), period
        try:
            await work()
        except Unavailable:
            pause = max(period, _PERIOD)  # each turn leaves a part that waits, of which there may be only so many
            _log.warning("counting waits for PostgreSQL")
        except Exception:
            _log.exception("counting failed; the next turn tries again")
        await asyncio.sleep(max(0.05, pause - (time.monotonic() - begin)))
