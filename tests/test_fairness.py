"""One enterprise that floods waits for itself: turns of enterprises at heavy work, and connections left to readers."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

import pytest

from node import imports
from node.errors import TooManyRequests, Unavailable
from node.grouping import _MOST, _OWN, Single, _in_turns, groups_of
from node.runtime import Node, in_transaction, reading
from node.store import prefixes
from node.turns import Turns, batches


async def _queued(turns: Turns, order: list[str], who: int, name: str) -> asyncio.Task[None]:
    async def one() -> None:
        async with turns.turn(who):
            order.append(name)

    before = turns.waiting
    task = asyncio.create_task(one())
    while turns.waiting == before:
        await asyncio.sleep(0)
    return task


async def test_who_comes_once_waits_for_one_turn_of_who_comes_often() -> None:
    turns, order = Turns("work", 1, 50), list[str]()
    async with turns.turn(0):
        tasks = [await _queued(turns, order, 1, f"flood {n}") for n in range(5)]
        tasks += [await _queued(turns, order, 2, f"two {n}") for n in range(2)]
        tasks += [await _queued(turns, order, 3, "three 0")]
    await asyncio.gather(*tasks)
    assert order == ["flood 0", "two 0", "three 0", "flood 1", "two 1", "flood 2", "flood 3", "flood 4"]
    assert (turns.free, turns.waiting) == (1, 0)


async def test_alone_an_enterprise_has_all_places() -> None:
    turns = Turns("work", 3, 2)
    async with AsyncExitStack() as held:
        for _ in range(3):
            await held.enter_async_context(turns.turn(1))
        assert turns.free == 0
    assert turns.free == 3


async def test_too_many_of_ones_own_and_of_all() -> None:
    turns, order = Turns("work", 1, 2), list[str]()
    async with turns.turn(0):
        tasks = [await _queued(turns, order, 1, str(n)) for n in range(2)]
        with pytest.raises(TooManyRequests) as refused:
            async with turns.turn(1):
                pass
        assert refused.value.datum == {"what": "work", "limit": 2, "retry_after": 1}
        for who in (2, 3, 4):
            tasks += [await _queued(turns, order, who, str(who)) for _ in range(2)]
        with pytest.raises(Unavailable):
            async with turns.turn(5):
                pass
    await asyncio.gather(*tasks)
    assert len(order) == 8


async def test_who_goes_away_while_waiting_leaves_no_place_taken() -> None:
    turns, order = Turns("work", 1, 10), list[str]()
    async with turns.turn(0):
        gone = [await _queued(turns, order, 1, "gone") for _ in range(3)]
        stays = await _queued(turns, order, 2, "stays")
        for task in gone[:2]:
            task.cancel()
        await asyncio.wait(gone[:2])
    gone[2].cancel()  # in the moment in which its place was given
    await asyncio.wait([*gone, stays])
    assert order == ["stays"]
    assert (turns.free, turns.waiting) == (1, 0)


def _row(firm: Any, name: str) -> dict[str, Any]:
    return {"handle": f"{firm.prefix}/{name}", "values": [{"index": 1, "type": "NOTE", "data": name}]}


@pytest.fixture(scope="module")
def served(client: Any) -> Node:
    """The node behind the client."""
    found: Node = client._transport.app.node
    return found


async def test_a_flood_of_batches_is_refused_and_others_are_served(
    served: Node, client: Any, firm: Any, stranger: Any
) -> None:
    """Places are held, so that what waits is known and not a matter of speed."""
    turns, held = batches(served), AsyncExitStack()
    while turns.free:
        await held.enter_async_context(turns.turn(-1))

    async def send(of: Any, name: str) -> Any:
        return await client.post("/api/v1/handles:batch", json=[_row(of, name)], headers=of.headers)

    flood = [asyncio.create_task(send(firm, f"F-{n}")) for n in range(turns.most)]
    while turns.waiting < turns.most:
        assert not any(task.done() for task in flood)
        await asyncio.sleep(0)
    refused = await send(firm, "F-more")
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
    assert int(refused.headers["retry-after"]) > 0
    other = asyncio.create_task(send(stranger, "S-1"))
    while turns.waiting == turns.most:
        await asyncio.sleep(0)
    assert (await client.get("/88.999.1001/none")).status_code in (200, 404)  # the public waits for none of them
    await held.aclose()
    assert (await other).json()["summary"]["created"] == 1
    assert [(await task).json()["summary"]["created"] for task in flood] == [1] * len(flood)


async def test_a_change_of_an_item_waits_for_no_chunk(served: Node, client: Any, firm: Any) -> None:
    """A chunk holds its lots until its transaction ends. 64 locks stand for all lots of a prefix, so that other names
    share them: here each one is held."""
    row = _row(firm, "ITEM-OF-NO-LOT")
    assert (await client.post("/api/v1/handles", json=row, headers=firm.headers)).status_code == 201
    path = f"/api/v1/handles/{row['handle']}"

    async def work(conn: Any) -> list[int]:
        prefix = await prefixes.hold(conn, firm.prefix)
        assert prefix is not None
        await prefixes.hold_lots(conn, prefix.id, [f"LOT-{n}" for n in range(1000)])
        values = [{"index": 1, "type": "URL", "data": "https://example.com/other"}]
        put = await client.put(path, json={"values": values}, headers=firm.headers)
        return [put.status_code, (await client.delete(path, headers=firm.headers)).status_code]

    assert await in_transaction(served, work) == [200, 200]


async def test_chunks_have_turns_of_their_own(node: Node) -> None:
    working = imports.slots(node).working
    assert working is not batches(node)
    assert working.what == "chunks"


def test_those_of_one_enterprise_stay_in_their_order() -> None:
    waiting = [
        Single("", "", "", None, None, name, None, owner)
        for owner, name in ((1, "a"), (1, "b"), (2, "c"), (1, "d"), (2, "e"), (0, "f"))
    ]
    assert [single.handle for single in _in_turns(waiting)] == ["a", "c", "f", "b", "e", "d"]


async def test_single_registrations_beyond_a_group_go_by_turns(
    served: Node, client: Any, firm: Any, stranger: Any
) -> None:
    groups, told = groups_of(served), list[str]()
    for of in (firm, stranger):  # a key that was good before has a turn of its own
        answer = await client.post("/api/v1/handles", json=_row(of, "FIRST"), headers=of.headers)
        assert answer.status_code == 201
    assert len(set(groups.owners.values())) >= 2

    def post(of: Any, name: str) -> None:
        body = json.dumps(_row(of, name)).encode()
        groups.post(of.key, "127.0.0.1", body, lambda outcome: told.append(getattr(outcome, "handle", repr(outcome))))

    for n in range(_OWN):  # in one turn of the loop: no group has begun
        post(firm, f"M-{n:04d}")
    with pytest.raises(TooManyRequests):
        post(firm, "M-more")
    for n in range(3):
        post(stranger, f"N-{n}")
    async with asyncio.timeout(60):
        while len(told) < _OWN + 3:
            await asyncio.sleep(0.01)
    strangers = [told.index(f"{stranger.prefix}/N-{n}") for n in range(3)]
    assert max(strangers) < 2 * _MOST  # in one of the first two groups, not behind a thousand
    assert len(set(told)) == _OWN + 3


async def test_writers_leave_connections_to_readers(node: Node) -> None:
    """As many transactions as there may be, none of which ends: a read finds a connection."""
    release, begun = asyncio.Event(), asyncio.Semaphore(0)

    async def stay(conn: Any) -> None:
        begun.release()
        await release.wait()

    writers = [asyncio.create_task(in_transaction(node, stay)) for _ in range(node.settings.pool_size * 2)]
    try:
        for _ in range(max(1, node.settings.pool_size - max(1, node.settings.pool_size // 4))):
            await begun.acquire()
        async with asyncio.timeout(30), reading(node) as conn:
            raw: Any = conn
            assert await raw.fetchval("SELECT 1") == 1
    finally:
        release.set()
        await asyncio.gather(*writers, return_exceptions=True)
