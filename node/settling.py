"""Settling what a worker counted in memory: each settlement applied once, whatever dies in between.

A worker settles in order and numbers what it settles; the number is noted in the transaction that applies it. Where
the outcome of a commit is unknown the same settlement is sent again, and applied only if it was not. So a kill loses
what was counted since the last one, at most a second, and nothing is counted twice.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from node import metrics
from node.errors import Unavailable
from node.runtime import Connection, Node, in_transaction
from node.store import settling as store

_T = TypeVar("_T")
# Settlements that wait while PostgreSQL is away; beyond it the newest are merged, so memory does not grow with time.
_MAX_WAITING = 60
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Ledger(Generic[_T]):
    """What one worker has to settle of one kind: taken from memory, not yet known to be applied."""

    kind: str
    take: Callable[[], Sequence[_T]]  # all that was counted, in parts that a transaction each can take
    apply: Callable[[Connection, _T], Awaitable[object]]
    merge: Callable[[_T, _T], None]  # the second into the first
    applied: Callable[[], None] = lambda: None  # told after each commit
    worker: uuid.UUID = field(default_factory=uuid.uuid4)  # of this life of the process: never used again
    number: int = 0
    gathered_at: float = field(default_factory=time.time)  # when it last was; nothing was counted before the first
    waiting: deque[tuple[int, float, _T]] = field(default_factory=deque)  # number, see `gather`, what was counted

    def gather(self, now: float) -> None:
        """Take what was counted and give each part its number, and the time before which all that was counted is in the
        tables with it: now for the last part, for those before it the gathering before."""
        parts = self.take()
        for left, part in zip(reversed(range(len(parts))), parts, strict=True):
            taken, until = part, self.gathered_at if left else now
            self.number += 1
            # The first that waits may have been sent already, so it stays as it is.
            if len(self.waiting) >= _MAX_WAITING:
                _, _, last = self.waiting.pop()
                self.merge(last, taken)
                taken = last
            self.waiting.append((self.number, until, taken))
        self.gathered_at = now


async def settle(node: Node, ledger: Ledger[_T], now: float | None = None, spread: float = 0.0) -> int:
    """Apply all that was counted until now; how many settlements were applied. Raises Unavailable, and keeps what
    was not applied, while PostgreSQL is away.

    `spread`: s over which the parts are spread. All at once they took processors from whoever was answered in that
    part of each second.
    """
    ledger.gather(time.time() if now is None else now)
    applied, begun, parts = 0, time.monotonic(), len(ledger.waiting)
    while ledger.waiting:
        number, taken_at, counted = ledger.waiting[0]

        async def work(conn: Connection, n: int = number, at: float = taken_at, what: _T = counted) -> bool:
            if not await store.begin(conn, ledger.worker, ledger.kind, n, at):
                return False  # applied before; only its acknowledgement was lost
            await ledger.apply(conn, what)
            return True

        try:
            done = await in_transaction(node, work)
            applied += done
            if done:
                ledger.applied()
        except Unavailable:
            raise
        except Exception:
            # Sent again it would fail again and hold up all that follow.
            _log.exception("a settlement of %s cannot be applied and is given up", ledger.kind)
            metrics.settlements_lost_total.inc()
        ledger.waiting.popleft()
        done_by = begun + spread * (1 - len(ledger.waiting) / parts)
        if ledger.waiting and (early := done_by - time.monotonic()) > 0:
            await asyncio.sleep(early)
    return applied
