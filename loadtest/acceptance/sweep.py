"""After the load: every item through the export stream, once and with its content; resolved one by one or a sample;
the ledger of promise 3 against rows and counters."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any

import httpx
import orjson

from loadtest.acceptance.firms import SINGLE, Firm, batches
from loadtest.acceptance.oracle import NEVER, Oracle, kept_part
from loadtest.acceptance.rest import Incomplete, Rest, registered
from loadtest.acceptance.tally import Tally

_AT_ONCE = 500  # handles of a resolve:batch
SAMPLE = 20_000
_OWNERS_AT_ONCE = 10


def kept_oracle(folder: Path, workers: int) -> Oracle:
    """What all generators know, in one."""
    whole = Oracle()
    for number in range(workers):
        part = kept_part(folder, number)
        whole.items |= part.items
        whole.lots |= part.lots
        whole.lot_of |= part.lot_of
    return whole


class Sweep:
    """Of one run's items."""

    def __init__(self, url: str, firms: Sequence[Firm], tag: str, oracle: Oracle, tally: Tally, start: float) -> None:
        self.url, self.firms, self.tag, self.oracle, self.tally, self.start = url, firms, tag, oracle, tally, start
        self.checked = self.rows = 0
        self.singles = 0  # acknowledged, or found although nobody acknowledged them
        self._seen = [bytearray(firm.size(0)) for firm in firms]
        self._singles: set[tuple[int, int]] = set()
        self._before = tally.wrong_count

    @property
    def wrong(self) -> int:
        return self.tally.wrong_count - self._before

    def _fault(self, kind: str, handle: str, expected: object, got: object) -> None:
        self.tally.fault(kind, "sweep", handle, expected, got, monotonic() - self.start)

    async def export(self) -> None:
        """Read every prefix through and miss nothing."""
        for prefix, key in dict.fromkeys((f.prefix, f.key) for f in self.firms):
            rest = Rest(self.url, key)
            try:
                path = f"/api/v1/prefixes/{prefix}/export?kind=items"
                async with rest.client.stream("GET", path) as answer:
                    if answer.status_code != 200:
                        raise Incomplete(f"导出失败：{answer.status_code}", f"the export answers {answer.status_code}")
                    async for line in answer.aiter_lines():
                        self._line(orjson.loads(line))
            except httpx.HTTPError as error:
                raise Incomplete("导出中断", f"the export broke off: {type(error).__name__} {error}") from None
            finally:
                await rest.close()
        self._missing()

    def _line(self, row: dict[str, Any]) -> None:
        handle = str(row["handle"])
        suffix = handle.partition("/")[2]
        known = len(self.tag) + 3
        if not suffix.startswith(self.tag) or not suffix[known - 3 :].isdigit() or len(suffix) != known + 9:
            return  # not of this run
        index, number = int(suffix[known - 3 : known]), int(suffix[known:])
        firm = self.firms[index]
        self.checked += 1
        self.rows += 1
        if self._twice(firm, number):
            self._fault("doubled", handle, "once in the export", "twice")
            return
        first = 0 if number >= SINGLE else 1
        low, high = self.oracle.may_be(firm, number, NEVER, NEVER, first)
        if number < SINGLE and (number >= firm.size(0) or firm.kind(0, number) != "new"):
            self._fault("wrong", handle, "no such item: its row was broken", row)
        elif high == 0:
            self._fault("wrong", handle, "nothing: it was never sent", row)
        elif not any(_is(firm, number, version, row) for version in range(max(1, low), high + 1)):
            self._fault(self._older(firm, number, low, row), handle, f"version {low} to {high}", row)

    def _older(self, firm: Firm, number: int, low: int, row: dict[str, Any]) -> str:
        return "stale" if any(_is(firm, number, version, row) for version in range(1, low)) else "wrong"

    def _twice(self, firm: Firm, number: int) -> bool:
        if number >= SINGLE:
            before = (firm.index, number) in self._singles
            self._singles.add((firm.index, number))
            return before
        if number >= len(self._seen[firm.index]):
            return False
        before = bool(self._seen[firm.index][number])
        self._seen[firm.index][number] = 1
        return before

    def _missing(self) -> None:
        for firm in self.firms:
            seen = self._seen[firm.index]
            at = seen.find(0)
            while at >= 0:
                if firm.kind(0, at) == "new":
                    self._fault("lost", firm.handle(at), "in the export", "missing")
                at = seen.find(0, at + 1)
        for (index, number), written in self.oracle.items.items():
            if number < SINGLE:
                continue
            low, _ = written.allowed(NEVER, NEVER)
            there = (index, number) in self._singles
            if low and not there:
                self._fault("lost", self.firms[index].handle(number), "in the export: it was acknowledged", "missing")
            self.singles += there or low > 0

    async def resolve(self, everything: bool, seed: int) -> None:
        """Public records: all, or those that were changed and a sample."""
        rest = Rest(self.url)
        try:
            asked: list[tuple[Firm, int, str, int]] = []
            for one in self._wanted(everything, seed):
                asked.append(one)
                if len(asked) == _AT_ONCE:
                    await self._some(rest, asked)
                    asked = []
            if asked:
                await self._some(rest, asked)
        finally:
            await rest.close()

    def _wanted(self, everything: bool, seed: int) -> Iterable[tuple[Firm, int, str, int]]:
        """(firm, number, lot, version before all writes)."""
        for (index, number), _ in self.oracle.items.items():
            firm = self.firms[index]
            lot = self.oracle.lot_of.get((index, number)) or firm.lot(number)
            if number >= SINGLE or not everything:
                yield firm, number, lot, 0 if number >= SINGLE else 1
        random, total = Random(seed), sum(f.size(0) for f in self.firms)
        for batch in batches(self.firms):
            share = 1.0 if everything else min(1.0, SAMPLE / total)
            for number in range(batch.first, batch.first + batch.count):
                if number % 200 != 199 and (share == 1.0 or random.random() < share):
                    yield batch.firm, number, batch.lot, 1

    async def _some(self, rest: Rest, asked: Sequence[tuple[Firm, int, str, int]]) -> None:
        handles = [firm.handle(number) for firm, number, _, _ in asked]
        begun = monotonic()
        answer = await rest.ask("POST", "/api/v1/resolve:batch", json={"handles": handles})
        ended = monotonic()
        for (firm, number, lot, first), result in zip(asked, answer["results"], strict=True):
            self.checked += 1
            if result["status"] == 200:
                fault = self.oracle.record(firm, number, lot, result["record"], begun, ended, first)
            elif result["status"] == 404:
                fault = self.oracle.absent(firm, number, begun, ended, first)
            else:
                fault = "wrong", "200", result
            if fault:
                self._fault(fault[0], firm.handle(number), fault[1], fault[2])


