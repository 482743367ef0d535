"""A body without end, cut into chunks of whole rows. Bytes in, bytes out; no I/O.

The same body is cut the same way however it arrives, so that one that is sent again meets its own chunks.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass

from handle_codec.rows import LINE_LIMIT
from node.errors import BodyTooLarge, ImportRefused, RowError

# Both are part of how a body is cut: a node that changes them does not recognise what another began.
ROWS = 10_000
SIZE = 8 * 1024 * 1024  # bytes of rows after which a chunk ends
_ENDLESS = 64 * 1024 * 1024  # bytes of one line
_BLANK = b" \t\r\n\v\f"


@dataclass(slots=True, frozen=True)
class Cut:
    """One chunk; `first` is the number of its first row in the whole body, from 0."""

    number: int
    first: int
    body: bytes


class Cutter:
    """Takes a body piece by piece (`form`: ndjson or csv). Raises BodyTooLarge for a line without end,
    ImportRefused for a quote without end."""

    def __init__(self, form: str, rows: int = ROWS, size: int = SIZE) -> None:
        self.rows = 0  # cut so far
        self.chunks = 0
        self._most, self._size = rows, size
        self._quotes = _Quotes() if form == "csv" else None
        self._header: bytes | None = None
        self._tail: list[bytes] = []  # of a line that has not ended
        self._tail_size = 0
        self._kept: list[bytes] = []
        self._kept_size = 0

    def feed(self, data: bytes) -> Iterator[Cut]:
        """The chunks that `data` completes; has to be read to its end."""
        whole = data.rfind(b"\n")
        if whole < 0:
            self._hold(data)
            return
        lines = b"".join((*self._tail, data[:whole])).split(b"\n")
        self._tail, self._tail_size = [], 0
        self._hold(data[whole + 1 :])
        for line in lines:
            yield from self._take(line)

    def finish(self) -> Iterator[Cut]:
        """The last chunk, if there is one."""
        yield from self._take(b"".join(self._tail))
        if self._quotes and (rest := self._quotes.rest()):
            yield from self._row(rest)
        yield from self._end()

    def _hold(self, data: bytes) -> None:
        """Of a line beyond the limit no more is kept than shows that it is too long."""
        room = LINE_LIMIT + 2 - self._tail_size
        self._tail_size += len(data)
        if self._tail_size > _ENDLESS:
            raise BodyTooLarge.of(limit=_ENDLESS)
        if data and room > 0:
            self._tail.append(data[:room])

    def _take(self, line: bytes) -> Iterator[Cut]:
        if self._quotes is None:
            yield from self._row(line[: LINE_LIMIT + 1] if len(line) > LINE_LIMIT + 1 else line)
        elif (row := self._quotes.feed(line.removeprefix(codecs.BOM_UTF8), self.rows)) is not None:
            yield from self._row(row)

    def _row(self, row: bytes) -> Iterator[Cut]:
        blank = not row.strip(self._quotes.blank if self._quotes else _BLANK)
        if self._quotes and self._header is None:
            self._header = row
            self._quotes.begin(self._header)
            return
        if blank:
            return
        if self._kept_size + len(row) > self._size:
            yield from self._end()
        self._kept.append(row)
        self._kept_size += len(row)
        self.rows += 1
        if len(self._kept) == self._most:
            yield from self._end()

    def _end(self) -> Iterator[Cut]:
        if not self._kept:
            return
        parts = self._kept if self._header is None else [self._header, *self._kept]
        cut = Cut(self.chunks, self.rows - len(self._kept), b"\n".join(parts))
        self._kept, self._kept_size = [], 0
        self.chunks += 1
        yield cut


class _Quotes:
    """Finds the ends of CSV rows as Python's csv reads them (excel dialect, not strict), by bytes: neither UTF-8 nor
    GB18030 has a quote, a delimiter or a line's end inside of a character."""

    def __init__(self) -> None:
        self.blank = _BLANK
        self._lines: list[bytes] = []
        self._size = 0
        self._patterns: tuple[re.Pattern[bytes], re.Pattern[bytes]] = _patterns(b",;\t")

    def begin(self, header: bytes) -> None:
        """From here on the delimiter is known: the one that sheets.py finds in the same header."""
        delimiter = max((b",", b";", b"\t"), key=header[:4096].count)
        self._patterns = _patterns(delimiter)
        self.blank = _BLANK + delimiter

    def feed(self, line: bytes, row: int) -> bytes | None:
        """The row that this line ends, None within a quoted cell."""
        still_open = bool(self._lines)
        if b'"' in line:
            still_open = self._open_after(line, still_open)
        self._lines.append(line)
        self._size += len(line) + 1
        if not still_open:
            return self.rest()
        if self._size > LINE_LIMIT:
            zh, en = f"CSV 第 {row} 行的引号未结束", f"row {row}: a quote is not closed"
            raise ImportRefused.of(RowError("", "broken_csv", zh, en), reason=en, reason_zh=zh)
        return None

    def rest(self) -> bytes:
        row = b"\n".join(self._lines)
        self._lines, self._size = [], 0
        return row

    def _open_after(self, line: bytes, opened: bool) -> bool:
        cell, close = self._patterns
        at = 0
        if opened:
            found = close.match(line)
            if found is None:
                return True
            at = found.end()
        while at < len(line):
            found = cell.match(line, at)
            if found is None:
                return True
            at = found.end()
        return False


def _patterns(delimiters: bytes) -> tuple[re.Pattern[bytes], re.Pattern[bytes]]:
    """(a cell with the delimiter after it, the rest of a quoted one). A lone \\r ends a row as a delimiter a cell."""
    other = b"[^" + delimiters + b"\r]*+(?:[" + delimiters + b"\r]|$)"
    quoted = rb'(?:[^"]++|"")*+"'
    return re.compile(b'(?:"' + quoted + b'|(?!"))' + other, re.DOTALL), re.compile(quoted + other, re.DOTALL)
