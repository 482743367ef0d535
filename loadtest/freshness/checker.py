"""Finds the reads that no right node could have answered, in O(n log n).

A read that began after version v was acknowledged must not show anything older than v; and it cannot show what nobody
had sent before it ended.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from typing import Any

from loadtest.freshness.history import LONG_AGO, NEVER, History, Register, Seen, Write

_AROUND = 3  # writes on both sides of a violation that its report shows


@dataclass(slots=True)
class Violation:
    """A read that cannot be right. Times in ms from the register's first write; None: never."""

    kind: str  # "stale", "future" or "unwritten"
    register: str
    seen: list[str]
    worker: int
    begun: float
    ended: float
    acknowledged: int  # the highest version acknowledged before it began
    sent: int  # the highest version sent before it ended
    late: float  # ms since the acknowledgement that it ignores; 0 where that is not the fault
    writes: list[dict[str, Any]] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(slots=True)
class Verdict:
    """`back` counts reads older than another that had ended before: not promised while a write is under way."""

    reads: int = 0
    unjudged: int = 0
    writes: int = 0
    unknown: int = 0
    back: int = 0
    violations: list[Violation] = field(default_factory=list)


class _Known:
    """A register's writes, ready to be asked: which were acknowledged or sent by a time, which look like a state."""

    def __init__(self, register: Register) -> None:
        self.writes = register.writes
        by_acknowledgement = sorted(
            (w.acknowledged, version) for version, w in enumerate(self.writes) if w.acknowledged != NEVER
        )
        self._acknowledged = [time for time, _ in by_acknowledgement]
        self._highest = list(accumulate((version for _, version in by_acknowledgement), max))
        by_invocation = sorted((w.invoked, version) for version, w in enumerate(self.writes))
        self._invoked = [time for time, _ in by_invocation]
        self._sent = list(accumulate((version for _, version in by_invocation), max))
        self._looking: dict[Hashable, list[int]] = {}
        for version, write in enumerate(self.writes):
            self._looking.setdefault(write.state, []).append(version)

    def acknowledged_before(self, time: int) -> int:
        return self._highest[bisect_left(self._acknowledged, time) - 1]

    def sent_until(self, time: int) -> int:
        return self._sent[bisect_right(self._invoked, time) - 1]

    def latest(self, seen: Seen, limit: int) -> int:
        """The highest version up to `limit` that looks like one of `seen`; -1 for none."""
        found = -1
        for state in seen:
            versions = self._looking.get(state, ())
            at = bisect_right(versions, limit) - 1
            if at >= 0:
                found = max(found, versions[at])
        return found

    def exists(self, seen: Seen) -> bool:
        return any(state in self._looking for state in seen)


def check(history: History) -> Verdict:
    """Judge all reads of a history."""
    verdict = Verdict()
    for register in history.registers:
        _judge(register, history.shown, verdict)
    return verdict


def _judge(register: Register, shown: Sequence[Seen], verdict: Verdict) -> None:
    known = _Known(register)
    real = register.writes[1:]
    verdict.writes += sum(w.acknowledged != NEVER for w in real)
    verdict.unknown += sum(w.acknowledged == NEVER for w in real)
    versions: list[tuple[int, int, int]] = []
    for n, begun in enumerate(register.begun):
        ended = register.ended[n]
        if ended > register.retired:
            verdict.unjudged += 1
            continue
        verdict.reads += 1
        seen = shown[register.shown[n]]
        acknowledged, sent = known.acknowledged_before(begun), known.sent_until(ended)
        version = known.latest(seen, sent)
        if version < acknowledged:
            verdict.violations.append(_violation(register, known, n, seen, (acknowledged, sent, version)))
        else:
            versions.append((begun, ended, version))
    verdict.back += _back(versions)


def _back(versions: list[tuple[int, int, int]]) -> int:
    """How many reads show an older version than one that had ended before they began."""
    ended = sorted((end, version) for _, end, version in versions)
    times = [time for time, _ in ended]
    highest = list(accumulate((version for _, version in ended), max))
    count = 0
    for begun, _, version in versions:
        at = bisect_left(times, begun) - 1
        count += at >= 0 and highest[at] > version
    return count


def _violation(register: Register, known: _Known, n: int, seen: Seen, found: tuple[int, int, int]) -> Violation:
    acknowledged, sent, version = found
    kind = "stale" if version >= 0 else "future" if known.exists(seen) else "unwritten"
    begun = register.begun[n]
    start = register.writes[1].invoked if register.writes[1:] else begun
    late = 0.0
    if kind == "stale":
        passed = [w.acknowledged for w in register.writes[version + 1 : acknowledged + 1] if w.acknowledged < begun]
        late = _ms(begun, min(passed)) or 0.0
    low, high = max(0, min(version, acknowledged) - _AROUND), max(version, acknowledged) + _AROUND + 1
    writes = [_shown(number, w, start) for number, w in enumerate(register.writes)][low:high]
    return Violation(
        kind,
        register.name,
        sorted(map(str, seen)),
        register.source[n],
        _ms(begun, start) or 0.0,
        _ms(register.ended[n], start) or 0.0,
        acknowledged,
        sent,
        late,
        writes,
    )


def _shown(version: int, write: Write, start: int) -> dict[str, Any]:
    return {
        "version": version,
        "state": str(write.state),
        "sent": _ms(write.invoked, start),
        "acknowledged": _ms(write.acknowledged, start),
    }


def _ms(time: int, start: int) -> float | None:
    return None if time in (NEVER, LONG_AGO) else round((time - start) / 1e6, 3)
