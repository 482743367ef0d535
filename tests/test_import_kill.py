"""Promise 3 under fire: an import whose server, PostgreSQL, Valkey or sender is killed (kill -9) at seeded instants,
resumed each time, and counted at the end: sent = created + unchanged + conflict + rejected = rows = counters = export.

`IMPORT_KILLS` says how often (default 40; `make test-kill` takes 200). An instant counts only with a chunk in flight;
where each fell (before, during, after that chunk's commit) is printed.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from itertools import count, islice
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from serve_env import serve_env

from node import demo, embedded
from node.config import Settings
from node.embedded_process import EmbeddedError, free_port
from node.migrate import migrate
from node.runtime import cancelled
from node.sealing import create_secret_file

KILLS = int(os.environ.get("IMPORT_KILLS", "40"))
CHUNK = 250
SEED = 20261124
KINDS = {"server": 3, "sender": 3, "postgres": 2, "valkey": 2}
AHEAD = 20  # chunks that wait at each instant: an import must not be done before it is struck


class Server:
    """`idnode serve` on one port, killed and started again."""

    def __init__(self, settings: Any) -> None:
        self.port = free_port(0)
        self.env = os.environ | serve_env(settings)
        self.process: Any = None

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "node.cli", "serve", "--port", str(self.port)),
            env=self.env,
            stderr=asyncio.subprocess.PIPE,
        )
        while b"startup complete" not in (line := await self.process.stderr.readline()):
            assert line, "the node ended before it served"
        self.drain = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        while line := await self.process.stderr.readline():
            if b'"ERROR"' in line:
                print(line.decode()[-900:], file=sys.stderr)  # shown where the test fails

    async def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()
        await self.drain


def chunks(prefix: str) -> Iterator[bytes]:
    """Chunks without end of new items, of items sent before, of changed ones and of broken rows; deterministic."""
    chance = random.Random(SEED)
    for number in count():
        rows: list[bytes] = []
        for n in range(number * CHUNK, (number + 1) * CHUNK):
            kind = chance.choices(["new", "again", "changed", "broken"], [90, 5, 3, 2])[0]
            at = n if kind in ("new", "broken") or not number else chance.randrange(number * CHUNK)
            row = {"handle": f"{prefix}/K{at:07d}", "lot": "LOT-1", "attributes": {"carton_id": f"C{at}"}}
            if kind == "changed":
                row["attributes"] = {"carton_id": f"other {at}"}
            rows.append(b"{" if kind == "broken" else json.dumps(row).encode())
        yield b"\n".join(rows)


class Sender:
    """Sends an import, two chunks at a time, until it is told to stop; what was acknowledged is remembered."""

    def __init__(self, server: Server, headers: dict[str, str], import_id: str, source: Iterator[bytes]) -> None:
        self.server, self.headers, self.id, self.source = server, headers, import_id, source
        self.bodies: list[bytes] = []
        self.answers: dict[int, dict[str, Any]] = {}
        self.in_flight: set[int] = set()
        self.moved = asyncio.Event()  # a chunk left, or was answered

    async def until(self, true: Callable[[], bool], run: asyncio.Task[None]) -> None:
        """Wait without spinning: the server needs the core more."""
        ended = asyncio.ensure_future(asyncio.wait({run}))
        while not true() and not run.done():
            self.moved.clear()
            moved = asyncio.ensure_future(self.moved.wait())
            await asyncio.wait({moved, ended}, return_when=asyncio.FIRST_COMPLETED)
            moved.cancel()
        ended.cancel()

    def take_more(self) -> None:
        self.bodies += islice(self.source, max(0, AHEAD + len(self.answers) - len(self.bodies)))

    async def run(self) -> None:
        """What is not acknowledged yet; ends with the first broken connection."""
        waiting = [n for n in range(len(self.bodies)) if n not in self.answers]
        turns = iter(waiting)
        url = f"http://127.0.0.1:{self.server.port}"
        async with httpx.AsyncClient(base_url=url, headers=self.headers, timeout=30) as client:
            sends = [asyncio.create_task(self._some(client, turns)) for _ in range(2)]
            try:
                await asyncio.gather(*sends)
            finally:  # the first that breaks ends the other too, while the client can still close its connection
                await cancelled(sends)

    async def _some(self, client: httpx.AsyncClient, turns: Iterator[int]) -> None:
        for number in turns:
            self.in_flight.add(number)
            self.moved.set()
            try:
                answer = await client.put(
                    f"/api/v1/imports/{self.id}/chunks/{number}",
                    content=self.bodies[number],
                    headers={"Content-Type": "application/x-ndjson"},
                )
            finally:
                self.in_flight.discard(number)
            if answer.status_code == 503:
                raise httpx.TransportError("busy or away")
            assert answer.status_code == 200, answer.text
            body = answer.json()
            before = self.answers.setdefault(number, body)
            self.moved.set()
            assert {k: before[k] for k in COUNTED} == {k: body[k] for k in COUNTED}


COUNTED = ("rows", "created", "unchanged", "conflict", "rejected")


_SEEN = """
    SELECT EXISTS (SELECT FROM pg_stat_activity
                    WHERE application_name = 'idnode' AND state = 'active' AND query LIKE 'COMMIT%'),
           EXISTS (SELECT FROM import_chunk WHERE import_id = $1 AND number = ANY ($2::int[]))
