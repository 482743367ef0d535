"""A request that is given up leaves nothing behind for the next one: no answer of another handle, another caller or
another time, however slow PostgreSQL and Valkey are and wherever the request was cut off."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest
from serve_env import serve_env

from loadtest.freshness.cluster import through as by_way_of
from loadtest.freshness.proxy import Link, Way
from loadtest.freshness.wire import Client, NoAnswer, request
from node.config import Settings

HANDLES, CALLERS = 30, 24
GIVEN_UP, ANSWERED = 400, 400  # at the least
CHANGES = {"cache_timeout": 0.02, "fence_timeout": 0.3, "pool_timeout": 1.0}
Ask = Callable[[str, str], Awaitable[tuple[int, Any]]]  # (path, key) to (status, document)


@pytest.fixture
async def links(settings: Settings) -> AsyncIterator[tuple[Link, Link]]:
    """To Valkey and to PostgreSQL, each now quick and now slower than what is waited for."""
    made = []
    for url in (settings.redis_url, settings.database_url):
        link = Link(int(url.rpartition(":")[2].partition("/")[0]))
        await link.open()
        made.append(link)
    yield made[0], made[1]
    for link in made:
        await link.close()


def through(settings: Settings, links: tuple[Link, Link]) -> Settings:
    valkey, postgres = links
    return replace(
        settings,
        redis_url=by_way_of(settings.redis_url, valkey.port),
        database_url=by_way_of(settings.database_url, postgres.port),
        **CHANGES,
    )


async def sway(links: tuple[Link, Link], pick: random.Random) -> None:
    """Change the speed of the links again and again."""
    valkey, postgres = links
    while True:
        for way in Way:
            valkey.faults[way].delay = pick.choice((0.0, 0.005, 0.012, 0.03))
            postgres.faults[way].delay = pick.choice((0.0, 0.0, 0.01, 0.2))
        await asyncio.sleep(pick.uniform(0.02, 0.1))


async def registered(client: Any, firm: Any) -> list[str]:
    rows = [
        {
            "handle": f"{firm.prefix}/C-{n:03d}",
            "values": [
                {"index": 1, "type": "URL", "data": f"https://goods.example.com/{n}"},
                {"index": 2, "type": "DESC", "data": f"secret of {n}", "permissions": "1100"},
            ],
        }
        for n in range(HANDLES)
    ]
    answer = await client.post("/api/v1/handles:batch", json=rows, headers=firm.headers)
    assert answer.json()["summary"]["created"] == HANDLES
    return [str(row["handle"]) for row in rows]


def judge(handles: list[str], number: int, owner: bool, status: int, document: Any) -> bool:
    """Whether it was answered; fails where it was answered with anything but what was asked."""
    if status == 503:
        return False
    assert status == 200, document
    shown = [
        value["data"]["value"] if isinstance(value["data"], dict) else value["data"] for value in document["values"]
    ]
    expected = [f"https://goods.example.com/{number}", *([f"secret of {number}"] if owner else [])]
    assert (document["handle"], shown) == (handles[number], expected)
    return True


@pytest.mark.parametrize(
    ("handle", "urls", "owner"),
    [("p/b", ["b"], False), ("p/a", ["b"], False), ("p/a", ["a", "secret of 0"], False), ("p/a", ["a"], True)],
    ids=["another handle", "another's values", "the owner's view", "the public view"],
)
def test_the_judge_sees_an_answer_that_was_meant_for_somebody_else(handle: str, urls: list[str], owner: bool) -> None:
    right = {"a": "https://goods.example.com/0", "b": "https://goods.example.com/1"}
    document = {"handle": handle, "values": [{"data": {"value": right.get(url, url)}} for url in urls]}
    with pytest.raises(AssertionError):
        judge(["p/a", "p/b"], 0, owner, 200, document)


async def storm(ask: Callable[[], Ask], handles: list[str], firm: Any, pick: random.Random) -> None:
    """Callers of whom every second gives up at some instant, until enough did and enough were answered."""
    given_up = answered = 0

    async def caller() -> None:
        nonlocal given_up, answered
        send = ask()
        while given_up < GIVEN_UP or answered < ANSWERED:
            number, owner = pick.randrange(HANDLES), pick.random() < 0.3
            task = asyncio.ensure_future(send(f"/{handles[number]}", firm.key if owner else ""))
            if pick.random() < 0.5:
                await asyncio.wait({task}, timeout=pick.uniform(0, 0.05))
                given_up += task.cancel()
            try:
                status, document = await task
            except (asyncio.CancelledError, NoAnswer):
                continue
            answered += judge(handles, number, owner, status, document)

    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        for _ in range(CALLERS):
            group.create_task(caller())


async def quiet(ask: Ask, handles: list[str]) -> None:
    """Afterwards everything answers, and rightly."""
    async with asyncio.timeout(60):
        for number, handle in enumerate(handles):
            while not judge(handles, number, False, *(await ask(f"/{handle}", ""))):
                await asyncio.sleep(0.05)


async def test_handlers_that_are_cancelled(
    settings: Settings, client: Any, firm: Any, links: tuple[Link, Link], open_app: Any
) -> None:
    """In the same process the request's own task is cancelled, at any of its awaits."""
    handles, pick = await registered(client, firm), random.Random(5)
    async with open_app(through(settings, links)) as app:

        async def ask(path: str, key: str) -> tuple[int, Any]:
            answer = await app.get(path, headers={"Authorization": f"Bearer {key}"} if key else {})
            return answer.status_code, answer.json()

        swaying = asyncio.create_task(sway(links, pick))
        try:
            await storm(lambda: ask, handles, firm, pick)
        finally:
            swaying.cancel()
        for link in links:
            link.heal()
        await quiet(ask, handles)


async def test_clients_that_hang_up(
    settings: Settings, client: Any, make_firm: Any, links: tuple[Link, Link], serving: Any
) -> None:
    """Over HTTP the connection is reset while the request is under way."""
    from node.embedded_process import free_port

    firm = await make_firm()
    handles, pick, port = await registered(client, firm), random.Random(6), free_port(0)
    changed = through(settings, links)
    env = serve_env(changed) | {name.upper(): str(value) for name, value in CHANGES.items()}
    async with serving(env, port, 1):

        def one() -> Ask:
            connection = Client(port, 30)

            async def ask(path: str, key: str) -> tuple[int, Any]:
                reply = await connection.ask(request("GET", path, b"", key))
                return reply.status, orjson.loads(reply.body)

            return ask

        swaying = asyncio.create_task(sway(links, pick))
        try:
            await storm(one, handles, firm, pick)
        finally:
            swaying.cancel()
        for link in links:
            link.heal()
        await quiet(one(), handles)
