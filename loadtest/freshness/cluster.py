"""Several workers, each a process of its own with a proxy before each of its servers, on one PostgreSQL and Valkey."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loadtest.freshness.proxy import Link
from loadtest.freshness.wire import Client, NoAnswer, request
from node import demo, embedded
from node.config import Settings
from node.embedded_process import EmbeddedError, dropper, free_port
from node.migrate import migrate
from node.sealing import create_secret_file

_START_SECONDS = 120.0
_RESOLVED = re.compile(rb'^resolve_total\{result="(\w+)",source="(\w+)"\} ([0-9.e+]+)', re.M)


class Worker:
    """An `idnode serve --workers 1` behind links of its own."""

    def __init__(self, number: int, env: Mapping[str, str], log: Path) -> None:
        self.number, self._env, self._log = number, dict(env), log
        self.port, self.metrics_port = free_port(0), free_port(0)
        self.valkey, self.postgres = Link(0), Link(0)
        self.process: asyncio.subprocess.Process | None = None
        self._counted: dict[str, float] = {}
        self.resolved: dict[str, float] = {}  # by the tier that answered, over all its lives

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    async def start(self) -> None:
        """Start until it serves: while its servers are away it ends, and is started again."""
        try:
            async with asyncio.timeout(_START_SECONDS):
                while True:
                    await self._launch()
                    if await self._serves():
                        return
                    await asyncio.sleep(0.2)
        except TimeoutError:
            said = self._log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"worker {self.number} does not serve within {_START_SECONDS:g} s:\n{said}") from None

    async def _launch(self) -> None:
        env = {**os.environ, **self._env, "METRICS_PORT": str(self.metrics_port)}
        with self._log.open("ab") as output:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "node.cli", "serve", "--port", str(self.port), "--workers", "1"),
                env=env,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=dropper(None, signal.SIGTERM),
            )

    async def _serves(self) -> bool:
        assert self.process is not None
        probe = Client(self.port, 5.0)
        try:
            while self.process.returncode is None:
                with suppress(NoAnswer):
                    if (await probe.ask(request("GET", "/health/live"))).status == 200:
                        return True
                await asyncio.sleep(0.05)
        finally:
            probe.close()
        return False

    async def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        assert self.process is not None
        self._counted = {}
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    async def stop(self) -> None:
        if self.process is None or self.process.returncode is not None:
            return
        self.process.send_signal(signal.SIGCONT)
        self.process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self.process.wait(), 30)
        except TimeoutError:
            await self.kill()

    async def count(self) -> None:
        """Add what it resolved since it was asked last, by the tier that answered."""
        try:
            async with asyncio.timeout(2):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.metrics_port)
                try:
                    writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
                    text = await reader.read()
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return
        now: dict[str, float] = {}
        for _, source, value in _RESOLVED.findall(text):
            now[source.decode()] = now.get(source.decode(), 0.0) + float(value)
        for source, value in now.items():
            grown = max(0.0, value - self._counted.get(source, 0.0))
            self.resolved[source] = self.resolved.get(source, 0.0) + grown
        self._counted = now


@dataclass
class Cluster:
    servers: embedded.Servers
    workers: list[Worker] = field(default_factory=list)
    seeded: dict[str, Any] = field(default_factory=dict)

    async def start_again(self, which: str) -> None:
        """Start a server that was killed; PostgreSQL only when the last of its old processes has ended."""
        stop, start = (
            (self.servers.stop_valkey, self.servers.start_valkey)
            if which == "valkey"
            else (self.servers.stop_postgres, self.servers.start_postgres)
        )
        async with asyncio.timeout(_START_SECONDS):
            while True:
                try:
                    await stop()
                    await start()
                    return
                except EmbeddedError:
                    await asyncio.sleep(0.2)

    def server_pid(self, which: str) -> int:
        return self.servers.valkey_pid if which == "valkey" else self.servers.postgres_pid


def through(url: str, port: int) -> str:
    """The same server by the way of a link."""
    return re.sub(r"@127\.0\.0\.1:\d+", f"@127.0.0.1:{port}", url)


async def _worker(number: int, cluster: Cluster, secret: Path, folder: Path, env: Mapping[str, str]) -> Worker:
    servers = cluster.servers
    worker = Worker(number, {}, folder / f"worker-{number}.log")
    worker.valkey.target, worker.postgres.target = servers.valkey_port, servers.postgres_port
    await worker.valkey.open()
    await worker.postgres.open()
    worker._env = {
        "DATABASE_URL": through(servers.database_url, worker.postgres.port),
        "REDIS_URL": through(servers.redis_url, worker.valkey.port),
        "NODE_SECRET_FILE": str(secret),
        "PUBLIC_URL": "https://id.example.com",  # minting refuses a loopback address
        "LOG_LEVEL": "WARNING",
        **env,
    }
    return worker


@asynccontextmanager
async def servers_of(folder: Path) -> AsyncIterator[Cluster]:
    """The servers with a migrated database and its first enterprise and operator; no worker yet."""
    secret = folder / "secret"
    create_secret_file(secret)
    async with embedded.servers(folder / "data") as servers:
        await migrate(servers.database_url)
        settings = Settings(
            database_url=servers.database_url,
            redis_url=servers.redis_url,
            secret_file=secret,
            public_url="https://id.example.com",
            metrics_port=0,
        )
        yield Cluster(servers, seeded=await demo.seed(settings, False))


@asynccontextmanager
async def workers_of(cluster: Cluster, folder: Path, count: int, env: Mapping[str, str]) -> AsyncIterator[list[Worker]]:
    """`count` workers that serve; `env` adds to their settings."""
    made = [await _worker(n, cluster, folder / "secret", folder, env) for n in range(count)]
    cluster.workers = made
    try:
        await asyncio.gather(*(worker.start() for worker in made))
        yield made
    finally:
        cluster.workers = []
        await asyncio.gather(*(worker.stop() for worker in made))
        for worker in made:
            await worker.valkey.close()
            await worker.postgres.close()
