"""A read that waits for its turn, and those that join it, are answered with what is known when it is read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from freshness_pair import Pair, pair_of, servers

from loadtest.freshness.proxy import Caught, Way
from loadtest.freshness.wire import Client, Reply, request

MOST = 8  # reads of PostgreSQL that may be under way at once


@pytest.fixture(scope="module")
async def pair() -> AsyncIterator[Pair]:
    async with servers() as cluster, pair_of(cluster, "", FENCE_POLL="0.1", FENCE_LEASE="0.5", POOL_SIZE="4") as made:
        yield made


async def occupied(pair: Pair, blockers: list[str]) -> tuple[list[Caught], list[asyncio.Task[Reply]]]:
    """Hold B's reads of PostgreSQL one by one until the next one has to wait."""
    held, asked = [], []
    for handle in blockers:
        caught = pair.b.postgres.catch(Way.DOWN, f"{handle}/first".encode())
        held.append(caught)
        asked.append(asyncio.create_task(Client(pair.b.port, 60).ask(request("GET", f"/{handle}"))))
        try:
            await asyncio.wait_for(caught.seen.wait(), 0.3)
        except TimeoutError:
            return held, asked
    raise AssertionError("nothing has to wait")


async def test_a_read_that_waited_knows_what_moved_meanwhile(pair: Pair) -> None:
    """A prefix is suspended while a read of its handle waits; one that begins afterwards joins it."""
    await pair.ready()
    known = pair.cluster.seeded["operator"]
    login = {"login": known["login"], "password": known["password"]}
    _, session = await pair.ask(pair.a, "POST", "/api/v1/operators:login", login)
    handle, *blockers = [await pair.item() for _ in range(MOST + 1)]
    held, asked = await occupied(pair, blockers)
    waiting = asyncio.create_task(Client(pair.b.port, 60).ask(request("GET", f"/{handle}")))
    for action, word in (("suspend", "suspended"), ("resume", "active")):
        status, _ = await pair.ask(
            pair.a, "POST", f"/api/v1/prefixes/{pair.prefix}:{action}", {"reason": "x"}, session["token"]
        )
        assert status == 200
        joined = asyncio.create_task(pair.ask(pair.b, "GET", f"/{handle}"))
        await asyncio.sleep(0.05)  # it may wait too, or be answered at once
        for caught in held:
            caught.release()
        status, document = await joined
        assert (status, document["status"]) in ((200, word), (503, 503)), document
    await asyncio.gather(waiting, *asked)
