"""Registrations of many handles at once, whose kept refusals are dropped by prefix, not one by one. Readers have asked
for some of them before. What is not acknowledged is sent again as it was."""

from __future__ import annotations

import asyncio

import orjson

from loadtest.freshness.history import Register
from loadtest.freshness.subjects import presence_of
from loadtest.freshness.wire import request
from loadtest.freshness.world import Sender, World

_ROWS, _WATCHED = 240, 6  # rows of a batch: more than are forgotten one by one


def _watched(world: World, name: str) -> list[tuple[str, Register]]:
    """A few of the handles to come, each asked for several times so that its absence is kept."""
    handles = [f"{world.prefix.text}/{name}-{n}" for n in range(_WATCHED)]
    found = [(handle, world.history.register(f"item {handle}", "absent")) for handle in handles]
    world.specials.extend(presence_of(*one) for one in found for _ in range(8))
    return found


async def register_many(world: World, sender: Sender) -> None:
    """A batch, then a chunk of an import."""
    for way in (_batch, _chunk):
        name = f"B-{len(world.history.registers)}"
        watched = _watched(world, name)
        await asyncio.sleep(0.5)
        await way(world, sender, [f"{world.prefix.text}/{name}-{n}" for n in range(_ROWS)], watched)


async def _insist(world: World, sender: Sender, message: bytes, watched: list[tuple[str, Register]]) -> None:
    writes = [(register, register.invoke("there")) for _, register in watched]
    reply = await world.insist(sender, message)
    if reply is None:
        return
    if reply.status != 200:
        world.history.wrong.append(f"{message.splitlines()[0].decode()}: {reply.status} {reply.body[:200]!r}")
        return
    for register, write in writes:
        world.acknowledge(register, write)
    world.specials.extend(presence_of(*one) for one in watched for _ in range(2))


async def _batch(world: World, sender: Sender, handles: list[str], watched: list[tuple[str, Register]]) -> None:
    body = orjson.dumps([{"handle": handle} for handle in handles])
    await _insist(world, sender, request("POST", "/api/v1/handles:batch", body, world.prefix.key), watched)


async def _chunk(world: World, sender: Sender, handles: list[str], watched: list[tuple[str, Register]]) -> None:
    key = world.prefix.key
    opened = await world.insist(sender, request("POST", "/api/v1/imports", b"{}", key))
    if opened is None or opened.status != 201:
        return
    address = f"/api/v1/imports/{orjson.loads(opened.body)['id']}/chunks/0"
    body = b"".join(orjson.dumps({"handle": handle}) + b"\n" for handle in handles)
    await _insist(world, sender, request("PUT", address, body, key, kind="application/x-ndjson"), watched)
