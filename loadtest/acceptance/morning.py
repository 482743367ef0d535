"""Imports: lots and chunks of all firms, each answer held against what has to become of its rows; then the ledgers."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import httpx

from loadtest.acceptance.firms import Firm
from loadtest.acceptance.rest import Incomplete, Rest
from loadtest.acceptance.tally import Tally
from loadtest.five_million import Part, Season
from loadtest.industry_rows import OUTCOMES

_SENDERS = 2
_AHEAD = 3  # chunks made before they are sent: some ten MB
_TWICE = 12  # each so many-th chunk is sent again, as after a time-out
_TRIES = (1.0, 3.0, 10.0, 20.0, None)
_LOTS_AT_ONCE = 32  # each waits some 0.1 s until all workers know it, and costs little
_NICE = 10
Job = tuple[Firm, int]  # and its chunk


@dataclass
class Morning:
    """One part (0 the season, 1 rows again, changed or broken) of all firms."""

    url: str
    firms: Sequence[Firm]
    part: int
    folder: Path
    tally: Tally
    start: float
    rows: int = 0  # acknowledged
    lots: int = 0  # acknowledged
    lots_wanted: int = 0
    began: float = 0.0  # when the first chunk went off; the lots were there by then
    sums: dict[str, int] = field(default_factory=dict)
    _ids: dict[str, str] = field(default_factory=dict)
    _rests: dict[str, Rest] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(firm.size(self.part) for firm in self.firms)

    def _rest(self, firm: Firm) -> Rest:
        return self._rests.setdefault(firm.key, Rest(self.url, firm.key))

    async def run(self) -> None:
        """Send what was not sent before."""
        try:
            if self.part == 0:
                await self._lots()
            jobs = await self._jobs()
            self.began = monotonic()
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _aside) as maker:
                bodies = _made(maker, iter(jobs), self.part)
                turn = asyncio.Lock()

                async def sender() -> None:
                    while (found := await _next(bodies, turn)) is not None:
                        await self._chunk(*found)

                async with asyncio.TaskGroup() as group:
                    for _ in range(_SENDERS):
                        group.create_task(sender())
        finally:
            await self._leave()

    async def close(self) -> dict[str, int]:
        """Hold all ledgers against what they have to be; their sums."""
        try:
            for firm in self.firms:
                await self._close(firm)
        finally:
            await self._leave()
        return self.sums

    async def _leave(self) -> None:
        while self._rests:
            await self._rests.popitem()[1].close()

    async def _lots(self) -> None:
        lots = [(firm, lot) for firm in self.firms for lot in firm.lots()]
        turns, self.lots_wanted = iter(lots), len(lots)

        async def some() -> None:
            for firm, lot in turns:
                await self._rest(firm).ask("POST", "/api/v1/lots", json=lot)
                self.lots += 1

        async with asyncio.TaskGroup() as group:
            for _ in range(_LOTS_AT_ONCE):
                group.create_task(some())

    async def _jobs(self) -> list[Job]:
        """Chunks that have not arrived yet, the giant's among those of the small."""
        kept = self.folder / f"imports-{self.part}.json"
        if kept.exists():
            self._ids = json.loads(kept.read_text("utf-8"))
        jobs: list[tuple[float, int, Job]] = []
        for firm in self.firms:
            done: set[int] = set()
            if known := self._ids.get(str(firm.index)):
                state = await self._rest(firm).ask("GET", f"/api/v1/imports/{known}")
                done = set(range(firm.chunks(self.part)))
                if state["state"] == "open":
                    done = set(range(state["next_chunk"]))
            else:
                opened = await self._rest(firm).ask("POST", "/api/v1/imports", json={"name": f"acceptance {self.part}"})
                self._ids[str(firm.index)] = opened["id"]
            chunks = firm.chunks(self.part)
            jobs += [((n + 0.5) / chunks, firm.index, (firm, n)) for n in range(chunks) if n not in done]
        kept.write_text(json.dumps(self._ids), "utf-8")
        return [job for _, _, job in sorted(jobs, key=lambda j: j[:2])]

    async def _chunk(self, firm: Firm, number: int, body: bytes) -> None:
        counts = await self._put(firm, number, body)
        expected = firm.expected(self.part, number)
        if got := {k: counts.get(k) for k, v in expected.items() if counts.get(k) != v}:
            self._fault("wrong", firm, number, expected, got)
        self.rows += counts["rows"]
        if (number + firm.index) % _TWICE == 0:
            again = await self._put(firm, number, body)
            if any(again.get(k) != counts.get(k) for k in ("rows", *expected)):
                self._fault("doubled", firm, number, counts, again)

    def _fault(self, kind: str, firm: Firm, number: int, expected: object, got: object) -> None:
        self.tally.fault(kind, "import_chunk", f"{firm.prefix} {number}", expected, got, monotonic() - self.start)

    async def _put(self, firm: Firm, number: int, body: bytes) -> dict[str, Any]:
        """The chunk's counts; sent again, as it is idempotent, while the node is away."""
        path = f"/api/v1/imports/{self._ids[str(firm.index)]}/chunks/{number}"
        for wait in _TRIES:
            begun = monotonic()
            self.tally.offer(begun - self.start)
            cause, said = "", ""
            try:
                answer = await self._rest(firm).client.put(
                    path, content=body, headers={"Content-Type": "application/x-ndjson"}
                )
                said = answer.text[:300]
                cause = "" if answer.status_code == 200 else str(answer.status_code)
            except httpx.HTTPError as error:
                cause = type(error).__name__
            now = monotonic()
            taken = (now - begun) * 1000
            self.tally.done(now - self.start, "import_chunk", firm.trade, taken, cause, said if cause else "")
            if not cause:
                counts: dict[str, Any] = answer.json()
                return counts
            if cause.startswith("4") and cause != "429":
                break
            if wait is not None:
                await asyncio.sleep(wait)
        raise Incomplete(f"导入分块未被接收：{cause} {said}", f"a chunk was not taken: {cause} {said}")

    async def _close(self, firm: Firm) -> None:
        """The ledger of one firm's import: closed, and each error held against the row that has to have it."""
        known = self._ids[str(firm.index)]
        path = f"/api/v1/imports/{known}"
        closed = await self._rest(firm).ask("GET", path)
        if closed["state"] == "open":
            ledger = {"chunks": firm.chunks(self.part), "rows": firm.size(self.part)}
            closed = await self._rest(firm).ask("POST", f"{path}:commit", json=ledger)
        for name in ("rows", *OUTCOMES.values()):
            self.sums[name] = self.sums.get(name, 0) + closed[name]
        season = Season({"url": self.url, "api_key": firm.key}, firm)
        try:
            part = Part(known)
            await season.compare_errors(part, self.part)
        finally:
            await season.client.aclose()
        for text in part.wrong:
            self._fault("wrong", firm, -1, "the errors of the rows that are broken or changed", text)


