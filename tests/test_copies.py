"""Copies of hot records: read again while they are asked for, given up when they are not, each use counted once."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence

import pytest

from node.http.answers import Answer
from node.http.copies import Copies, Copy
from node.kept import Form, View

SECONDS = 0.2
VIEW = View("88.999.1001/A", 7, Form.RECORD, b"{}", '"1"', 1, "cache", False, b"entry")
TARGET = b"/88.999.1001/A"


class Valkey:
    """What copies ask of it, answered by the test."""

    def __init__(self) -> None:
        self.good, self.broken, self.asked = True, False, asyncio.Event()
        self.judged: list[int] = []  # the turn that each copy was last found good in

    async def still_kept(self, copies: Sequence[tuple[str, bytes, int]]) -> tuple[float, int, list[bool]]:
        started = time.monotonic()
        [(handle, entry, turn)] = copies
        assert (handle, entry) == (VIEW.handle, VIEW.entry)
        self.judged.append(turn)
        self.asked.set()
        if self.broken:
            raise ValueError("nobody foresaw this")
        return started, 7, [self.good] * len(copies)


class Told:
    def __init__(self) -> None:
        self.counts: Counter[tuple[int, str]] = Counter()

    def __call__(self, prefix_id: int, number: int, seconds_each: float, address: str) -> None:
        assert seconds_each >= 0.0
        self.counts[prefix_id, address] += number


@pytest.fixture
def valkey() -> Valkey:
    return Valkey()


@pytest.fixture
def told() -> Told:
    return Told()


def put(copies: Copies) -> Copy:
    copies.put(TARGET, Answer(200, [], b"{}"), VIEW, time.monotonic())
    return copies.by_target[TARGET]


def use(copy: Copy, address: str = "10.0.0.1") -> None:
    copy.uses[address] = copy.uses.get(address, 0) + 1


async def read_again(valkey: Valkey) -> None:
    valkey.asked.clear()
    await asyncio.wait_for(valkey.asked.wait(), 30)


async def test_what_is_asked_for_lives_on_and_what_is_not_is_given_up(valkey: Valkey, told: Told) -> None:
    copies = Copies(SECONDS, valkey.still_kept, told)
    copy = put(copies)
    first = copy.until
    for _ in range(4):
        use(copy)
        await read_again(valkey)
    assert copies.by_target[TARGET] is copy
    assert copy.until > first
    assert valkey.judged == [-1, 7, 7, 7]  # in full at first, then as of the fence's turn
    async with asyncio.timeout(30):
        while copies.by_target:
            await asyncio.sleep(0)
    assert told.counts == {(7, "10.0.0.1"): 4}
    await copies.close()


async def test_a_changed_entry_is_dropped_at_once(valkey: Valkey, told: Told) -> None:
    copies = Copies(SECONDS, valkey.still_kept, told)
    use(put(copies))
    valkey.good = False
    await read_again(valkey)
    await asyncio.sleep(0)
    assert not copies.by_target
    await copies.close()


async def test_each_use_is_told_once_whenever_it_is_asked(valkey: Valkey, told: Told) -> None:
    copies = Copies(SECONDS, valkey.still_kept, told)
    for round_ in range(5):
        copy = put(copies)  # in place of the last one
        use(copy)
        use(copy, "10.0.0.2")
        if round_ % 2:
            copies.tell()
    await copies.close()
    copies.tell()
    assert told.counts == {(7, "10.0.0.1"): 5, (7, "10.0.0.2"): 5}


async def test_nothing_is_kept_that_is_over_already(valkey: Valkey, told: Told) -> None:
    copies = Copies(SECONDS, valkey.still_kept, told)
    copies.put(TARGET, Answer(200, [], b"{}"), VIEW, time.monotonic() - SECONDS)
    off = Copies(0.0, valkey.still_kept, told)
    off.put(TARGET, Answer(200, [], b"{}"), VIEW, time.monotonic())
    assert not copies.by_target
    assert not off.by_target


async def test_what_cannot_be_read_again_gives_its_place_up(valkey: Valkey, told: Told) -> None:
    copies = Copies(SECONDS, valkey.still_kept, told)
    use(put(copies))
    valkey.broken = True
    await read_again(valkey)
    await asyncio.sleep(0)
    assert not copies.by_target
    valkey.broken = False
    copy = put(copies)
    use(copy)
    await read_again(valkey)
    assert copies.by_target[TARGET] is copy
    await copies.close()


async def test_a_large_record_is_left_to_valkey(valkey: Valkey, told: Told) -> None:
    copies = Copies(SECONDS, valkey.still_kept, told)
    copies.put(TARGET, Answer(200, [], bytes(9000)), VIEW, time.monotonic())
    assert not copies.by_target
