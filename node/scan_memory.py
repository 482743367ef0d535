# cython: annotation_typing=False
"""What one worker holds of scans in memory: claims that wait to be settled, and what it knows already. No I/O."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from node.model import Prefix
from node.places import Place
from node.suspicion import Rings

_MAX_KNOWN = 200_000  # items known to have been scanned: about 30 MB
_MAX_COUNTS = 50_000  # items of which a recent count is held
MAX_LATER = 200_000  # claims that wait; ten times what a worker takes in a second
MAX_TOUCHED = 10_000  # items that wait to be scored, and of which is known what they were scored by
PART = 1_000  # claims settled in one transaction: about 7 ms of the loop, in pieces of 2
_LEAST_PART, _PARTS = 100, 8  # smaller ones cost more for each claim; so many are spread well enough

Item = tuple[str, str]  # prefix, suffix
Counts = dict[Item, tuple[int, float]]  # how many scans of it, and when that was asked (monotonic s)
# Shard, prefix's id and suffix of an item; shard and suffix of its lot (node/scans.py).
Key = tuple[int, int, str, int, str]


async def apart(last: float, seconds: float) -> float:
    """Wait until so many `seconds` after `last`, if that is not yet over; the time then: who comes alone does not wait,
    and a crowd travels together."""
    loop = asyncio.get_running_loop()
    if (early := last + seconds - loop.time()) > 0:
        await asyncio.sleep(early)
    return loop.time()


class Scans(msgspec.Struct, frozen=True, gc=False):
    """What a page says: scans before this one, when the first was (seconds since the epoch) and in what city."""

    before: int = 0
    first_at: float | None = None
    first_place: str = ""
    traced: bool = False  # whether anything ever happened to the item or its lot; an event is never taken away


class Asker(Protocol):
    """Who asked for an item's scans: a future, or what is told at once."""

    def done(self) -> bool: ...
    def set_result(self, found: Scans, /) -> None: ...
    def set_exception(self, error: BaseException, /) -> None: ...


@dataclass(eq=False)
class Told:
    """How many scans an item has by this worker's last commit, and when that was asked (monotonic s). Kept up to date
    where it is: who has it need not look for it again."""

    count: int
    at: float


@dataclass(eq=False)
class Scanned:
    """What a claim is of: its handle in UTF-8, the same parsed, the suffix of its lot, and what state its page showed.
    `told` is what this worker has committed of it, where that was found."""

    handle: bytes
    item: Item
    lot: str
    state: str
    told: Told | None = None


@dataclass(eq=False)
class Claim:
    """A scan that was claimed and is yet to be counted. Marks are keyed digests; see node/scan_tokens.py."""

    of: Scanned
    nonce_mark: bytes
    device_mark: bytes
    at: float
    place: Place | None = None
    registrant: int = 0  # whose own device or key it was, 0 for the public
    scanner: int = 0  # the registered device, 0 for a key or the public


# What there was to score: devices (of many the step of an eighth of a doubling), impossible travels, early scans.
Signs = tuple[int, int, int]


class Touched(msgspec.Struct, frozen=True, gc=False):
    """An item whose scans gave something to score."""

    prefix_id: int
    shard: int
    suffix: str
    lot: str
    signs: Signs = (0, 0, 0)


@dataclass(eq=False)
class ScanMemory:
    """State of one worker; not for several threads."""

    later: list[Claim] = field(default_factory=list)
    first: list[tuple[Claim, asyncio.Future[None]]] = field(default_factory=list)
    committing: bool = False  # a task is at work on `first`
    reads: dict[Key, list[Asker]] = field(default_factory=dict)
    reading: bool = False
    read_at: float = float("-inf")  # loop's time, when the last read began
    committed_at: float = float("-inf")  # and the last commit of first scans
    known: dict[Item, None] = field(default_factory=dict)
    prefixes: dict[str, Prefix] = field(default_factory=dict)
    touched: dict[tuple[int, str], Touched] = field(default_factory=dict)
    scored: dict[tuple[int, str], tuple[Signs, float]] = field(default_factory=dict)  # and when (monotonic s)
    missed: Rings = field(default_factory=dict)  # by prefix
    counts: dict[Item, Told] = field(default_factory=dict)  # what was committed last of items
    settled: Counts = field(default_factory=dict)  # what a settlement under way leaves, which may be told once it is
    worker: uuid.UUID = field(default_factory=uuid.uuid4)  # under which first scans are committed
    commits: int = 0  # of first scans
    own: list[uuid.UUID] = field(default_factory=list)  # all names under which this worker commits scans
    others: str = ""  # what others had committed when this was last looked at
    sure_at: float = float("-inf")  # when that was (monotonic s)
    sure_from: float = float("inf")  # what was known then, or later, is as it is at `sure_at`
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run beside the requests; kept until it is done, or nobody would hold it."""
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def know(self, item: Item) -> None:
        """That this item has had its first scan: it will always have had it."""
        if item not in self.known:
            if len(self.known) >= _MAX_KNOWN:
                del self.known[next(iter(self.known))]
            self.known[item] = None

    def tell(self, counts: Counts) -> None:
        """These were committed."""
        if len(self.counts) > _MAX_COUNTS:
            self.counts = {}
            self.sure_from = time.monotonic()  # what was settled before then is forgotten
        for item, (count, at) in counts.items():
            told = self.counts.get(item)
            if told is None:
                self.counts[item] = Told(count, at)
            else:
                told.count, told.at = count, at

    def looked(self, others: str, asked: float, told: float) -> None:
        """`others` is what other workers have committed, by what PostgreSQL was asked and has told at these times.
        While it stays the same, a count that was read after it was told changes by this worker's own commits only."""
        if others != self.others:
            self.others, self.sure_from = others, told
        self.sure_at = asked

    def right_at(self, counted: float) -> float:
        """When a count was right that was asked for at `counted` and has all that this worker committed since."""
        return max(counted, self.sure_at) if counted >= self.sure_from else counted

    def score_known(self, touched: Iterable[Touched], now: float) -> None:
        """These were scored, and what came of it was committed."""
        if len(self.scored) > MAX_TOUCHED:
            self.scored.clear()
        for one in touched:
            self.scored[one.prefix_id, one.suffix] = (one.signs, now)

    def settlement_committed(self) -> None:
        self.tell(self.settled)
        self.settled = {}

    def take(self, whole: bool = False) -> list[list[Claim]]:
        """The claims that wait, in parts; those of an item together, in order of time: an item's row in PostgreSQL
        costs five times its claim's marks. `whole`: as few parts as can be."""
        later, self.later = self.later, []
        by_item: dict[Item, list[Claim]] = {}
        for claim in later:
            by_item.setdefault(claim.of.item, []).append(claim)
        taken = [claim for claims in by_item.values() for claim in claims]
        size = PART if whole else max(_LEAST_PART, min(PART, -(-len(taken) // _PARTS)))
        return [taken[start : start + size] for start in range(0, len(taken), size)]
