"""How long a chunk holds the event loop of its worker: the whole way of a chunk, in this process, beside a clock that
ticks each millisecond. The aim is under 20 ms (issue 4, point 3)."""

from __future__ import annotations

import asyncio
import gc
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import httpx

from loadtest.seasons import Season
from node import access, imports, polling
from node.config import Settings
from node.runtime import close_node, open_node

_TICK = 0.001


@dataclass
class Ticks:
    """Milliseconds between two turns of the loop: by the wall, which counts other processes in, and of this thread's
    CPU, which leaves out waiting for another thread that keeps the interpreter lock."""

    walls: list[float] = field(default_factory=list)
    cpus: list[float] = field(default_factory=list)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async def tick() -> None:
            while True:
                wall, cpu = time.perf_counter(), time.thread_time()
                await asyncio.sleep(_TICK)
                self.walls.append((time.perf_counter() - wall - _TICK) * 1000)
                self.cpus.append((time.thread_time() - cpu) * 1000)

        task = asyncio.create_task(tick())
        await asyncio.sleep(0)
        try:
            yield
        finally:
            task.cancel()


def _bodies(season: Season) -> dict[str, tuple[str, bytes]]:
    """(form, body) by what is hard about it; each with as many rows as a chunk may have."""
    most = imports.MAX_CHUNK_ROWS
    sure = season.chunk(0, most)
    items = [season.item(n) for n in range(most, 2 * most)]
    codes = list(items[0]["attributes"])
    table = "\r\n".join(
        [",".join(["handle", "lot", *codes])]
        + [",".join([item["handle"], item["lot"], *(str(item["attributes"][c]) for c in codes)]) for item in items]
    )
    broken = [json.dumps(item | {"lot": "NO-SUCH-LOT"}) for item in items]
    return {
        "new rows": ("ndjson", sure),
        "the same rows again": ("ndjson", sure.replace(b"\n", b"\n\n", 1)),  # another body, so another chunk
        "CSV": ("csv", table.encode()),
        "rejected rows": ("ndjson", "\n".join(broken).encode()),
    }


async def measure(ready: dict[str, Any]) -> dict[str, dict[str, float]]:
    """The longest hold and the one that 99 of 100 stay below, in ms, for each kind of chunk."""
    season = Season(ready["prefix"], 2 * imports.MAX_CHUNK_ROWS, run="H")
    # Patient with Valkey: this process makes rows between two of its answers, and would shut the node's cache.
    node = await open_node(replace(Settings.from_env(ready["env"]), cache_timeout=10.0))
    await polling.start(node)
    found = {}
    try:
        identity = await access.enterprise(node, ready["api_key"], "127.0.0.1")
        headers = {"Authorization": f"Bearer {ready['api_key']}"}
        async with httpx.AsyncClient(base_url=ready["url"], headers=headers, timeout=60) as client:
            for lot in season.lots():
                (await client.post("/api/v1/lots", json=lot)).raise_for_status()
        for name, (form, body) in _bodies(season).items():
            gc.collect()
            gc.freeze()  # what this bench made itself is not the worker's to look through
            opened = await imports.begin(node, identity, b'{"template":"pear@1"}', None)
            ticks = Ticks()
            async with ticks.running():
                await imports.put_chunk(node, identity, opened["id"], 0, body, form)
            found[name] = {
                "wall_ms": max(ticks.walls),
                "wall_p99_ms": sorted(ticks.walls)[len(ticks.walls) * 99 // 100],
                "cpu_ms": max(ticks.cpus),
            }
    finally:
        await close_node(node)
    return found
