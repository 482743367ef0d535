"""Joined reads: what is asked together is one call, a connection serves a crowd, and nobody waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from node.errors import NodeError, Unavailable
from node.joining import Ask, Found, Joiner
from node.model import Prefix, PrefixStatus

PREFIX = Prefix(1, "88.999.1001", 1, 7, 1, PrefixStatus.ENABLED, True, "示范合作社", "pear", "341321")


class Store:
    """What a joiner calls, and what it holds meanwhile."""

    def __init__(self, failures: list[BaseException]) -> None:
        self.failures, self.held, self.calls = failures, 0, []  # type: ignore[var-annotated]

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[str]:
        if self.failures:
            raise self.failures.pop(0)
        self.held += 1
        yield "connection"

    async def read(self, asks: list[Ask], conn: Any) -> None:
        self.calls.append(len(asks))
        for ask in asks:
            ask.answer(Found(ask.started))


def joiner_of(store: Store) -> Joiner:
    return Joiner(store.read, flights=2, size=64, queue=1000, patience=0.01, hold=store.hold)


def ask(joiner: Joiner, name: str) -> asyncio.Future[Found]:
    return joiner.ask(f"{PREFIX.prefix}/{name}", PREFIX, name, -1)


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (Unavailable.of(what="PostgreSQL", retry_after=1), Unavailable),
        (TimeoutError(), Unavailable),
        (ValueError(), NodeError),
    ],
)
async def test_who_waits_for_a_connection_that_never_comes_is_told(failure: BaseException, said: type) -> None:
    store = Store([failure])
    joiner = joiner_of(store)
    waiting = [ask(joiner, str(n)) for n in range(5)]
    async with asyncio.timeout(30):
        found = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(error) for error in found} == {said}
    assert (await asyncio.wait_for(ask(joiner, "again"), 30)).view() is None
    assert store.calls == [1]


async def test_one_connection_serves_call_after_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.joining._LINGER", 30.0)  # s: a slow machine is not silence
    store = Store([])
    joiner = joiner_of(store)
    for round_ in range(20):
        async with asyncio.timeout(30):
            await asyncio.gather(*(ask(joiner, f"{round_}-{n}") for n in range(3)))
    assert (store.held, store.calls) == (1, [3] * 20)
    for task in joiner._flying:
        task.cancel()


async def test_more_than_a_call_takes_are_all_answered() -> None:
    store = Store([])
    joiner = joiner_of(store)
    async with asyncio.timeout(30):
        await asyncio.gather(*(ask(joiner, str(n)) for n in range(1000)))
    assert sum(store.calls) == 1000
    assert max(store.calls) <= 64


async def test_a_call_waits_while_others_are_answered_from_memory() -> None:
    store, answered = Store([]), 0
    joiner = Joiner(store.read, flights=2, size=64, queue=1000, patience=30.0, hold=store.hold, busy=lambda: answered)
    asked = [ask(joiner, "first")]
    for n in range(20):  # a read in each fourth turn, an answer from memory in the others
        for _ in range(3):
            answered += 1
            await asyncio.sleep(0)
        asked.append(ask(joiner, str(n)))
        await asyncio.sleep(0)
    async with asyncio.timeout(30):
        await asyncio.gather(*asked)
    assert store.calls == [21]


@pytest.mark.parametrize(("each", "calls"), [(2, [5]), (11, [1])])
async def test_a_crowd_is_waited_for_where_it_shows_in_a_quarter_of_the_time(
    each: int, calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    now, answered, store = 0.0, 0, Store([])
    monkeypatch.setattr("node.joining.time", SimpleNamespace(monotonic=lambda: now))
    joiner = Joiner(store.read, flights=1, size=5, queue=1000, patience=32.0, hold=store.hold, busy=lambda: answered)
    asked = [ask(joiner, "first")]
    for turn in range(1, 40):  # a second each; another read in each second or eleventh, an answer from memory in all
        await asyncio.sleep(0)
        now, answered = now + 1, answered + 1
        if turn % each == 0 and len(asked) < 5:
            asked.append(ask(joiner, str(turn)))
    async with asyncio.timeout(30):
        await asyncio.gather(*asked)
    assert store.calls[:1] == calls


async def test_who_comes_alone_does_not_wait_for_the_patience_of_a_crowd() -> None:
    store = Store([])
    joiner = Joiner(store.read, flights=2, size=64, queue=1000, patience=3600.0, hold=store.hold)
    async with asyncio.timeout(30):
        await ask(joiner, "alone")
    assert store.calls == [1]
