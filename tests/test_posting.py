"""Registrations over real sockets: answered without a task, with the ordinary way's bytes, in the order of requests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from serve_env import serve_env
from wire import PATIENCE, Said, Serving, get, wire

from node.embedded_process import free_port

KINDS = ("Content-Type: application/json", "Content-Type: application/json; charset=utf-8")  # ours, FastAPI's


class Served(Serving):
    """A node of one worker, and an enterprise."""

    def post(self, body: bytes, *lines: str, kind: str = KINDS[0], key: str = "") -> bytes:
        head = (f"Authorization: Bearer {key or self.firm.key}", kind, f"Content-Length: {len(body)}", *lines)
        return get("/api/v1/handles", *head, method="POST") + body

    def row(self, name: str, text: str = "a") -> bytes:
        value = {"index": 1, "type": "URL", "data": f"https://example.com/{text}"}
        return json.dumps({"handle": f"{self.firm.prefix}/{name}", "values": [value]}).encode()

    async def rows(self, start: str) -> int:
        conn = await asyncpg.connect(self.url)
        try:
            found = "SELECT count(*) FROM handle WHERE shard >= 0 AND suffix LIKE $1"
            return int(await conn.fetchval(found, start + "%"))
        finally:
            await conn.close()


@pytest.fixture(scope="module")
async def node_there(settings: Any, serving: Any, firm: Any) -> AsyncIterator[Served]:
    port, metrics = free_port(0), free_port(0)
    async with serving(serve_env(settings) | {"METRICS_PORT": str(metrics)}, port, 1):
        yield Served(port, metrics, firm, settings.database_url)


async def test_each_is_counted_once(node_there: Served) -> None:
    """First of all: what was counted before is told some time within a second."""
    counts = ('http_requests_total{route="/api/v1/handles"', 'http_request_seconds_count{route="/api/v1/handles"')
    answers = await asyncio.gather(*(_asked(node_there, f"COUNT-{n}") for n in range(40)))
    assert {answer.status for answer in answers} == {201}
    async with asyncio.timeout(PATIENCE):
        while (told := [await node_there.metric(start) for start in counts]) != [40, 40]:
            assert max(told) <= 40
            await asyncio.sleep(0.1)


async def test_all_ways_give_the_same_bytes(node_there: Served, stranger: Any) -> None:
    """Directly; in a task, as what asks for more than a plain registration is (TE); and by FastAPI's route."""
    prefix = node_there.firm.prefix
    rows = [b'{"handle": "%s/N-%%s"}' % prefix.encode(), b'{"handle": "%s/X-%%s"}' % stranger.prefix.encode()]
    rows += [node_there.row("N-%s", "other"), b'{"handle": "no/%s"}', b'{"odd%s": 1}', b"{%s", b'{"handle": "%s\xff"}']
    ways = [(KINDS[0], ()), (KINDS[0], ("TE: x",)), (KINDS[1], ())]
    statuses = []
    async with wire(node_there.port) as there:
        for row in (rows[0], *rows):
            said = []
            for n, (kind, lines) in enumerate(ways):
                answer = await there.ask(node_there.post(row % b"%d" % n, *lines, kind=kind))
                said.append(
                    repr(answer.constant).replace(f"N-{n}", "N-").replace(f"X-{n}", "X-").replace(f"odd{n}", "odd")
                )
            assert len({text.replace(f"no/{n}", "no/") for n, text in enumerate(said)}) == 1, said
            statuses.append(answer.status)
        for key in ("x", node_there.firm.key[:-1] + "_"):
            said = [repr((await there.ask(node_there.post(rows[0], kind=k, key=key))).constant) for k in KINDS]
            assert said[0] == said[1]
    assert statuses == [201, 200, 403, 409, 422, 422, 400, 400]


