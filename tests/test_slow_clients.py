"""Clients that let themselves be waited for are cut off; those that are waited for with reason are not."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import asyncpg
import pytest
from wire import PATIENCE, Wire, get, wire

from node.embedded_process import free_port


@asynccontextmanager
async def hasty(make_serve: Any, **changes: str) -> AsyncIterator[int]:
    """A node that waits a second for a head and for a body; its port."""
    port = free_port(0)
    async with make_serve(port, **({"HEADER_SECONDS": "1", "BODY_SECONDS": "1"} | changes)):
        yield port


async def closes(connection: Wire) -> bytes:
    """What the server says until it closes, which it does while this client does not."""
    said = await connection.rest()
    assert connection.reader.at_eof()
    return said


STOPPED = {
    "nothing": b"",
    "empty lines": b"\r\n\r\n",
    "half a head": b"GET / HTTP/1.1\r\nHost: x\r\nX-",
    "half a body": get("/api/v1/handles", "Content-Length: 100", method="POST") + b"half",
    "half a chunk": get("/api/v1/handles", "Transfer-Encoding: chunked", method="POST") + b"9\r\nhalf",
    "half a body nobody reads": get("/health/live", "Content-Length: 100") + b"half",
    "one and a half": get("/88.999.9/x") + get("/88.999.9/y")[:-5],
}


async def test_who_stops_is_cut_off(make_serve: Any) -> None:
    async def stops(port: int, sent: bytes) -> None:
        async with wire(port) as there:
            await there.send(sent)
            await closes(there)

    async with hasty(make_serve) as port:
        ended = await asyncio.gather(*(stops(port, sent) for sent in STOPPED.values()), return_exceptions=True)
    assert dict(zip(STOPPED, ended, strict=True)) == dict.fromkeys(STOPPED)


async def test_of_many_that_say_nothing_all_are_cut_off(make_serve: Any) -> None:
    """More than are looked at in one turn; those that ask meanwhile are answered."""
    async with hasty(make_serve) as port, wire(port) as honest, AsyncExitStack() as stack:
        silent = [await stack.enter_async_context(wire(port)) for _ in range(300)]
        ended = asyncio.gather(*(closes(there) for there in silent))
        while not ended.done():
            assert (await honest.ask(get("/88.999.9/x"))).status == 404
            await asyncio.wait([ended], timeout=0.05)
        assert await ended == [b""] * len(silent)


async def test_who_drips_a_head_is_cut_off(make_serve: Any) -> None:
    async with hasty(make_serve) as port, wire(port) as there:
        ended = asyncio.create_task(closes(there))
        await there.send(b"GET / HTTP/1.1\r\n")
        async with asyncio.timeout(PATIENCE):
            while not ended.done():
                await asyncio.wait([ended], timeout=0.1)
                there.writer.write(b"X: y\r\n")
        assert await ended == b""


async def test_who_takes_nothing_is_cut_off(make_serve: Any) -> None:
    """Answers pile up until the server's buffer does not move any more; it lets go of them and of the connection."""
    async with hasty(make_serve) as port:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", port))
        _, writer = await asyncio.open_connection(sock=sock, limit=1)  # nobody reads, so asyncio stops at a few bytes
        writer.write(get("/api/openapi.json") * 100)
        async with asyncio.timeout(3 * PATIENCE):
            with pytest.raises(ConnectionError):  # noqa: PT012
                while True:  # a client that does not read learns by writing that nobody is there
                    writer.write(b"\r\n")
                    await writer.drain()
                    await asyncio.sleep(0.1)
        with suppress(ConnectionError):
            await writer.wait_closed()


async def test_an_upload_with_slow_steady_progress_is_not_cut(make_serve: Any, client: Any, firm: Any) -> None:
    begun = await client.post("/api/v1/imports", json={}, headers=firm.headers)
    rows = [json.dumps({"handle": f"{firm.prefix}/SLOW-{n}"}) for n in range(30)]
    body = "\n".join(rows).encode()
    lines = f"Authorization: Bearer {firm.key}", "Content-Type: application/x-ndjson", f"Content-Length: {len(body)}"
    async with hasty(make_serve, BODY_SECONDS="3") as port, wire(port) as there, wire(port) as stalled:
        head = get(f"/api/v1/imports/{begun.json()['id']}/chunks/0", *lines, method="PUT")
        await stalled.send(head + body[:10])
        ended = asyncio.create_task(closes(stalled))
        await there.send(head)
        sent = 0
        while not ended.done() or sent == 0:  # more slowly than anything allowed in all, and never 3 s without a byte
            await there.send(body[sent : sent + 1])
            sent += 1
            await asyncio.wait([ended], timeout=0.2)
        await there.send(body[sent:])
        answer = await there.answer()
        assert (answer.status, json.loads(answer.body)["created"]) == (200, 30)
        assert await ended == b""


async def test_a_slow_answer_is_waited_for(make_serve: Any, settings: Any, client: Any, firm: Any) -> None:
    """Longer than all deadlines, with half of the next request behind it: it is we who keep the client waiting."""
    made = await client.post("/api/v1/handles", json={"handle": f"{firm.prefix}/W"}, headers=firm.headers)
    assert made.status_code == 201
    lock = await asyncpg.connect(settings.database_url)
    async with hasty(make_serve) as port, wire(port) as there, wire(port) as other:
        async with lock.transaction():
            await lock.execute("LOCK TABLE handle IN ACCESS EXCLUSIVE MODE")
            owner = get(f"/{firm.prefix}/W", f"Authorization: Bearer {firm.key}")
            await there.send(owner + get("/health/live") + get("/health/live")[:-2])
            await other.send(b"GET /")
            await closes(other)  # a second and more
        assert (await there.answer()).status in (200, 503)
        assert (await there.answer()).status == 200
        await there.send(b"\r\n")
        assert (await there.answer()).status == 200
    await lock.close()


async def test_a_connection_that_was_answered_may_rest(make_serve: Any) -> None:
    """The deadline for a first head is not the one for the next."""
    async with hasty(make_serve) as port, wire(port) as there, wire(port) as silent:
        assert (await there.ask(get("/88.999.9/x"))).status == 404
        await closes(silent)
        assert (await there.ask(get("/88.999.9/x"))).status == 404
