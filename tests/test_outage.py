"""Servers that go away and come back: what still answers, with what, and what is true afterwards."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from freshness_pair import in_valkey

from node import embedded, polling, scan_tokens
from node.config import Settings
from node.errors import Unavailable
from node.migrate import migrate
from node.runtime import cancelled, reading
from node.sealing import Sealer, create_secret_file


@pytest.fixture
async def own(scratch: Path) -> AsyncIterator[tuple[embedded.Servers, Settings]]:
    """Servers of its own, for they will be stopped."""
    create_secret_file(scratch / "secret")
    async with embedded.servers(scratch / "data") as running:
        await migrate(running.database_url)
        yield (
            running,
            Settings(
                database_url=running.database_url,
                redis_url=running.redis_url,
                secret_file=scratch / "secret",
                public_url="http://127.0.0.1:8000",
                environment="test",
                metrics_port=0,
                pool_timeout=0.5,
            ),
        )


async def a_firm(settings: Settings) -> tuple[str, dict[str, str]]:
    from node import demo

    seeded = await demo.seed(settings, False)
    return seeded["prefix"], {"Authorization": f"Bearer {seeded['api_key']}"}


def row(prefix: str, suffix: str, text: str) -> dict[str, Any]:
    return {"handle": f"{prefix}/{suffix}", "values": [{"index": 1, "type": "URL", "data": text}]}


@pytest.mark.parametrize("stale", [0.0, 3600.0])
async def test_without_postgresql_nothing_is_served_that_may_be_old_unless_the_operator_allows_it(
    own: Any, open_app: Any, stale: float
) -> None:
    servers, settings = own
    prefix, headers = await a_firm(settings)
    async with open_app(replace(settings, stale_seconds=stale)) as client:
        for suffix in ("kept", "cold"):
            await client.post("/api/v1/handles", json=row(prefix, suffix, "a"), headers=headers)
        async with asyncio.timeout(20):  # it is kept soon after its second miss
            while not await in_valkey(settings.redis_url, f"{prefix}/kept"):
                assert (await client.get(f"/{prefix}/kept")).status_code == 200
        await servers.stop_postgres()
        if stale:
            await answers(client, f"/{prefix}/kept", 200, marked=True)
            kept = await client.get(f"/{prefix}/kept")
            assert (kept.headers["idnode-stale"], kept.headers["cache-control"]) == ("?1", "no-store")
        else:
            await answers(client, f"/{prefix}/kept", 503)
        page = await client.get(f"/{prefix}/kept", headers={"Accept": "text/html"})
        assert page.status_code == 503
        cold = await client.get(f"/{prefix}/cold")
        assert (cold.status_code, cold.json()["code"]) == (503, "unavailable")
        assert int(cold.headers["retry-after"]) > 0
        write = await client.post("/api/v1/handles", json=row(prefix, "new", "a"), headers=headers)
        assert write.status_code == 503
        ready = await client.get("/health/ready")
        assert ready.status_code == 503
        assert (ready.json()["resolution"], ready.json()["registration"]) == (False, False)
        assert (await client.get("/health/live")).status_code == 200
        await servers.start_postgres()
        await answers(client, f"/{prefix}/cold", 200)
        again = await client.post("/api/v1/handles", json=row(prefix, "new", "a"), headers=headers)
        assert again.status_code == 201


async def answers(client: httpx.AsyncClient, path: str, status: int, *, marked: bool = False) -> None:
    """Ask until it answers so: the pool finds its dead connections one by one, leases run out."""
    async with asyncio.timeout(20):
        while (answer := await client.get(path)).status_code != status or marked != ("idnode-stale" in answer.headers):
            await asyncio.sleep(0)


async def test_without_valkey_everything_answers_and_nothing_old_comes_back(own: Any, open_app: Any) -> None:
    servers, settings = own
    prefix, headers = await a_firm(settings)
    async with open_app(settings) as client:
        await client.post("/api/v1/handles", json=row(prefix, "x", "first"), headers=headers)
        assert (await client.get(f"/{prefix}/x")).status_code == 200
        await servers.stop_valkey()
        assert (await client.get(f"/{prefix}/x")).json()["values"][0]["data"]["value"] == "first"
        changed = await client.put(
            f"/api/v1/handles/{prefix}/x", json={"values": row(prefix, "x", "second")["values"]}, headers=headers
        )
        assert changed.status_code == 200, changed.text
        assert (await client.get(f"/{prefix}/x")).json()["values"][0]["data"]["value"] == "second"
        ready = await client.get("/health/ready")
        assert (ready.status_code, ready.json()["degraded"]) == (200, True)
        await servers.start_valkey()
        assert (await client.get(f"/{prefix}/x")).json()["values"][0]["data"]["value"] == "second"
        await settled(settings)


async def settled(settings: Settings) -> None:
    """What could not be forgotten was left in the outbox, and the relay settles it once Valkey is back."""
    import asyncpg

    conn = await asyncpg.connect(settings.database_url)
    try:
        async with asyncio.timeout(15):
            while await conn.fetchval("SELECT count(*) FROM outbox"):
                await asyncio.sleep(0.1)
    finally:
        await conn.close()


async def test_an_acknowledged_write_survives_a_killed_postgresql(own: Any, open_app: Any) -> None:
    import os
    import signal

    servers, settings = own
    prefix, headers = await a_firm(settings)
    async with open_app(settings) as client:
        sent = [row(prefix, f"k-{n}", "a") for n in range(200)]
        answer = await client.post("/api/v1/handles:batch", json=sent, headers=headers)
        os.kill(servers.postgres_pid, signal.SIGKILL)
        assert answer.json()["summary"]["created"] == 200
        await servers.stop_postgres()
        await servers.start_postgres()
        await answers(client, f"/{prefix}/k-199", 200)
        listed = await client.get(f"/api/v1/prefixes/{prefix}/handles?limit=1000", headers=headers)
        assert len(listed.json()["handles"]) == 200


async def test_a_reader_that_was_overtaken_cannot_put_back_what_it_read(node: Any) -> None:
    """The race of every look-aside: a slow reader's fill lands after a change was acknowledged."""
    await polling.start(node)
    epoch, cache = node.fence.epoch, node.cache
    handle, prefix = "88.999.1/s", "88.999.1"
    assert (await cache.lease(epoch, "slow", [handle], [prefix]))[0] == [True]  # the reader misses, and may fill
    await cache.announce(epoch, [handle])  # a change begins ...
    assert (await cache.lease(epoch, "other", [handle], [prefix]))[0] == [
        False
    ]  # ... nobody else may fill meanwhile ...
    assert await cache.forget(epoch, [handle])  # ... and is acknowledged
    await cache.fill(epoch, "slow", [(handle, b"old", 60)])  # the slow reader comes with what it read before
    entries, _ = await cache.get(epoch, [handle], [])
    assert entries == [None]
    await cache.lease(epoch, "new", [handle], [prefix])  # a reader that began afterwards may fill
    await cache.fill(epoch, "new", [(handle, b"new", 60)])
    entries, _ = await cache.get(epoch, [handle], [])
    assert entries == [b"new"]


