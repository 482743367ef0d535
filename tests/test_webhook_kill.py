"""What was committed with an alarm is delivered although its workers are killed: before a delivery, and in one."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from hooks import PATIENCE, make_hooked, verified
from outside import Outside, answer, hang
from serve_env import serve_env

from node.config import Settings
from node.embedded_process import free_port
from node.runtime import Node


@pytest.fixture(scope="module")
def settings(settings: Settings, outside: Outside) -> Settings:
    return replace(settings, **outside.settings)


@asynccontextmanager
async def running(settings: Settings, outside: Outside, *command: str, until: bytes) -> AsyncIterator[Any]:
    """A process over the test's database, once it has said `until`; killed at the end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *command),
        env=os.environ | serve_env(settings) | outside.env,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    while until not in (line := await asyncio.wait_for(process.stderr.readline(), PATIENCE)):
        assert line, f"{command} ended early"
    drain = asyncio.create_task(process.stderr.read())
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await drain


def serve(settings: Settings, outside: Outside) -> Any:
    port = str(free_port(0))
    return running(settings, outside, "-m", "node.cli", "serve", "--port", port, until=b"startup complete")


_RAISER = """
import asyncio, sys
from node.alarms import Cause, raise_alarms
from node.config import Settings
from node.runtime import in_transaction, open_node
async def main():
    node = await open_node(Settings.from_env())
    fields = dict(registrant_id=int(sys.argv[1]), prefix="88.999.1", subject="88.999.1/KILLED", kind="copied",
                  score=9, reasons=[])
    await in_transaction(node, lambda conn: raise_alarms(conn, [Cause(**fields)]))
    print("committed", file=sys.stderr, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


async def test_killed_between_commit_and_delivery(
    settings: Settings, node: Node, make_firm: Any, outside: Outside
) -> None:
    hooked = await make_hooked(node, await make_firm(), outside)
    async with running(settings, outside, "-c", _RAISER, str(hooked.registrant), until=b"committed") as raiser:
        raiser.kill()
        await raiser.wait()
    posted = await node.pool.fetchval(
        "SELECT convert_from(body, 'UTF8')::json ->> 'id' FROM outbox WHERE topic = 'webhook'"
    )
    assert hooked.outside.web.queue(hooked.host).empty()
    async with serve(settings, outside):
        message = verified(await hooked.got(), hooked.secret)
        await hooked.state("d.id IS NULL AND w.delivered_at IS NOT NULL")
    assert message["id"] == posted
    assert message["alarm"]["subject"] == "88.999.1/KILLED"


async def test_killed_in_a_delivery(settings: Settings, node: Node, make_firm: Any, outside: Outside) -> None:
    hooked = await make_hooked(node, await make_firm(), outside, hang)
    await hooked.alarm()
    async with serve(settings, outside) as first:
        tried = verified(await hooked.got(), hooked.secret)  # the receiver has it, and has not answered
        first.kill()
        await first.wait()
    outside.web.routes[hooked.host] = answer(200)
    # The lease of the dead is over at its time, not before: here it is taken back so as not to wait for it.
    left = await node.pool.fetchval("SELECT next_at > now() FROM webhook WHERE registrant_id = $1", hooked.registrant)
    assert left
    await hooked.hurry()
    async with serve(settings, outside):
        assert verified(await hooked.got(), hooked.secret) == tried
        await hooked.state("d.id IS NULL AND w.delivered_at IS NOT NULL")
    assert outside.web.queue(hooked.host).empty()
