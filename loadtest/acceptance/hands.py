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
        came = 0.0  # when this hand's last answer was here
        for arrival in due:
            wait = start + arrival.due - monotonic()
            if wait > 0:
                gevent.sleep(wait)
            # Until its last answer was here the node kept this hand, and that wait is the node's own. What it is later
            # than that is this process's doing, for want of a processor: nobody has asked the node yet. With all of
            # it taken for the node's, the refusals of a crowd seemed 2.7 s late, of which the node took 0.2.
            late = max(0.0, monotonic() - max(start + arrival.due, came))
            connection = self._free.popleft() if self._free else self._connect()
            self._do(connection, arrival, late)
            came = connection.came
            self._free.append(connection)


def allowed(wanted: int) -> int:
    """So many connections as this process may open, `wanted` at the most."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return wanted if hard == resource.RLIM_INFINITY else max(1, min(wanted, hard - _OTHER_FILES))