async def test_without_postgresql_later_scans_wait_and_first_ones_are_not_answered(own: Any, open_app: Any) -> None:
    servers, settings = own
    prefix, headers = await a_firm(settings)
    sealer = Sealer.from_file(settings.secret_file)

    def claim(suffix: str) -> str:
        return f"/s/{scan_tokens.claim_token(sealer, f'{prefix}/{suffix}', time.time())}.gif"

    async with open_app(settings) as client:

        async def scan(path: str, cookie: str = "") -> httpx.Response:
            client.cookies.clear()
            answer: httpx.Response = await client.get(path, headers={"Cookie": cookie} if cookie else {})
            client.cookies.clear()
            return answer

        async def counted(suffix: str, expected: int) -> None:
            async with asyncio.timeout(60):
                while True:
                    answer = await client.get(f"/api/v1/scans?handle={prefix}/{suffix}", headers=headers)
                    if answer.status_code == 200 and answer.json()["scans"] >= expected:
                        assert answer.json()["scans"] == expected
                        return
                    await asyncio.sleep(0.05)

        assert (await scan(claim("KNOWN"))).status_code == 200
        await servers.stop_postgres()
        waiting = [claim("KNOWN") for _ in range(5)]
        for path in [*waiting, *waiting]:  # each twice
            assert (await scan(path)).status_code == 200
        first = claim("NEW")
        refused = await scan(first)
        assert (refused.status_code, refused.content) == (503, b"")
        cookie = refused.headers["set-cookie"].partition(";")[0]
        await servers.start_postgres()
        await counted("KNOWN", 6)
        async with asyncio.timeout(60):
            while (await scan(first, cookie)).status_code != 200:
                await asyncio.sleep(0.1)
        assert (await scan(claim("NEW"), cookie)).status_code == 200  # the same phone
        assert (await scan(claim("NEW"))).status_code == 200
        await counted("NEW", 2)


@pytest.mark.parametrize("state", ["53100", "53200", "53300"])  # disk full, out of memory, too many connections
async def test_what_the_server_has_too_little_of_is_no_fault_of_the_request(node: Any, state: str) -> None:
    with pytest.raises(Unavailable) as refused:
        async with reading(node) as conn:
            await conn.fetch(f"DO $$ BEGIN RAISE EXCEPTION 'no more' USING ERRCODE = '{state}'; END $$")
    assert refused.value.datum["retry_after"] > 0


async def test_a_task_that_loses_its_cancellation_is_cancelled_again() -> None:
    lost, begun = [], asyncio.Event()

    async def deaf() -> None:
        while True:
            begun.set()
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                if lost:
                    raise
                lost.append(1)

    task = asyncio.create_task(deaf())
    await begun.wait()
    async with asyncio.timeout(30):
        await cancelled([task])
    assert (task.cancelled(), lost) == (True, [1])
