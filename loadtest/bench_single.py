"""`make bench-single`: registering one handle at a time beside the baseline, in turn; needs wrk.

32 connections, one worker with its PostgreSQL and Valkey on one core, wrk on the other: a Python client takes longer
for a request than the node does. Beside the rates stand the microseconds of processor time for a registration, of the
worker and of PostgreSQL: they hardly move with what else the machine does.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from loadtest.servers import baseline, dev_node
from loadtest.wrk import Measured, pids_of, ticks, wrk

WANTED = 4.0  # times the baseline
# The content is Goods' (loadtest/workload.py): two handle values, about 200 bytes.
_LUA = """
local n = 0
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer %(key)s"
local form = '{"handle": "%(prefix)s/%(run)s-%%08d", "values": [{"index": 1, "type": "URL", "data":'
  .. ' "https://goods.example.com/%(run)s/%%d"}, {"index": 2, "type": "DESC", "data": "砀山酥梨 %%d g 优等"}]}'
request = function()
  n = n + 1
  return wrk.format(nil, "/api/v1/handles", nil, string.format(form, n, n, 200 + n %% 110))
end
"""


@dataclass(slots=True, frozen=True)
class Turn:
    """One run: of the worker, and of PostgreSQL in microseconds a registration."""

    measured: Measured
    postgres_us: float


@dataclass
class Place:
    """What is measured, and where."""

    ready: dict[str, Any]
    ports: dict[str, int]
    postgres: list[int]
    folder: Path
    core: int | None
    seconds: float

    async def run(self, name: str, run: str) -> Turn:
        port = self.ports[name]
        lua = self.folder / f"{name}-{run}.lua"
        lua.write_text(_LUA % {"key": self.ready["api_key"], "prefix": self.ready["prefix"], "run": run})
        pids = pids_of("node.cli", "serve", str(port)) or pids_of(str(port))
        before = ticks(self.postgres)
        measured = await wrk(port, lua, self.seconds, self.core, pids)
        spent = (ticks(self.postgres) - before) / os.sysconf("SC_CLK_TCK")
        if measured.refused:
            raise RuntimeError(f"{name}: {measured.refused} of {measured.answers} were refused")
        return Turn(measured, 1e6 * spent / max(1, measured.answers))


def _line(name: str, turns: Iterable[Turn]) -> str:
    taken = list(turns)
    rate = statistics.median(t.measured.rate for t in taken)
    worker = statistics.median(t.measured.cpu_us for t in taken)
    return f"{name:<10} {rate:>9,.0f}/s {worker:>10.0f} us {statistics.median(t.postgres_us for t in taken):>10.0f} us"


async def bench(rounds: int, seconds: float) -> float:
    """Start both, load them in turn, print the figures; the ratio of the rates."""
    servers, core = ({0}, 1) if (os.cpu_count() or 1) > 1 else (None, None)
    if core is not None:
        os.sched_setaffinity(0, {core})
    with tempfile.TemporaryDirectory(prefix="idnode-single-") as scratch:
        async with dev_node({"POOL_SIZE": "8"}, servers) as ready, baseline(ready, servers) as plain:
            ports = {"node": httpx.URL(ready["url"]).port or 0, "baseline": plain}
            turns: dict[str, list[Turn]] = {name: [] for name in ports}
            place = Place(ready, ports, await _postgres(ready), Path(scratch), core, seconds)
            for name in ports:  # pools and plans; and just after a start each change waits for the fence
                await place.run(name, "W")
            for round_ in range(rounds):
                for name in ports if round_ % 2 == 0 else reversed(ports):
                    place.postgres = await _postgres(ready)
                    turns[name].append(await place.run(name, f"S{round_}"))
    print(f"{'':<10} {'rate':>11} {'worker':>13} {'PostgreSQL':>13}")
    for name, taken in turns.items():
        print(_line(name, taken))
    rate = {name: statistics.median(t.measured.rate for t in taken) for name, taken in turns.items()}
    return rate["node"] / rate["baseline"]


async def _postgres(ready: dict[str, Any]) -> list[int]:
    """The server's processes: those that serve a connection, and those that write for all."""
    conn = await asyncpg.connect(ready["database_url"])
    try:
        found = await conn.fetch("SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        return [record["pid"] for record in found]
    finally:
        await conn.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtest.bench_single", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each turn (5)")
    arguments = parser.parse_args()
    ratio = asyncio.run(bench(arguments.rounds, arguments.seconds))
    print(f"{ratio:.2f} times the baseline; wanted: {WANTED:g}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