async def test_answers_come_in_the_order_of_requests(node_there: Served) -> None:
    async with wire(node_there.port) as there:
        record = get(f"/{node_there.firm.prefix}/P-0")
        for data in (
            [node_there.post(node_there.row("P-0")), record, node_there.post(node_there.row("P-0")), record],
            [record, node_there.post(node_there.row("P-1")), record, node_there.post(node_there.row("P-1"))],
            [node_there.post(b"["), record, node_there.post(b"[", key="x"), get("/health/live")],
        ):
            await there.send(b"".join(data))
            statuses = [(await there.answer()).status for _ in data]
            assert statuses in ([201, 200, 200, 200], [200, 201, 200, 200], [422, 200, 401, 200])
            assert (statuses[0] == 422) == (data[0] == node_there.post(b"["))


async def test_any_split_gives_the_same_answers(node_there: Served) -> None:
    data = node_there.post(node_there.row("SPLIT")) + get(f"/{node_there.firm.prefix}/SPLIT")
    async with wire(node_there.port) as there:
        expected = [(await there.ask(node_there.post(node_there.row("SPLIT")))).status]
        assert expected == [201]
        for at in range(0, len(data), 7):
            await there.send(data[:at])
            await asyncio.sleep(0)
            await there.send(data[at:])
            assert [(await there.answer()).status for _ in range(2)] == [200, 200]


async def test_a_client_that_leaves_in_its_body_registers_nothing(node_there: Served) -> None:
    whole = node_there.post(node_there.row("HALF"))
    async with wire(node_there.port) as there:
        await there.send(whole[:-3])
        assert (await _asked(node_there, "OTHER-1")).status == 201  # the server has read what was sent before
    assert (await _asked(node_there, "OTHER-2")).status == 201
    assert (await node_there.rows("HALF"), await node_there.rows("OTHER-")) == (0, 2)


async def test_a_client_that_leaves_takes_nothing_with_it(node_there: Served) -> None:
    conn = await asyncpg.connect(node_there.url)
    try:
        async with conn.transaction(), wire(node_there.port) as other:
            await conn.execute("LOCK TABLE handle IN ACCESS EXCLUSIVE MODE")
            async with wire(node_there.port) as there:
                await there.send(node_there.post(node_there.row("GONE-1")))
                await other.send(node_there.post(node_there.row("GONE-2")))
                async with asyncio.timeout(PATIENCE):
                    while not await conn.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                        await asyncio.sleep(0.01)
            await conn.execute("ROLLBACK; BEGIN")
            assert (await other.answer()).status == 201
    finally:
        await conn.close()
    assert (await _asked(node_there, "GONE-1")).status == 200


async def test_what_is_out_of_the_ordinary_is_taken_too(node_there: Served) -> None:
    chunked = get(
        "/api/v1/handles",
        *(f"Authorization: Bearer {node_there.firm.key}", KINDS[0], "Transfer-Encoding: chunked"),
        method="POST",
    )
    body = node_there.row("ODD-1")
    async with wire(node_there.port) as there:
        assert (await there.ask(chunked + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))).status == 201
        once = node_there.post(node_there.row("ODD-2"), "Idempotency-Key: k-1")
        first, again = await there.ask(once), await there.ask(once)
        assert (first.status, again.status, first.body) == (201, 201, again.body)
        assert again.header(b"idempotency-replayed") == b"true"
        assert (await there.ask(node_there.post(node_there.row("ODD-3"), "Connection: keep-alive"))).status == 201
        await there.send(node_there.post(node_there.row("ODD-4"), "Expect: 100-continue"))
        assert (await there.answer()).status in (100, 201)
    async with wire(node_there.port) as there:
        last = await there.ask(node_there.post(node_there.row("ODD-5"), "Connection: close"))
        assert (last.status, await there.rest()) == (201, b"")
    async with wire(node_there.port) as there:
        await there.send(
            get("/api/v1/handles", KINDS[0], "Authorization: Bearer x", "Content-Length: 9999999999", method="POST")
        )
        assert (await there.answer()).status in (401, 413)


async def _asked(node_there: Served, name: str) -> Said:
    async with wire(node_there.port) as there:
        return await there.ask(node_there.post(node_there.row(name)))