def _aside() -> None:
    """Making rows would be the work of the enterprises' machines: on this one it gives way to the node and the load.
    Linux weighs sessions against each other before it looks at nice values (autogroups), hence both."""
    with suppress(OSError):
        os.setsid()
        os.nice(_NICE)
        Path("/proc/self/autogroup").write_text(str(_NICE))


def _body(firm: Firm, part: int, chunk: int) -> bytes:
    return firm.body(part, chunk)


async def _made(maker: ProcessPoolExecutor, jobs: Iterator[Job], part: int) -> AsyncIterator[tuple[Firm, int, bytes]]:
    """Chunks with their bodies, made a few ahead by a process of its own: making is not measured as sending."""
    loop = asyncio.get_running_loop()
    waiting: list[tuple[Job, asyncio.Future[bytes]]] = []
    for job in jobs:
        waiting.append((job, loop.run_in_executor(maker, _body, job[0], part, job[1])))
        if len(waiting) > _AHEAD:
            (firm, number), made = waiting.pop(0)
            yield firm, number, await made
    for (firm, number), made in waiting:
        yield firm, number, await made


async def _next(bodies: AsyncIterator[Any], turn: asyncio.Lock) -> Any:
    async with turn:
        with suppress(StopAsyncIteration):
            return await anext(bodies)
    return None
