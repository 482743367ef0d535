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
from functools import partial
from time import monotonic

import gevent

from loadtest.acceptance.arrivals import Arrival
from loadtest.acceptance.away import Away
from loadtest.acceptance.lean import Lean

_OTHER_FILES = 100  # of a generator: logs, journal, Locust's own sockets


class Hands:
    """`most` at work at the most; what is due while all are waits, and its waiting counts. `do` is given what tells,
    once its answer is there, how many s it was sent late by this process's own doing."""

    def __init__(
        self, most: int, connect: Callable[[], Lean], do: Callable[[Lean, Arrival, Callable[[], float]], None]
    ) -> None:
        self._most, self._connect, self._do = most, connect, do
        self._free: deque[Lean] = deque()  # the one that rested longest is next: all workers of the node get some

    def work(self, due: Iterator[Arrival], start: float) -> None:
        """Do all arrivals, each at its time; returns when the last is answered."""
        away = Away(self._most, start)
        gevent.joinall([gevent.spawn(self._hand, due, start, away) for _ in range(self._most)], raise_error=True)
        for connection in self._free:
            connection.close()

    def _hand(self, due: Iterator[Arrival], start: float, away: Away) -> None:
        for arrival in due:
            at = start + arrival.due
            wait = at - monotonic()
            if wait > 0:
                gevent.sleep(wait)
            connection = self._free.popleft() if self._free else self._connect()
            asked = monotonic()
            away.leave(asked)
            try:
                self._do(connection, arrival, partial(_late, away, at, asked))
            finally:
                # Where nobody was asked: tens of thousands are given up when a phase is over.
                away.back(max(asked, connection.came), monotonic())
            self._free.append(connection)


def _late(away: Away, at: float, asked: float) -> float:
    """s by which it was sent late for want of a processor. While the node had all hands nobody could send it, and that
    wait is the node's own. With all of it taken for the node's, or all in which it had this one hand, refusals of a
    crowd seemed 2.3 to 3.6 s late, of which the node took 1.0 at the most."""
    return max(0.0, asked - at - away.full(at, asked))


def allowed(wanted: int) -> int:
    """So many connections as this process may open, `wanted` at the most."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return wanted if hard == resource.RLIM_INFINITY else max(1, min(wanted, hard - _OTHER_FILES))
