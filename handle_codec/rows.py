"""NDJSON in, columns out: rows of an import that are certainly right, a batch for each piece that arrives.

What is not certain is handed back as it came (`RowBatch.unsure`): the node decides it as it decides a single row, so
the refusals are the same. `sort_rows` and `copy_rows` make PostgreSQL's binary COPY of the certain ones.
"""

from __future__ import annotations

from dataclasses import replace

from handle_codec.columns import RowBatch, Unsure
from handle_codec.plans import Bound, FieldPlan, LotPlan, Pair, RowPlan
from handle_codec.pure.rows import LINE_LIMIT
from handle_codec.twin import copy_rows, decode_rows, sort_rows

__all__ = [
    "COPY_HEADER",
    "COPY_TRAILER",
    "LINE_LIMIT",
    "Bound",
    "FieldPlan",
    "LotPlan",
    "Pair",
    "RowBatch",
    "RowDecoder",
    "RowPlan",
    "Unsure",
    "copy_rows",
    "decode_rows",
    "sort_rows",
]

COPY_HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)  # no flags, no extension
COPY_TRAILER = b"\xff\xff"


class RowDecoder:
    """Reads an import piece by piece; a line may be cut anywhere between two of them. Pieces of 100 kB to a few MB hold
    the caller for a few milliseconds; the compiled reader lets other threads run meanwhile."""

    def __init__(self, plan: RowPlan, *, limit: int = LINE_LIMIT) -> None:
        self.rows = 0  # read so far; the number of the next one
        self.lines = 0
        self._plan = plan
        self._limit = limit
        self._tail: list[bytes] = []
        self._tail_size = 0
        self._skipping = False  # in a line that is too long already

    def feed(self, data: bytes) -> RowBatch:
        """The rows that `data` completes."""
        long: list[Unsure] = []
        if self._skipping:
            end = data.find(b"\n")
            if end < 0:
                return self._decode(b"", long)
            long, data = [self._too_long()], data[end + 1 :]
        whole = data.rfind(b"\n") + 1
        if not whole:
            self._keep(data)
            return self._decode(b"", long)
        lines = b"".join((*self._tail, data[:whole]))
        self._tail, self._tail_size = [], 0
        self._keep(data[whole:])
        return self._decode(lines, long)

    def finish(self) -> RowBatch:
        """The last row, if its line was not ended."""
        if self._skipping:
            return self._decode(b"", [self._too_long()])
        lines = b"".join(self._tail)
        self._tail, self._tail_size = [], 0
        return self._decode(lines, [])

    def _keep(self, data: bytes) -> None:
        """Hold the beginning of a line; one that cannot become short enough any more (a \\r may end it) is let go."""
        self._tail_size += len(data)
        if self._tail_size > self._limit + 1:
            self._tail, self._tail_size, self._skipping = [], 0, True
        elif data:
            self._tail.append(data)

    def _too_long(self) -> Unsure:
        self._skipping = False
        found = Unsure(self.rows, self.lines, None)
        self.rows += 1
        self.lines += 1
        return found

    def _decode(self, lines: bytes, before: list[Unsure]) -> RowBatch:
        """Decode whole lines; `before` are rows in front of them, counted already."""
        batch = decode_rows(self._plan, lines, self.rows, self.lines, self._limit)
        self.rows += batch.row_count
        self.lines += batch.line_count
        if before:
            counts = (batch.row_count + len(before), batch.line_count + len(before))
            batch = replace(batch, unsure=before + batch.unsure, row_count=counts[0], line_count=counts[1])
        return batch
