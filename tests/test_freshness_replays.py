"""What is acknowledged because it was done before is as fresh as what is done now: whoever did it may have died between
its commit and its acknowledgement. Here it stands still there, its link to Valkey held."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from freshness_pair import Pair, pair_of, servers

from loadtest.freshness.proxy import Way
from loadtest.freshness.wire import Client, request


@pytest.fixture(scope="module")
async def pair() -> AsyncIterator[Pair]:
    async with servers() as cluster, pair_of(cluster, "", CACHE_TIMEOUT="5") as made:
        yield made


async def kept_as_absent(pair: Pair, handle: str) -> None:
    """B keeps it in Valkey as "no such handle"."""
    async with asyncio.timeout(30):
        while not await pair.in_valkey(handle):
            status, _ = await pair.ask(pair.b, "GET", f"/{handle}")
            assert status == 404


async def replayed(pair: Pair, handle: str, held: bytes, message: bytes) -> None:
    """A carries `message` out and is held before it forgets; B is sent the same, acknowledges it, and is asked."""
    await kept_as_absent(pair, handle)
    caught = pair.a.valkey.catch(Way.UP, held)
    first = asyncio.create_task(Client(pair.a.port, 60).ask(message))
    await asyncio.wait_for(caught.seen.wait(), 30)
    reply = await Client(pair.b.port, 60).ask(message)
    assert reply.status in (200, 201), reply.body
    status, document = await pair.ask(pair.b, "GET", f"/{handle}")
    caught.release()
    await first
    assert status == 200, document


def rows(prefix: str, name: str, count: int = 3) -> list[dict[str, Any]]:
    return [{"handle": f"{prefix}/{name}-{n}"} for n in range(count)]


def ndjson(body: list[dict[str, Any]]) -> bytes:
    return b"".join(orjson.dumps(row) + b"\n" for row in body)


def chunk(address: str, key: str, body: bytes) -> bytes:
    return request("PUT", address, body, key, kind="application/x-ndjson")


async def test_a_registration_sent_again(pair: Pair) -> None:
    await pair.ready()
    body = orjson.dumps(rows(pair.prefix, "R")[0])
    await replayed(pair, f"{pair.prefix}/R-0", b"UNLINK", request("POST", "/api/v1/handles", body, pair.key))


async def test_a_batch_sent_again(pair: Pair) -> None:
    await pair.ready()
    body = orjson.dumps(rows(pair.prefix, "B", 250))  # more than are forgotten one by one
    message = request("POST", "/api/v1/handles:batch", body, pair.key)
    await replayed(pair, f"{pair.prefix}/B-7", b":g:", message)


async def test_a_registration_with_an_idempotency_key_sent_again(pair: Pair) -> None:
    await pair.ready()
    body = orjson.dumps(rows(pair.prefix, "K")[0])
    message = request("POST", "/api/v1/handles", body, pair.key, idempotency_key="once")
    await replayed(pair, f"{pair.prefix}/K-0", b"UNLINK", message)


async def test_a_chunk_sent_again(pair: Pair) -> None:
    await pair.ready()
    status, opened = await pair.ask(pair.a, "POST", "/api/v1/imports", {"prefix": pair.prefix}, pair.key)
    assert status == 201, opened
    message = chunk(f"/api/v1/imports/{opened['id']}/chunks/0", pair.key, ndjson(rows(pair.prefix, "C")))
    await replayed(pair, f"{pair.prefix}/C-0", b":g:", message)


async def test_an_import_of_all_or_none_committed_again(pair: Pair) -> None:
    await pair.ready()
    form = {"prefix": pair.prefix, "atomic": True}
    status, opened = await pair.ask(pair.a, "POST", "/api/v1/imports", form, pair.key)
    assert status == 201, opened
    address = f"/api/v1/imports/{opened['id']}"
    sent = await Client(pair.a.port, 60).ask(chunk(f"{address}/chunks/0", pair.key, ndjson(rows(pair.prefix, "A"))))
    assert sent.status == 200, sent.body
    message = request("POST", f"{address}:commit", b'{"chunks":1}', pair.key)
    await replayed(pair, f"{pair.prefix}/A-0", b":g:", message)