def _is(firm: Firm, number: int, version: int, row: dict[str, Any]) -> bool:
    values = [v["data"] if isinstance(v["data"], str) else v["data"].get("value") for v in row.get("values", [])]
    expected = [firm.address(number, version)] if version > 1 else []
    return bool(row.get("attributes") == firm.content(number, version) and values == expected)


async def counters(url: str, firms: Sequence[Firm]) -> int:
    """Registered, by the node's own counters, over the prefixes of a run."""

    async def one(prefix: str, key: str) -> int:
        rest = Rest(url, key)
        try:
            return await registered(rest, prefix)
        finally:
            await rest.close()

    owners = list(dict.fromkeys((f.prefix, f.key) for f in firms))
    total = 0
    for first in range(0, len(owners), _OWNERS_AT_ONCE):
        total += sum(await asyncio.gather(*(one(*owner) for owner in owners[first : first + _OWNERS_AT_ONCE])))
    return total


def ledger(sums: dict[str, int], unchanged: int, sweep: Sweep, gained: int, lots: int) -> dict[str, Any]:
    """Promise 3. `sums`: of the imports as the node closed them; `unchanged`: answers to singles that were sent again;
    `gained`: growth of the counters. A write that nobody acknowledged counts by what the sweep found of it."""
    created = sums["created"] + sweep.singles
    unchanged += sums["unchanged"]
    conflict, rejected = sums["conflict"], sums["rejected"]
    sent = sums["rows"] + sweep.singles + unchanged - sums["unchanged"]
    items = gained - lots
    balanced = sent == created + unchanged + conflict + rejected and created == sweep.rows == items
    return {"sent": sent, "created": created, "unchanged": unchanged, "conflict": conflict, "rejected": rejected,
            "rows": sweep.rows, "counters": items, "balanced": balanced}  # fmt: skip
