# cython: annotation_typing=False
"""Counting resolutions in memory: plain dictionaries and numbers, no I/O. `node.statistics` settles what is gathered.

Days are days of Beijing (UTC+8), for the upper node's reports are. An address is kept as it came until the settlement,
then as IPv4 or as the /64 of IPv6 (one household or firm has a whole /64).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from math import inf

UNKNOWN = 0  # prefix_id of what is no prefix of this node
WHOLE_NODE = -1
MAX_SOURCES = 10_000  # addresses kept of a prefix and day; the rest is "other"
OTHER = ""
_LOCAL_SECONDS = 8 * 3600
_EPOCH = date(1970, 1, 1)


def day_number(second: float) -> int:
    """Days since the epoch in Beijing."""
    return int(second + _LOCAL_SECONDS) // 86_400


def day_of(number: int) -> date:
    return _EPOCH + timedelta(days=number)


def local_day(second: float) -> date:
    return day_of(day_number(second))


@lru_cache(4096)
def grouped(address: str) -> str:
    """The address as it is counted; OTHER for what is none (a Unix socket, a proxy's word)."""
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return OTHER
    if isinstance(ip, IPv6Address):
        if ip.ipv4_mapped:
            return str(ip.ipv4_mapped)
        return f"{IPv6Address(int(ip) >> 64 << 64)}/64"
    return str(ip)


@dataclass(eq=False)
class Day:
    """One prefix on one day. Seconds are of duration, `*_at` since the epoch."""

    requests: int = 0
    hits: int = 0
    total: float = 0.0
    low: float = inf
    low_at: int = 0
    high: float = -1.0
    high_at: int = 0
    forged: int = 0
    guessed: int = 0

    def add(self, other: Day) -> None:
        self.requests += other.requests
        self.hits += other.hits
        self.total += other.total
        self.forged += other.forged
        self.guessed += other.guessed
        if other.low < self.low:
            self.low, self.low_at = other.low, other.low_at
        if other.high > self.high:
            self.high, self.high_at = other.high, other.high_at


@dataclass(slots=True)
class Sums:
    """What one settlement adds: per (prefix, day), per (prefix, second), per (prefix, day, address)."""

    days: dict[tuple[int, int], Day] = field(default_factory=dict)
    seconds: dict[tuple[int, int], int] = field(default_factory=dict)
    sources: dict[tuple[int, int, str], int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.days)

    def add(self, other: Sums) -> None:
        """Take another's sums in, bounded: only while PostgreSQL is away for minutes is it called at all. Of the
        seconds then only each day's highest stays, of the addresses the first 10,000."""
        for key, day in other.days.items():
            self.days.setdefault(key, Day()).add(day)
        for spot, requests in other.seconds.items():
            self.seconds[spot] = self.seconds.get(spot, 0) + requests
        self.seconds = _highest(self.seconds)
        kept: dict[tuple[int, int], int] = {}
        for prefix_id, day_, _ in self.sources:
            kept[prefix_id, day_] = kept.get((prefix_id, day_), 0) + 1
        for (prefix_id, day_, address), count in other.sources.items():
            source = (prefix_id, day_, address)
            if source not in self.sources:
                if kept.get((prefix_id, day_), 0) >= MAX_SOURCES:
                    source = (prefix_id, day_, OTHER)
                kept[prefix_id, day_] = kept.get((prefix_id, day_), 0) + 1
            self.sources[source] = self.sources.get(source, 0) + count


def _highest(seconds: dict[tuple[int, int], int]) -> dict[tuple[int, int], int]:
    best: dict[tuple[int, int], tuple[int, int]] = {}
    for (prefix_id, second), requests in seconds.items():
        spot = (prefix_id, day_number(second))
        best[spot] = max(best.get(spot, (0, 0)), (requests, second))
    return {(prefix_id, second): requests for (prefix_id, _), (requests, second) in best.items()}


@dataclass(eq=False)
class Cell:
    """Of one prefix in one second: what it adds to its day, and requests by address."""

    day: Day
    sources: dict[str, int] = field(default_factory=dict)


class Tally:
    """The counts of one worker since they were last taken. Not for several threads."""

    __slots__ = ("_cells", "_done", "_second")

    def __init__(self) -> None:
        self._second = 0
        self._cells: dict[int, Cell] = {}
        self._done: list[tuple[int, dict[int, Cell]]] = []

    def _cell(self, prefix_id: int, now: float) -> Cell:
        second = int(now)
        if second != self._second:
            if self._cells:
                self._done.append((self._second, self._cells))
            self._second, self._cells = second, {}
        cell = self._cells.get(prefix_id)
        if cell is None:
            cell = self._cells[prefix_id] = Cell(Day(low_at=second, high_at=second))
        return cell

    def count(self, prefix_id: int, hit: bool, seconds: float, address: str, now: float) -> None:
        """One resolution: of a prefix of this node or UNKNOWN, answered from what was found or not, after `seconds`.

        A hit is "找到查询内容并成功响应" (domain.md 2.3): not an HTTP 200 that says there is nothing.
        """
        second = int(now)
        cell = self._cells.get(prefix_id) if second == self._second else None
        if cell is None:
            cell = self._cell(prefix_id, now)
        day = cell.day
        day.requests += 1
        day.hits += hit
        day.total += seconds
        if seconds < day.low:  # noqa: PLR1730 - min() would be a call
            day.low = seconds
        if seconds > day.high:  # noqa: PLR1730
            day.high = seconds
        cell.sources[address] = cell.sources.get(address, 0) + 1

    def suspect(self, prefix_id: int, now: float, *, forged: int = 0, guessed: int = 0) -> None:
        """Look-ups that were also counted, of serials that were never issued or in runs of guesses."""
        day = self._cell(prefix_id, now).day
        day.forged += forged
        day.guessed += guessed

    def take(self) -> Sums:
        """All that was counted since the last time, the second under way included: its rest adds to it later."""
        done, self._done = self._done, []
        if self._cells:
            done.append((self._second, self._cells))
            self._cells = {}
        sums = Sums()
        for second, cells in done:
            day = day_number(second)
            for prefix_id, cell in cells.items():
                _gather(sums, prefix_id, day, second, cell)
        return sums


def _gather(sums: Sums, prefix_id: int, day: int, second: int, cell: Cell) -> None:
    requests = cell.day.requests
    for owner in (prefix_id, WHOLE_NODE):
        sums.days.setdefault((owner, day), Day()).add(cell.day)
        if requests:
            sums.seconds[owner, second] = sums.seconds.get((owner, second), 0) + requests
    for address, count in cell.sources.items():
        key = (prefix_id, day, grouped(address))
        sums.sources[key] = sums.sources.get(key, 0) + count
