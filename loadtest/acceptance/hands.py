"""Who sends: each hand takes the next arrival, waits for its time, and does it over a connection that is free, or over
a new one.

A crowd has as many connections as people. With a fixed few an overload would wait for them in the generator, and what
is measured of the node would be the generator's own queue; with as many as there are hands, low rates would be asked
over connections that are used once. So there are as many as were ever needed at once.
"""

from __future__ import annotations

import resource
from collections import deque
from collections.abc import Callable, Iterator
from time import monotonic

import gevent

from loadtest.acceptance.arrivals import Arrival
from loadtest.acceptance.lean import Lean

_OTHER_FILES = 100  # of a generator: logs, journal, Locust's own sockets


class Hands:
    """`most` at work at the most; what is due while all are waits, and its waiting counts."""

    def __init__(self, most: int, connect: Callable[[], Lean], do: Callable[[Lean, Arrival, float], None]) -> None:
        self._most, self._connect, self._do = most, connect, do
        self._free: deque[Lean] = deque()  # the one that rested longest is next: all workers of the node get some

    def work(self, due: Iterator[Arrival], start: float) -> None:
        """Do all arrivals, each at its time; returns when the last is answered."""
        gevent.joinall([gevent.spawn(self._hand, due, start) for _ in range(self._most)], raise_error=True)
        for connection in self._free:
            connection.close()

    def _hand(self, due: Iterator[Arrival], start: float) -> None:
        for arrival in due:
            wait, late = start + arrival.due - monotonic(), 0.0
            if wait > 0:
                gevent.sleep(wait)
                # This hand was there in time. What it is late is this process's doing, for want of a processor, and
                # nobody has asked the node yet; where all hands are busy the node keeps them, and the wait is its own.
                late = max(0.0, monotonic() - start - arrival.due)
            connection = self._free.popleft() if self._free else self._connect()
            self._do(connection, arrival, late)
            self._free.append(connection)


def allowed(wanted: int) -> int:
    """So many connections as this process may open, `wanted` at the most."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return wanted if hard == resource.RLIM_INFINITY else max(1, min(wanted, hard - _OTHER_FILES))
