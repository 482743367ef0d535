"""Connections that have ended are forgotten at once: the collector finds a ring that it froze once an hour only."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState
from wire import get, registered, wire

from node import polling
from node.accepting import Loop
from node.http.resolver import FrontDoor
from node.http.scan_protocol import ScanProtocol
from node.runtime import close_node, open_node

HTML = "Accept: text/html"


async def _nothing(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("asked for what is not the front door's")


async def _survivors(settings: Any, target: str, lines: Sequence[str]) -> list[ScanProtocol]:
    """Of three connections on which something was asked for three times, those that are there once they have ended."""
    node = await open_node(settings)
    await polling.start(node)
    door = FrontDoor(_nothing, settings)
    door.open(node)
    config, state = uvicorn.Config(door, lifespan="off", proxy_headers=False, log_config=None), ServerState()
    config.load()
    made: list[weakref.ref[ScanProtocol]] = []

    def protocol() -> ScanProtocol:
        one = ScanProtocol(config=config, server_state=state, app_state={})
        made.append(weakref.ref(one))
        return one

    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    gc.disable()
    try:
        for _ in range(3):
            async with wire(server.sockets[0].getsockname()[1]) as there:
                for _ in range(3):
                    assert (await there.ask(get(target, *lines))).status == 200
        async with asyncio.timeout(30):
            while state.connections:
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)  # turns of the loop in which what it has done with is let go
        assert len(made) == 3
        return [one for ref in made if (one := ref()) is not None]
    finally:
        gc.enable()
        server.close()
        await door.groups.close()
        await close_node(node)


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, Loop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("lines", [(), (HTML,), (HTML, "If-None-Match: x")], ids=["record", "page", "task"])
async def test_a_connection_is_freed_without_the_collector(
    settings: Any, client: Any, firm: Any, loop: Callable[[], Any], lines: tuple[str, ...]
) -> None:
    handle = await registered(client, firm, f"ENDS-{loop.__name__}-{len(lines)}")

    def run() -> list[ScanProtocol]:
        with asyncio.Runner(loop_factory=loop) as runner:
            return runner.run(_survivors(settings, f"/{handle}", lines))

    assert await asyncio.to_thread(run) == []
