"""What Valkey keeps, which is beside the answers: a test that looks at it waits until it is there."""

from __future__ import annotations

import asyncio
from typing import Any


async def until_kept(node: Any, *handles: str) -> dict[str, bytes]:
    """What is kept once all of these are."""
    async with asyncio.timeout(30):
        while not set(handles) <= (kept := await node.cache.sample(node.fence.epoch, 10_000)).keys():
            await asyncio.sleep(0.01)
    found: dict[str, bytes] = kept
    return found
