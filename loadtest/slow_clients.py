"""`make slow-clients`: does it matter to honest clients that 2,000 others are slow, silent or half-open?

One worker with its PostgreSQL and Valkey on one core, clients on the other. Honest requests come at a fixed rate
whatever happens, and their time counts from when they were due, so that a late answer makes those behind it late too.
On two cores the hostile ones' own process takes its time from the honest ones'. So blocks of short rounds take turns:
with no hostile connection, with all of them at a bystander on the node's core, with all of them at the node. The last
is judged beside the one before it, for a shared machine is half as fast, and its p99 four times as long, some minutes
later; the ratio to the first is told too. The median of those ratios counts. In a block it is the median p99 of
undisturbed rounds: a virtual machine stands still for 4 to 10 ms now and then, up to 100, which the kernel counts as
stolen.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import uvloop

from loadtest import open_loop
from loadtest.freshness.wire import Client, request
from loadtest.hostile import KINDS
from loadtest.machine import without_autogroups
from loadtest.servers import _listens, _until, dev_node, started
from loadtest.workload import Goods
from node.embedded_process import free_port

_REACH = 1.5  # with them at the most so many times the p99 with them elsewhere
_NONE, _ELSEWHERE, _HERE = "none", "elsewhere", "here"
_ITEMS = 200


@asynccontextmanager
async def bystander(cores: set[int] | None) -> AsyncIterator[int]:
    """Its port."""
    with tempfile.TemporaryDirectory(prefix="idnode-bystander-") as scratch:
        port, log = free_port(0), Path(scratch) / "log"
        async with started([sys.executable, "-m", "loadtest.bystander", str(port)], {}, log, cores) as process:
            await _until(lambda: _listens(port), process, log)
            yield port


@asynccontextmanager
async def hostile(port: int, handle: str, count: int, seed: int) -> AsyncIterator[dict[str, Any]]:
    """`count` hostile connections while the block runs; filled with what became of them when it is left."""
    found: dict[str, Any] = {"hostile": count}
    if not count:
        yield found
        return
    command = [sys.executable, "-m", "loadtest.hostile", str(port), handle, str(count), str(seed)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout
    try:
        first = await process.stdout.readline()
        if not first.startswith(b"held"):
            raise RuntimeError("the hostile connections did not come about")
        yield found
        process.terminate()
        found |= json.loads(await process.stdout.readline())
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _answered_rightly(port: int, goods: Goods) -> None:
    """Each item once, from a node that is still beset."""
    client = Client(port, 30)
    for item in range(_ITEMS):
        reply = await client.ask(request("GET", f"/{goods.handle(item)}"))
        if reply.status != 200 or goods.wrong(item, orjson.loads(reply.body)):
            raise RuntimeError(f"{goods.handle(item)}: {reply.status} {reply.body[:200]!r}")
    client.close()


async def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    cores = os.cpu_count() or 1
    if cores > 1:
        os.sched_setaffinity(0, {1})
    pick = random.Random(arguments.seed)
    servers = {0} if cores > 1 else None
    async with dev_node(cores=servers) as node, bystander(servers) as aside:
        port = urlsplit(node["url"]).port or 80
        goods = Goods(node["prefix"])
        rows = orjson.dumps([goods.row(n) for n in range(_ITEMS)])
        client = Client(port, 60)
        reply = await client.ask(request("POST", "/api/v1/handles:batch", rows, node["api_key"]))
        assert reply.status == 200, reply.body

        def path() -> str:
            return f"/{goods.handle(pick.randrange(_ITEMS))}"

        await open_loop.latencies(port, path, arguments.rate, 3.0)  # warm
        taken: dict[str, list[open_loop.Round]] = {_NONE: [], _ELSEWHERE: [], _HERE: []}
        fates: list[dict[str, Any]] = []
        for number in range(arguments.blocks):
            for where, rounds in taken.items():
                count, target = 0 if where == _NONE else arguments.connections, port if where == _HERE else aside
                async with hostile(target, goods.handle(0), count, arguments.seed + number) as fate:
                    for _ in range(arguments.rounds):
                        rounds.append(await open_loop.measured(port, path, arguments.rate, arguments.seconds))
                    await _answered_rightly(port, goods)
                fates.append({"where": where} | fate)
                print(json.dumps(fates[-1] | open_loop.P99.of(rounds[-arguments.rounds :])._asdict()), flush=True)
    return _report(arguments, taken, fates)


def _report(
    arguments: argparse.Namespace, taken: dict[str, list[open_loop.Round]], fates: list[dict[str, Any]]
) -> dict[str, Any]:
    blocks = range(0, len(taken[_HERE]), arguments.rounds)

    def ratios(other: str) -> list[float]:
        pair = taken[_HERE], taken[other]
        return [_ratio(*(open_loop.P99.of(r[at : at + arguments.rounds]) for r in pair)) for at in blocks]

    beside = ratios(_ELSEWHERE)
    return {
        "rate": arguments.rate,
        "connections": arguments.connections,
        "seed": arguments.seed,
        **{f"p99_{where}": open_loop.P99.of(rounds)._asdict() for where, rounds in taken.items()},
        "ratios": beside,
        "ratio": round(statistics.median(beside), 2),
        "ratio_to_none": round(statistics.median(ratios(_NONE)), 2),
        "reach": _REACH,
        "blocks": fates,
        "rounds": {where: [asdict(one) for one in rounds] for where, rounds in taken.items()},
    }


def _ratio(with_them: open_loop.P99, without: open_loop.P99) -> float:
    """Of like with like."""
    if with_them.undisturbed_ms is None or without.undisturbed_ms is None:
        return round(with_them.all_ms / without.all_ms, 2)
    return round(with_them.undisturbed_ms / without.undisturbed_ms, 2)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.slow_clients",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--connections", type=int, default=2000)
    parser.add_argument("--rate", type=float, default=6000.0, help="honest requests a second")
    parser.add_argument("--seconds", type=float, default=2.0, help="of a round")
    parser.add_argument("--rounds", type=int, default=8, help="of a block")
    parser.add_argument("--blocks", type=int, default=5, help="of each kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=Path, default=Path("reports/slow_clients.json"))
    arguments = parser.parse_args()
    if arguments.connections < len(KINDS):
        parser.error(f"--connections: at least {len(KINDS)}, one of each kind")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # the node inherits it
    with without_autogroups():
        report = uvloop.run(measure(arguments))
    arguments.report.parent.mkdir(parents=True, exist_ok=True)
    arguments.report.write_text(json.dumps(report, indent=1))
    for where, what in ((_NONE, "without any"), (_ELSEWHERE, "with them at a bystander"), (_HERE, "with them here")):
        print(f"p99 {what}: {open_loop.P99(**report[f'p99_{where}'])}")
    print(f"{report['ratio']} times (reach {_REACH}), the median of {', '.join(map(str, report['ratios']))};")
    print(
        f"{report['ratio_to_none']} times what it is without any, their own process on the honest ones' core included"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
