"""How a read travels: what memory refuses, what waits, what is joined, and where an address may lead."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from keeping import until_kept

from node import polling, resolution
from node.errors import Unavailable, UnknownPrefix
from node.reads import Reads
from node.runtime import close_node, open_node


async def registered(client: Any, firm: Any, suffix: str, url: str = "https://goods.example.com/a") -> str:
    handle = f"{firm.prefix}/{suffix}"
    values = [{"index": 1, "type": "URL", "data": {"format": "string", "value": url}}]
    row = {"handle": handle, "values": values}
    assert (await client.post("/api/v1/handles", json=row, headers=firm.headers)).status_code == 201
    return handle


async def test_what_memory_can_refuse_needs_no_io(node: Any, firm: Any) -> None:
    await polling.ensure(node)
    with pytest.raises(UnknownPrefix):
        resolution.ask(
            node, "88.999.424242/X", asyncio.get_running_loop().create_future()
        )  # no coroutine: it cannot have waited for anything


async def test_reads_of_one_turn_are_one_read(client: Any, node: Any, firm: Any) -> None:
    handles = [await registered(client, firm, f"TURN-{n}") for n in range(20)]
    await polling.ensure(node)
    reads, calls = Reads(node), []
    ordinary = reads._stored._work

    async def counted(asks: list[Any], conn: Any) -> None:
        calls.append(len(asks))
        await ordinary(asks, conn)

    reads._stored._work = counted
    prefix = node.fence.prefixes[firm.prefix]
    asked = [reads.ask(prefix, handle.partition("/")[2], -1) for handle in handles for _ in range(3)]
    found = await asyncio.gather(*asked)
    assert calls == [20]
    assert [f.view().handle for f in found] == [handle for handle in handles for _ in range(3)]


async def test_too_many_first_reads_are_told_to_come_again(client: Any, settings: Any, firm: Any) -> None:
    handles = [await registered(client, firm, f"QUEUE-{n}") for n in range(30)]
    # All ask in one turn of the loop: a fence that grew old meanwhile (0.1 s here) would let some ask a turn later.
    narrow = await open_node(replace(settings, read_queue=10, fence_lease=60.0))
    try:
        await polling.ensure(narrow)
        answers = await asyncio.gather(*(resolution.resolve(narrow, h) for h in handles), return_exceptions=True)
        refused = [a for a in answers if isinstance(a, BaseException)]
        assert len(refused) == 20
        assert all(isinstance(a, Unavailable) and a.datum["retry_after"] for a in refused)
        assert (await resolution.resolve(narrow, handles[-1])).handle == handles[-1]
    finally:
        await close_node(narrow)


async def test_a_made_up_code_has_a_budget(client: Any, node: Any, firm: Any) -> None:
    """Refusals are kept for the second who asks, 200 a second at the most, and dropped by a registration."""
    await polling.start(node)
    handle = f"{firm.prefix}/NEVER"
    for _ in range(3):
        assert (await client.get(f"/{handle}")).status_code == 404
    await polling.ensure(node)
    await until_kept(node, handle)
    assert (await client.post("/api/v1/handles", json={"handle": handle}, headers=firm.headers)).status_code == 201
    assert (await client.get(f"/{handle}")).status_code == 200
    made_up = [f"{firm.prefix}/MADE-UP-{n}" for n in range(600)]
    real = await registered(client, firm, "MADE-UP-NOT")
    for _ in range(2):
        await asyncio.gather(*(client.get(f"/{h}") for h in made_up))
    for _ in range(2):  # the last of a row: whatever was to be kept before it is
        assert (await client.get(f"/{real}")).status_code == 200
    kept = await until_kept(node, real)
    assert sum(h in kept for h in made_up) < 600


async def test_a_redirect_leads_to_a_proved_host_only(client: Any, settings: Any, firm: Any) -> None:
    proved = await registered(client, firm, "OUT-1", "https://goods.example.com/pear?x=1")
    other = await registered(client, firm, "OUT-2", "https://elsewhere.example.net/pear")
    conn = await asyncpg.connect(settings.database_url)
    try:
        await conn.execute(
            "INSERT INTO host (registrant_id, host, token, state, proved_at) VALUES ($1, $2, 't', 1, now())",
            firm.identity.registrant_id,
            "goods.example.com",
        )
    finally:
        await conn.close()
    page = {"Accept": "text/html"}
    async with asyncio.timeout(10):
        while (there := await client.get(f"/{proved}?redirect=1", headers=page)).status_code != 302:
            pass
    assert there.headers["location"] == "https://goods.example.com/pear?x=1"
    assert there.headers["cache-control"] == "no-store"
    stays = await client.get(f"/{other}?redirect=1", headers=page)
    assert (stays.status_code, "location" in stays.headers) == (200, False)
    assert "elsewhere.example.net" in stays.text
    assert (await client.get(f"/{proved}", headers=page)).status_code == 200  # only on request
