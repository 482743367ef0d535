"""The phases of a run, one after the other, and what they leave in the book."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from loadtest.acceptance import calibrate, sweep
from loadtest.acceptance.book import Book
from loadtest.acceptance.firms import Firm, firms
from loadtest.acceptance.generators import Generators, Phase
from loadtest.acceptance.morning import Morning
from loadtest.acceptance.own_node import OwnNode, own_node
from loadtest.acceptance.profiles import Profile
from loadtest.acceptance.progress import Progress
from loadtest.acceptance.resources import Watch, watching
from loadtest.acceptance.rest import Incomplete, Rest, new_owner, prefix_of
from loadtest.industry_rows import INDUSTRIES

_OWNERS_AT_ONCE = 6  # each waits for the fence, and holds one of the node's connections meanwhile
NAMES = {
    "prepare": ("准备", "prepare"),
    "calibrate": ("发生器标定", "calibrate the generator"),
    "morning": ("早间导入", "morning imports"),
    "day": ("白天", "the day"),
    "drills": ("故障演练", "drills"),
    "steps": ("逐级加压", "steps"),
    "sweep": ("对账与全量核对", "ledger and sweep"),
}


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for; `url` empty: a node of the run's own."""

    url: str
    key: str
    profile: Profile
    seed: int
    drills: Sequence[str]  # by name
    steps: bool
    generators: int
    workers: int  # of the own node
    users: Path | None = None
    calibrate_seconds: float = 3.0


