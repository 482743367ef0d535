"""Starts what is measured: an `idnode dev` of its own, and the baseline beside it on the same servers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from node.embedded_process import free_port

_START_SECONDS = 90


@asynccontextmanager
async def started(
    command: list[str], env: Mapping[str, str], log: Path, cores: Iterable[int] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that is stopped with SIGINT when the block is left; `cores` pins it and its children."""
    wanted = set(cores) if cores else None

    def pin() -> None:
        if wanted:
            os.sched_setaffinity(0, wanted)

    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *command, env={**os.environ, **env}, stdout=output, stderr=output, preexec_fn=pin
        )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
        try:
            await asyncio.wait_for(process.wait(), 40)
        except TimeoutError:
            process.kill()
            await process.wait()


@asynccontextmanager
async def dev_node(
    env: Mapping[str, str] | None = None, cores: Iterable[int] | None = None
) -> AsyncIterator[dict[str, Any]]:
    """`idnode dev --no-demo` on a scratch directory; what its ready file says, and the directory as `data`."""
    with tempfile.TemporaryDirectory(prefix="idnode-load-", ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch)
        folder.chmod(0o755)
        ready, log = folder / "ready.json", folder / "dev.log"
        arguments = ["dev", "--no-demo", "--port", str(free_port(0))]
        arguments += ["--data", str(folder / "data"), "--ready-file", str(ready)]
        command = [sys.executable, "-m", "node.cli", *arguments]
        async with started(command, env or {}, log, cores) as process:
            await _until(ready.exists, process, log)
            yield {**json.loads(ready.read_text()), "data": str(folder / "data")}


@asynccontextmanager
async def baseline(node: Mapping[str, Any], cores: Iterable[int] | None = None) -> AsyncIterator[int]:
    """The baseline with one worker on the node's own PostgreSQL and Valkey; its port."""
    port = free_port(0)
    env = {"DATABASE_URL": node["database_url"], "REDIS_URL": node["redis_url"]}
    command = [sys.executable, "-m", "uvicorn", "loadtest.baseline:app", "--port", str(port), "--no-access-log"]
    command += ["--loop", "uvloop", "--http", "httptools", "--log-level", "warning"]
    with tempfile.TemporaryDirectory(prefix="idnode-baseline-") as scratch:
        log = Path(scratch) / "baseline.log"
        async with started(command, env, log, cores) as process:
            await _until(lambda: _listens(port), process, log)
            yield port


def _listens(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def _until(done: Any, process: asyncio.subprocess.Process, log: Path) -> None:
    deadline = asyncio.get_running_loop().time() + _START_SECONDS
    while not done():
        if process.returncode is not None or asyncio.get_running_loop().time() > deadline:
            raise RuntimeError(f"it did not start:\n{log.read_text(errors='replace')[-2000:]}")
        await asyncio.sleep(0.05)
