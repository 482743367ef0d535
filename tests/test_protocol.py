"""The protocol class over real sockets: the direct way gives the ordinary one's bytes, in order, to plain requests only;
clients that are slow, endless or odd are cut off."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from serve_env import serve_env
from wire import PATIENCE, Serving, get, wire

from node.embedded_process import free_port

HTML = "Accept: text/html"


class Served(Serving):
    """A node with copies that outlive the module, and what it was given: a record, a tombstone, an unused prefix."""

    @property
    def record(self) -> str:
        return f"/{self.firm.prefix}/R-1"

    @property
    def targets(self) -> list[str]:
        """Each class of answer."""
        prefix = self.firm.prefix
        paths = [f"{prefix}/R-1", f"{prefix}%2FR-1", f"{prefix}/none", "88.999.99999/x", f"{prefix}/GONE"]
        return [f"/{p}" for p in paths] + [f"/api/handles/{p}" for p in paths]


@pytest.fixture(scope="module")
async def node_there(settings: Any, serving: Any, client: Any, firm: Any) -> AsyncIterator[Served]:
    for name in ("R-1", "R-2", "GONE", *(f"C-{n}" for n in range(60))):
        made = await client.post("/api/v1/handles", json={"handle": f"{firm.prefix}/{name}"}, headers=firm.headers)
        assert made.status_code == 201
    gone = await client.delete(f"/api/v1/handles/{firm.prefix}/GONE", headers=firm.headers | {"If-Match": '"1"'})
    assert gone.is_success
    port, metrics = free_port(0), free_port(0)
    env = serve_env(settings) | {"METRICS_PORT": str(metrics), "COPIES_SECONDS": "600"}
    async with serving(env, port, 1):
        yield Served(port, metrics, firm, settings.database_url)


@asynccontextmanager
async def reads_held(url: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    """While the block runs, PostgreSQL answers no read of a handle (the node gives up after 3 s)."""
    conn = await asyncpg.connect(url)
    try:
        async with conn.transaction():
            await conn.execute("LOCK TABLE handle IN ACCESS EXCLUSIVE MODE")
            yield conn
    finally:
        await conn.close()


async def until_a_read_waits(conn: asyncpg.Connection[Any]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await conn.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0.01)


async def test_both_ways_give_the_same_bytes(node_there: Served) -> None:
    async with wire(node_there.port) as there:
        await node_there.heat(there, node_there.record)
        for target in node_there.targets:
            plain = [await there.ask(get(target)) for _ in range(4)]  # cold, then kept, then hot, then without parsing
            for forced in (get(target, 'If-None-Match: "x"'), get(target, "Content-Length: 0"), get(target, "TE: x")):
                assert {repr((await there.ask(forced)).constant)} == {repr(p.constant) for p in plain}, target
            await there.send(get(target, method="HEAD"))
            head = await there.answer(head=True)
            assert head.constant[:2] == plain[0].constant[:2]
        statuses = [(await there.ask(get(t))).status for t in node_there.targets]
        assert statuses == [200, 200, 404, 404, 410, 200, 200, 404, 400, 404]


async def test_plain_requests_need_no_task(node_there: Served) -> None:
    async with wire(node_there.port) as there:
        before = await node_there.metric("resolve_seconds_count")
        for target in node_there.targets[:5] * 3:
            await there.ask(get(target))
        assert await node_there.metric("resolve_seconds_count") == before
        await there.ask(get(node_there.record, "TE: x"))
        assert await node_there.metric("resolve_seconds_count") == before + 1  # and the forced ones above did


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["Authorization: Bearer x"], 401),
        (["AUTHORIZATION: Bearer x"], 401),
        (["Cookie: session=x"], 200),
        ([HTML], 200),
    ],
)
async def test_what_is_not_for_everybody_is_not_shared(node_there: Served, lines: list[str], status: int) -> None:
    async with wire(node_there.port) as there:
        await node_there.heat(there, node_there.record)
        public = await there.ask(get(node_there.record))
        own = await there.ask(get(node_there.record, *lines))
        assert own.status == status
        assert own.constant != public.constant
        both = get(node_there.record, *lines) + get(node_there.record)
        await there.send(both + both)
        answers = [await there.answer() for _ in range(4)]
        assert [a.constant == public.constant for a in answers] == [False, True, False, True]
        assert (await there.ask(get(node_there.record))).constant == public.constant


async def test_a_browser_that_asked_the_api_still_gets_pages(node_there: Served) -> None:
    """Its headers are the same for both; a head is known by what follows the target."""
    other = f"/{node_there.firm.prefix}/R-2"
    async with wire(node_there.port) as there:
        page = await there.ask(get(node_there.record, HTML, "X-Browser: a"))
        for _ in range(3):
            record = await there.ask(get(f"/api/handles{node_there.record}", HTML, "X-Browser: a"))
            assert record.header(b"content-type") == b"application/json"
        for target in (node_there.record, other):
            again = await there.ask(get(target, HTML, "X-Browser: a"))
            assert again.header(b"content-type") == page.header(b"content-type"), target


async def test_odd_targets_meet_the_ordinary_way(node_there: Served) -> None:
    prefix = node_there.firm.prefix
    for target in (f"/{prefix}/R-1#x", f"/{prefix}/é", f"http://node/{prefix}/R-1", "//x/y", f"/{prefix}/<R>", "*"):
        async with wire(node_there.port) as there:
            answers = [await there.ask(get(target, *lines)) for lines in ([], ["TE: x"])] if target[-1] != "é" else []
            assert len({repr(a.constant) for a in answers}) <= 1, target
            if not answers:
                assert (await there.ask(get(target))).status == 400


async def test_answers_come_in_the_order_of_requests(node_there: Served) -> None:
    prefix = node_there.firm.prefix
    async with wire(node_there.port) as there, wire(node_there.port) as other:
        await node_there.heat(there, node_there.record)
        async with reads_held(node_there.url) as conn:
            names = ["C-0", "R-1", "C-1", "none", "R-1"]
            requests = b"".join(get(f"/{prefix}/{name}") for name in names)
            await there.send(requests + get("/health/live") + get("/api/v1/nothing") + get(node_there.record))
            await until_a_read_waits(conn)
            await there.send(get(node_there.record))  # hot, remembered, and not before its turn
            assert (await other.ask(get(node_there.record))).status == 200  # nobody else waits
            assert not there.reader._buffer  # type: ignore[attr-defined]
        answers = [await there.answer() for _ in range(9)]
        assert [a.status for a in answers] == [200, 200, 200, 404, 200, 200, 404, 200, 200]
        handles = [f'"handle":"{prefix}/{name}"'.encode() for name in names]
        assert all(h in a.body for h, a in zip(handles, answers, strict=False))


async def test_what_is_broken_is_refused_after_what_came_before(node_there: Served) -> None:
    prefix = node_there.firm.prefix
    async with wire(node_there.port) as there:
        async with reads_held(node_there.url) as conn:
            await there.send(get(f"/{prefix}/C-2") + get(f"/{prefix}/C-3") + b"NONSENSE\r\n\r\n")
            await until_a_read_waits(conn)
        answers = [await there.answer() for _ in range(3)]
        assert [a.status for a in answers] == [200, 200, 400]
        assert answers[2].header(b"connection") == b"close"
        assert await there.rest() == b""


async def test_a_client_that_leaves_takes_nothing_with_it(node_there: Served) -> None:
    prefix = node_there.firm.prefix
    async with reads_held(node_there.url) as conn, wire(node_there.port) as there:
        await there.send(get(f"/{prefix}/C-4") + get(f"/{prefix}/C-5"))
        await until_a_read_waits(conn)
        there.writer.transport.abort()
    async with wire(node_there.port) as there:
        assert (await there.ask(get(f"/{prefix}/C-4"))).status == 200


BROKEN = [
    b"GET /a b HTTP/1.1\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET / HTTP/1.1\r\nAuthorization : x\r\n\r\n",
    b"GET / HTTP/1.1\r\nA\0: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nA: b\0c\r\n\r\n",
    b"GET / HTTP/1.1\r\nA: b\rB: c\r\n\r\n",
    b"GET / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
    b"GET / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    b"GET / HTTP/1.1\r\nContent-Length: -3\r\n\r\n",
    b"GET / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n",
    b"POST /api/v1/handles HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 9\r\n\r\nGET / HTT",
    b"GET /\xff HTTP/1.1\r\n\r\n",
]


@pytest.mark.parametrize("data", BROKEN)
async def test_what_is_not_http_is_refused_and_closed(node_there: Served, data: bytes) -> None:
    async with wire(node_there.port) as there:
        answer = await there.ask(data)
        assert (answer.status, answer.header(b"connection")) == (400, b"close")
        assert answer.header(b"content-type") == b"application/problem+json"
        await there.send(get(node_there.record))
        assert await there.rest() == b""


async def test_a_broken_body_ends_its_own_request(node_there: Served) -> None:
    head = (
        f"Authorization: Bearer {node_there.firm.key}",
        "Content-Type: application/json",
        "Transfer-Encoding: chunked",
    )
    async with wire(node_there.port) as there:
        await there.send(get("/api/v1/handles", *head, method="POST") + b"5\r\nhello\r\n")
        await there.send(b"no length\r\n")
        assert (await there.answer()).status == 400
        assert await there.rest() == b""


async def test_an_upgrade_is_passed_over(node_there: Served) -> None:
    async with wire(node_there.port) as there:
        await there.send(get(node_there.record, "Connection: Upgrade", "Upgrade: h2c") + get("/health/live"))
        assert [(await there.answer()).status for _ in range(2)] == [200, 200]


async def test_connections_end_when_they_are_told_to(node_there: Served) -> None:
    for request in (get(node_there.record, "Connection: close"), get(node_there.record, version="1.0")):
        async with wire(node_there.port) as there:
            answer = await there.ask(request + get(node_there.record))
            assert (answer.status, answer.header(b"connection")) == (200, b"close")
            assert await there.rest() == b""
    async with wire(node_there.port) as there:
        for _ in range(3):
            assert (await there.ask(get(node_there.record, "Connection: keep-alive"))).status == 200
            assert (await there.ask(get(node_there.record, "Expect: 100-continue"))).status == 200
            body = get(node_there.record, "Content-Length: 40") + get("/none", version="1.1").ljust(40)[:40]
            assert (await there.ask(body)).status == 200  # the body is no request
        assert (await there.ask(get("/health/live"))).status == 200


async def test_heads_over_their_limit(node_there: Served) -> None:
    for target in (node_there.record, "/health/live"):
        async with wire(node_there.port) as there:
            whole = await there.ask(get(target, "X: " + "x" * 17_000))
            assert whole.status == 431
            assert b'"status":431' in whole.body
            assert (await there.ask(get(target))).status == 200
    for endless in (b"GET /" + b"x" * 900_000, get("/")[:-2] + b"X: y\r\n" * 200_000, get("/")[:-2] + b"X" * 900_000):
        async with wire(node_there.port) as there:
            answer = await there.ask(endless)
            assert (answer.status, answer.header(b"connection")) == (431, b"close")
            assert await there.rest() == b""


async def test_trailers_are_no_headers_and_end(node_there: Served) -> None:
    lines = "Content-Type: application/json", "Transfer-Encoding: chunked"
    async with wire(node_there.port) as there:
        start = get("/api/v1/handles:batch", *lines, method="POST") + b"2\r\n[]\r\n0\r\n"
        trailer = f"Authorization: Bearer {node_there.firm.key}\r\n\r\n".encode()
        assert (await there.ask(start + trailer)).status == 401
        await there.send(start + b"A: b\r\n" * 50_000)
        await there.rest()


async def test_many_requests_before_a_half_one(node_there: Served) -> None:
    async with wire(node_there.port) as there:
        await node_there.heat(there, node_there.record)
        one = get(node_there.record, "X: " + "x" * 400)
        await there.send(one * 200 + one[:-10])  # 90 KB in all, and no head of it is long
        for _ in range(200):
            assert (await there.answer()).status == 200
        assert (await there.ask(one[-10:])).status == 200


async def test_any_split_gives_the_same_answers(node_there: Served) -> None:
    record, prefix = node_there.record, node_there.firm.prefix
    chunked = get("/api/v1/handles", "Transfer-Encoding: chunked", method="POST") + b"3\r\nabc\r\n0\r\nA: b\r\n\r\n"
    kinds = [
        get(record), get(record), get(f"/{prefix}/none"), get("/88.999.99999/x"), get(f"/{prefix}/C-6"),
        get(record, "Authorization: Bearer x"), get("/api/v1/nothing"), get(f"/{prefix}/GONE"), chunked,
        get(record, "Content-Length: 5") + b"hello", get(record, "Connection: upgrade", "Upgrade: x"),
    ]  # fmt: skip
    rng = random.Random(20)
    async with wire(node_there.port) as there:
        alone = {kind: (await there.ask(kind)).constant for kind in kinds}
        for _ in range(60):
            chosen = rng.choices(kinds, k=rng.randint(1, 12))
            data = b"".join(chosen)
            cuts = sorted(rng.choices(range(len(data)), k=rng.randint(0, 12)))
            for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
                await there.send(data[begin:end])
                if rng.random() < 0.5:  # the server's turn, or not
                    await asyncio.sleep(0)
            assert [(await there.answer()).constant for _ in chosen] == [alone[kind] for kind in chosen]


async def test_byte_by_byte(node_there: Served) -> None:
    async with wire(node_there.port) as there:
        there.writer.get_extra_info("socket").setsockopt(6, 1, 1)  # TCP_NODELAY
        whole = await there.ask(get(node_there.record))
        for byte in get(node_there.record):
            await there.send(bytes([byte]))
            await asyncio.sleep(0.001)  # lets the bytes go one by one; nothing depends on it
        assert (await there.answer()).constant == whole.constant


async def test_a_change_is_seen_at_once_by_all_workers(make_serve: Any, client: Any, firm: Any) -> None:
    made = await client.post("/api/v1/handles", json={"handle": f"{firm.prefix}/CH"}, headers=firm.headers)
    assert made.status_code == 201
    port = free_port(0)
    async with make_serve(port, workers=2, FENCE_TIMEOUT="10") as there:  # at the start of two, on a busy machine
        wires = [(w, await w.__aenter__()) for w in (wire(port) for _ in range(8))]  # some to each worker
        for version in range(1, 51):
            for _, each in wires:
                await each.ask(get(f"/{firm.prefix}/CH"))
            values = [{"index": 1, "type": "URL", "data": f"https://example.com/{version}"}]
            headers = firm.headers | {"If-Match": f'"{version}"'}
            put = await there.put(f"/api/v1/handles/{firm.prefix}/CH", json={"values": values}, headers=headers)
            assert put.status_code == 200, put.text
            for _, each in wires:
                assert f"example.com/{version}".encode() in (await each.ask(get(f"/{firm.prefix}/CH"))).body
        for context, _ in wires:
            await context.__aexit__(None, None, None)


async def test_a_read_under_way_is_answered_before_the_node_stops(settings: Any, firm: Any, client: Any) -> None:
    await client.post("/api/v1/handles", json={"handle": f"{firm.prefix}/STOP"}, headers=firm.headers)
    port = free_port(0)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "node.cli", "serve", "--port", str(port)),
        env=os.environ | serve_env(settings),
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    while b"startup complete" not in (line := await process.stderr.readline()):
        assert line
    async with wire(port) as there, wire(port) as idle:
        async with reads_held(settings.database_url) as conn:
            await there.send(get(f"/{firm.prefix}/STOP"))
            await until_a_read_waits(conn)
            process.send_signal(signal.SIGTERM)
            while b"Waiting for connections" not in (line := await process.stderr.readline()):
                assert line
            assert await idle.rest() == b""
        answer = await there.answer()
        assert answer.status in (200, 503)  # the second after 3 s of a slow machine
        assert answer.header(b"connection") == b"close"
        assert await there.rest() == b""
    assert await asyncio.wait_for(process.wait(), 30) in (0, -signal.SIGTERM)
