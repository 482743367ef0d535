"""Promise 1: what was acknowledged survives `kill -9`, and the counters agree with the rows, at seeded instants."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from typing import Any

import httpx
import pytest
from serve_env import serve_env

from node.embedded_process import free_port


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_acknowledged_writes_survive_a_killed_node(settings: Any, make_firm: Any, node: Any, seed: int) -> None:
    firm, port, pick = await make_firm(), free_port(0), random.Random(seed)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "node.cli", "serve", "--port", str(port)),
        env=os.environ | serve_env(settings),
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    while b"startup complete" not in (line := await process.stderr.readline()):
        assert line
    acknowledged: list[str] = []
    killed: list[int] = []
    sent: set[str] = set()
    last = pick.randrange(40, 120)  # the acknowledgement after which the node is killed, others being under way

    async def client(number: int) -> None:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=firm.headers) as http:
            for round_ in range(1000):
                handles = [f"{firm.prefix}/K-{number}-{round_}-{n}" for n in range(pick.choice((1, 1, 7)))]
                sent.update(handles)
                answer = await http.post("/api/v1/handles:batch", content=json.dumps([{"handle": h} for h in handles]),
                                         headers={"Content-Type": "application/json"})  # fmt: skip
                assert answer.json()["summary"]["created"] == len(handles)
                acknowledged.extend(handles)
                if len(acknowledged) >= last and not killed:  # once: the next would find it reaped
                    killed.append(len(acknowledged))
                    os.kill(process.pid, signal.SIGKILL)

    results = await asyncio.gather(*(client(n) for n in range(8)), return_exceptions=True)
    assert all(isinstance(r, httpx.TransportError) for r in results), results
    assert await process.wait() == -signal.SIGKILL
    rows = await node.pool.fetch(
        "SELECT h.suffix FROM handle h JOIN prefix p ON p.id = h.prefix_id WHERE h.shard >= 0 AND p.prefix = $1",
        firm.prefix,
    )
    stored = {f"{firm.prefix}/{row['suffix']}" for row in rows}
    assert set(acknowledged) <= stored <= sent
    counted = await node.pool.fetchval(
        "SELECT sum(created) FROM (SELECT prefix_id, created FROM registration_count UNION ALL"
        " SELECT prefix_id, created FROM registration_delta) c JOIN prefix p ON p.id = c.prefix_id WHERE p.prefix = $1",
        firm.prefix,
    )
    assert counted == len(stored)
