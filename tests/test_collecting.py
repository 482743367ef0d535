"""The collector walks what is kept once, and finds what was made since."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from node import collecting
from node.runtime import Node


class Ring:
    """Refers to itself: only the collector frees it."""

    def __init__(self) -> None:
        self.own = self


class Plain:
    """Refers to nothing."""


async def test_rings_are_found_and_what_is_kept_is_frozen(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "_EVERY", 0.001)
    before = gc.get_threshold()
    task = asyncio.create_task(collecting.keep_collecting(node))
    try:
        await asyncio.sleep(0)
        frozen = gc.get_freeze_count()
        lost = weakref.ref(Ring())
        kept = [Plain() for _ in range(100_000)]
        last = weakref.ref(kept[-1])
        while lost() is not None or gc.get_freeze_count() < frozen + len(kept):
            await asyncio.sleep(0.001)
        del kept
        assert last() is None  # frozen or not, it is freed with its last reference
    finally:
        task.cancel()
        await asyncio.wait([task])
        gc.unfreeze()
    assert gc.get_threshold() == before


async def test_a_ring_that_was_frozen_is_found_within_the_hour(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Ring()
    lost = weakref.ref(kept)
    collecting.collect()
    del kept
    gc.collect()
    assert lost() is not None
    monkeypatch.setattr(collecting, "_EVERY", 0.001)
    monkeypatch.setattr(collecting, "_HOUR", 0.0)
    task = asyncio.create_task(collecting.keep_collecting(node))
    while lost() is not None:
        await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.wait([task])
    gc.unfreeze()
