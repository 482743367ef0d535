"""The links of the freshness run do to bytes what they say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from loadtest.freshness.proxy import Link, Way

SECONDS = 20


@dataclass
class Echo:
    """A server that says back what it hears, and remembers it."""

    heard: bytearray = field(default_factory=bytearray)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    more: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1000):
                self.heard += data
                self.more.set()
                writer.write(data)
        except ConnectionResetError:
            pass
        self.ended.set()
        writer.close()

    async def has(self, expected: bytes) -> None:
        while bytes(self.heard) != expected:
            self.more.clear()
            await self.more.wait()


@pytest.fixture
async def linked() -> AsyncIterator[tuple[Echo, Link]]:
    echo = Echo()
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    link = Link(server.sockets[0].getsockname()[1])
    await link.open()
    async with asyncio.timeout(SECONDS):
        yield echo, link
    await link.close()
    server.close()


@asynccontextmanager
async def connected(link: Link) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
    yield reader, writer
    writer.close()


async def echoed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    assert await reader.readexactly(len(data)) == data


async def test_bytes_pass_whole_and_in_order_slow_or_trickling(linked: tuple[Echo, Link]) -> None:
    _, link = linked
    data = bytes(range(256))
    async with connected(link) as (reader, writer):
        await echoed(reader, writer, data * 3)
        link.faults[Way.UP].delay = link.faults[Way.DOWN].delay = 0.01
        begin = asyncio.get_running_loop().time()
        await echoed(reader, writer, data)
        assert asyncio.get_running_loop().time() - begin >= 0.02
        link.heal()
        link.faults[Way.DOWN].trickle = True
        writer.write(data)
        assert len(await reader.read(1000)) < len(data)


async def test_what_is_swallowed_arrives_late_even_when_its_sender_gave_up(linked: tuple[Echo, Link]) -> None:
    echo, link = linked
    async with connected(link) as (reader, writer):
        await echoed(reader, writer, b"early")
        link.faults[Way.UP].swallow = True
        writer.write(b" late")
    async with connected(link) as (_, other):  # deaf for everybody
        other.write(b"never before the heal")
        assert echo.heard == b"early"
        assert not echo.ended.is_set()
        link.heal()
        await echo.ended.wait()
        assert b" late" in echo.heard


async def test_cut_resets_and_sever_refuses_until_healed(linked: tuple[Echo, Link]) -> None:
    _, link = linked
    async with connected(link) as (reader, writer):
        await echoed(reader, writer, b"x")
        link.sever()
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        async with connected(link) as (reader, writer):
            await echoed(reader, writer, b"x")
    link.heal()
    async with connected(link) as (reader, writer):
        await echoed(reader, writer, b"x")


async def test_a_halved_connection_loses_its_server_and_hears_nothing(linked: tuple[Echo, Link]) -> None:
    echo, link = linked
    async with connected(link) as (reader, writer):
        await echoed(reader, writer, b"x")
        link.halve()
        await echo.ended.wait()
        writer.write(b"y")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.1)
        assert echo.heard == b"x"


async def test_a_caught_chunk_holds_its_own_connection_only(linked: tuple[Echo, Link]) -> None:
    echo, link = linked
    async with connected(link) as (reader, writer), connected(link) as (other_reader, other):
        caught = link.catch(Way.UP, b"marker")
        await echoed(reader, writer, b"before ")
        writer.write(b"the marker")
        await caught.seen.wait()
        writer.write(b" and after")
        await echoed(other_reader, other, b"others ")
        assert echo.heard == b"before others "
        caught.release()
        await echo.has(b"before others the marker and after")
