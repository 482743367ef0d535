"""The short form of `make freshness`: real servers, workers, links and a nemesis; no read older than what was
acknowledged. FRESHNESS_READS and FRESHNESS_WRITES make it longer, FRESHNESS_SEED repeats it."""

from __future__ import annotations

import os
import secrets

from loadtest.freshness.run import failed, judge, show
from loadtest.freshness.workload import Plan

READS = int(os.environ.get("FRESHNESS_READS", "100000"))
WRITES = int(os.environ.get("FRESHNESS_WRITES", "5000"))
SECONDS = 600.0  # a slow machine is given time; 100,000 and 5,000 took 75 s on two shared cores


async def test_no_read_is_older_than_an_acknowledged_write() -> None:
    seed = int(os.environ.get("FRESHNESS_SEED") or secrets.randbelow(2**31))
    print(f"FRESHNESS_SEED={seed}")
    report = await judge(Plan(READS, WRITES, seed, limit=SECONDS))
    assert not failed(report), show(report)
    assert report["enough"], show(report)
    kept = report["answered_by"].get("cache", 0) + report["answered_by"].get("copy", 0)
    assert kept > READS / 50, "the cache was hardly used: nothing was shown"
