"""Issue 6, points 4 and 5 with real processes: exact counts, one first scan, a kill -9 in the middle, a clean stop.

SCAN_CLAIMS=20000 (`make test-kill`) is 20,000 claims over 200 items from 5,000 phones; fewer by default.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from contextlib import suppress
from typing import Any

import pytest
from serve_env import serve_env

from loadtest.storm import Counted, Storm, counted, faults, send, storm
from node.embedded_process import free_port

CLAIMS = int(os.environ.get("SCAN_CLAIMS", "2000"))
ITEMS, DEVICES = CLAIMS // 100, CLAIMS // 4


async def started(settings: Any, port: int) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "node.cli", "serve", "--port", str(port)),
        env=os.environ | serve_env(settings),
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    while b"startup complete" not in (line := await asyncio.wait_for(process.stderr.readline(), 60)):
        assert line
    return process


def make(node: Any, prefix: str, seed: int) -> Storm:
    return storm(node.sealer, prefix, ITEMS, DEVICES, CLAIMS, time.time(), seed)


async def settlers(node: Any) -> dict[Any, float]:
    """When each worker last took its scans to settle them."""
    rows = await node.pool.fetch(
        "SELECT worker, extract(epoch FROM taken_at)::float8 AS at FROM settler WHERE kind = 'scan'"
    )
    return {row["worker"]: row["at"] for row in rows}


async def test_two_workers_count_exactly_and_a_clean_stop_loses_nothing(
    node: Any, make_serve: Any, make_firm: Any
) -> None:
    firm, port = await make_firm(), free_port(0)
    sent = make(node, firm.prefix, 1)
    async with make_serve(port, workers=2):
        half = len(sent.claims) // 2
        assert await send(sent, [port], range(half)) == []
        early = await counted(node.pool, firm.prefix)
        assert await send(sent, [port], range(half, len(sent.claims))) == []
    # Both have ended by SIGTERM, in the middle of their second.
    assert set(sent.statuses) == {200}
    found = await counted(node.pool, firm.prefix)
    assert faults(sent, found) == []
    assert sum(found.counts.values()) == len({(c.suffix, c.mark) for c in sent.claims})
    # A first scan stays the first, and whoever was answered had it before him.
    assert {suffix: found.firsts[suffix] for suffix in early.firsts} == early.firsts
    assert set(early.firsts) == {sent.claims[n].suffix for n in range(half)}


async def test_killed_in_the_middle(node: Any, settings: Any, make_firm: Any) -> None:
    firm, (port, other) = await make_firm(), (free_port(0), free_port(0))
    sent = make(node, firm.prefix, 2)
    known = set(await settlers(node))
    doomed = await started(settings, port)
    # The first of them alone, until it has settled something: so its row among the settlers is known.
    warm = len(sent.claims) // 10
    assert await send(sent, [port], range(warm)) == []
    async with asyncio.timeout(60):
        while not (mine := set(await settlers(node)) - known):
            await asyncio.sleep(0.02)
    (worker,) = mine
    survivor = await started(settings, other)
    try:
        firsts = (await counted(node.pool, firm.prefix)).firsts
        half, struck = len(sent.claims) // 2, []

        def strike() -> None:
            if len(sent.answered) >= half and not struck:
                struck.append(len(sent.answered))
                os.kill(doomed.pid, signal.SIGKILL)

        unanswered = await send(sent, [port, other], range(warm, len(sent.claims)), watch=strike)
        assert await doomed.wait() == -signal.SIGKILL
        # Who got no answer asks again, elsewhere; what was counted of it is not counted again.
        assert await send(sent, [other], unanswered) == []
        survivor.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(survivor.wait(), 60) in (0, -signal.SIGTERM)
    finally:
        for process in (doomed, survivor):
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
    taken = (await settlers(node))[worker]
    found = await counted(node.pool, firm.prefix)
    # Lost at most what the killed one answered since it last settled, which it does each second.
    assert faults(sent, found, excused=lambda at, answered_by: answered_by == port and at >= taken) == []
    assert {suffix: found.firsts[suffix] for suffix in firsts} == firsts
    assert set(found.counts) == {claim.suffix for claim in sent.claims}


@pytest.mark.parametrize("broken", ["doubled", "lost", "no first"])
async def test_the_checker_catches(node: Any, settings: Any, make_firm: Any, broken: str) -> None:
    """What the two tests above look for is seen when it is there: claims are sent twice with the marks taken away."""
    firm, port = await make_firm(), free_port(0)
    sent = storm(node.sealer, firm.prefix, 5, 30, 100, time.time(), {"doubled": 3, "lost": 4, "no first": 5}[broken])
    rounds = 2 if broken == "doubled" else 1
    for _ in range(rounds):
        process = await started(settings, port)
        assert await send(sent, [port], range(len(sent.claims)), 4) == []
        process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.wait(), 60)
        found = await counted(node.pool, firm.prefix)
        if rounds == 2:
            await node.pool.execute("DELETE FROM scan_mark WHERE shard BETWEEN 0 AND 1023")
        port = free_port(0)
    suffix = sent.claims[0].suffix
    if broken == "lost":
        assert faults(sent, found) == []
        found = Counted({**found.counts, suffix: found.counts[suffix] - 1}, found.firsts,
                        found.marks - {sent.claims[0].mark})  # fmt: skip
    if broken == "no first":
        found = Counted(found.counts, {**found.firsts, suffix: None}, found.marks)
    words = {"doubled": "counted of", "lost": "is lost", "no first": "no first scan"}[broken]
    assert any(words in fault for fault in faults(sent, found))
