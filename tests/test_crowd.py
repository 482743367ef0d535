"""More is asked than can be answered in time: the rest is refused at once, and nothing else of the node is disturbed."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg
import pytest
from serve_env import serve_env
from wire import PATIENCE, Said, Serving, get, registered, wire

from node import standing
from node.accepting import Loop
from node.embedded_process import free_port
from node.http.crowd import _ANY, _CALM, _CROWD, _FEWEST, _TICKS, _TWICE, Crowd
from node.standing import Standing, asked

BUSY = "节点繁忙"
ANSWERED = 0.2  # s in which a refusal comes, or another request is tried
OWN = "Authorization: Bearer "


# --- the rule, look by look


def looking(crowd: Crowd, looks: int = 1) -> None:
    for _ in range(looks):
        crowd._loop = crowd._loop or asyncio.get_running_loop()  # which it lets go of while nobody is inside
        crowd._look()


async def crowded(answered: int) -> tuple[Crowd, list[int]]:
    """Of 100 that came, `answered` were within the bound, and the others have waited for longer."""
    crowd = Crowd(1000.0)  # its own looks never come
    inside = [crowd.begin() for _ in range(100)]
    looking(crowd, _TICKS)
    for _ in range(answered):
        crowd.end(inside.pop())
    looking(crowd, 1 + _TWICE)
    return crowd, inside


async def test_no_more_are_taken_in_than_are_answered_in_time() -> None:
    crowd, inside = await crowded(60)
    assert (crowd.inside, crowd.most) == (40, 60)
    assert not crowd.full
    inside += [crowd.begin() for _ in range(20)]
    assert crowd.full
    crowd.end(inside.pop())
    assert not crowd.full


async def test_a_few_are_always_taken_in() -> None:
    crowd, inside = await crowded(0)
    assert (crowd.most, crowd.full) == (_FEWEST, True)
    while inside:
        crowd.end(inside.pop())
    assert not crowd.full


async def test_those_who_wait_with_reason_are_no_crowd() -> None:
    crowd = Crowd(1000.0)
    for _ in range(_CROWD - 1):
        crowd.begin()
    looking(crowd, 100)
    assert crowd.most == _ANY


async def test_one_pause_is_no_overload() -> None:
    crowd = Crowd(1000.0)
    inside = [crowd.begin() for _ in range(100)]
    looking(crowd, _TICKS + 1 + _TWICE - 1)
    for place in inside:
        crowd.end(place)
    looking(crowd, 10)
    assert (crowd.inside, crowd.most) == (0, _ANY)


async def test_it_ends_when_nobody_is_refused_any_more() -> None:
    crowd, inside = await crowded(0)
    while inside:
        crowd.end(inside.pop())
    for _ in range(3):
        crowd.refuse("record")
        looking(crowd, _CALM)
        assert crowd.most != _ANY
    looking(crowd)
    assert crowd.most == _ANY


async def test_every_place_is_given_back() -> None:
    crowd = Crowd(1000.0)
    for looks in range(12):
        inside = [crowd.begin() for _ in range(5)]
        looking(crowd, looks)
        for place in inside:
            crowd.end(place)
        assert (crowd.inside, crowd._old, set(crowd._begun)) == (0, 0, {0})


async def test_switched_off_it_never_refuses() -> None:
    crowd = Crowd(0.0)
    for _ in range(10_000):
        crowd.begin()
    assert not crowd.full


# --- a real node


class Crowded(Serving):
    async def ask(self, stack: AsyncExitStack, request: bytes) -> Said | None:
        """The answer to a request of a new connection, where it comes at once; it waits on until the stack is left."""
        there = await stack.enter_async_context(wire(self.port))
        await there.send(request)
        try:
            return await asyncio.wait_for(there._answer(False), ANSWERED)
        except TimeoutError:
            return None

    async def crowd(self, stack: AsyncExitStack, request: str, *lines: str) -> list[Said]:
        """Forty more ask, each for another handle; the answers that come at once."""
        asked = [get(f"/{self.firm.prefix}/{request}-{n}", *lines) for n in range(40)]
        answers = await asyncio.gather(*(self.ask(stack, one) for one in asked))
        return [answer for answer in answers if answer is not None]

    async def until_refused(self, stack: AsyncExitStack, request: str, *lines: str) -> Said:
        async with asyncio.timeout(PATIENCE):
            while True:
                for answer in await self.crowd(stack, request, *lines):
                    if answer.status == 503 and BUSY in answer.body.decode():
                        return answer


@asynccontextmanager
async def node_there(settings: Any, serving: Any, firm: Any, **more: str) -> AsyncIterator[Crowded]:
    port, metrics = free_port(0), free_port(0)
    env = serve_env(settings) | {"METRICS_PORT": str(metrics), "COPIES_SECONDS": "600", "OVERLOAD_SECONDS": "0.05"}
    async with serving(env | more, port, 1):
        yield Crowded(port, metrics, firm, settings.database_url)


@asynccontextmanager
async def reads_held(url: str) -> AsyncIterator[None]:
    """While the block runs, PostgreSQL answers no read of a handle (the node gives up after 3 s)."""
    conn = await asyncpg.connect(url)
    try:
        async with conn.transaction():
            await conn.execute("LOCK TABLE handle IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        await conn.close()


async def test_a_crowd_is_refused_at_once_and_the_node_stays_itself(
    settings: Any, serving: Any, client: Any, firm: Any
) -> None:
    hot = "/" + await registered(client, firm, "HOT")
    async with node_there(settings, serving, firm) as node, wire(node.port) as known:
        await node.heat(known, hot)
        async with AsyncExitStack() as stack:
            async with reads_held(settings.database_url):
                refused = await node.until_refused(stack, "N")
                assert refused.header(b"retry-after") == b"1"
                assert refused.header(b"content-type") == b"application/problem+json"
                assert json.loads(refused.body)["code"] == "unavailable"
                # What is answered from memory, and whether the node serves, is not a matter of the crowd.
                assert (await known.ask(get(hot))).status == 200
                assert (await known.ask(get("/health/live"))).status == 200
                ready = await known.ask(get("/health/ready"))
                assert (ready.status, json.loads(ready.body)["resolution"]) == (200, True)
                await refusals_of_each_kind(node, stack)
            await served_again(node)
        async with asyncio.timeout(PATIENCE):  # metrics are told once a second
            for what in ("record", "change"):
                while not await node.metric(f'shed_total{{what="{what}"}}'):
                    await asyncio.sleep(0.05)


async def refusals_of_each_kind(node: Crowded, stack: AsyncExitStack) -> None:
    """While the crowd is kept up: each kind of request, and the connection is good for the next one."""
    body = b'{"handle": "x"}' * 5000
    post = get("/api/v1/handles", f"{OWN}k", f"Content-Length: {len(body)}", "Connection: keep-alive", method="POST")
    of_api = get(f"/api/handles/{node.firm.prefix}/x")
    there = await stack.enter_async_context(wire(node.port))
    for request, kind in ((post + body, b"application/problem+json"), (of_api, b"application/json")):
        async with asyncio.timeout(PATIENCE):
            while True:  # the crowd's reads are given up after 3 s, and then one is taken in
                await node.until_refused(stack, "M")
                said = await there.ask(request)
                if BUSY in said.body.decode():
                    break
        assert (said.status, said.header(b"content-type"), said.header(b"retry-after")) == (503, kind, b"1")
    assert (await there.ask(get("/health/live"))).status == 200


async def served_again(node: Crowded) -> None:
    """The crowd is gone, and another as large is taken in."""
    statuses: set[int] = set()
    async with asyncio.timeout(PATIENCE):
        while statuses != {404}:
            async with AsyncExitStack() as stack:
                statuses = {answer.status for answer in await node.crowd(stack, "N")}


async def test_a_refused_page_is_one(settings: Any, serving: Any, firm: Any) -> None:
    html = ("Accept: text/html", "Accept-Language: en")
    said: Said | None = None
    async with node_there(settings, serving, firm) as node, AsyncExitStack() as stack, asyncio.timeout(PATIENCE):
        await stack.enter_async_context(reads_held(settings.database_url))
        while said is None:
            for answer in await node.crowd(stack, "P", *html):
                if answer.status == 503 and answer.header(b"retry-after") == b"1":
                    said = answer
    assert b"Unavailable just now" in said.body
    assert said.header(b"content-type") == b"text/html; charset=utf-8"


async def test_without_it_everybody_waits(settings: Any, serving: Any, firm: Any) -> None:
    """What the tests above look for is not there of itself."""
    async with node_there(settings, serving, firm, OVERLOAD_SECONDS="0") as node, AsyncExitStack() as stack:
        await stack.enter_async_context(reads_held(settings.database_url))
        for _ in range(3):
            answers = await node.crowd(stack, "N")
            assert not [answer for answer in answers if BUSY in answer.body.decode()]


# --- queues and connections


async def test_who_joins_a_queue_that_only_stands_waits_shortly() -> None:
    queue, loop = Standing(), asyncio.get_running_loop()
    async with queue.patience(60.0, 10.0):
        queue._since -= 21.0
        async with queue.patience(60.0, 10.0), queue.patience(60.0, 0.0):
            left = [limit.when() - loop.time() for limit in queue._waiting]
            assert [50 < left[0] <= 60, left[1] <= 10, 50 < left[2] <= 60] == [True, True, True]
        assert (queue.stands(10.0), queue.stands(0.0)) == (True, False)
    async with queue.patience(60.0, 10.0):
        assert not queue.stands(10.0)
    assert queue._look is None


async def test_what_a_request_waited_elsewhere_is_of_its_patience() -> None:
    queue, loop = Standing(), asyncio.get_running_loop()

    async def left(spent: float, queue: Standing) -> float:
        with asked():
            task = asyncio.current_task()
            assert task is not None
            standing._asked[task] -= spent
            async with queue.patience(60.0, 10.0):
                when = list(queue._waiting)[-1].when()
                assert when is not None
                return when - loop.time()

    async with queue.patience(60.0, 10.0):
        queue._since -= 21.0
        found = [await asyncio.create_task(left(spent, queue)) for spent in (0.0, 9.0, 12.0, 25.0)]
    assert [9 < found[0] <= 10, 9 < found[1] <= 10, 7 < found[2] <= 8, 4 < found[3] <= 5] == [True] * 4
    assert not standing._asked


@pytest.mark.parametrize(("spent", "least", "most"), [(0.0, 19.0, 20.0), (12.0, 7.0, 8.0), (90.0, 4.0, 5.0)])
async def test_what_a_request_waited_elsewhere_is_of_its_patience_when_the_queue_stands(
    spent: float, least: float, most: float
) -> None:
    """Of 20 s a quarter is left to a request whose body took minutes, also where it comes just before the look."""
    queue, loop, task = Standing(), asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    with asked():
        standing._asked[task] -= spent
        async with queue.patience(60.0, 10.0):
            queue._shorten(loop, 10.0)
            (limit,) = queue._waiting
            when = limit.when()
            assert when is not None
            assert least < when - loop.time() <= most


async def test_who_waits_already_is_not_left_behind_when_the_queue_stands() -> None:
    """With the 60 s that it joined with it would be refused long after those who came behind it."""
    queue, never = Standing(), asyncio.Event()
    async with asyncio.timeout(30):
        with pytest.raises(TimeoutError):
            async with queue.patience(60.0, 0.05):
                await never.wait()
    assert not queue._waiting


async def test_who_is_being_told_already_keeps_nobody_behind_it_waiting() -> None:
    """A limit that has expired cannot be moved; it is in the list until its task runs."""
    queue, loop, never = Standing(), asyncio.get_running_loop(), asyncio.Event()

    async def waits() -> None:
        async with queue.patience(60.0, 5.0):
            await never.wait()

    first, second = (asyncio.create_task(waits()) for _ in range(2))
    await asyncio.sleep(0)
    over, behind = queue._waiting
    over.reschedule(loop.time())  # its time-out runs next, and the look at the queue before its task
    looked = loop.create_future()
    loop.call_soon(lambda: (queue._shorten(loop, 0.001), looked.set_result(over in queue._waiting)))
    async with asyncio.timeout(30):
        assert await looked
        done = await asyncio.gather(first, second, return_exceptions=True)
    assert [type(error) for error in done] == [TimeoutError, TimeoutError]
    assert behind.expired()


@pytest.mark.filterwarnings("default::ResourceWarning")
def test_more_than_one_connection_is_taken_in_a_turn() -> None:
    """libuv alone takes one; and none is taken once the server is closed."""
    made: list[asyncio.BaseTransport] = []

    class Taken(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            made.append(transport)

    async def serve() -> None:
        listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        address = listening.getsockname()
        server = await asyncio.get_running_loop().create_server(Taken, sock=listening)
        callers = [socket.create_connection(address) for _ in range(32)]
        turns = 0
        async with asyncio.timeout(PATIENCE):
            while len(made) < len(callers):
                await asyncio.sleep(0)
                turns += 1
        assert turns < len(callers)
        for caller in callers:
            caller.close()
        for transport in made:
            transport.close()
        server.close()
        await server.wait_closed()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(serve())
