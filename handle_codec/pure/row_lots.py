"""What is asked of a chunk before its rows are read: how many lines it has, which lots they name."""

from __future__ import annotations

import re

_LOT = re.compile(rb'"lot"[ \t\r\f\v]*:[ \t\r\f\v]*"([^"\\]{1,300})"')


def line_count(data: bytes) -> int:
    """How many lines there are; the last may go without its end."""
    return data.count(b"\n") + (not data.endswith(b"\n") and data != b"")


def lots_named(data: bytes) -> list[bytes]:
    """A guess: what it misses makes rows unsure, and no more.

    The texts of the first `"lot"` of each line, in order, each once for a run of lines that say it at one place.
    """
    found: list[bytes] = []
    last, at = b"\n", 0  # the member as it stood in the last line that had one, and where
    for line in data.split(b"\n"):
        if line.startswith(last, at):
            continue
        match = _LOT.search(line)
        if match:
            found.append(match[1])
            last, at = match[0], match.start()
    return found