"""


class Strikes:
    """Kills one part at a time while a chunk is in flight, and finds out where that fell."""

    def __init__(self, servers: embedded.Servers, server: Server, sender: Sender) -> None:
        self.servers, self.server, self.sender = servers, server, sender
        self.fell: Counter[tuple[str, str]] = Counter()

    async def strike(self, run: asyncio.Task[None], kind: str, at_commit: bool) -> None:
        """Counts for nothing where the sender was stopped by something else before."""
        committing = await self._wait_for_commit(run) if at_commit else False
        await self.sender.until(lambda: bool(self.sender.in_flight), run)
        struck = set(self.sender.in_flight)
        if not struck:
            return
        if kind == "server":
            await self.server.kill()
        elif kind == "sender":
            run.cancel()
        else:
            os.kill(self.servers.postgres_pid if kind == "postgres" else self.servers.valkey_pid, signal.SIGKILL)
        with suppress(httpx.TransportError, asyncio.CancelledError):
            await run
        await self._heal(kind)
        self.fell[kind, await self._where(struck, committing)] += 1

    async def _wait_for_commit(self, run: asyncio.Task[None]) -> bool:
        """Return as soon as a chunk is seen to commit, or to have committed unanswered; True where it was committing."""
        conn = await asyncpg.connect(self.servers.database_url)
        try:
            while not run.done():
                committing, committed = await conn.fetchrow(_SEEN, self.sender.id, list(self.sender.in_flight))
                if committing or committed:
                    return bool(committing)
        finally:
            await conn.close()
        return False

    async def _heal(self, kind: str) -> None:
        if kind == "server":
            await self.server.start()
        elif kind == "postgres":
            await self.servers.stop_postgres()
            async with asyncio.timeout(30):
                while True:  # its children hold the shared memory for some milliseconds more
                    with suppress(EmbeddedError):
                        await self.servers.start_postgres()
                        break
        elif kind == "valkey":
            await self.servers.stop_valkey()
            await self.servers.start_valkey()

    async def _where(self, struck: set[int], committing: bool) -> str:
        """Whether the chunks in flight had committed: one that had, and was not answered, fell after its commit."""
        conn = await asyncpg.connect(self.servers.database_url)
        try:
            there = await conn.fetchval(
                "SELECT count(*) FROM import_chunk WHERE import_id = $1 AND number = ANY ($2::int[])",
                self.sender.id,
                struck - set(self.sender.answers),
            )
        finally:
            await conn.close()
        return "during" if committing else "after" if there else "before"


@pytest.fixture
async def own(scratch: Path) -> AsyncIterator[tuple[embedded.Servers, Settings]]:
    """Servers of its own, for they will be killed."""
    create_secret_file(scratch / "secret")
    async with embedded.servers(scratch / "data") as running:
        await migrate(running.database_url)
        yield (
            running,
            Settings(
                database_url=running.database_url,
                redis_url=running.redis_url,
                secret_file=scratch / "secret",
                public_url="http://127.0.0.1:8000",
                environment="test",
                fence_lease=0.1,
            ),
        )


@pytest.fixture
async def server(own: Any) -> AsyncIterator[Server]:
    found = Server(own[1])
    await found.start()
    yield found
    if found.process.returncode is None:
        await found.kill()


async def test_nothing_is_lost_or_doubled(own: Any, server: Server, examples: Any) -> None:
    servers, chance = own[0], random.Random(SEED)
    seeded = await demo.seed(own[1], False)
    prefix, headers = seeded["prefix"], {"Authorization": f"Bearer {seeded['api_key']}"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", headers=headers) as client:
        lot = {"handle": f"{prefix}/LOT-1", "template": "pear@1", "attributes": examples["pear"]["lot"]}
        assert (await client.post("/api/v1/lots", json=lot)).status_code == 201
        import_id = (await client.post("/api/v1/imports", json={})).json()["id"]
    sender = Sender(server, headers, import_id, chunks(prefix))
    strikes = Strikes(servers, server, sender)
    for turn in range(KILLS * 5):
        if strikes.fell.total() == KILLS:
            break
        sender.take_more()
        run = asyncio.create_task(sender.run())
        # An instant by the number of acknowledgements, and then a little into the next chunk: seeded, not timed.
        aim = len(sender.answers) + chance.randrange(1, 4)
        await sender.until(lambda aim=aim: len(sender.answers) >= aim, run)
        for _ in range(chance.randrange(0, 60)):
            await asyncio.sleep(0)
        kind = chance.choices(list(KINDS), list(KINDS.values()))[0] if turn >= len(KINDS) else list(KINDS)[turn]
        await strikes.strike(run, kind, chance.random() < 0.3)
        with suppress(httpx.TransportError, asyncio.CancelledError):
            await run
    print(f"{KILLS} kills, by what was killed and where it fell:", dict(sorted(strikes.fell.items())), file=sys.stderr)
    assert strikes.fell.total() == KILLS, strikes.fell
    assert {kind for kind, _ in strikes.fell} == set(KINDS), strikes.fell
    async with asyncio.timeout(120):
        while len(sender.answers) < len(sender.bodies):
            with suppress(httpx.TransportError):
                await sender.run()
    conn = await asyncpg.connect(servers.database_url)
    await settle_and_compare(server, sender, prefix, conn)
    await conn.close()


async def settle_and_compare(server: Server, sender: Sender, prefix: str, conn: Any) -> None:
    url = f"http://127.0.0.1:{server.port}"
    async with httpx.AsyncClient(base_url=url, headers=sender.headers, timeout=60) as client:
        sent = len(sender.bodies) * CHUNK
        ledger = {"chunks": len(sender.bodies), "rows": sent}
        closed = await client.post(f"/api/v1/imports/{sender.id}:commit", json=ledger)
        assert closed.status_code == 200, closed.text
        totals = closed.json()
        assert totals["rows"] == sent == sum(totals[k] for k in COUNTED[1:])
        assert {k: sum(a[k] for a in sender.answers.values()) for k in COUNTED} == {k: totals[k] for k in COUNTED}
        text = (await client.get(f"/api/v1/prefixes/{prefix}/export")).text
        exported = [json.loads(line)["handle"] for line in text.splitlines()]
    stored = await conn.fetchval(
        "SELECT count(*) FROM handle h JOIN prefix p ON p.id = h.prefix_id WHERE h.shard >= 0 AND p.prefix = $1 AND kind = 0",
        prefix,
    )
    counted = await conn.fetchval(
        "SELECT sum(created) FROM (SELECT prefix_id, created FROM registration_count UNION ALL"
        " SELECT prefix_id, created FROM registration_delta) c JOIN prefix p ON p.id = c.prefix_id WHERE p.prefix = $1",
        prefix,
    )
    assert stored == totals["created"] == counted - 1 == len(exported) == len(set(exported))  # the lot is counted too
