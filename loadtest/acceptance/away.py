"""When all hands of a generator were at the node: who is due then waits for the node, else for the generator.

In slices of time, for an answer is known to be there only when a hand comes to read it, which beside a node on the same
cores is seconds later: until then the hand counts as away, and then no longer from when the answer came.
"""

from __future__ import annotations

_SLICE = 0.02  # s


class Away:
    """Of `most` hands; times in s, of one clock, from `start` on."""

    def __init__(self, most: int, start: float) -> None:
        self._most, self._start = most, start
        self._out = 0
        self._level = [0]  # so many were away in each slice so far

    def leave(self, now: float) -> None:
        """One has sent its request."""
        self._reach(now)
        self._out += 1
        self._level[-1] += 1

    def back(self, came: float, now: float) -> None:
        """One has read its answer, which came before."""
        self._reach(now)
        self._out -= 1
        for slice_ in range(self._slice(came) + 1, len(self._level)):
            self._level[slice_] -= 1

    def full(self, since: float, until: float) -> float:
        """s of that time in which all were away, as far as is known now."""
        levels = self._level[self._slice(since) : self._slice(until)]
        return _SLICE * sum(level >= self._most for level in levels)

    def _slice(self, when: float) -> int:
        return max(0, int((when - self._start) / _SLICE))

    def _reach(self, now: float) -> None:
        self._level += [self._out] * (self._slice(now) + 1 - len(self._level))
