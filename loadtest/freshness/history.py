"""What was written and read, and when, on the one monotonic clock of this host (ns).

A *register* is whatever changes as one: an item's content, a lot's attributes, a lot's state, a prefix, a serial, a
key. Its versions are numbered in the order in which they can only have been committed, which the workload takes care of
(one writer at a time, If-Match or Idempotency-Key on what is sent again). Each version shows as a *state*; several
versions may look alike (recalled, restored, recalled), and what was read may fit several states (a 404 of the Handle
API: absent or deleted).
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Hashable
from dataclasses import dataclass, field

clock = time.monotonic_ns
LONG_AGO = -(2**62)
NEVER = 2**62


@dataclass(slots=True)
class Write:
    """One version of a register. `acknowledged` stays NEVER for an unknown outcome."""

    state: Hashable
    invoked: int
    acknowledged: int = NEVER


@dataclass(slots=True)
class Register:
    """A register with all that was done to it. Version 0 is what was there before."""

    name: str
    writes: list[Write]
    retired: int = NEVER  # from here on nobody can say any more what it holds
    begun: array[int] = field(default_factory=lambda: array("q"))
    ended: array[int] = field(default_factory=lambda: array("q"))
    shown: array[int] = field(default_factory=lambda: array("q"))  # index into History.shown
    source: array[int] = field(default_factory=lambda: array("q"))  # the worker

    def invoke(self, state: Hashable) -> Write:
        """A write is sent now."""
        write = Write(state, clock())
        self.writes.append(write)
        return write

    def acknowledge(self, write: Write, grace: int = 0) -> None:
        """It was acknowledged now; `grace` ns later nobody may see anything older."""
        if write.acknowledged == NEVER:
            write.acknowledged = clock() + grace

    def retire(self) -> None:
        """A write of unknown outcome may still take effect at any time: no read from now on is judged."""
        self.retired = min(self.retired, clock())


Seen = frozenset[Hashable]


class History:
    """All registers of a run."""

    def __init__(self) -> None:
        self.registers: list[Register] = []
        self.shown: list[Seen] = []
        self._numbers: dict[Seen, int] = {}
        self.wrong: list[str] = []  # answers that no history can explain

    def register(self, name: str, state: Hashable) -> Register:
        made = Register(name, [Write(state, LONG_AGO, LONG_AGO)])
        self.registers.append(made)
        return made

    def read(self, register: Register, seen: Seen, begun: int, ended: int, worker: int) -> None:
        """Worker `worker` answered, between `begun` and `ended`, with one of the states `seen`."""
        number = self._numbers.get(seen)
        if number is None:
            number = self._numbers[seen] = len(self.shown)
            self.shown.append(seen)
        register.begun.append(begun)
        register.ended.append(ended)
        register.shown.append(number)
        register.source.append(worker)
