"""Counts and latencies by second, call and industry, small enough to send each second and to add up anywhere."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_FINE = 32  # buckets for each doubling: 2.2 % wide
_KEPT = 200  # wrong answers with all their words; all are counted


@dataclass(slots=True)
class Spread:
    """A distribution of milliseconds."""

    n: int = 0
    errors: int = 0
    total: float = 0.0
    most: float = 0.0
    buckets: dict[int, int] = field(default_factory=dict)

    def add(self, ms: float, error: bool) -> None:
        self.n += 1
        self.errors += error
        self.total += ms
        self.most = max(self.most, ms)
        at = int(math.log2(max(ms, 0.001)) * _FINE + 1024)
        self.buckets[at] = self.buckets.get(at, 0) + 1

    def merge(self, other: Spread) -> None:
        self.n, self.errors, self.total = self.n + other.n, self.errors + other.errors, self.total + other.total
        self.most = max(self.most, other.most)
        for at, count in other.buckets.items():
            self.buckets[at] = self.buckets.get(at, 0) + count

    def percentile(self, share: float) -> float | None:
        """The upper edge of the bucket in which it lies: never better than it was."""
        left = share * self.n
        for at in sorted(self.buckets):
            left -= self.buckets[at]
            if left <= 0:
                return float(f"{min(self.most, 2 ** ((at + 1 - 1024) / _FINE)):.4g}")
        return None

    def figures(self, whole: bool) -> dict[str, Any]:
        """As result.json has it."""
        found = {"n": self.n, "errors": self.errors, "p50": self.percentile(0.5), "p90": self.percentile(0.9),
                 "p99": self.percentile(0.99), "p999": self.percentile(0.999)}  # fmt: skip
        if whole:
            found |= {"mean": round(self.total / self.n, 3) if self.n else None, "max": round(self.most, 3)}
        return found

    def packed(self) -> list[Any]:
        return [self.n, self.errors, self.total, self.most, {str(k): v for k, v in self.buckets.items()}]

    @classmethod
    def unpacked(cls, raw: list[Any]) -> Spread:
        n, errors, total, most, buckets = raw
        return cls(n, errors, total, most, {int(k): v for k, v in buckets.items()})


@dataclass
class Tally:
    """What was seen. Seconds since the run began; `late` counts what the generator itself sent over 10 ms late."""

    offered: dict[int, int] = field(default_factory=dict)
    seconds: dict[int, dict[str, Spread]] = field(default_factory=dict)
    industries: dict[str, Spread] = field(default_factory=dict)
    errors: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    wrong: list[dict[str, Any]] = field(default_factory=list)
    wrong_count: int = 0
    ledger: dict[str, int] = field(default_factory=dict)
    late: int = 0
    latest: float = 0.0  # s
    refused: Spread = field(default_factory=Spread)  # answers 503

    def offer(self, at: float) -> None:
        second = int(at)
        self.offered[second] = self.offered.get(second, 0) + 1

    def done(self, at: float, call: str, industry: str, ms: float, cause: str = "", example: str = "") -> None:
        """One answer, or none: then with its cause."""
        second = self.seconds.setdefault(int(at), {})
        second.setdefault(call, Spread()).add(ms, bool(cause))
        self.industries.setdefault(industry, Spread()).add(ms, bool(cause))
        if cause:
            count, first = self.errors.get((cause, call), (0, example))
            self.errors[cause, call] = (count + 1, first)
        if cause == "503":
            self.refused.add(ms, False)

    def fault(self, kind: str, call: str, handle: str, expected: object, got: object, at: float) -> None:
        """A wrong answer."""
        self.wrong_count += 1
        if len(self.wrong) < _KEPT:
            self.wrong.append({"kind": kind, "call": call, "handle": handle, "expected": str(expected)[:400],
                               "got": str(got)[:400], "at": round(at, 3)})  # fmt: skip

    def count(self, name: str, number: int = 1) -> None:
        self.ledger[name] = self.ledger.get(name, 0) + number

    def merge(self, other: Tally) -> None:
        for second, number in other.offered.items():
            self.offered[second] = self.offered.get(second, 0) + number
        for second, calls in other.seconds.items():
            mine = self.seconds.setdefault(second, {})
            for call, spread in calls.items():
                mine.setdefault(call, Spread()).merge(spread)
        for name, spread in other.industries.items():
            self.industries.setdefault(name, Spread()).merge(spread)
        for key, (number, example) in other.errors.items():
            count, first = self.errors.get(key, (0, example))
            self.errors[key] = (count + number, first)
        for name, number in other.ledger.items():
            self.count(name, number)
        self.wrong += other.wrong[: max(0, _KEPT - len(self.wrong))]
        self.wrong_count += other.wrong_count
        self.late, self.latest = self.late + other.late, max(self.latest, other.latest)
        self.refused.merge(other.refused)

    def packed(self) -> dict[str, Any]:
        return {
            "offered": {str(k): v for k, v in self.offered.items()},
            "seconds": {str(t): {c: s.packed() for c, s in calls.items()} for t, calls in self.seconds.items()},
            "industries": {name: s.packed() for name, s in self.industries.items()},
            "errors": [[*key, *value] for key, value in self.errors.items()],
            "wrong": self.wrong, "wrong_count": self.wrong_count, "ledger": self.ledger,
            "late": self.late, "latest": self.latest, "refused": self.refused.packed(),
        }  # fmt: skip

    @classmethod
    def unpacked(cls, raw: Mapping[str, Any]) -> Tally:
        return cls(
            {int(k): v for k, v in raw["offered"].items()},
            {int(t): {c: Spread.unpacked(s) for c, s in calls.items()} for t, calls in raw["seconds"].items()},
            {name: Spread.unpacked(s) for name, s in raw["industries"].items()},
            {(cause, call): (count, example) for cause, call, count, example in raw["errors"]},
            list(raw["wrong"]), raw["wrong_count"], dict(raw["ledger"]), raw["late"], raw["latest"],
            Spread.unpacked(raw["refused"]),
        )  # fmt: skip

    def calls(self, least: int = 0, most: int = 2**31) -> dict[str, Spread]:
        """By call, over some seconds."""
        found: dict[str, Spread] = {}
        for second, calls in self.seconds.items():
            if least <= second < most:
                for call, spread in calls.items():
                    found.setdefault(call, Spread()).merge(spread)
        return found

    def whole(self, least: int = 0, most: int = 2**31) -> Spread:
        """All calls together."""
        found = Spread()
        for spread in self.calls(least, most).values():
            found.merge(spread)
        return found

    def series(self) -> list[dict[str, Any]]:
        """As result.json has it."""
        found = []
        for t in sorted({*self.offered, *self.seconds}):
            calls = self.seconds.get(t, {})
            done, errors = sum(s.n for s in calls.values()), sum(s.errors for s in calls.values())
            found.append({"t": t, "offered": self.offered.get(t, 0), "done": done, "errors": errors,
                          "calls": {call: s.figures(False) for call, s in calls.items()}})  # fmt: skip
        return found
