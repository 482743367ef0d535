"""What the batch forms return: offsets into the one buffer that was given, no object per row."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from handle_codec.errors import InvalidHandle

NONE = 0xFFFFFFFF  # in `slashes`: the row is no handle, `errors` says why
NO_SHARD = 0xFFFF
MAX_BUFFER = 2**31  # bytes; offsets are unsigned 32-bit numbers


@dataclass(slots=True, frozen=True)
class Columns:
    """Handles in a buffer of lines. Row i is `buffer[starts[i]:ends[i]]`, its first "/" at `slashes[i]`.

    The three columns are read-only memoryviews of native unsigned 32-bit numbers ("I"): byte offsets, ready for
    numpy.frombuffer or a COPY. `errors` holds (row, InvalidHandle) in the order of the rows.
    """

    buffer: bytes = field(repr=False)
    starts: memoryview = field(repr=False)
    slashes: memoryview = field(repr=False)
    ends: memoryview = field(repr=False)
    errors: list[tuple[int, InvalidHandle]]

    def __len__(self) -> int:
        return len(self.starts)

    def handle(self, row: int) -> str:
        """The text of a row, right or wrong; bytes that are no UTF-8 show as U+FFFD."""
        return self.buffer[self.starts[row] : self.ends[row]].decode("utf-8", "replace")

    def prefix(self, row: int) -> str:
        """The prefix of a row; InvalidHandle where the row is no handle."""
        return self.buffer[self.starts[row] : self._slash(row)].decode()

    def suffix(self, row: int) -> str:
        """The suffix of a row; InvalidHandle where the row is no handle."""
        return self.buffer[self._slash(row) + 1 : self.ends[row]].decode()

    def _slash(self, row: int) -> int:
        slash: int = self.slashes[row]
        if slash == NONE:
            raise next(error for number, error in self.errors if number == row)
        return slash


class Unsure(NamedTuple):
    """A row that the slow way has to decide. `raw` is its line without the line's end; None: longer than the limit."""

    row: int
    line: int
    raw: bytes | None


@dataclass(slots=True, frozen=True)
class RowBatch:
    """What `decode_rows` read. Sure row i is number `rows[i]` of the import (0-based, blank lines not counted) on line
    `lines[i]` (0-based, blank lines counted); its suffix is `buffer[suffixes[i]:lots[i]]`, the suffix of its lot
    `buffer[lots[i]:contents[i]]`, its canonical content `buffer[contents[i]:ends[i]]`.

    The columns are read-only memoryviews of native numbers of 32 bits ("I"), the shards of 16 ("H").
    """

    buffer: bytes = field(repr=False)
    rows: memoryview = field(repr=False)
    lines: memoryview = field(repr=False)
    shards: memoryview = field(repr=False)
    suffixes: memoryview = field(repr=False)
    lots: memoryview = field(repr=False)
    contents: memoryview = field(repr=False)
    ends: memoryview = field(repr=False)
    unsure: list[Unsure]
    row_count: int  # sure and unsure
    line_count: int

    def __len__(self) -> int:
        """How many rows are sure."""
        return len(self.rows)

    def suffix(self, i: int) -> str:
        return self.buffer[self.suffixes[i] : self.lots[i]].decode()

    def lot(self, i: int) -> str:
        return self.buffer[self.lots[i] : self.contents[i]].decode()

    def content(self, i: int) -> bytes:
        return self.buffer[self.contents[i] : self.ends[i]]
