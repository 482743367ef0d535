"""The cache protocol in virtual time: nothing older than what was acknowledged is ever read, and each part is needed."""

from __future__ import annotations

import os
import secrets

import pytest
from fence_model import Model, Part, Tally

SECONDS = 30.0  # of virtual time in a run
RUNS = 400  # a side: seeds that are always the same, and fresh ones
SEARCH = 400  # runs at the most until a part that is missing shows; most show in the first


def whole(first: int) -> Tally:
    total = Tally()
    for seed in range(first, first + RUNS):
        tally = Model(seed).run(SECONDS)
        assert not tally.stale, f"FENCE_MODEL_SEED={seed}: {tally.stale[:3]}"
        total.reads += tally.reads
        total.hits += tally.hits
        total.copies += tally.copies
        total.acknowledged += tally.acknowledged
    return total


def test_nothing_older_than_what_was_acknowledged_is_read() -> None:
    total = whole(1)
    assert total.acknowledged > 20 * RUNS
    assert total.hits > total.reads / 20  # a cache that is never used would be right too
    assert total.copies > total.reads / 50


def test_nor_with_fresh_seeds() -> None:
    first = int(os.environ.get("FENCE_MODEL_SEED") or secrets.randbelow(2**31))
    print(f"FENCE_MODEL_SEED={first}")
    whole(first)


@pytest.mark.parametrize("part", Part, ids=lambda part: part.name.lower())
def test_every_part_is_needed(part: Part) -> None:
    assert any(Model(seed, part).run(SECONDS).stale for seed in range(SEARCH)), f"not needed? {part.value}"
