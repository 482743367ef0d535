"""wrk (Debian's package of that name) as the load: a Python client is slower than what is measured."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

CONNECTIONS = 32
_LUA = """
math.randomseed(%(seed)d)
local prefix, n = "%(prefix)s", %(count)d
request = function()
  %(pick)s
  return wrk.format("GET", path)
end
"""


class NoWrk(RuntimeError):
    def __init__(self) -> None:
        super().__init__("wrk is not installed: apt-get install wrk")


@dataclass(slots=True, frozen=True)
class Measured:
    """One run: answers a second, microseconds of the worker's processor time for each, and how many were no 2xx."""

    rate: float
    cpu_us: float
    refused: int
    answers: int


def script(folder: Path, name: str, pick: str, prefix: str, count: int, seed: int) -> Path:
    """A Lua script whose `pick` sets `path`; `n` is the count of handles."""
    path = folder / f"{name}-{seed}.lua"
    path.write_text(_LUA % {"seed": seed, "prefix": prefix, "count": count, "pick": pick})
    return path


async def wrk(
    port: int, lua: Path, seconds: float, core: int | None, pids: Iterable[int], connections: int = CONNECTIONS
) -> Measured:
    """Run it on one core against a port; `pids` are the processes whose processor time is read."""
    if not shutil.which("wrk"):
        raise NoWrk
    pin = ["taskset", "-c", str(core)] if core is not None else []
    command = [*pin, "wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "-s", str(lua), f"http://127.0.0.1:{port}"]
    before = ticks(pids := list(pids))
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    text = (await process.communicate())[0].decode()
    spent = ticks(pids) - before
    found = re.search(r"(\d+) requests in ([\d.]+)s", text)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    if not found or not rate or "Socket errors" in text:
        raise RuntimeError(f"wrk said:\n{text}")
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    answers = int(found[1])
    micros = 1e6 * spent / os.sysconf("SC_CLK_TCK") / max(1, answers)
    return Measured(float(rate[1]), micros, int(bad[1]) if bad else 0, answers)


def ticks(pids: Iterable[int]) -> int:
    """Processor time, in clock ticks, of these processes."""
    total = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total


def pids_of(*words: str) -> list[int]:
    """Processes whose command line holds all the words."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if all(word in line for word in words):
            found.append(int(folder.name))
    return found
