"""HTTP/1.1 byte by byte: what goes over a socket, and what comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx

PATIENCE = 60  # s; a slow machine is not a fault


@dataclass
class Said:
    """One answer; `first` is its status line."""

    first: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes

    @property
    def status(self) -> int:
        return int(self.first.split()[1])

    @property
    def constant(self) -> tuple[bytes, list[tuple[bytes, bytes]], bytes]:
        """All of it but what differs from answer to answer: the values of date and x-request-id."""
        changing = (b"date", b"x-request-id")
        return self.first, [(n, b"" if n in changing else v) for n, v in self.headers], self.body

    def header(self, name: bytes) -> bytes | None:
        return dict(self.headers).get(name)


class Wire:
    """A connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, *, head: bool = False) -> Said:
        """The next answer, whole; `head`: to HEAD."""
        return await asyncio.wait_for(self._answer(head), PATIENCE)

    async def _answer(self, head: bool) -> Said:
        first, *lines = (await self.reader.readuntil(b"\r\n\r\n"))[:-4].split(b"\r\n")
        headers = [(n, v) for n, _, v in (line.partition(b": ") for line in lines)]
        length = int(dict(headers).get(b"content-length", b"0"))
        return Said(first, headers, b"" if head else await self.reader.readexactly(length))

    async def ask(self, data: bytes) -> Said:
        await self.send(data)
        return await self.answer()

    async def rest(self) -> bytes:
        """What comes until the server closes."""
        return await asyncio.wait_for(self.reader.read(), PATIENCE)


@dataclass
class Serving:
    """A node of one worker: its ports, an enterprise, the database's address."""

    port: int
    metrics: int
    firm: Any
    url: str

    async def metric(self, start: str) -> float:
        """The sum of the metrics that begin so."""
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.metrics}", timeout=PATIENCE) as client:
            lines = (await client.get("/metrics")).text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(start))

    async def heat(self, connection: Wire, target: str, *headers: str) -> None:
        """Ask until a copy answers; metrics are told once a second."""
        copies = 'resolve_total{result="hit",source="copy"}'
        before = await self.metric(copies)
        async with asyncio.timeout(PATIENCE):
            while await self.metric(copies) == before:
                for _ in range(20):
                    assert (await connection.ask(get(target, *headers))).status == 200


@asynccontextmanager
async def wire(port: int) -> AsyncIterator[Wire]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**22)
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()


def get(target: str, *lines: str, method: str = "GET", version: str = "1.1") -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/{version}", "Host: node", *lines, "", ""]).encode()


async def registered(client: Any, firm: Any, name: str) -> str:
    """A new item of the firm's."""
    handle = f"{firm.prefix}/{name}"
    made = await client.post("/api/v1/handles", json={"handle": handle}, headers=firm.headers)
    assert made.status_code == 201, made.text
    return handle


async def deleted(client: Any, firm: Any, handle: str) -> None:
    """What was never changed is a tombstone from here on."""
    gone = await client.delete(f"/api/v1/handles/{handle}", headers=firm.headers | {"If-Match": '"1"'})
    assert gone.is_success, gone.text
