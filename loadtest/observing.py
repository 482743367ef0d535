"""What is watched while a load runs: rows, size of the database, memory of the node's processes."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg


@dataclass(frozen=True)
class Moment:
    """`seconds` since the start; `database` in bytes, `memory` in MiB, both 0 where they cannot be seen from here."""

    seconds: float
    rows: int
    database: int
    memory: float


def processes(port: int) -> list[Path]:
    """The node's own: those that have its port among their arguments, or were started by one that has."""
    found, parents = [], {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parents[folder.name] = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            arguments = (folder / "cmdline").read_bytes().split(b"\0")
            if str(port).encode() in arguments and b"python" in arguments[0]:
                found.append(folder.name)
    workers = [n for n, parent in parents.items() if parent in found and _is_python(n)]
    return [Path("/proc") / number for number in dict.fromkeys([*found, *workers])]


def _is_python(number: str) -> bool:
    with suppress(OSError):
        return b"python" in (Path("/proc") / number / "cmdline").read_bytes().split(b"\0")[0]
    return False


def memory(port: int, line: str = "VmRSS") -> float:
    """MiB of the largest of the node's processes; `VmHWM` asks for the most that one ever had."""
    return max([memory_of(folder, line) for folder in processes(port)], default=0.0)


def memory_of(folder: Path, line: str = "VmHWM") -> float:
    """MiB of one process. Not from getrusage: there a child begins with the most that its parent had."""
    with suppress(OSError):
        return next((int(t.split()[1]) / 1024 for t in (folder / "status").read_text().splitlines() if line in t), 0.0)
    return 0.0


def cpu_of(folder: Path, *, children: bool = False) -> float:
    """Seconds of processor time of one process, where wanted with those of its children that have ended."""
    with suppress(OSError):
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11 : 15 if children else 13])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def used(port: int, database_url: str) -> dict[str, float]:
    """Seconds of processor time so far of the node, of the embedded PostgreSQL behind it, and of this process."""
    wanted, postgres = f"port={urlsplit(database_url).port}".encode(), 0.0
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if wanted in (folder / "cmdline").read_bytes().split(b"\0"):
                children = (folder / "task" / folder.name / "children").read_text().split()
                postgres = cpu_of(folder, children=True) + sum(cpu_of(Path("/proc") / child) for child in children)
    return {"node": sum(map(cpu_of, processes(port))), "PostgreSQL": postgres, "client": time.process_time()}


@asynccontextmanager
async def observed(rows: Callable[[], int], port: int, database_url: str, every: float) -> AsyncIterator[list[Moment]]:
    """Look each `every` seconds, and once more at the end."""
    moments: list[Moment] = []
    start, ended = time.perf_counter(), asyncio.Event()
    conn = await asyncpg.connect(database_url) if database_url else None

    async def look() -> None:
        size = await conn.fetchval("SELECT pg_database_size(current_database())") if conn else 0
        used = await asyncio.to_thread(memory, port)
        moments.append(Moment(time.perf_counter() - start, rows(), size, used))

    async def watch() -> None:
        while not ended.is_set():
            await look()
            with suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), every)

    task = asyncio.create_task(watch())
    try:
        yield moments
    finally:
        ended.set()
        await task
        await look()
        if conn:
            await conn.close()
