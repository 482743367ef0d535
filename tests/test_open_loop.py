"""The load of a given rate: what it counts, and from when."""

from __future__ import annotations

import asyncio

from loadtest import open_loop
from node.embedded_process import free_port


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
