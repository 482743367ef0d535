"""What the batch forms return: offsets into the one buffer that was given, no object per row."""

from __future__ import annotations

from dataclasses import dataclass, field

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
