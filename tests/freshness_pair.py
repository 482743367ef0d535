"""Two workers behind links, and the words for directed schedules: A writes, B reads, what is kept, what is ready."""

from __future__ import annotations

import asyncio
import secrets
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import redis.asyncio as redis

from loadtest.freshness.cluster import Cluster, Worker, servers_of, workers_of
from loadtest.freshness.wire import Client, request

# Nobody reads the fence but who needs it, and what was read is good for long: so a schedule decides who knows what.
SETTINGS = {"FENCE_POLL": "600", "FENCE_LEASE": "2", "COPIES_SECONDS": "0", "CACHE_TIMEOUT": "1"}


class Pair:
    """Two workers with `off` switched off: A writes, B reads."""

    def __init__(self, cluster: Cluster, workers: list[Worker], off: str) -> None:
        self.cluster, self.off = cluster, off
        self.a, self.b = workers
        self._clients: dict[int, Client] = {}
        self.prefix, self.key = cluster.seeded["prefix"], cluster.seeded["api_key"]

    async def ask(self, worker: Worker, method: str, path: str, body: Any = b"", key: str = "", **headers: str) -> Any:
        """(status, document)"""
        client = self._clients.setdefault(worker.number, Client(worker.port, 30))
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        reply = await client.ask(request(method, path, data, key, **headers))
        return reply.status, orjson.loads(reply.body) if reply.body else None

    async def ready(self) -> None:
        """Both use the cache: it was opened again after what was done to it last."""
        async with asyncio.timeout(60):
            for worker in (self.a, self.b):
                worker.valkey.heal()
                worker.postgres.heal()
                while True:
                    await self.ask(worker, "GET", f"/{self.prefix}/NOTHING")  # whoever resolves reads the fence
                    status, health = await self.ask(worker, "GET", "/health/ready")
                    if status == 200 and not health["degraded"]:
                        break
                    await asyncio.sleep(0.1)

    async def item(self, lot: str = "") -> str:
        """A new item whose value is "first"."""
        handle = f"{self.prefix}/M-{secrets.token_hex(6)}"
        status, answer = await self.ask(self.a, "POST", "/api/v1/handles", self.row(handle, "first", lot), self.key)
        assert status == 201, answer
        return handle

    def row(self, handle: str, value: str, lot: str = "") -> dict[str, Any]:
        values = [{"index": 1, "type": "URL", "data": f"https://goods.example.com/{handle}/{value}"}]
        extra = {"lot": lot, "attributes": {"carton_id": handle, "net_weight_kg": 5}} if lot else {}
        return {"handle": handle, "values": values, **extra}

    async def change(self, handle: str, value: str = "second") -> None:
        status, answer = await self.ask(self.a, "PUT", f"/api/v1/handles/{handle}", self.row(handle, value), self.key)
        assert status == 200, answer

    async def read(self, worker: Worker, handle: str) -> str:
        status, document = await self.ask(worker, "GET", f"/{handle}")
        assert status == 200, document
        return str(document["values"][0]["data"]["value"].rpartition("/")[2])

    async def in_valkey(self, handle: str) -> bool:
        return await in_valkey(self.cluster.servers.redis_url, handle)

    async def keep(self, handle: str) -> None:
        """It is kept in Valkey, and B answers it from there: a second miss admits it."""
        async with asyncio.timeout(30):
            while (await self.ask(self.b, "GET", f"/{handle}?explain=1", b"", self.key))[1]["tier"] != "cache":
                await self.read(self.b, handle)


async def in_valkey(redis_url: str, handle: str) -> bool:
    """Whether an entry of it is there, of whatever epoch."""
    valkey = redis.Redis.from_url(redis_url)
    try:
        return bool([key async for key in valkey.scan_iter(match=f"*:r:{handle}")])
    finally:
        await valkey.aclose()


@asynccontextmanager
async def servers() -> AsyncIterator[tuple[Cluster, Path]]:
    with tempfile.TemporaryDirectory(prefix="idnode-schedule-", ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch)
        folder.chmod(0o755)
        async with servers_of(folder) as made:
            yield made, folder


@asynccontextmanager
async def pair_of(cluster: tuple[Cluster, Path], off: str, **changes: str) -> AsyncIterator[Pair]:
    env = {**SETTINGS, "NODE_DEV": "1", "NODE_SWITCH_OFF": off, **changes}
    async with workers_of(cluster[0], cluster[1], 2, env) as workers:
        yield Pair(cluster[0], workers, off)
