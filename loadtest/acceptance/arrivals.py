"""When what is asked for: drawn beforehand from a seed, whatever the answers do. No clock and no I/O here."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

CALLS = ("resolve", "batch_resolve", "scan", "unknown", "malformed", "register", "update", "recall", "replay",
         "import_chunk", "claim")  # fmt: skip
READS = frozenset(("resolve", "batch_resolve", "scan", "unknown", "malformed"))
_STEP = 0.05  # s, over which a rate is taken as constant while it is zero


@dataclass(frozen=True, slots=True)
class Stream:
    """Arrivals of one call: a Poisson process whose rate runs straight between points (second, arrivals a second)."""

    call: str
    points: Sequence[tuple[float, float]]

    def rate(self, at: float) -> float:
        for (t0, r0), (t1, r1) in zip(self.points, self.points[1:], strict=False):
            if t0 <= at <= t1:
                return r0 + (r1 - r0) * (at - t0) / (t1 - t0) if t1 > t0 else r1
        return 0.0


@dataclass(frozen=True, slots=True, order=True)
class Arrival:
    """`pick` in [0, 1) says which subject, `number` counts the arrivals of its call in this generator."""

    due: float  # s since the phase began
    call: str
    number: int
    pick: float
    luck: float


def _stream(stream: Stream, seconds: float, seed: str, share: int) -> Iterator[Arrival]:
    random = Random(f"{seed}/{stream.call}")
    at, number = 0.0, 0
    while True:
        rate = stream.rate(at) / share
        if rate <= 0:
            at += _STEP
        else:
            at += random.expovariate(rate)
        if at >= seconds:
            return
        if rate > 0:
            yield Arrival(at, stream.call, number, random.random(), random.random())
            number += 1


def schedule(streams: Sequence[Stream], seconds: float, seed: int, worker: int, workers: int) -> Iterator[Arrival]:
    """All arrivals of one generator of `workers`, in order; the same for the same seed, worker and streams."""
    return heapq.merge(*(_stream(s, seconds, f"{seed}/{worker}", workers) for s in streams))


def popular(pick: float, luck: float, count: int, cold: float = 0.2) -> int:
    """A position below `count`: `cold` of all uniform, the others Zipf with exponent 1 (domain.md 5) over positions
    that lie anywhere. count ** u is that distribution's inverse up to 1 / count, and needs no table of 5,000,000."""
    if luck < cold:
        return int(pick * count)
    rank = min(count - 1, int(count**pick) - 1)
    return rank * _spread(count) % count


def _spread(count: int) -> int:
    """A multiplier that visits every position: prime, and so coprime to all counts below it."""
    prime = 2_654_435_761
    return prime if math.gcd(prime, count) == 1 else 1
