# cython: annotation_typing=False
"""How many different devices, in at most 256 bytes: the 64 smallest hashes of those seen (k minimum values).

Exact below 64 devices, about 13 % wrong beyond (1 / sqrt(k - 2)), and never more than 256 bytes however many devices
an attacker invents. Merging is a union, so workers and repeated settlements cannot count a device twice.
"""

from __future__ import annotations

from collections.abc import Iterable

SIZE = 64
_FEW = 6  # hashes that are put in one by one
_WIDTH = 4  # bytes of a hash
_RANGE = 2.0 ** (8 * _WIDTH)


def merged(sketch: bytes, marks: Iterable[bytes]) -> bytes:
    """The sketch with these devices in it; a mark's first bytes must be evenly spread, as a keyed digest's are."""
    if len(sketch) == SIZE * _WIDTH:  # of many devices few hashes are small enough: mostly there is nothing to do
        largest = sketch[-_WIDTH:]
        marks = [mark for mark in marks if mark < largest]  # one that begins with it is greater
        if not marks:
            return sketch
    new = {mark[:_WIDTH] for mark in marks}
    if len(new) <= _FEW:
        for number in new:
            sketch = _with(sketch, number)
        return sketch[: SIZE * _WIDTH]
    new.update([sketch[i : i + _WIDTH] for i in range(0, len(sketch), _WIDTH)])
    return b"".join(sorted(new)[:SIZE])


def _with(sketch: bytes, number: bytes) -> bytes:
    """The hash in its place; a sixth of the price of taking all apart and sorting."""
    low, high = 0, len(sketch) // _WIDTH
    while low < high:
        middle = (low + high) // 2
        if sketch[middle * _WIDTH : (middle + 1) * _WIDTH] < number:
            low = middle + 1
        else:
            high = middle
    at = low * _WIDTH
    return sketch if sketch[at : at + _WIDTH] == number else sketch[:at] + number + sketch[at:]


def estimate(sketch: bytes) -> int:
    """How many different devices went in."""
    held = len(sketch) // _WIDTH
    if held < SIZE:
        return held
    largest = int.from_bytes(sketch[-_WIDTH:], "big") + 1
    return max(SIZE, round((SIZE - 1) * _RANGE / largest))
