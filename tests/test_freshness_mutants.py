"""Each part of the cache protocol is needed: a schedule, directed through the links, that is right with it and shows an
acknowledged change as if it had not been without it (`NODE_SWITCH_OFF`)."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from freshness_pair import Pair, pair_of, servers

from loadtest.freshness.cluster import Cluster
from loadtest.freshness.proxy import Way
from loadtest.freshness.world import lot_body
from node import demo

ATTEMPTS = 4  # of a schedule that has to fit into a lease: on a machine that stands still it may not


@pytest.fixture(scope="module")
async def cluster() -> AsyncIterator[tuple[Cluster, Path]]:
    async with servers() as made:
        yield made


@pytest.fixture(scope="module")
async def pair(cluster: tuple[Cluster, Path], request: Any) -> AsyncIterator[Pair]:
    off, changes = request.param
    async with pair_of(cluster, off, **changes) as made:
        yield made


def without(part: str, **changes: str) -> Any:
    """The same test with nothing switched off and with `part`."""
    cases = [pytest.param((off, changes), id=f"without {off}" if off else "whole") for off in ("", part)]
    return pytest.mark.parametrize("pair", cases, indirect=True, scope="module")


@without("lease")
async def test_lease_an_overtaken_reader_cannot_put_back_what_it_read(pair: Pair) -> None:
    await pair.ready()
    for _ in range(ATTEMPTS):
        handle = await pair.item()
        await pair.read(pair.b, handle)  # its first miss
        # Its second: the row for the answer, and a lease and the row for what is kept ...
        rows = [pair.b.postgres.catch(Way.DOWN, f"{handle}/first".encode()) for _ in range(2)]
        overtaken = asyncio.create_task(pair.ask(pair.b, "GET", f"/{handle}"))
        for row in rows:
            await asyncio.wait_for(row.seen.wait(), 30)
        await pair.change(handle)  # ... which changes before they arrive
        for row in rows:
            row.release()
        if (await overtaken)[0] == 200:  # 503: it waited longer for PostgreSQL than a reader may
            break
    await late_fill(pair, handle)


@without("lease")
async def test_lease_a_fill_that_was_long_under_way_comes_too_late(pair: Pair) -> None:
    await pair.ready()
    handle = await pair.item()
    await pair.read(pair.b, handle)
    fill = pair.b.valkey.catch(Way.UP, f"{handle}/first".encode())
    await pair.read(pair.b, handle)
    await asyncio.wait_for(fill.seen.wait(), 30)
    await pair.change(handle)
    fill.release()
    await late_fill(pair, handle)


async def late_fill(pair: Pair, handle: str) -> None:
    """The fill of what was read before the change is under way, or was refused; A is asked until it asks Valkey."""
    async with asyncio.timeout(30):
        while pair.off and not await pair.in_valkey(handle):
            await asyncio.sleep(0.01)
    seen = [await pair.read(pair.a, handle) for _ in range(10)]
    assert ("first" in seen) == bool(pair.off), seen


@without("fence")
async def test_fence_who_cannot_forget_shuts_the_epoch(pair: Pair) -> None:
    await pair.ready()
    handle = await pair.item()
    await pair.keep(handle)
    pair.a.valkey.sever()
    await pair.change(handle)
    assert await pair.read(pair.b, handle) == ("first" if pair.off else "second")
    pair.a.valkey.heal()


async def attempts(pair: Pair, schedule: Any) -> None:
    """Run a schedule whose reader has to be quicker than a lease; one time that it shows the old is enough."""
    seen = [await schedule()]
    while pair.off and seen[-1] != "old" and len(seen) < ATTEMPTS:
        seen.append(await schedule())
    assert seen[-1] == ("old" if pair.off else "new"), seen


@without("wait")
async def test_wait_until_nobody_trusts_the_epoch_that_was_shut(pair: Pair) -> None:
    async def schedule() -> str:
        await pair.ready()
        handle = await pair.item()
        await pair.keep(handle)
        pair.a.valkey.sever()
        await pair.read(pair.b, f"{handle}")  # B's lease is young
        await pair.change(handle)
        found = await pair.read(pair.b, handle)
        pair.a.valkey.heal()
        return "old" if found == "first" else "new"

    await attempts(pair, schedule)


@without("wait")
async def test_wait_until_everybody_knows_that_a_lot_changed(pair: Pair) -> None:
    lot = f"{pair.prefix}/LOT-{secrets.token_hex(4)}"
    number = 0

    async def brand() -> int:
        _, document = await pair.ask(pair.b, "GET", f"/{handle}")
        return int(document["attributes"]["brand"].split()[1])

    async def schedule() -> str:
        nonlocal number
        await pair.keep(handle)
        number += 1
        await brand()
        status, _ = await pair.ask(pair.a, "PUT", f"/api/v1/handles/{lot}", lot_body(lot, number), pair.key)
        assert status == 200
        return "old" if await brand() < number else "new"

    await pair.ready()
    status, answer = await pair.ask(pair.a, "POST", "/api/v1/lots", lot_body(lot, 0, new=True), pair.key)
    assert status in (200, 201), answer
    handle = await pair.item(lot)
    await attempts(pair, schedule)


@without("wait")
async def test_wait_until_everybody_knows_a_new_prefix(pair: Pair) -> None:
    known = pair.cluster.seeded["operator"]
    status, session = await pair.ask(
        pair.a, "POST", "/api/v1/operators:login", {"login": known["login"], "password": known["password"]}
    )
    assert status == 200

    async def schedule() -> str:
        form = {
            "credit_code": demo.credit_code(secrets.randbelow(10**5)),
            "name": "宿州市示范企业有限公司",
            "industry": "pear",
            "county": "341321",
            "contact": {"person": "张示范", "phone": "0557-8010000", "email": "demo@example.com"},
        }
        _, applied = await pair.ask(pair.a, "POST", "/api/v1/applications", form)
        await pair.ask(pair.b, "GET", f"/{pair.prefix}/NOTHING")  # B's lease is young
        decision = {"decision": "approve", "reason": "资料齐全"}
        status, decided = await pair.ask(
            pair.a, "POST", f"/api/v1/applications/{applied['id']}:decide", decision, session["token"]
        )
        assert status == 200, decided
        _, refusal = await pair.ask(pair.b, "GET", f"/{decided['prefix']}/NOTHING")
        return "old" if refusal["code"] == "unknown_prefix" else "new"

    await pair.ready()
    await attempts(pair, schedule)


@without("wait", COPIES_SECONDS="1.5")
async def test_wait_until_copies_have_run_out(pair: Pair) -> None:
    async def schedule() -> str:
        await pair.ready()
        handle = await pair.item()
        await pair.keep(handle)
        await pair.read(pair.b, handle)  # from Valkey, and copied
        await pair.change(handle)
        return "old" if await pair.read(pair.b, handle) == "first" else "new"

    await attempts(pair, schedule)


@without("marker")
async def test_marker_nobody_is_told_the_old_while_another_sees_the_new(pair: Pair) -> None:
    """Not promised while the change is not acknowledged, but kept wherever Valkey answers."""
    await pair.ready()
    handle = await pair.item()
    await pair.keep(handle)
    forget = pair.a.valkey.catch(Way.UP, b"UNLINK")
    change = asyncio.create_task(pair.change(handle))
    await asyncio.wait_for(forget.seen.wait(), 30)  # committed, and not yet forgotten
    _, owners = await pair.ask(pair.b, "GET", f"/{handle}", b"", pair.key)
    assert owners["values"][0]["data"]["value"].endswith("/second")
    assert await pair.read(pair.b, handle) == ("first" if pair.off else "second")
    forget.release()
    await change
