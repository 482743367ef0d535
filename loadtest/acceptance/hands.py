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
        held: deque[tuple[float, float]] = deque()  # when the node had this hand: from a request to its answer
        kept = 0.0  # s of these in all: added up anew each time, what a pause leaves behind would grow with its square
        for arrival in due:
            at = start + arrival.due
            wait = at - monotonic()
            if wait > 0:
                gevent.sleep(wait)
            # While it had an earlier request in hand the node kept this hand, and that wait is the node's own. What it
            # is later than that is this process's doing, for want of a processor: nobody had asked the node. With all
            # of it taken for the node's, the refusals of a crowd seemed 2.7 s late, of which the node took 0.9 at the
            # most. Arrivals come in the order of their times: what was over before this one was due is for no later.
            while held and held[0][1] <= at:
                asked, came = held.popleft()
                kept -= came - asked
            before = max(0.0, at - held[0][0]) if held else 0.0  # one follows the other: only the first may reach back
            late = max(0.0, monotonic() - at - (kept - before))
            connection = self._free.popleft() if self._free else self._connect()
            asked = monotonic()
            self._do(connection, arrival, late)
            if connection.came > asked:  # else nobody was asked: tens of thousands are given up when a phase is over
                held.append((asked, connection.came))
                kept += connection.came - asked
            self._free.append(connection)


def allowed(wanted: int) -> int:
    """So many connections as this process may open, `wanted` at the most."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return wanted if hard == resource.RLIM_INFINITY else max(1, min(wanted, hard - _OTHER_FILES))
