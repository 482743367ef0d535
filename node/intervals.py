"""Changing the state of runs of serials: intervals are split, and each serial is counted once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from node.errors import InvalidRow, RowError, SerialNotUsable
from node.model import Interval, IntervalState, Prefix
from node.runtime import Connection
from node.store import intervals as store
from node.store import prefixes

_R, _A, _V, _C = IntervalState


class Action(Enum):
    """What may be done to serials. A value maps the state now to the state then; what is absent is refused.

    RESTORE takes a void or a recall back; None: what the interval was before (activated if it was ever counted).
    """

    ACTIVATE = "activate"
    VOID = "void"
    RECALL = "recall"
    RESTORE = "restore"


_THEN: dict[Action, dict[IntervalState, IntervalState | None]] = {
    Action.ACTIVATE: {_R: _A, _A: _A},
    Action.VOID: {_R: _V, _A: _V, _V: _V},
    Action.RECALL: {_R: _C, _A: _C, _C: _C, _V: _V},
    Action.RESTORE: {_R: _R, _A: _A, _V: None, _C: None},
}


@dataclass(slots=True)
class Moved:
    """What an action did, in serials."""

    changed: int = 0
    unchanged: int = 0
    registered: int = 0

    def document(self, action: Action) -> dict[str, object]:
        return {
            "action": action.value,
            "changed": self.changed,
            "unchanged": self.unchanged,
            "registered": self.registered,
        }


def runs_of(counters: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Counters as (first, last) of those that follow each other, in order."""
    first = last = -2
    for counter in sorted(set(counters)):
        if counter != last + 1:
            if first >= 0:
                yield first, last
            first = counter
        last = counter
    if first >= 0:
        yield first, last


async def act(
    conn: Connection,
    prefix: Prefix,
    lot: str,
    parts: Iterable[tuple[int, int]],
    action: Action,
    reason: str,
    actor: str,
    now: float,
) -> Moved:
    """Do `action` to the counters of `parts`, all of them or none. The caller holds the prefix's intervals alone.

    Raises InvalidRow where a serial belongs to another lot, SerialNotUsable where its state does not allow it.
    """
    moved = Moved()
    for first, last in parts:
        gone: list[int] = []
        new: list[Interval] = []
        for interval in await store.overlapping(conn, prefix, first, last):
            _check_lot(interval, lot)
            then = _then(interval, action)
            inside = range(max(first, interval.first), min(last, interval.last) + 1)
            if then == interval.state:
                moved.unchanged += len(inside)
                continue
            counted = interval.counted or then == IntervalState.ACTIVATED
            if counted and not interval.counted:
                moved.registered += len(inside) - await store.count_items(conn, prefix, inside[0], inside[-1])
            moved.changed += len(inside)
            gone.append(interval.first)
            new += split(interval, inside, then, counted, reason, now)
        if gone:
            await store.delete(conn, prefix, gone)
            await store.insert(conn, prefix, new, actor)
    await prefixes.count(conn, prefix.id, created=moved.registered, rowless=moved.registered)
    return moved


def _check_lot(interval: Interval, lot: str) -> None:
    if interval.lot != lot:
        zh, en = f"序列号属于批次 {interval.lot}", f"a serial belongs to lot {interval.lot}"
        raise InvalidRow.of(RowError("serials", "serial_lot", zh, en))


def _then(interval: Interval, action: Action) -> IntervalState:
    allowed = _THEN[action]
    if interval.state not in allowed:
        raise SerialNotUsable.of(serial=f"#{interval.first}", state=interval.state.word)
    then = allowed[interval.state]
    if then is None:
        return IntervalState.ACTIVATED if interval.counted else IntervalState.RESERVED
    return then


def split(
    interval: Interval, inside: range, state: IntervalState, counted: bool, reason: str, now: float
) -> list[Interval]:
    """The interval with its counters `inside` in another state: one to three parts that leave nothing out."""

    def kept(first: int, last: int) -> Interval:
        return Interval(
            first, last, interval.state, interval.counted, interval.lot, interval.run, interval.reason, interval.since
        )

    parts = [Interval(inside[0], inside[-1], state, counted, interval.lot, interval.run, reason, now)]
    if interval.first < inside[0]:
        parts.insert(0, kept(interval.first, inside[0] - 1))
    if inside[-1] < interval.last:
        parts.append(kept(inside[-1] + 1, interval.last))
    return parts
