"""Millions of mutated inputs through the fuzzer's targets, without its instrumentation: `make hammer`.

Coverage finds the corners (tests/fuzz_codec.py), number finds what is rare in them. Inputs come from a seeded generator,
so that a failure is repeated by its seed and number. Fails on a difference of the twins, on any other exception than
InvalidCode, and on memory that grows.
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from fuzz_codec import SEEDS, TARGETS

# Shares of the inputs: what is cheap and seen by everybody gets most.
SHARES = {
    "handles": 34, "links": 20, "gs1": 16, "shards": 10, "contents": 4, "serials": 6, "schemes": 6, "batches": 2, "rows": 2,
}  # fmt: skip
_GROWTH = 64  # MiB that a target may grow by after its first hundredth
_PIECES = [
    b"/",
    b"%2F",
    b"\x00",
    b"\x1d",
    b"88.",
    b"(01)",
    b"\xef\xbc\x8f",
    b"\xe2\x80\x8b",
    b"\xed\xa0\x80",
    b"]C1",
    b" ",
]


def mutated(chance: random.Random, seeds: list[bytes]) -> bytes:
    """A seed after one to six changes: a byte, a piece, a cut, a splice with another seed."""
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.randrange(1, 7)):
        at = chance.randrange(len(data) + 1)
        kind = chance.randrange(6)
        if kind == 0 and at < len(data):
            data[at] = chance.randrange(256)
        elif kind == 1:
            data[at:at] = bytes((chance.randrange(32, 127),))
        elif kind == 2:
            del data[at : at + chance.randrange(1, 4)]
        elif kind == 3:
            data[at:at] = chance.choice(_PIECES)
        elif kind == 4:
            other = chance.choice(seeds)
            data[at:] = other[chance.randrange(len(other) + 1) :]
        elif at < len(data):
            data[at] ^= 0x20
    return bytes(data)


def hammer(name: str, target: Callable[[bytes], None], count: int, seed: int) -> tuple[float, int]:
    """(seconds, MiB that the process grew by after its first hundredth)."""
    chance, seeds = random.Random(f"{seed}/{name}"), [text.encode() for text in SEEDS[name]]
    begin, base = time.perf_counter(), 0
    for number in range(count):
        data = mutated(chance, seeds)
        try:
            target(data)
        except BaseException:
            print(f"{name}, seed {seed}, input {number}: {data!r}", file=sys.stderr)
            raise
        if number == count // 100:
            base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return time.perf_counter() - begin, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) // 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    total, failed = 0, False
    print(f"{'target':10} {'inputs':>12} {'seconds':>9} {'MiB grown':>10}")
    for name, share in SHARES.items():
        count = max(1, arguments.inputs * share // 100)
        seconds, grown = hammer(name, TARGETS[name], count, arguments.seed)
        total += count
        failed |= grown > _GROWTH
        print(
            f"{name:10} {count:>12,} {seconds:>9.0f} {grown:>10}{'  too much' if grown > _GROWTH else ''}", flush=True
        )
    print(f"{'together':10} {total:>12,}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
