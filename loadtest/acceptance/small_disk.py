"""The drill of a disk that is nearly full: a node of its own, small, on a tmpfs of 400 MiB, which fills and empties
while people and machines go on asking. Only root may mount one; anybody else's run says that it was not run."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

from loadtest.acceptance.firms import firms
from loadtest.acceptance.generators import Generators
from loadtest.acceptance.morning import Morning
from loadtest.acceptance.own_node import OwnNode, own_node
from loadtest.acceptance.rest import Rest, new_owner
from loadtest.acceptance.sweep import Sweep, kept_oracle
from loadtest.acceptance.tally import Tally

_SIZE = "400m"  # a new cluster has 40 MB, its write-ahead log up to 80 before the first checkpoint of so little load
_LEFT = 64 * 1024  # bytes that stay free: less than PostgreSQL needs for the next page of anything
_FULL_SECONDS = 8.0
_ROWS = 600


class NotRun(Exception):
    """There is no small file system to be had here; `zh` and `en` say why."""

    def __init__(self, zh: str, en: str) -> None:
        super().__init__(en)
        self.zh, self.en = zh, en


@asynccontextmanager
async def small_disk(folder: Path) -> AsyncIterator[Path]:
    """A file system of 400 MiB in memory. Raises NotRun."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        raise NotRun("只有 root 能挂载小文件系统", "only root can mount a small file system")
    folder.mkdir(exist_ok=True)
    if await _ran("mount", "-t", "tmpfs", "-o", f"size={_SIZE},mode=755", "tmpfs", str(folder)):
        raise NotRun("此处不能挂载 tmpfs", "no tmpfs can be mounted here")
    try:
        yield folder
    finally:
        await _ran("umount", "-l", str(folder))
        with suppress(OSError):
            folder.rmdir()


async def _ran(*words: str) -> int:
    process = await asyncio.create_subprocess_exec(*words, stderr=asyncio.subprocess.DEVNULL)
    return await process.wait()


@asynccontextmanager
async def node_on_it(like: Generators) -> AsyncIterator[tuple[OwnNode, Generators]]:
    """A node on a small disk with one enterprise's goods, and generators for it that keep their own oracle."""
    async with AsyncExitStack() as stack:
        disk = await stack.enter_async_context(small_disk(like.folder / "small-disk"))
        node = await stack.enter_async_context(own_node(disk / "node", 1))
        door = Rest(node.url)
        token = (await door.ask("POST", "/api/v1/operators:login", json=node.seeded["operator"]))["token"]
        operator = Rest(node.url, token)
        try:
            owner = await new_owner(operator, 0, "pear", 1)
        finally:
            await door.close()
            await operator.close()
        found = firms(_ROWS, like.seed, like.tag, [owner], 1)
        folder = like.folder / "small-disk-oracle"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        made = replace(like, url=node.url, firms=found, folder=folder, workers=1, users=None, pids=[])
        work = Morning(node.url, found, 0, folder, made.tally, like.start)
        await work.run()
        await work.close()
        yield node, made


async def fill(node: OwnNode, generators: Generators) -> None:
    """The disk is full for some seconds."""
    ballast = node.folder.parent / "ballast"
    with ballast.open("wb") as file:
        left = shutil.disk_usage(ballast.parent).free - _LEFT
        os.posix_fallocate(file.fileno(), 0, max(1, left))
    try:
        await asyncio.sleep(_FULL_SECONDS)
    finally:
        ballast.unlink()


async def swept(generators: Generators, tally: Tally) -> None:
    """What was acknowledged on the full disk is there; faults go into `tally`."""
    oracle = kept_oracle(generators.folder, generators.workers)
    looking = Sweep(generators.url, generators.firms, generators.tag, oracle, tally, generators.start)
    await looking.export()


def not_run(why: NotRun, at: float) -> dict[str, Any]:
    """The drill's entry where there was none."""
    at = round(monotonic() - at, 1)
    return {
        "name": "disk_nearly_full", "zh": "磁盘将满", "en": "disk nearly full", "from": at, "to": at, "errors": None,
        "seconds_with_errors": None, "stale": None, "seconds_to_normal": None, "held": None,
        "notes_zh": f"未执行：{why.zh}", "notes_en": f"not run: {why.en}",
    }  # fmt: skip
