"""Turns of `make bench-resolve`: one kind of request after the other, the subjects in turn, medians of rounds."""

from __future__ import annotations

import random
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from loadtest.wrk import Measured, pids_of, script, wrk

HOT = 1000
CONNECTIONS = 64  # with 32, wrk is the limit of hot answers: the worker was idle for a quarter of the time
_WARM = 2.0  # s
HOT_PATH = 'local path = string.format("/%s/S%09d", prefix, math.random(0, 999) * math.floor(n / 1000))'
ANY = 'local path = string.format("/%s/S%09d", prefix, math.random(0, n - 1))'
MIXED = (
    f"local path; if math.random() < 0.8 then {HOT_PATH.removeprefix('local ')} else {ANY.removeprefix('local ')} end"
)
_UNKNOWN = 'local path = string.format("/%s/X%09d", prefix, math.random(0, 999999999))'
# turn: what picks the path, wanted ratio to the baseline, whether every answer is a refusal
TURNS = {
    "1,000 hot handles": (HOT_PATH, 30.0, False),
    "80 % on 1,000 hot, 20 % on all": (MIXED, 12.0, False),
    "uniform over all, cache cold": (ANY, 8.0, False),
    "unknown handles": (_UNKNOWN, 10.0, True),
}


@dataclass
class Place:
    """What is measured, and where."""

    ready: dict[str, Any]
    plain: int
    bare: int
    rows: int
    folder: Path
    core: int | None
    seconds: float
    metrics: int

    @property
    def port(self) -> int:
        return httpx.URL(self.ready["url"]).port or 0

    async def run(
        self, name: str, pick: str, port: int, seed: int, count: int | None = None, seconds: float = 0.0
    ) -> Measured:
        lua = script(self.folder, name, pick, self.ready["prefix"], count or self.rows, seed)
        pids = pids_of("node.cli", "serve", str(port)) or pids_of(str(port))
        return await wrk(port, lua, seconds or self.seconds, self.core, pids, CONNECTIONS)


async def check(place: Place, headers: dict[str, str]) -> None:
    """A sample of the node's answers after the load: each must be of the handle that was asked for."""
    pick = random.Random(7)
    async with httpx.AsyncClient(base_url=place.ready["url"], headers=headers) as client:
        for _ in range(300):
            number = pick.randrange(place.rows)
            handle = f"{place.ready['prefix']}/S{number:09d}"
            record = (await client.get(f"/{handle}")).json()
            if record["handle"] != handle or record["attributes"]["carton_id"] != f"C{number:09d}":
                raise RuntimeError(f"a wrong answer for {handle}: {record}")


async def turns(place: Place, rounds: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for name, (pick, wanted, refused) in TURNS.items():
        taken: dict[str, list[Measured]] = {"node": [], "baseline": []}
        if name.startswith("1,000 hot"):
            taken["bare"] = []
        ports = {"node": place.port, "baseline": place.plain, "bare": place.bare}
        for subject in taken:  # the interpreter has seen each path, and what is hot is hot, before it is measured
            await place.run(f"w{len(rows)}", pick, ports[subject], 500 + len(rows), seconds=_WARM)
        for round_ in range(rounds):
            for subject, measured in taken.items():
                port = ports[subject]
                found = await place.run(f"t{len(rows)}", pick, port, 1000 * len(rows) + round_)
                if subject == "node" and not refused:  # at once after the load: beside it, it would share wrk's core
                    await check(place, {})
                if subject != "bare" and (found.refused != found.answers if refused else found.refused):
                    raise RuntimeError(f"{subject}, {name}: {found.refused} of {found.answers} refused")
                measured.append(found)
        row: dict[str, Any] = {"what": name, "wanted": wanted}
        for subject, measured in taken.items():
            row[subject] = statistics.median(m.rate for m in measured)
            row[f"{subject}_cpu_us"] = statistics.median(m.cpu_us for m in measured)
        row["ratio"] = row["node"] / row["baseline"]
        rows.append(row)
        print(_line(row), flush=True)
    return rows


def _line(row: dict[str, Any]) -> str:
    line = (
        f"{row['what']:34} node {row['node']:9,.0f}/s {row['node_cpu_us']:6.1f} us | baseline {row['baseline']:7,.0f}/s"
    )
    line += f" {row['baseline_cpu_us']:6.1f} us | ratio {row['ratio']:6.1f} (wanted {row['wanted']:g})"
    if "bare" in row:
        line += f" | bare {row['bare']:9,.0f}/s, {row['node'] / row['bare']:.2f} of it (wanted 0.6)"
    return line
