"""Rows of a registration on their way: read into drafts, and what became of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from node import metrics
from node.drafts import Draft, draft_of
from node.errors import DuplicateInBatch, HandleConflict, HandleDeleted, NodeError
from node.model import Row, Status
from node.pace import Stride
from node.store.handles import NewRow
from node.store.imports import ErrorLine

TURN = 500  # rows handled without giving way: about 5 ms


@dataclass(slots=True)
class Outcome:
    """What became of one row: created, unchanged (same content), conflict or rejected, the last two with why."""

    row: int
    handle: str
    outcome: str
    version: int = 0
    error: NodeError | None = None


def tally(outcomes: Sequence[Outcome]) -> None:
    """Count acknowledged rows for the metrics."""
    for outcome, count in Counter(outcome.outcome for outcome in outcomes).items():
        metrics.registered_rows_total.labels(outcome).inc(count)


@dataclass(slots=True)
class Result:
    """What became of a chunk: how many rows of each outcome, the errors as they are stored, and the outcome of the
    first row that is wrong. An error becomes lines at once: a full collection walked 50,000 errors for 70 ms."""

    counts: Counter[str] = field(default_factory=Counter)
    lines: list[ErrorLine] = field(default_factory=list)
    first: Outcome | None = None

    def add(self, outcome: Outcome) -> None:
        self.counts[outcome.outcome] += 1
        if outcome.error is not None:
            bare(outcome.error)
            self.lines += _lines(outcome, outcome.error)
            if self.first is None or outcome.row < self.first.row:
                self.first = outcome

    def join(self, other: Result) -> None:
        """Take what another one counted, which stays as it is: a transaction that is tried again begins anew."""
        self.counts += other.counts
        self.lines += other.lines
        self.first = min((r.first for r in (self, other) if r.first), key=lambda o: o.row, default=None)


def _lines(outcome: Outcome, error: NodeError) -> list[ErrorLine]:
    named = [(e.field, e.code, f"{e.zh} / {e.en}") for e in error.errors] or [("", error.code, error.detail)]
    return [
        ErrorLine(
            outcome.row, position, outcome.outcome, outcome.handle, *(part.replace("\0", "\ufffd") for part in one)
        )
        for position, one in enumerate(named)
    ]


@dataclass(slots=True)
class ReadRows:
    """Rows as read, before any look-up: drafts by number, and outcomes of those that cannot be read or stand twice."""

    count: int
    drafts: dict[int, Draft] = field(default_factory=dict)
    refused: dict[int, Outcome] = field(default_factory=dict)

    def parts(self, size: Callable[[], int]) -> Iterator[ReadRows]:
        """The drafts in parts of so many rows, each under its number."""
        first = 0
        while first < self.count:
            numbers = range(first, min(first + size(), self.count))
            first = numbers.stop
            yield ReadRows(len(numbers), {n: self.drafts[n] for n in numbers if n in self.drafts})


def bare(error: NodeError) -> NodeError:
    """The error without the frames that it passed through: 50,000 of them kept a full collection for 150 ms."""
    error.__traceback__ = error.__context__ = None
    return error


async def read_rows(
    rows: Sequence[bytes | msgspec.Raw], stride: Stride, refuse: Callable[[Outcome], None] | None = None
) -> ReadRows:
    """Read rows, giving way to other requests every few milliseconds. `refuse` takes the outcomes of those that cannot
    be read; without it they are kept in what is returned."""
    read, pause = ReadRows(len(rows)), stride.rows(TURN)

    def keep(outcome: Outcome) -> None:
        read.refused[outcome.row] = outcome

    take = refuse or keep
    first: dict[str, int] = {}
    for number, raw in enumerate(rows):
        if number == pause:
            await stride.breathe()
            pause += stride.rows(TURN)
        try:
            draft = draft_of(raw)
        except NodeError as error:
            take(Outcome(number, "", "rejected", error=bare(error)))
            continue
        if draft.handle in first:
            double = DuplicateInBatch.of(handle=draft.handle, first=first[draft.handle])
            take(Outcome(number, draft.handle, "rejected", error=double))
            continue
        first[draft.handle] = number
        read.drafts[number] = draft
    return read


def compare(number: int, handle: str, row: NewRow, stored: Row) -> Outcome:
    """The same content again is success, other content a conflict that names the stored version."""
    if stored.status == Status.TOMBSTONE:
        return Outcome(number, handle, "conflict", stored.version, HandleDeleted.of(handle=handle))
    same = (stored.kind, stored.lot, stored.template_id, stored.content) == (
        row.kind,
        row.lot,
        row.template_id,
        row.content,
    )
    if same:
        return Outcome(number, handle, "unchanged", stored.version)
    error = HandleConflict.of(handle=handle, version=stored.version)
    return Outcome(number, handle, "conflict", stored.version, error)
