"""What a worker knows of the fence, and since when: which cache entries it may trust, which prefixes there are.

The protocol (leases: Gray and Cheriton 1989): the row `cache_fence` in PostgreSQL says which epoch of entries is good.
A worker reads it every `FENCE_POLL` seconds and trusts what it read for `FENCE_LEASE` seconds from the *start* of that
read. Whoever makes the worker's knowledge untrue waits until all leases have run out before it is acknowledged. So
nobody has to be reached for a change to be safe: time does it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from node.model import Prefix


def lot_name(handle: str) -> str:
    """The dependent that a lot's change moves: what its row, its serials' intervals say of its items."""
    return "l:" + handle


def prefix_name(prefix: str) -> str:
    """The dependent of a prefix: its state, its registrant."""
    return "p:" + prefix


def keys_name(prefix: str) -> str:
    """The dependent of a prefix's serial keys and of how many counters were issued."""
    return "k:" + prefix


def events_name(registrant_id: int) -> str:
    """The generation of an enterprise's events in Valkey: what the pages of its items show of their way. One for all
    of them: an event of a package shows on all that was in it, under whichever of its prefixes. No dependent of the
    fence: a change of those waits half a second, and posts of one enterprise would queue for its row."""
    return f"e:{registrant_id}"


def changes_name(prefix: str) -> str:
    """The generation of the changes of a prefix's handles in Valkey: while it stands so does what was kept under it."""
    return "c:" + prefix


@dataclass(slots=True, frozen=True)
class Poll:
    """One reading of the fence: `position` is where the next one begins to look for moved dependents."""

    epoch: int
    enabled: bool
    server: str
    position: str
    moved: Sequence[tuple[str, int]]  # (name, stamp)
    prefixes: Sequence[Prefix]  # those that moved; all of them the first time


@dataclass(slots=True)
class Fence:
    """The worker's copy. `moved` maps a dependent to (its stamp, the turn in which the worker learned of it)."""

    lease: float
    epoch: int = 0
    enabled: bool = False
    server: str = ""
    polled: float = float("-inf")  # monotonic s; when the last good reading began
    position: str = ""  # "": nothing was read yet
    turn: int = 0
    moved: dict[str, tuple[int, int]] = field(default_factory=dict)
    prefixes: dict[str, Prefix] = field(default_factory=dict)
    _learned: deque[tuple[float, int, list[str]]] = field(default_factory=deque)

    def fresh(self) -> bool:
        """Whether what is known here may be acted upon now."""
        return time.monotonic() - self.polled < self.lease

    def stamp(self, name: str) -> int:
        """The number of the dependent's last change; 0 where it has not moved as long as any entry lives."""
        found = self.moved.get(name)
        return found[0] if found else 0

    def stand(self, stamps: Iterable[tuple[str, int]]) -> bool:
        """Whether no dependent has moved since it had its stamp."""
        moved = self.moved
        return all((found := moved.get(name)) is None or found[0] <= stamp for name, stamp in stamps)

    def moved_since(self, names: Iterable[str], turn: int) -> bool:
        """Whether the worker learned after `turn` that one of them moved: what was read meanwhile may be of before."""
        return any((found := self.moved.get(name)) is not None and found[1] > turn for name in names)

    def apply(self, poll: Poll, started: float) -> None:
        """Take over a reading that began at `started`; an older one than the last is dropped."""
        if started <= self.polled:
            return
        news = [(name, stamp) for name, stamp in poll.moved if self.stamp(name) < stamp]
        if news:
            self.turn += 1
            self.moved.update((name, (stamp, self.turn)) for name, stamp in news)
            self._learned.append((started, self.turn, [name for name, _ in news]))
        for prefix in poll.prefixes:
            self.prefixes[prefix.prefix] = prefix
        self.epoch, self.enabled, self.server = poll.epoch, poll.enabled, poll.server
        self.position, self.polled = poll.position, started

    def expire(self, seconds: float) -> None:
        """Drop what was learned longer ago than any entry lives."""
        while self._learned and self._learned[0][0] < time.monotonic() - seconds:
            _, turn, names = self._learned.popleft()
            for name in names:
                if self.moved[name][1] == turn:  # it has not moved again since
                    del self.moved[name]
