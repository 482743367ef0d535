"""The checker is shown each kind of fault in a history made by hand, and histories that are right."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest

from loadtest.freshness.checker import Verdict, check
from loadtest.freshness.history import LONG_AGO, NEVER, History, Register, Write


def history_of(writes: list[tuple[Any, int, int]], reads: list[tuple[Any, int, int]], *, before: Any = 0) -> History:
    """Writes (state, sent, acknowledged) as versions 1, 2, ... and reads (state or set of states, begun, ended)."""
    history = History()
    register = history.register("x", before)
    register.writes += [Write(*write) for write in writes]
    for seen, begun, ended in reads:
        history.read(register, frozenset(seen if isinstance(seen, tuple) else (seen,)), begun, ended, 0)
    return history


def kinds(verdict: Verdict) -> list[str]:
    return [violation.kind for violation in verdict.violations]


RIGHT = {
    "the last one": ([(1, 10, 20), (2, 30, 40)], [(2, 50, 60)]),
    "what was there before": ([(1, 10, 20)], [(0, 1, 5)]),
    "old or new while it is written": ([(1, 10, 20)], [(0, 12, 15), (1, 12, 15), (0, 11, 90)]),
    "begun before the acknowledgement": ([(1, 10, 20)], [(0, 20, 30)]),
    "new before it is acknowledged, then old": ([(1, 10, 50)], [(1, 12, 15), (0, 20, 25)]),
    "an unknown outcome that took effect": ([(1, 10, NEVER)], [(1, 90, 95)]),
    "an unknown outcome that did not": ([(1, 10, NEVER)], [(0, 90, 95)]),
    "an unknown outcome, undecided": ([(1, 10, NEVER)], [(0, 20, 25), (1, 30, 35)]),
    "a later write over an unknown one": ([(1, 10, NEVER), (2, 30, 40)], [(2, 50, 55)]),
    "there and back": ([("recalled", 10, 20), ("active", 30, 40)], [("recalled", 22, 25), ("active", 42, 45)]),
    "any of several states": ([("gone", 10, 20)], [(("absent", "gone"), 30, 40)]),
}
WRONG = {
    "before an acknowledged write": ([(1, 10, 20)], [(0, 21, 30)], "stale"),
    "two behind": ([(1, 10, 20), (2, 30, 40)], [(0, 50, 60)], "stale"),
    "one behind": ([(1, 10, 20), (2, 30, 40)], [(1, 50, 60)], "stale"),
    "one behind while the next is written": ([(1, 10, 20), (2, 30, 99)], [(0, 50, 60)], "stale"),
    "behind what only came later": ([(1, 10, NEVER), (2, 30, 40)], [(1, 50, 60)], "stale"),
    "not yet sent": ([(1, 10, 20)], [(1, 1, 5)], "future"),
    "never written": ([(1, 10, 20)], [(7, 30, 40)], "unwritten"),
    "absent after its registration": ([("present", 10, 20)], [("absent", 30, 40)], "stale"),
    "there after its deletion": ([("gone", 10, 20)], [(0, 30, 40)], "stale"),
    "recalled and shown as active": ([("recalled", 10, 20)], [("active", 30, 40)], "stale"),
    "restored and shown as recalled": ([("recalled", 10, 20), ("active", 30, 40)], [("recalled", 50, 60)], "stale"),
    "an unknown prefix that was allotted": ([("enabled", 10, 20)], [("unknown", 30, 40)], "stale"),
    "a key that was revoked": ([("live", 10, 20), ("dead", 30, 40)], [("live", 50, 60)], "stale"),
    "none of several states": ([("there", 10, 20)], [(("absent", "gone"), 30, 40)], "stale"),
}
BEFORE = {
    "recalled and shown as active": "active",
    "there and back": "active",
    "restored and shown as recalled": "active",
    "absent after its registration": "absent",
    "an unknown prefix that was allotted": "unknown",
    "a key that was revoked": "dead",
    "none of several states": "absent",
    "any of several states": "there",
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_history_passes(name: str) -> None:
    writes, reads = RIGHT[name]
    verdict = check(history_of(writes, reads, before=BEFORE.get(name, 0)))
    assert (verdict.violations, verdict.reads) == ([], len(reads))


@pytest.mark.parametrize("name", WRONG)
def test_a_fault_is_found(name: str) -> None:
    writes, reads, kind = WRONG[name]
    assert kinds(check(history_of(writes, reads, before=BEFORE.get(name, 0)))) == [kind]


def test_a_violation_says_what_happened() -> None:
    ms = 1_000_000
    found = check(history_of([(1, 10 * ms, 20 * ms), (2, 30 * ms, 40 * ms)], [(0, 50 * ms, 60 * ms)])).violations[0]
    assert (found.seen, found.acknowledged, found.sent, found.late) == (["0"], 2, 2, 30.0)
    assert [write["acknowledged"] for write in found.writes] == [None, 10.0, 30.0]
    assert (found.begun, found.ended) == (40.0, 50.0)


def test_a_grace_delays_what_an_acknowledgement_demands() -> None:
    register = Register("key", [Write("dead", LONG_AGO, LONG_AGO)])
    write = register.invoke("live")
    before = time.monotonic_ns()
    register.acknowledge(write, grace=500_000_000)
    assert before + 500_000_000 <= write.acknowledged <= time.monotonic_ns() + 500_000_000


def test_the_first_acknowledgement_counts() -> None:
    register = Register("x", [Write(0, LONG_AGO, LONG_AGO)])
    write = register.invoke(1)
    register.acknowledge(write)
    first = write.acknowledged
    register.acknowledge(write)
    assert write.acknowledged == first


def test_what_nobody_can_know_is_not_judged() -> None:
    history = history_of([("suspended", 10, NEVER)], [("enabled", 5, 9), ("odd", 20, 30)], before="enabled")
    history.registers[0].retired = 15
    verdict = check(history)
    assert (verdict.violations, verdict.reads, verdict.unjudged) == ([], 1, 1)


def test_a_read_older_than_an_earlier_one_is_counted_but_no_fault() -> None:
    verdict = check(history_of([(1, 10, 90)], [(1, 12, 15), (0, 16, 20), (0, 14, 20)]))
    assert (verdict.violations, verdict.back) == ([], 1)


def simulated(seed: int, *, faults: int) -> tuple[History, int]:
    """A register with one writer and many readers that see some version between those that they may; `faults` of them
    one that was overtaken. (history, number of faults made)"""
    pick = random.Random(seed)
    now, writes = 0, []
    for number in range(1, 200):
        sent = now + pick.randrange(1, 20)
        now = sent + pick.randrange(1, 20)
        writes.append((number, sent, NEVER if pick.random() < 0.1 else now))
    reads = []
    for _ in range(2000):
        begun = pick.randrange(now)
        ended = begun + pick.randrange(60)
        low = max((n for n, _, acknowledged in writes if acknowledged < begun), default=0)
        high = max((n for n, sent, _ in writes if sent <= ended), default=0)
        reads.append((pick.randint(low, high), begun, ended))
    made = 0
    for at in pick.sample(range(len(reads)), len(reads)):
        _, begun, ended = reads[at]
        low = max((n for n, _, acknowledged in writes if acknowledged < begun), default=0)
        if low and made < faults:
            reads[at] = (pick.randrange(low), begun, ended)
            made += 1
    return history_of(writes, reads), made


@pytest.mark.parametrize("seed", range(5))
def test_it_agrees_with_a_slow_and_simple_judge(seed: int) -> None:
    assert check(simulated(seed, faults=0)[0]).violations == []
    history, made = simulated(seed, faults=17)
    assert (made, kinds(check(history))) == (17, ["stale"] * 17)
