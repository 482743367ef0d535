"""In which of the 1,024 virtual shards a suffix lies (architecture.md 5)."""

from __future__ import annotations

from collections.abc import Sequence

SHARDS = 1024

_P1, _P2, _P3, _P4, _P5 = (
    0x9E3779B185EBCA87,
    0xC2B2AE3D27D4EB4F,
    0x165667B19E3779F9,
    0x85EBCA77C2B2AE63,
    0x27D4EB2F165667C5,
)
_MASK = 0xFFFFFFFFFFFFFFFF


def hash64(data: bytes) -> int:
    """XXH64 with seed 0 (xxHash specification 0.1.1). Pinned for ever: it says in which shard a handle lies."""
    size, at = len(data), 0
    if size >= 32:
        lanes = [(_P1 + _P2) & _MASK, _P2, 0, -_P1 & _MASK]
        while at <= size - 32:
            for lane in range(4):
                word = int.from_bytes(data[at : at + 8], "little")
                lanes[lane] = _round(lanes[lane], word)
                at += 8
        mixed = sum(_rotate(v, r) for v, r in zip(lanes, (1, 7, 12, 18), strict=True)) & _MASK
        for lane in lanes:
            mixed = ((mixed ^ _round(0, lane)) * _P1 + _P4) & _MASK
    else:
        mixed = _P5
    mixed = (mixed + size) & _MASK
    while at <= size - 8:
        mixed ^= _round(0, int.from_bytes(data[at : at + 8], "little"))
        mixed = (_rotate(mixed, 27) * _P1 + _P4) & _MASK
        at += 8
    if at <= size - 4:
        mixed ^= int.from_bytes(data[at : at + 4], "little") * _P1 & _MASK
        mixed = (_rotate(mixed, 23) * _P2 + _P3) & _MASK
        at += 4
    for byte in data[at:]:
        mixed = _rotate(mixed ^ (byte * _P5 & _MASK), 11) * _P1 & _MASK
    mixed = (mixed ^ mixed >> 33) * _P2 & _MASK
    mixed = (mixed ^ mixed >> 29) * _P3 & _MASK
    return mixed ^ mixed >> 32


def _rotate(value: int, bits: int) -> int:
    return (value << bits | value >> (64 - bits)) & _MASK


def _round(lane: int, word: int) -> int:
    return _rotate((lane + word * _P2) & _MASK, 31) * _P1 & _MASK


def shard_of(suffix: str, home: int, spread: int) -> int:
    """The virtual shard of a suffix: (home + hash64(suffix) mod spread) mod 1024 (architecture.md 5).

    `home` is 0..1023, `spread` a power of two up to 1024; ValueError otherwise, also for a lone surrogate.
    """
    check_layout(home, spread)
    if spread == 1:
        return home
    return (home + hash64(suffix.encode()) % spread) % SHARDS


def check_layout(home: int, spread: int) -> None:
    """Refuse, with ValueError, a home or spread that no prefix can have."""
    if not 0 <= home < SHARDS or not 1 <= spread <= SHARDS or spread & (spread - 1):
        raise ValueError(f"home {home} or spread {spread} is out of range")


def shards_of(suffixes: Sequence[str], home: int, spread: int) -> list[int]:
    """`shard_of` for each of them."""
    return [shard_of(suffix, home, spread) for suffix in suffixes]
