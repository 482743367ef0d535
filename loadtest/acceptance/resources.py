"""Processor time, memory, disk and connections while the run lasts; and whether the clock ran straight."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg

from loadtest.observing import memory_of
from loadtest.wrk import ticks

_EVERY = 1.0
_STILL = 5.0  # s by which a sleep of one second is over; eight busy processes on two cores never cost one
_JUMP = 1.0  # s between the wall clock and the steady one, within one look
Pids = Callable[[], Mapping[str, list[int]]]


class Watch:
    """What was seen so far."""

    def __init__(self, start: float, pids: Pids, database_url: str) -> None:
        self._start, self._pids, self._url = start, pids, database_url
        self.seen: list[dict[str, Any]] = []
        self.jumps: list[float] = []  # s
        self.stalls: list[dict[str, float]] = []  # {"t", "seconds"}
        self._ticks: dict[str, tuple[float, int]] = {}
        self._offset = time.time() - time.monotonic()
        self._conn: Any = None

    def look_at_clock(self, wall: float, steady: float) -> None:
        """A wall clock that was set while we measured makes the times in logs and certificates worthless."""
        offset = wall - steady
        if abs(offset - self._offset) > _JUMP:
            self.jumps.append(round(offset - self._offset, 3))
        self._offset = offset

    def look_at_pause(self, seconds: float) -> None:
        """A machine that stood still (a virtual one that was moved or saved) measured nothing in that time."""
        if seconds > _EVERY + _STILL:
            at = time.monotonic() - self._start - seconds
            self.stalls.append({"t": round(at, 1), "seconds": round(seconds - _EVERY, 1)})

    async def look(self) -> None:
        self.look_at_clock(time.time(), time.monotonic())
        now = time.monotonic()
        used: dict[str, dict[str, float]] = {}
        for name, pids in self._pids().items():
            spent = ticks(pids)
            at, before = self._ticks.get(name, (now, spent))
            self._ticks[name] = (now, spent)
            # Of processes that ended in between the ticks are gone: not below nothing.
            cpu = max(0.0, (spent - before) / os.sysconf("SC_CLK_TCK") / (now - at)) if now > at else 0.0
            used[name] = {"cpu": round(cpu, 3), "rss_mib": round(_resident(pids), 1)}
        size, connections = await self.database()
        self.seen.append({"t": round(now - self._start, 1), "processes": used, "disk_mib": size,
                          "connections": connections})  # fmt: skip

    async def database(self) -> tuple[float | None, int | None]:
        """(MiB, connections); nothing where it cannot be asked, or is down for a drill."""
        if not self._url:
            return None, None
        try:
            async with asyncio.timeout(3):
                if self._conn is None or self._conn.is_closed():
                    self._conn = await asyncpg.connect(self._url)
                found = await self._conn.fetchrow(
                    "SELECT pg_database_size(current_database()) AS size, (SELECT count(*) FROM pg_stat_activity"
                    " WHERE datname = current_database()) AS connections"
                )
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
            await self.close()
            return None, None
        return round(found["size"] / 2**20, 1), found["connections"]

    async def close(self) -> None:
        if self._conn is not None:
            with suppress(Exception):
                self._conn.terminate()
            self._conn = None


def _resident(pids: list[int]) -> float:
    """MiB of memory of processes that belong together. What they share counts once, as the most that one of them has of
    it: twenty connections of PostgreSQL each show the same shared buffers, and their sum grew to 15 GB."""
    folders = [Path(f"/proc/{pid}") for pid in pids]
    own = sum(memory_of(folder, "RssAnon") for folder in folders)
    shared = [memory_of(folder, "RssShmem") + memory_of(folder, "RssFile") for folder in folders]
    return own + max(shared, default=0.0)


@asynccontextmanager
async def watching(start: float, pids: Pids, database_url: str) -> AsyncIterator[Watch]:
    """Look each second until the block is left."""
    watch = Watch(start, pids, database_url)
    ended = asyncio.Event()

    async def looking() -> None:
        while not ended.is_set():
            await watch.look()
            before = time.monotonic()
            with suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), _EVERY)
            watch.look_at_pause(time.monotonic() - before)

    task = asyncio.create_task(looking())
    try:
        yield watch
    finally:
        ended.set()
        await asyncio.gather(task, return_exceptions=True)
        await watch.close()
