"""The latency of scans at half of the highest rate, in rounds: each at half of what was done the second before it."""

from __future__ import annotations

import gc
import statistics
import time
from typing import Any

from loadtest.machine import stolen
from loadtest.open_loop import P99, Round
from loadtest.scan_load import Phones, scan_load

ROUNDS = 11
_SPRINT, _SECONDS = 1.0, 2.0  # s, for the highest rate before a round and of the round


async def tail(port: int, phones: Phones, connections: int, name: str) -> dict[str, Any]:
    """p50 and p99 of the undisturbed rounds and of all, in ms, under names that begin with `name`."""
    halves, rounds = [], []
    for _ in range(ROUNDS):
        highest = await scan_load(port, phones, _SPRINT, None, connections)
        halves.append(highest.rate / 2)
        rounds.append(await _round(port, phones, connections * 4, halves[-1]))
    p99 = P99.of(rounds)
    return {
        f"{name}_rate": statistics.median(halves),
        f"{name}_p50_ms": statistics.median(one.p50_ms for one in rounds),
        f"{name}_p99_ms": p99.undisturbed_ms if p99.undisturbed_ms is not None else p99.all_ms,
        f"{name}_p99_all_rounds_ms": p99.all_ms,
        f"{name}_undisturbed_rounds": p99.undisturbed,
        f"{name}_rounds": p99.rounds,
    }


async def _round(port: int, phones: Phones, connections: int, rate: float) -> Round:
    gc.disable()  # a collection of ours is no latency of the node's
    try:
        begin, before = time.perf_counter(), stolen()
        load = await scan_load(port, phones, _SECONDS, rate, connections)
        share = (stolen() - before) / (time.perf_counter() - begin)
    finally:
        gc.enable()
    return Round(round(load.percentile(0.5), 2), round(load.percentile(0.99), 2), round(share, 4))
