"""What the load tests register and ask for. Deterministic by seed; no network."""

from __future__ import annotations

import bisect
import itertools
import random
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Goods:
    """Handles of one prefix, each with content that follows from its number: an answer can be held against it."""

    prefix: str
    seed: int = 1
    run: str = "L"  # begins the suffixes, so that two runs do not meet

    def handle(self, number: int) -> str:
        return f"{self.prefix}/{self.run}-{number:08d}"

    def row(self, number: int) -> dict[str, Any]:
        """The body that registers item `number`: two handle values, about 200 bytes, as a small product record has."""
        return {"handle": self.handle(number), "values": self.values(number)}

    def values(self, number: int) -> list[dict[str, Any]]:
        pick = random.Random(self.seed * 1_000_003 + number)
        return [
            {"index": 1, "type": "URL", "data": f"https://goods.example.com/{self.run}/{number}"},
            {"index": 2, "type": "DESC", "data": f"砀山酥梨 {pick.randint(200, 310)} g {pick.choice('优一二')}等"},
        ]

    def wrong(self, number: int, record: dict[str, Any]) -> str | None:
        """What differs between an answer and what was registered; None when nothing does."""
        if record.get("handle") != self.handle(number):
            return f"handle is {record.get('handle')!r}"
        got = [
            (v["index"], v["type"], v["data"]["value"] if isinstance(v["data"], dict) else v["data"])
            for v in record.get("values", [])
        ]
        expected = [(v["index"], v["type"], v["data"]) for v in self.values(number)]
        return None if got == expected else f"values are {got!r}, registered were {expected!r}"


class Zipf:
    """Numbers below `count`, the n-th most popular with weight 1 / n^exponent: scans of goods are so (domain.md 5)."""

    def __init__(self, count: int, seed: int, exponent: float = 1.0) -> None:
        self._random = random.Random(seed)
        self._sums = list(itertools.accumulate(1 / n**exponent for n in range(1, count + 1)))
        order = list(range(count))
        random.Random(seed).shuffle(order)  # the popular ones lie anywhere among the numbers
        self._order = order

    def next(self) -> int:
        position = bisect.bisect(self._sums, self._random.random() * self._sums[-1])
        return self._order[min(position, len(self._order) - 1)]


def hot_and_cold(count: int, seed: int, hot: int = 1000, share: float = 0.8) -> list[int]:
    """100,000 numbers below `count`: `share` of them among the first `hot`, the others uniform."""
    pick = random.Random(seed)
    hot = min(hot, count)
    return [pick.randrange(hot) if pick.random() < share else pick.randrange(count) for _ in range(100_000)]


def uniform(count: int, seed: int) -> list[int]:
    """100,000 numbers below `count`, each as likely as any other."""
    pick = random.Random(seed)
    return [pick.randrange(count) for _ in range(100_000)]
