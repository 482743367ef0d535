"""A node of the run's own: PostgreSQL, Valkey and `idnode serve` over a directory that a resumed run finds again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx
from redis.asyncio import Redis

from loadtest.freshness.cluster import Cluster, through
from loadtest.freshness.proxy import Link
from node import demo, embedded
from node.config import Settings
from node.embedded_process import dropper, free_port
from node.migrate import migrate
from node.sealing import create_secret_file

_START_SECONDS = 120.0


@dataclass
class OwnNode:
    """`links` stand between the node and its servers while drills are under way, else it reaches them directly."""

    cluster: Cluster
    folder: Path
    workers: int
    port: int
    seeded: dict[str, Any]
    links: dict[str, Link] = field(default_factory=dict)
    process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _env(self) -> dict[str, str]:
        servers = self.cluster.servers
        database, cache = servers.database_url, servers.redis_url
        if self.links:
            database = through(database, self.links["postgres"].port)
            cache = through(cache, self.links["valkey"].port)
        return {
            "DATABASE_URL": database, "REDIS_URL": cache, "NODE_SECRET_FILE": str((self.folder / "secret").resolve()),
            "PUBLIC_URL": self.url, "METRICS_PORT": "0", "LOG_LEVEL": "WARNING",
        }  # fmt: skip

    async def start(self) -> None:
        """Serve; returns when requests are answered."""
        log = self.folder / "node.log"
        with log.open("ab") as output:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "node.cli", "serve", "--host", "127.0.0.1"),
                *("--port", str(self.port), "--workers", str(self.workers)),
                env={**os.environ, **self._env()},
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=dropper(None, signal.SIGTERM),
            )
        await self.answers(log)

    async def answers(self, log: Path) -> None:
        """Wait until it is ready."""
        async with httpx.AsyncClient(base_url=self.url, timeout=5) as client, asyncio.timeout(_START_SECONDS):
            while True:
                if self.process is None or self.process.returncode is not None:
                    raise RuntimeError(f"the node did not start:\n{log.read_text(errors='replace')[-1500:]}")
                with suppress(httpx.HTTPError):
                    if (await client.get("/health/ready")).status_code == 200:
                        return
                await asyncio.sleep(0.1)

    async def stop(self) -> None:
        if self.process is None or self.process.returncode is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self.process.wait(), 40)
        except TimeoutError:
            os.killpg(self.process.pid, signal.SIGKILL)  # its own session
            await self.process.wait()

    async def with_links(self) -> None:
        """Serve again, by way of links that can be slowed and cut."""
        await self.stop()
        servers = self.cluster.servers
        self.links = {"postgres": Link(servers.postgres_port), "valkey": Link(servers.valkey_port)}
        for link in self.links.values():
            await link.open()
        await self.start()

    async def without_links(self) -> None:
        await self.stop()
        for link in self.links.values():
            await link.close()
        self.links = {}
        await self.start()

    async def size(self) -> float:
        """Of the database, in MiB."""
        conn = await asyncpg.connect(self.cluster.servers.database_url)
        try:
            size: int = await conn.fetchval("SELECT pg_database_size(current_database())")
        finally:
            await conn.close()
        return round(size / 2**20, 1)

    async def versions(self) -> dict[str, Any]:
        """Of the servers."""
        conn = await asyncpg.connect(self.cluster.servers.database_url)
        cache = Redis.from_url(self.cluster.servers.redis_url)
        try:
            info = await cache.info("server")
            return {
                "postgresql": await conn.fetchval("SHOW server_version"),
                "valkey": info.get("valkey_version") or info.get("redis_version"),
            }
        finally:
            await conn.close()
            await cache.aclose()

    def pids(self) -> dict[str, list[int]]:
        """Processes by name, for the resources."""
        serve = self.process.pid if self.process else 0
        servers = self.cluster.servers
        return {
            "idnode": [serve, *children(serve)],
            "postgresql": [servers.postgres_pid, *children(servers.postgres_pid)],
            "valkey": [servers.valkey_pid],
        }


def children(pid: int) -> list[int]:
    """Direct children of a process."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return []


@asynccontextmanager
async def own_node(folder: Path, workers: int) -> AsyncIterator[OwnNode]:
    """Start it over `folder`, which is made; what was there goes on."""
    folder.mkdir(parents=True, exist_ok=True)
    create_secret_file(folder / "secret")
    async with embedded.servers(folder / "data") as servers:
        await migrate(servers.database_url)
        node = OwnNode(Cluster(servers), folder, workers, free_port(0), await _seeded(folder, servers))
        try:
            await node.start()
            yield node
        finally:
            await node.stop()
            for link in node.links.values():
                await link.close()


async def _seeded(folder: Path, servers: embedded.Servers) -> dict[str, Any]:
    """The operator and the first enterprise; made once."""
    kept = folder / "seeded.json"
    if kept.exists():
        found: dict[str, Any] = json.loads(kept.read_text("utf-8"))
        return found
    settings = Settings(
        servers.database_url, servers.redis_url, folder / "secret", "http://127.0.0.1:1", metrics_port=0
    )
    made = await demo.seed(settings, False)
    kept.touch(0o600)
    kept.write_text(json.dumps(made), "utf-8")
    return made