class Run:
    """One run over one folder."""

    def __init__(self, options: Options, book: Book, progress: Progress) -> None:
        self.options, self.book, self.progress = options, book, progress
        self.start = progress.start
        self.node: OwnNode | None = None
        self.generators: Generators | None = None
        self.url = options.url.rstrip("/")
        self.firms: list[Firm] = []

    @property
    def done(self) -> dict[str, Any]:
        found: dict[str, Any] = self.book.state["done"]
        return found

    async def go(self) -> None:
        """All phases that are not done yet. Raises Incomplete; what is known by then is in the book."""
        async with AsyncExitStack() as stack:
            if not self.url:
                self.progress.phase("启动节点", "starting a node")
                self.node = await stack.enter_async_context(own_node(self.book.folder / "node", self.options.workers))
                self.url = self.node.url
            self.book.state["url"] = self.url
            await self._phase("prepare", self._prepare)
            self._found_firms()
            database = self.node.cluster.servers.database_url if self.node else ""
            watch = await stack.enter_async_context(watching(self.start, self._pids, database))
            watch.seen = self.book.resources  # a resumed run's go on
            try:
                await self._phases(watch)
            finally:
                self.book.state["stalls"] = [*self.book.state.get("stalls", []), *watch.stalls]
                if stalls := self.book.state["stalls"]:
                    still = round(sum(one["seconds"] for one in stalls))
                    self.book.incomplete(
                        f"测试机停顿 {still} 秒，所测时间不可信",
                        f"this machine stood still for {still} s: no time is sure",
                    )
                if watch.jumps:
                    self.book.incomplete(
                        f"运行期间时钟跳变 {watch.jumps[0]} 秒", f"the clock jumped by {watch.jumps[0]} s meanwhile"
                    )

    async def _phases(self, watch: Watch) -> None:
        wanted: list[tuple[str, Callable[[], Awaitable[Any]]]] = [
            ("calibrate", self._calibrate), ("morning", self._morning), ("day", self._day),
        ]  # fmt: skip
        if self.options.drills:
            wanted.append(("drills", self._drills))
        if self.options.steps:
            wanted.append(("steps", self._steps))
        for name, work in wanted:
            await self._phase(name, work)
        await self._phase("sweep", lambda: self._sweep(watch))

    async def _phase(self, name: str, work: Callable[[], Awaitable[Any]]) -> None:
        if name in self.done:
            return
        zh, en = NAMES[name]
        seconds = self.options.profile.day_seconds if name == "day" else 0.0
        self.progress.phase(zh, en, seconds)
        entry = {"name": name, "zh": zh, "en": en, "from": round(monotonic() - self.start, 1), "to": None}
        self.book.phases.append(entry)
        try:
            found = await work()
        finally:
            entry["to"] = round(monotonic() - self.start, 1)
        self.book.finish(name, found, monotonic() - self.start)

    def _pids(self) -> dict[str, list[int]]:
        found = self.node.pids() if self.node else {}
        load = self.generators.pids if self.generators else []
        return {**found, "generator": [os.getpid(), *load]}

    # --- before the load

    async def _prepare(self) -> dict[str, Any]:
        """Owners of prefixes, counters and size before, versions."""
        state = self.book.state
        count = self.options.profile.firms
        owners: list[tuple[str, str]] = [tuple(o) for o in state.setdefault("owners", [])]
        if self.node is None:
            rest = Rest(self.url, self.options.key)
            try:
                owners = [(await prefix_of(rest), self.options.key)]
            finally:
                await rest.close()
            state["tag"] = f"A{secrets.token_hex(3)}"
        else:
            await self._own_owners(self.node, owners, count)
            state["tag"] = f"A{self.options.seed % 1000:03d}"
        state["owners"] = [[prefix, key] if self.node else [prefix, ""] for prefix, key in owners]
        self._found_firms()
        before = await sweep.counters(self.url, self.firms)
        return {
            "counters": before,
            "database_mib": await self.node.size() if self.node else None,
            "versions": await self.node.versions() if self.node else {},
        }

    async def _own_owners(self, node: OwnNode, owners: list[tuple[str, str]], count: int) -> None:
        door = Rest(node.url)
        token = (await door.ask("POST", "/api/v1/operators:login", json=node.seeded["operator"]))["token"]
        operator = Rest(node.url, token)
        try:
            for first in range(len(owners), count, _OWNERS_AT_ONCE):
                # The giant's rows lie in many shards: with a spread of one a third of all rows would share one.
                owners += await asyncio.gather(
                    *(
                        new_owner(operator, n, INDUSTRIES[n % len(INDUSTRIES)], 16 if n == 0 else 1)
                        for n in range(first, min(first + _OWNERS_AT_ONCE, count))
                    )
                )
        finally:
            await door.close()
            await operator.close()

    def _found_firms(self) -> None:
        profile, state = self.options.profile, self.book.state
        owners = [(prefix, key or self.options.key) for prefix, key in state["owners"]]
        self.firms = firms(profile.rows, self.options.seed, state["tag"], owners, profile.firms)
        self.generators = Generators(
            self.url, self.firms, self.book.folder, self.options.seed, state["tag"], self.start,
            self.options.generators, self.options.users, self.book.tally,
        )  # fmt: skip

    async def _calibrate(self) -> dict[str, Any]:
        return await asyncio.to_thread(calibrate.measure, self.options.calibrate_seconds)

    # --- the load

    async def _morning(self) -> dict[str, int]:
        work = self._import_of(0)

        async def tell() -> None:
            while True:
                await asyncio.sleep(1)
                if work.began:
                    self.progress.count("行 rows", work.rows, work.total, monotonic() - work.began)
                elif work.lots_wanted:
                    self.progress.count("批次 lots", work.lots, work.lots_wanted, monotonic() - begun)

        begun = monotonic()
        telling = asyncio.create_task(tell())
        try:
            await _alone(work.run())
            return await work.close()
        finally:
            telling.cancel()

    def _import_of(self, part: int) -> Morning:
        return Morning(self.url, self.firms, part, self.book.folder, self.book.tally, self.start)

    async def _day(self) -> dict[str, Any]:
        """The load, and while it runs the imports of rows that are there already, changed or broken."""
        assert self.generators is not None
        profile, later = self.options.profile, self._import_of(1)
        started = asyncio.Event()

        async def imports() -> None:
            await started.wait()
            await asyncio.sleep(profile.day_seconds * 0.15)
            await _alone(later.run())

        beside = asyncio.create_task(imports())
        try:
            phase = Phase("day", profile.streams, profile.day_seconds)
            tally = await self.generators.run(phase, self.progress.load, lambda at: started.set())
            await beside
        finally:
            beside.cancel()
        # Comparing the ledgers keeps a core busy for 20 s: not while anything is measured.
        return {"imports": await later.close(), "ledger": tally.ledger}

    async def _drills(self) -> dict[str, Any]:
        from loadtest.acceptance import drills

        assert self.generators is not None
        return {
            "drills": await drills.some(
                self.node, self.generators, self.options.profile, self.progress, self.options.drills
            )
        }

    async def _steps(self) -> dict[str, Any]:
        from loadtest.acceptance import steps

        assert self.generators is not None
        return await steps.climb(self.generators, self.options.profile, self.progress)

    # --- after the load

    async def _sweep(self, watch: Watch) -> dict[str, Any]:
        profile, tally = self.options.profile, self.book.tally
        looking = sweep.Sweep(
            self.url, self.firms, self.book.state["tag"],
            sweep.kept_oracle(self.book.folder, self.options.generators), tally, self.start,
        )  # fmt: skip
        await looking.export()
        await looking.resolve(profile.sweep_all, self.options.seed)
        sums = dict(self.done["morning"])
        for name, count in self.done["day"]["imports"].items():
            sums[name] = sums.get(name, 0) + count
        lots = sum(1 for firm in self.firms for _ in firm.lots())
        gained = await sweep.counters(self.url, self.firms) - self.done["prepare"]["counters"]
        after, before = await self.node.size() if self.node else None, self.done["prepare"]["database_mib"]
        grown = (after - before) * 2**20 if after is not None and before is not None else None
        return {
            "ledger": sweep.ledger(sums, tally.ledger.get("singles_unchanged", 0), looking, gained, lots),
            "sweep": {"checked": looking.checked, "wrong": looking.wrong},
            "database": {
                "before_mib": before, "after_mib": after, "items": looking.rows,
                "bytes_per_item": round(grown / looking.rows) if grown is not None and looking.rows else None,
            },
        }  # fmt: skip


async def _alone(work: Awaitable[None]) -> None:
    """What made a run incomplete, out of the group of those who worked at once."""
    try:
        await work
    except ExceptionGroup as group:
        found = group.subgroup(Incomplete)
        raise (found.exceptions[0] if found else group) from None
