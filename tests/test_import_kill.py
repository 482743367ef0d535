"""Promise 3 under fire: an import whose server, database sessions or sender are killed at seeded instants, resumed each
time, and counted at the end: sent = created + unchanged + conflict + rejected = rows = counters = export.

`IMPORT_KILLS` says how often (default 40; `make test-kill` takes 200). An instant counts only with a chunk in flight.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import asyncpg
import httpx
import pytest
from serve_env import serve_env

from node.embedded_process import free_port

KILLS = int(os.environ.get("IMPORT_KILLS", "40"))
CHUNK = 250
SEED = 20261124


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


def chunks(firm: Any, count: int) -> Iterator[bytes]:
    """Chunks of new items, of items sent before, of changed ones and of broken rows; deterministic."""
    chance = random.Random(SEED)
    for number in range(count):
        rows: list[bytes] = []
        for n in range(number * CHUNK, (number + 1) * CHUNK):
            kind = chance.choices(["new", "again", "changed", "broken"], [90, 5, 3, 2])[0]
            at = n if kind in ("new", "broken") or not number else chance.randrange(number * CHUNK)
            row = {"handle": f"{firm.prefix}/K{at:07d}", "lot": "LOT-1", "attributes": {"carton_id": f"C{at}"}}
            if kind == "changed":
                row["attributes"] = {"carton_id": f"other {at}"}
            rows.append(b"{" if kind == "broken" else json.dumps(row).encode())
        yield b"\n".join(rows)


class Sender:
    """Sends an import, two chunks at a time, until it is told to stop; what was acknowledged is remembered."""

    def __init__(self, server: Server, firm: Any, import_id: str, bodies: list[bytes]) -> None:
        self.server, self.firm, self.id, self.bodies = server, firm, import_id, bodies
        self.answers: dict[int, dict[str, Any]] = {}
        self.in_flight: set[int] = set()

    async def run(self) -> None:
        """What is not acknowledged yet; ends with the first broken connection."""
        waiting = [n for n in range(len(self.bodies)) if n not in self.answers]
        turns = iter(waiting)
        url = f"http://127.0.0.1:{self.server.port}"
        async with httpx.AsyncClient(base_url=url, headers=self.firm.headers, timeout=30) as client:
            await asyncio.gather(*(self._some(client, turns) for _ in range(2)))

    async def _some(self, client: httpx.AsyncClient, turns: Iterator[int]) -> None:
        for number in turns:
            self.in_flight.add(number)
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
            assert {k: before[k] for k in COUNTED} == {k: body[k] for k in COUNTED}


COUNTED = ("rows", "created", "unchanged", "conflict", "rejected")


async def strike(server: Server, sender: Sender, run: asyncio.Task[None], kind: str, conn: Any) -> str | None:
    """Kill one part while a chunk is in flight; where it fell, None where the import was done before."""
    while not sender.in_flight:
        if run.done():
            return None
        await asyncio.sleep(0)
    if kind == "server":
        await server.kill()
    elif kind == "sessions":
        await conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'idnode' AND datname = current_database() AND pid <> pg_backend_pid()"
        )
    else:
        run.cancel()
    return kind


@pytest.fixture
async def conn(settings: Any) -> AsyncIterator[Any]:
    opened = await asyncpg.connect(settings.database_url)
    yield opened
    await opened.close()


@pytest.fixture
async def server(settings: Any) -> AsyncIterator[Server]:
    found = Server(settings)
    await found.start()
    yield found
    if found.process.returncode is None:
        await found.kill()


async def test_nothing_is_lost_or_doubled(server: Server, conn: Any, make_firm: Any, examples: Any) -> None:
    firm, chance = await make_firm(), random.Random(SEED)
    bodies = list(chunks(firm, max(60, KILLS * 10)))
    url = f"http://127.0.0.1:{server.port}"
    async with httpx.AsyncClient(base_url=url, headers=firm.headers) as client:
        lot = {"handle": f"{firm.prefix}/LOT-1", "template": "pear@1", "attributes": examples["pear"]["lot"]}
        assert (await client.post("/api/v1/lots", json=lot)).status_code == 201
        import_id = (await client.post("/api/v1/imports", json={})).json()["id"]
    sender = Sender(server, firm, import_id, bodies)
    fell: Counter[str] = Counter()
    while sum(fell.values()) < KILLS and len(sender.answers) < len(bodies):
        run = asyncio.create_task(sender.run())
        # An instant by the number of acknowledgements, and then a little into the next chunk: seeded, not timed.
        aim = len(sender.answers) + chance.randrange(1, 4)
        while len(sender.answers) < min(aim, len(bodies)) and not run.done():
            await asyncio.sleep(0)
        for _ in range(chance.randrange(0, 60)):
            await asyncio.sleep(0)
        kind = await strike(server, sender, run, chance.choice(["server", "sessions", "sender"]), conn)
        fell.update([kind] if kind else [])
        if kind is None:
            run.cancel()
        with suppress(httpx.TransportError, asyncio.CancelledError):
            await run
        if server.process.returncode is not None:
            await server.start()
    assert sum(fell.values()) == KILLS, fell
    assert len(fell) == 3, fell
    for _ in range(20):
        with suppress(httpx.TransportError):
            await sender.run()
        if len(sender.answers) == len(bodies):
            break
    await settle_and_compare(server, sender, firm, conn)


async def settle_and_compare(server: Server, sender: Sender, firm: Any, conn: Any) -> None:
    url = f"http://127.0.0.1:{server.port}"
    async with httpx.AsyncClient(base_url=url, headers=firm.headers, timeout=60) as client:
        sent = len(sender.bodies) * CHUNK
        ledger = {"chunks": len(sender.bodies), "rows": sent}
        closed = await client.post(f"/api/v1/imports/{sender.id}:commit", json=ledger)
        assert closed.status_code == 200, closed.text
        totals = closed.json()
        assert totals["rows"] == sent == sum(totals[k] for k in COUNTED[1:])
        assert {k: sum(a[k] for a in sender.answers.values()) for k in COUNTED} == {k: totals[k] for k in COUNTED}
        text = (await client.get(f"/api/v1/prefixes/{firm.prefix}/export")).text
        exported = [json.loads(line)["handle"] for line in text.splitlines()]
    stored = await conn.fetchval(
        "SELECT count(*) FROM handle h JOIN prefix p ON p.id = h.prefix_id WHERE h.shard >= 0 AND p.prefix = $1 AND kind = 0",
        firm.prefix,
    )
    counted = await conn.fetchval(
        "SELECT sum(created) FROM (SELECT prefix_id, created FROM registration_count UNION ALL"
        " SELECT prefix_id, created FROM registration_delta) c JOIN prefix p ON p.id = c.prefix_id WHERE p.prefix = $1",
        firm.prefix,
    )
    assert stored == totals["created"] == counted - 1 == len(exported) == len(set(exported))  # the lot is counted too
