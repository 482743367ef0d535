"""The batch forms: one buffer of lines in, columns out."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from handle_codec.columns import MAX_BUFFER, NO_SHARD, NONE, Columns
from handle_codec.errors import InvalidHandle
from handle_codec.pure.handles import MAX_HANDLE, MAX_INPUT, normalise, parse, parse_issued
from handle_codec.pure.shards import SHARDS, check_layout, hash64

MAX_LINE = 4 * MAX_INPUT  # bytes: a longer line has more characters than are read


def parse_batch(buffer: bytes, issued: bool = False) -> Columns:
    """`parse` (or `parse_issued`) of each line of UTF-8; "\\n" or "\\r\\n" ends a line, the last may go without."""
    rule = parse_issued if issued else parse
    starts, slashes, ends = array("I"), array("I"), array("I")
    errors: list[tuple[int, InvalidHandle]] = []
    for start, end in _lines(buffer):
        slash = NONE
        try:
            slash = start + len(rule(decoded(buffer[start : min(end, start + MAX_LINE + 1)]))[0])
        except InvalidHandle as error:
            # A traceback would hold this frame, and the frame the list of errors: a ring, and a kilobyte a row.
            errors.append((len(starts), error.with_traceback(None)))
        starts.append(start)
        slashes.append(slash)
        ends.append(end)
    return Columns(buffer, _column(starts), _column(slashes), _column(ends), errors)


def normalise_batch(buffer: bytes, hosts: frozenset[str] = frozenset()) -> Columns:
    """`normalise` of each line: columns over a new buffer of mended lines, empty where a line is no handle."""
    lines: list[str] = []
    errors: list[tuple[int, InvalidHandle]] = []
    for row, (start, end) in enumerate(_lines(buffer)):
        mended = ""
        try:
            mended = normalise(decoded(buffer[start : min(end, start + MAX_LINE + 1)]), hosts)
        except InvalidHandle as error:
            errors.append((row, error.with_traceback(None)))
        lines.append(f"{mended}\n")
    columns = parse_batch("".join(lines).encode())
    return Columns(columns.buffer, columns.starts, columns.slashes, columns.ends, errors)


def shard_batch(columns: Columns, home: int, spread: int) -> memoryview:
    """`shard_of` each row's suffix: a column of unsigned 16-bit numbers ("H"), 0xFFFF where the row is no handle."""
    check_layout(home, spread)
    shards = array("H")
    for slash, end in zip(columns.slashes, columns.ends, strict=True):
        known = slash != NONE
        shards.append((home + hash64(columns.buffer[slash + 1 : end]) % spread) % SHARDS if known else NO_SHARD)
    return _column(shards)


def _column(numbers: array[int]) -> memoryview:
    return memoryview(numbers.tobytes()).cast("I" if numbers.typecode == "I" else "H")


def _lines(buffer: bytes) -> Iterator[tuple[int, int]]:
    if len(buffer) > MAX_BUFFER:
        raise ValueError(f"a batch has at most {MAX_BUFFER} bytes")
    start = 0
    while start < len(buffer):
        end = buffer.find(b"\n", start)
        if end < 0:
            yield start, len(buffer)
            return
        yield start, end - (end > start and buffer[end - 1] == 0x0D)
        start = end + 1


def decoded(line: bytes) -> str:
    """The text of a line; InvalidHandle ("not_utf8") with the number of characters before the fault,
    or ("too_long") for more than MAX_LINE bytes."""
    if len(line) > MAX_LINE:
        raise InvalidHandle("too_long", MAX_HANDLE)
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise InvalidHandle("not_utf8", len(line[: error.start].decode())) from None
