"""How many different devices, in at most 256 bytes: the 64 smallest hashes of those seen (k minimum values).

Exact below 64 devices, about 13 % wrong beyond (1 / sqrt(k - 2)), and never more than 256 bytes however many devices
an attacker invents. Merging is a union, so workers and repeated settlements cannot count a device twice.
"""

from __future__ import annotations

from collections.abc import Iterable

SIZE = 64
_WIDTH = 4  # bytes of a hash
_RANGE = 2.0 ** (8 * _WIDTH)


def merged(sketch: bytes, marks: Iterable[bytes]) -> bytes:
    """The sketch with these devices in it; a mark's first bytes must be evenly spread, as a keyed digest's are."""
    seen = {sketch[i : i + _WIDTH] for i in range(0, len(sketch), _WIDTH)}
    seen.update(mark[:_WIDTH] for mark in marks)
    return b"".join(sorted(seen)[:SIZE])


def estimate(sketch: bytes) -> int:
    """How many different devices went in."""
    held = len(sketch) // _WIDTH
    if held < SIZE:
        return held
    largest = int.from_bytes(sketch[-_WIDTH:], "big") + 1
    return max(SIZE, round((SIZE - 1) * _RANGE / largest))
