"""`make bench`: the node with one worker and the baseline beside it, on the same servers with equal pools, in turn.

Both register the same content and are asked for the same handles by the same client. Figures are medians of the
rounds; the ratio is what counts, for absolute rates are those of this machine.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtest.client import Load, Request, drive, request
from loadtest.servers import baseline, dev_node
from loadtest.workload import Goods, hot_and_cold, uniform

CONNECTIONS = 32
BATCH = 500


@dataclass
class Subject:
    """One of the two that are compared."""

    name: str
    port: int
    goods: Goods
    headers: dict[str, str]

    def check(self, number: int, body: bytes) -> str | None:
        """Whether a resolved record is what was registered."""
        return self.goods.wrong(number, json.loads(body))

    def resolve(self, number: int) -> Request:
        return request("GET", "/" + self.goods.handle(number)), number

    def register(self, goods: Goods, number: int) -> Request:
        body = json.dumps(goods.row(number), ensure_ascii=False).encode()
        return request("POST", "/api/v1/handles", body, self.headers), number

    def batch(self, goods: Goods, first: int) -> Request:
        rows = [goods.row(n) for n in range(first, first + BATCH)]
        body = json.dumps(rows, ensure_ascii=False).encode()
        return request("POST", "/api/v1/handles:batch", body, self.headers), first


@dataclass
class Turn:
    """One kind of load; `weight` is what one answer counts for."""

    name: str
    weight: int
    make: Callable[[Subject, int], Iterator[Request]]
    connections: int = CONNECTIONS
    checked: bool = True


def _turns(count: int) -> list[Turn]:
    def resolving(numbers: list[int]) -> Callable[[Subject, int], Iterator[Request]]:
        return lambda subject, round_: (subject.resolve(n) for n in itertools.cycle(numbers))

    def singles(subject: Subject, round_: int) -> Iterator[Request]:
        goods = Goods(subject.goods.prefix, run=f"S{round_}")
        return (subject.register(goods, n) for n in itertools.count())

    def batches(subject: Subject, round_: int) -> Iterator[Request]:
        # Made before the clock starts: the client's own JSON is not what is measured.
        goods = Goods(subject.goods.prefix, run=f"B{round_}")
        return iter([subject.batch(goods, n * BATCH) for n in range(60)])

    return [
        Turn("resolve, 80 % on 1,000 hot handles", 1, resolving(hot_and_cold(count, 1))),
        Turn("resolve, uniform", 1, resolving(uniform(count, 2))),
        Turn("register one", 1, singles, checked=False),
        Turn(f"register batches of {BATCH}, rows", BATCH, batches, connections=4, checked=False),
    ]


async def _prepare(subject: Subject, count: int) -> None:
    """Register what will be resolved."""
    requests = iter([subject.batch(subject.goods, n) for n in range(0, count, BATCH)])
    load = await drive(subject.port, requests, 300, 4, lambda n, body: None)
    if set(load.statuses) != {200}:
        raise RuntimeError(f"{subject.name} did not take the handles: {load.statuses}")


async def _measure(subjects: list[Subject], rounds: int, seconds: float, count: int) -> list[dict[str, Any]]:
    rows = []
    for turn in _turns(count):
        loads: dict[str, list[Load]] = {s.name: [] for s in subjects}
        for round_ in range(rounds):
            for subject in subjects if round_ % 2 == 0 else reversed(subjects):
                check = subject.check if turn.checked else lambda n, body: None
                requests = turn.make(subject, round_)
                loads[subject.name].append(await drive(subject.port, requests, seconds, turn.connections, check))
        rows.append(_row(turn, loads))
        print(_line(rows[-1]), flush=True)
    return rows


def _row(turn: Turn, loads: dict[str, list[Load]]) -> dict[str, Any]:
    row: dict[str, Any] = {"what": turn.name}
    for name, taken in loads.items():
        bad = {s: n for load in taken for s, n in load.statuses.items() if s not in (200, 201)}
        wrong = [fault for load in taken for fault in load.wrong]
        if bad or wrong:
            raise RuntimeError(f"{name}, {turn.name}: statuses {bad}, wrong answers {wrong[:3]}")
        row[name] = {
            "rate": statistics.median(load.rate * turn.weight for load in taken),
            "p50_ms": statistics.median(load.percentile(0.5) for load in taken),
            "p99_ms": statistics.median(load.percentile(0.99) for load in taken),
        }
    row["ratio"] = row["node"]["rate"] / row["baseline"]["rate"]
    return row


def _line(row: dict[str, Any]) -> str:
    def figures(name: str) -> str:
        one = row[name]
        return f"{one['rate']:>9,.0f}/s {one['p50_ms']:7.2f} {one['p99_ms']:8.2f} |"

    return f"{row['what']:<38} |{figures('node')}{figures('baseline')} {row['ratio']:5.2f}"


async def bench(rounds: int, seconds: float, count: int) -> dict[str, Any]:
    """Start both, load them in turn, return the figures."""
    servers, client = ({0}, {1}) if (os.cpu_count() or 1) > 1 else (None, None)
    if client:
        os.sched_setaffinity(0, client)
    async with dev_node({"POOL_SIZE": "8"}, servers) as node, baseline(node, servers) as port:
        key = {"Authorization": f"Bearer {node['api_key']}"}
        ours = Subject("node", int(node["url"].rpartition(":")[2]), Goods(node["prefix"]), key)
        plain = Subject("baseline", port, Goods(node["prefix"]), {})
        for subject in (ours, plain):
            await _prepare(subject, count)
        print(f"\n{count:,} handles, {CONNECTIONS} connections, {rounds} rounds of {seconds:g} s, one worker each")
        print(f"{'':<38} |{'node':>11} {'p50 ms':>7} {'p99':>7} |{'baseline':>11} {'p50 ms':>7} {'p99':>7} | ratio")
        rows = await _measure([ours, plain], rounds, seconds, count)
    return {"handles": count, "rounds": rounds, "seconds": seconds, "figures": rows}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtest.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each turn (4)")
    parser.add_argument("--handles", type=int, default=20_000, help="registered before resolving (20,000)")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    figures = asyncio.run(bench(arguments.rounds, arguments.seconds, arguments.handles))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))
    print("\nThe baseline checks no key, prefix or grammar and keeps no counters; the node does all of these.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
