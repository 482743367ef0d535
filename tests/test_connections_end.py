"""Connections that have ended are forgotten at once: the collector finds a ring that it froze once an hour only."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState
from wire import get, registered, wire

from node.http.resolver import FrontDoor
from node.http.scan_protocol import ScanProtocol
from node.runtime import Node

HTML = "Accept: text/html"


async def _nothing(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("asked for what is not the front door's")


@pytest.mark.parametrize("lines", [(), (HTML,), (HTML, "If-None-Match: x")], ids=["record", "page", "task"])
async def test_a_connection_is_freed_without_the_collector(
    node: Node, client: Any, firm: Any, lines: tuple[str, ...]
) -> None:
    door = FrontDoor(_nothing, node.settings)
    door.open(node)
    config, state = uvicorn.Config(door, lifespan="off", proxy_headers=False, log_config=None), ServerState()
    config.load()
    made: list[weakref.ref[ScanProtocol]] = []

    def protocol() -> ScanProtocol:
        one = ScanProtocol(config=config, server_state=state, app_state={})
        made.append(weakref.ref(one))
        return one

    handle = await registered(client, firm, f"ENDS-{len(lines)}")
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    gc.disable()
    try:
        for _ in range(3):
            async with wire(server.sockets[0].getsockname()[1]) as there:
                for _ in range(3):
                    assert (await there.ask(get(f"/{handle}", *lines))).status == 200
        async with asyncio.timeout(30):
            while state.connections:
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        assert len(made) == 3
        assert [one() for one in made] == [None] * 3
    finally:
        gc.enable()
        server.close()
        await door.groups.close()
