"""A model of the cache protocol in virtual time: one item in one lot, three workers that read, three that write.

Every step of every process takes a moment, now and then a long one; links and Valkey go away and come back, entries and
leases are evicted, writers die. Each `Part` can be left out: the protocol without it must be caught.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

LEASE, POLL, COPIES, MARGIN = 0.3, 0.12, 0.1, 0.1  # s, as node/config.py has them
WAIT = LEASE + COPIES + MARGIN

Process = Iterator[float]  # yields how long its next step takes


class Part(Enum):
    """What may be left out, in the words of node/fence.py, cache.py and writing.py."""

    FILL_LEASE = "a fill needs the token of its own miss"
    FENCE = "who cannot forget shuts the epoch"
    SHUT_WAIT = "a shut epoch is waited out"
    READER_LEASE = "a reading of the fence is trusted for its lease only"
    HELD_AT_COMMIT = "a change learns the epoch at its commit"
    RECENT = "a change soon after the fence changed waits for those who do not know yet"
    STAMPS = "an entry carries the stamps of what it was made from"
    OVERTAKEN = "what moved while it was read is not kept"
    LOT_WAIT = "a change of a lot waits for all leases"
    COPY_WAIT = "a change of an item waits for all copies"
    COPY_FROM_START = "a copy ages from the start of its read"


@dataclass
class Store:
    """PostgreSQL: the truth, the fence, and the stamp of the lot. A step on it is one snapshot or one commit."""

    item: int = 0
    lot: int = 0
    stamp: int = 0
    epoch: int = 1
    enabled: bool = True
    changed: float = -9.0


@dataclass
class Worker:
    """What one process knows of the fence, and its copy."""

    name: str
    epoch: int = 0
    enabled: bool = False
    stamp: int = 0
    turn: int = 0
    polled: float = -9.0
    copy: tuple[int, int] | None = None
    copied_until: float = -9.0


@dataclass
class Tally:
    reads: int = 0
    hits: int = 0
    copies: int = 0
    acknowledged: int = 0
    stale: list[str] = field(default_factory=list)


class Model:
    def __init__(self, seed: int, without: Part | None = None) -> None:
        self.random = random.Random(seed)
        self.without = without
        self.now = 0.0
        self.store = Store()
        self.valkey: dict[tuple[int, str], Any] = {}  # (epoch, "entry" or "lease")
        self.away: set[str] = set()  # links; "valkey" for the server
        self.acknowledged = [0, 0]  # item, lot
        self.tally = Tally()
        self._queue: list[tuple[float, int, Process]] = []
        self._spawned = 0
        self._tokens = 0

    def has(self, part: Part) -> bool:
        return self.without is not part

    def spawn(self, process: Process, delay: float = 0.0) -> None:
        self._spawned += 1
        heapq.heappush(self._queue, (self.now + delay, self._spawned, process))

    def run(self, until: float) -> Tally:
        for number in range(3):
            worker = Worker(f"reader {number}")
            self.spawn(self.reader(worker))
            self.spawn(self.reader(worker))
            self.spawn(self.poller(worker))
        for number in range(2):
            self.spawn(self.item_writer(f"writer {number}"))
        self.spawn(self.lot_writer())
        self.spawn(self.nemesis())
        self.spawn(self.relay())
        while self._queue and self._queue[0][0] < until:
            self.now, _, process = heapq.heappop(self._queue)
            for pause in process:
                self.spawn(process, pause)
                break
        return self.tally

    def step(self) -> float:
        """How long a step takes: mostly a moment, sometimes the process or the network stands still."""
        chance = self.random.random()
        if chance < 0.94:
            return self.random.uniform(0.0003, 0.004)
        return self.random.uniform(0.01, 0.2) if chance < 0.985 else self.random.uniform(0.3, 2.5)

    def reaches(self, who: str) -> bool:
        return "valkey" not in self.away and who not in self.away

    # --- readers

    def poll(self, worker: Worker) -> Process:
        started = self.now
        yield self.step()
        store = self.store
        seen = store.epoch, store.enabled, store.stamp
        yield self.step()
        if started > worker.polled:
            worker.turn += seen[2] > worker.stamp
            worker.epoch, worker.enabled, worker.stamp = seen
            worker.polled = started

    def poller(self, worker: Worker) -> Process:
        while True:
            yield from self.poll(worker)
            yield POLL

    def fresh(self, worker: Worker) -> bool:
        return worker.epoch > 0 and (not self.has(Part.READER_LEASE) or self.now - worker.polled < LEASE)

    def reader(self, worker: Worker) -> Process:
        while True:
            yield self.random.uniform(0, 0.03)
            least = tuple(self.acknowledged)
            found = yield from self.read(worker)
            self.tally.reads += 1
            if found is not None and (found[0] < least[0] or found[1] < least[1]):
                self.tally.stale.append(f"{self.now:.3f} {worker.name} saw {found}, acknowledged was {least}")

    def read(self, worker: Worker) -> Any:
        """(item, lot), or None for a 503."""
        yield self.step()
        if worker.copy is not None and self.now < worker.copied_until:
            self.tally.copies += 1
            return worker.copy
        for _ in range(3):
            if self.fresh(worker):
                break
            yield from self.poll(worker)
        if not self.fresh(worker):
            return None
        started = self.now  # of the read that a copy would come from
        if not worker.enabled:
            return (yield from self.stored(worker, 0, ""))
        epoch = worker.epoch
        yield self.step()
        if not self.reaches(worker.name):
            return (yield from self.stored(worker, 0, ""))
        entry = self.valkey.get((epoch, "entry"))
        yield self.step()
        if entry is not None and (worker.stamp <= entry[2] or not self.has(Part.STAMPS)):
            self.tally.hits += 1
            worker.copy = entry[:2]
            worker.copied_until = (started if self.has(Part.COPY_FROM_START) else self.now) + COPIES
            return entry[:2]
        return (yield from self.stored(worker, epoch, self.token()))

    def token(self) -> str:
        self._tokens += 1
        return f"token {self._tokens}"

    def stored(self, worker: Worker, epoch: int, token: str) -> Any:
        """From PostgreSQL, and into the cache where a lease was granted."""
        turn, granted = worker.turn, False
        if token:
            yield self.step()
            if self.reaches(worker.name) and (epoch, "lease") not in self.valkey:
                self.valkey[(epoch, "lease")] = token
                self.spawn(self.lapse(epoch, token), 3.0)
                granted = True
            granted = granted or not self.has(Part.FILL_LEASE)
        yield self.step()
        found = self.store.item, self.store.lot
        yield self.step()
        if granted and (turn == worker.turn or not self.has(Part.OVERTAKEN)):
            self.spawn(self.fill(worker, epoch, token, (*found, worker.stamp)), self.step())
        return found

    def fill(self, worker: Worker, epoch: int, token: str, entry: tuple[int, int, int]) -> Process:
        if self.reaches(worker.name):
            if not self.has(Part.FILL_LEASE):
                self.valkey[(epoch, "entry")] = entry
            elif self.valkey.get((epoch, "lease")) == token:
                del self.valkey[(epoch, "lease")]
                self.valkey[(epoch, "entry")] = entry
        yield from ()

    def lapse(self, epoch: int, token: str) -> Process:
        if self.valkey.get((epoch, "lease")) == token:
            del self.valkey[(epoch, "lease")]
        yield from ()

    # --- writers

    def forget(self, epoch: int) -> None:
        self.valkey.pop((epoch, "entry"), None)
        self.valkey.pop((epoch, "lease"), None)

    def item_writer(self, name: str) -> Process:
        store = self.store
        while True:
            yield self.random.uniform(0, 0.8)
            early = store.epoch, store.enabled, self.now - store.changed
            yield self.step()
            if early[1] and self.reaches(name) and self.random.random() < 0.5:  # the marker is a kindness, no need
                self.forget(early[0])
                token = self.token()
                self.valkey[(early[0], "lease")] = token
                self.spawn(self.lapse(early[0], token), 30.0)
            yield self.step()
            store.item += 1
            number, committed = store.item, self.now
            epoch, enabled, age = (
                (store.epoch, store.enabled, self.now - store.changed) if self.has(Part.HELD_AT_COMMIT) else early
            )
            yield self.step()
            if self.random.random() < 0.05:
                continue  # it died before it had forgotten, and acknowledges nothing
            until = committed
            if enabled:
                yield self.step()
                if self.reaches(name):
                    self.forget(epoch)
                    yield self.step()
                    until = self.now + (COPIES if self.has(Part.COPY_WAIT) else 0.0)
                elif self.has(Part.FENCE):
                    until = yield from self.shut(epoch)
            if age < WAIT and self.has(Part.RECENT):
                until = max(until, committed + WAIT - age)
            yield max(0.0, until - self.now)
            self.acknowledge(0, number)

    def shut(self, epoch: int) -> Any:
        """Nobody may trust `epoch`; until when somebody still may."""
        yield self.step()
        store = self.store
        if store.enabled and store.epoch == epoch:
            store.epoch, store.enabled, store.changed = epoch + 1, False, self.now
        return self.now + (WAIT if self.has(Part.SHUT_WAIT) else 0.0)

    def lot_writer(self) -> Process:
        store = self.store
        while True:
            yield self.random.uniform(0, 1.2)
            yield self.step()
            store.lot += 1
            store.stamp += 1
            number, committed = store.lot, self.now
            yield self.step()
            if self.random.random() < 0.05:
                continue
            yield max(0.0, committed + (WAIT if self.has(Part.LOT_WAIT) else 0.0) - self.now)
            self.acknowledge(1, number)

    def acknowledge(self, which: int, number: int) -> None:
        self.acknowledged[which] = max(self.acknowledged[which], number)
        self.tally.acknowledged += 1

    # --- what goes wrong, and who repairs

    def relay(self) -> Process:
        """Forgets for writers that died, a second later."""
        while True:
            yield 1.0
            if self.reaches("relay"):
                self.forget(self.store.epoch)

    def nemesis(self) -> Process:
        links = [*(f"reader {n}" for n in range(3)), *(f"writer {n}" for n in range(2))]
        while True:
            yield self.random.uniform(0.1, 1.2)
            chance = self.random.random()
            if chance < 0.2:
                self.valkey.clear()
            elif chance < 0.45:
                self.valkey = {key: value for key, value in self.valkey.items() if self.random.random() < 0.5}
            else:
                gone = self.random.choice(links) if chance < 0.8 else "valkey"
                self.away.add(gone)
                yield self.random.uniform(0.1, 1.5)
                self.away.discard(gone)
                if gone == "valkey":
                    self.valkey.clear()  # a restart comes back empty
            store = self.store
            if not store.enabled and self.random.random() < 0.7:
                store.epoch, store.enabled, store.changed = store.epoch + 1, True, self.now
