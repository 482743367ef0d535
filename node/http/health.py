"""Health: the upper node probes registration and resolution apart (domain.md 2.3), so they are told apart."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Request
from starlette.responses import Response

import handle_codec
from node.errors import NodeError
from node.http.requests import json_response, node_of
from node.runtime import Connection, Node, in_transaction, reading
from node.store import coordinator

router = APIRouter(prefix="/health", tags=["health"])
_PROBE_SECONDS = 1.0


@router.get("/live")
async def live() -> Response:
    """The loop answers; no I/O."""
    return json_response({"status": "live", "codec": handle_codec.IMPLEMENTATION})


@router.get("/ready")
async def ready(request: Request) -> Response:
    """200 while handles can be resolved; says apart whether they can be registered. Valkey away is only degraded."""
    node = node_of(request)
    resolution, registration, cache = await asyncio.gather(
        _probe(_resolves, node, lambda: node.read_at),
        _probe(_registers, node, lambda: node.committed_at),
        node.cache.probe(),
    )
    usable = bool(cache) and node.fence.enabled and node.fence.server == cache
    body = {
        "status": "ready" if resolution and registration else "unavailable",
        "resolution": resolution,
        "registration": registration,
        "cache": usable,
        "degraded": not usable,
    }
    return json_response(body, 200 if resolution and registration else 503, {"Cache-Control": "no-store"})


async def _resolves(node: Node) -> None:
    async with reading(node) as conn:
        await coordinator.ping(conn)


async def _registers(node: Node) -> None:
    async def work(conn: Connection) -> None:
        await coordinator.probe_write(conn)

    await in_transaction(node, work)


async def _probe(work: Callable[[Node], Awaitable[None]], node: Node, served: Callable[[], float]) -> bool:
    """Whether it works; also where the probe was not served in time and others were meanwhile: a long queue is no
    reason to be taken out of service, which would only make the queues of the others longer."""
    begun = time.monotonic()
    try:
        await asyncio.wait_for(work(node), _PROBE_SECONDS)
    except (NodeError, TimeoutError, OSError):
        return served() > begun
    return True
