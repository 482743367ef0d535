"""Imports give way to readers: by how much, and that they still end; without readers nothing is given away."""

from __future__ import annotations

import asyncio
import itertools
import json
from math import inf
from typing import Any

import pytest

from node import imports
from node.pace import Pace, Stride
from node.runtime import Node, reading


class Worker:
    """A worker's clock and the number of its answers, set by hand."""

    def __init__(self, least: float = 0.25) -> None:
        self.now, self.answers = 0.0, 0
        self.pace = Pace(least, lambda: self.now)
        self.pace.answered = lambda: self.answers

    def look(self, late: float, answers: int, times: int = 1) -> None:
        for _ in range(times):
            self.answers += answers
            self.pace.judge(late)


def test_without_readers_pieces_are_whole_and_there_are_no_rests() -> None:
    worker = Worker()
    worker.look(late=0.5, answers=0, times=100)  # the import's own pieces are all that is late
    assert worker.pace.rows(500) == 500
    assert worker.pace.rest(0.01) == 0


def test_readers_who_do_not_wait_make_pieces_smaller_and_cost_no_rest() -> None:
    worker = Worker()
    worker.look(late=0.001, answers=2, times=20)
    assert worker.pace.rows(500) == 100
    assert worker.pace.rows(1) == 1
    assert worker.pace.rest(0.01) == 0


def test_rests_grow_while_readers_wait_and_end_where_they_do_not() -> None:
    worker = Worker()
    worker.look(late=0.02, answers=2, times=3)
    first = worker.pace.rest(0.001)
    worker.look(late=0.02, answers=2, times=100)
    assert 0 < first < worker.pace.rest(0.001) == pytest.approx(0.003)  # a quarter of its time is the import's own
    worker.look(late=0.001, answers=2, times=200)
    assert worker.pace.rest(0.001) < 1e-6
    worker.look(late=0.02, answers=2, times=100)
    worker.look(late=0.02, answers=0, times=10)  # they have gone
    assert worker.pace.rest(0.001) == 0


def test_a_slow_read_of_postgresql_counts_like_a_late_loop() -> None:
    worker = Worker()
    worker.look(late=0.0, answers=2, times=10)
    worker.pace.felt(0.2)
    worker.look(late=0.0, answers=2)
    assert worker.pace.rest(0.001) > 0


@pytest.mark.parametrize(("least", "most"), [(1.0, 0.0), (0.5, 1.0), (0.0, 49.0)])
def test_the_share_is_kept_and_never_nothing(least: float, most: float) -> None:
    worker = Worker(least)
    worker.look(late=1.0, answers=9, times=1000)
    assert worker.pace.rest(0.001) == pytest.approx(min(0.05, most / 1000))


async def test_a_stride_gives_way_no_longer_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker()
    worker.look(late=1.0, answers=9, times=1000)
    slept = list[float]()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("node.pace.asyncio.sleep", sleep)
    stride = Stride(worker.pace, 0.0)
    assert [list(p) async for p in stride.pieces(range(5), 10)] == [[0, 1], [2, 3], [4]]
    assert slept == [0, 0, 0]
    stride = Stride(worker.pace, inf)
    assert [n async for part in stride.pieces(range(50), 50) for n in part] == list(range(50))
    assert any(slept)
    worker.now += 10.0  # nothing more to look after


async def test_looks_begin_with_an_import_and_end_after_it() -> None:
    worker = Worker()
    worker.pace.used()
    timer = worker.pace._timer
    assert timer is not None
    timer.cancel()
    worker.now = 10.0
    worker.pace._look(9.9)
    assert worker.pace._timer is None


async def test_an_import_beside_readers_ends_with_all_of_its_rows(
    node: Node, make_firm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers that wait all the time: every look is late."""
    firm = await make_firm()
    monkeypatch.setattr("node.pace._LATE", -1.0)
    answers = itertools.count(step=10)
    monkeypatch.setattr(node.pace, "answered", lambda: next(answers))
    rows = "\n".join(
        json.dumps({"handle": f"{firm.prefix}/SLOW-{n}", "values": [{"index": 1, "type": "URL", "data": f"x:{n}"}]})
        for n in range(3_000)
    )
    opened = await imports.begin(node, firm.identity, b"{}", None)
    put = asyncio.create_task(imports.put_chunk(node, firm.identity, opened["id"], 0, rows.encode(), "ndjson"))
    read = 0
    while not put.done():
        async with reading(node) as conn:
            read += await conn.fetchval("SELECT 1")
    answer = await put
    assert (answer["rows"], answer["created"]) == (3_000, 3_000)
    assert node.pace.ratio > 0
    assert read > 0
    again = await imports.put_chunk(node, firm.identity, opened["id"], 0, rows.encode(), "ndjson")
    assert again["again"]
