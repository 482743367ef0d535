"""The load of a given rate: what it counts, and from when."""

from __future__ import annotations

import asyncio

import pytest

from loadtest import open_loop
from loadtest.scan_load import Phones, scan_load
from loadtest.workload import Goods
from node.embedded_process import free_port
from node.sealing import Sealer


async def test_each_connection_had_an_answer_before_the_first_request_counts() -> None:
    asked: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = id(writer)
        while await reader.readline():
            while (await reader.readline()).strip():
                pass
            asked.append(number)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        writer.close()

    port = free_port(0)
    async with await asyncio.start_server(serve, "127.0.0.1", port):
        taken = await open_loop.latencies(port, lambda: "/any", rate=1000, seconds=0.1, most=8)
    assert len(taken) == 100
    assert len(asked) == 100 + 8
    assert len(set(asked[:8])) == 8


async def test_a_server_that_closes_a_new_phone_is_an_error_and_no_measurement() -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    phones = Phones(Goods("88.999.1001"), Sealer({1: bytes(32)}), [0])
    port = free_port(0)
    async with await asyncio.start_server(serve, "127.0.0.1", port):
        with pytest.raises(ConnectionResetError):
            await scan_load(port, phones, 1.0, None, 4)
