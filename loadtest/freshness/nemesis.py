"""What goes wrong, by seed: processes paused and killed, the cache emptied and starved, links slowed, cut and deaf.

Two hands work side by side, one on processes and servers, one on links. Every fault ends; at the end all is healed.
A cache that was shut is opened 5 s after the last objection: a part of the time is calm, or nothing would be kept.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable

import redis.asyncio as redis

from loadtest.freshness.cluster import Cluster, Worker
from loadtest.freshness.proxy import Link, Way

_COMMAND_SECONDS = 5.0
_PERIOD, _CALM = 24.0, 13.0  # s; each period begins so long calm
Act = Callable[[], Awaitable[None]]


class Nemesis:
    """Of one run. `done` counts what it did."""

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self._cluster = cluster
        self._random = random.Random(seed)
        self.done: Counter[str] = Counter()
        self.stopped = asyncio.Event()

    async def run(self) -> None:
        """Until `stopped` is set; then everything is as it should be."""
        servers = (
            *((self._pause_worker, 3), (self._pause_server, 3), (self._kill_worker, 1), (self._kill_server, 1)),
            *((self._flush, 3), (self._starve, 1), (self._client_pause, 2)),
        )
        links = (
            (self._slow, 3),
            (self._cut, 3),
            (self._sever, 4),
            (self._swallow, 5),
            (self._trickle, 1),
            (self._halve, 2),
            (self._deaf, 1),
        )
        await asyncio.gather(self._hand(servers), self._hand(links))

    async def _hand(self, acts: tuple[tuple[Act, int], ...]) -> None:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        while not self.stopped.is_set():
            await self._wait(self._random.uniform(0.2, 1.6))
            if self.stopped.is_set():
                return
            if (loop.time() - begin) % _PERIOD < _CALM:
                continue
            (act,) = self._random.choices([a for a, _ in acts], [weight for _, weight in acts])
            self.done[act.__name__.strip("_")] += 1
            await act()

    async def _wait(self, seconds: float) -> None:
        """Some time, or until the end."""
        try:
            await asyncio.wait_for(self.stopped.wait(), seconds)
        except TimeoutError:
            return

    def _worker(self) -> Worker:
        return self._random.choice(self._cluster.workers)

    def _which(self) -> str:
        return self._random.choice(("valkey", "postgres"))

    # --- processes

    async def _pause_worker(self) -> None:
        await self._paused(self._worker().pid, self._random.uniform(0.1, 2.5))

    async def _paused(self, pid: int, seconds: float) -> None:
        os.kill(pid, signal.SIGSTOP)
        try:
            await self._wait(seconds)
        finally:
            os.kill(pid, signal.SIGCONT)

    async def _pause_server(self) -> None:
        """Valkey, or one session of PostgreSQL among those that are open: its postmaster answers nobody itself."""
        if self._which() == "valkey":
            await self._paused(self._cluster.server_pid("valkey"), self._random.uniform(0.1, 1.5))
            return
        pids = [self._cluster.server_pid("postgres"), *_children(self._cluster.server_pid("postgres"))]
        seconds = self._random.uniform(0.1, 1.5)
        chosen = pids if self._random.random() < 0.5 else [self._random.choice(pids)]
        await asyncio.gather(*(self._paused_if_there(pid, seconds) for pid in chosen))

    async def _paused_if_there(self, pid: int, seconds: float) -> None:
        try:
            await self._paused(pid, seconds)
        except ProcessLookupError:  # a session that ended meanwhile
            return

    async def _kill_worker(self) -> None:
        worker = self._worker()
        await worker.kill()
        await worker.start()

    async def _kill_server(self) -> None:
        which = self._which()
        os.kill(self._cluster.server_pid(which), signal.SIGKILL)
        await self._wait(self._random.uniform(0, 1.5))
        await self._cluster.start_again(which)

    # --- Valkey, with a connection of its own

    async def _command(self, *words: str) -> None:
        client = redis.Redis.from_url(
            self._cluster.servers.redis_url, socket_timeout=_COMMAND_SECONDS, socket_connect_timeout=_COMMAND_SECONDS
        )
        try:
            await client.execute_command(*words)  # type: ignore[no-untyped-call]
        except (redis.RedisError, OSError):
            self.done["not taken"] += 1
        finally:
            await client.aclose()

    async def _flush(self) -> None:
        await self._command("FLUSHALL")

    async def _starve(self) -> None:
        await self._command("CONFIG", "SET", "maxmemory", "2mb")
        await self._wait(self._random.uniform(0.5, 3))
        await self._command("CONFIG", "SET", "maxmemory", "256mb")

    async def _client_pause(self) -> None:
        await self._command("CLIENT", "PAUSE", str(self._random.randint(50, 1500)), "ALL")

    # --- links

    def _link(self) -> Link:
        worker = self._worker()
        return self._random.choice((worker.valkey, worker.valkey, worker.postgres))

    async def _healed(self, link: Link, least: float, most: float) -> None:
        await self._wait(self._random.uniform(least, most))
        link.heal()
        if self._random.random() < 0.3:
            link.cut()  # also what came late

    async def _slow(self) -> None:
        link = self._link()
        for way in Way:
            link.faults[way].delay = self._random.choice((0.002, 0.02, 0.09, 0.3))
        await self._healed(link, 0.3, 2)

    async def _cut(self) -> None:
        self._link().cut()

    async def _sever(self) -> None:
        link = self._link()
        link.sever()
        await self._healed(link, 0.1, 2)

    async def _swallow(self) -> None:
        link = self._link()
        for way in self._random.choice(((Way.UP,), (Way.DOWN,), tuple(Way))):
            link.faults[way].swallow = True
        await self._healed(link, 0.1, 2.5)

    async def _trickle(self) -> None:
        link = self._link()
        for faults in link.faults.values():
            faults.trickle = True
        await self._healed(link, 0.3, 1.5)

    async def _halve(self) -> None:
        self._link().halve()

    async def _deaf(self) -> None:
        link = self._link()
        link.deaf = True
        link.cut()
        await self._wait(self._random.uniform(0.2, 2))
        link.heal()
        link.cut()  # those that nobody will ever answer


def _children(pid: int) -> list[int]:
    """Processes of PostgreSQL besides the first."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]
