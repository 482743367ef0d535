"""Keeps the garbage collector from stopping a worker for long.

What a worker keeps (pages, records, lots) grows to a million objects, and a full collection walks all of them: 75 ms
with 6,000 pages, each time 3,000 more were made. Here they are collected while they are few and then frozen: walked
never again, and freed like all others when nobody refers to them. Only a ring of objects that was alive when it was
frozen is not found any more: for those all is walked once an hour.
"""

from __future__ import annotations

import asyncio
import gc

from node.runtime import Node

_EVERY = 0.2  # s between looks
_GROWN = 3  # collections of the middle generation since: some 20,000 objects more, 5 ms to walk
_HOUR = 3600.0
_NEVER = 1_000_000  # of a threshold: full collections are made here alone


async def keep_collecting(_: Node) -> None:
    """Look for ever; the collector goes back to its own ways when this is cancelled."""
    loop, thresholds = asyncio.get_running_loop(), gc.get_threshold()
    gc.set_threshold(*thresholds[:2], _NEVER)
    all_due = loop.time() + _HOUR
    try:
        while True:
            await asyncio.sleep(_EVERY)
            if loop.time() >= all_due:
                all_due = loop.time() + _HOUR
                gc.unfreeze()
            elif gc.get_count()[2] < _GROWN:
                continue
            collect()
    finally:
        gc.set_threshold(*thresholds)


def collect() -> None:
    """Collect what was made since the last time, and freeze what is left of it."""
    gc.collect()
    gc.freeze()
