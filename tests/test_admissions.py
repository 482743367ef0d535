"""What is kept beside the answers: whatever goes wrong there, answers and later admissions do not know of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
from freshness_pair import in_valkey
from test_resolution import registered

from node import admissions, polling
from node.joining import Ask
from node.reads import Reads, reads_of
from node.runtime import Node, close_node, open_node, reading


@pytest.fixture
async def alone(settings: Any) -> AsyncIterator[Node]:
    """A worker with one connection, which it waits for shortly."""
    opened = await open_node(replace(settings, pool_size=1, pool_timeout=0.1, fence_lease=60.0))
    await polling.start(opened)
    yield opened
    await close_node(opened)


def _ask(node: Node, handle: str) -> Ask:
    prefix, _, suffix = handle.partition("/")
    return Ask(handle, node.fence.prefixes[prefix], suffix, -1)


async def test_what_cannot_be_read_is_kept_when_it_is_read_again(
    client: Any, settings: Any, firm: Any, alone: Node
) -> None:
    handle = await registered(client, firm, "ADMIT")
    await polling.ensure(alone)
    keeps = reads_of(alone)._admissions
    async with AsyncExitStack() as taken:
        await taken.enter_async_context(reading(alone))
        keeps.add(_ask(alone, handle))
        async with asyncio.timeout(30):
            while keeps._wanted.is_set():  # until it is given up
                await asyncio.sleep(0.01)
    assert not await in_valkey(settings.redis_url, handle)
    async with asyncio.timeout(30):  # the lease of the one that was given up has to run out
        while not await in_valkey(settings.redis_url, handle):
            keeps.add(_ask(alone, handle))
            await asyncio.sleep(0.05)


async def test_a_crowd_of_second_reads_waits_in_bounded_memory_and_is_answered(
    client: Any, firm: Any, alone: Node
) -> None:
    handle = await registered(client, firm, "ADMIT-LAST")
    await polling.ensure(alone)
    reads: Reads = reads_of(alone)
    for number in range(3 * admissions._MOST):
        reads._admissions.add(_ask(alone, f"{firm.prefix}/ADMIT-{number}"))
    assert len(reads._admissions._pending) == admissions._MOST
    prefix, _, suffix = handle.partition("/")
    found = await asyncio.wait_for(reads.ask(alone.fence.prefixes[prefix], suffix, -1), 30)
    assert found.view() is not None
    async with asyncio.timeout(60):
        while reads._admissions._pending:
            await asyncio.sleep(0.01)
