"""The enterprises of a run and their goods: one giant and many small, of the seven industries, by number and seed."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from loadtest.industry_rows import INDUSTRIES, ITEMS_OF_A_LOT, Goods
from node.templates import load_industries

PUBLIC = {t.code: {f.code for f in t.fields if f.visibility == "public"} for t in load_industries()}
SINGLE = 800_000_000  # numbers from here on are registered one by one
_EXPONENT = 1.2  # sizes of firms: with 60 of them the first has a third of all goods
_SMALLEST = 150
# So a province's firms send 0.55 M rows by day, 600 a second, and not 0.9 M: in the waves two cores have no room for
# these beside the readers of 22 million rows.
_MOST_LATER = 25_000


@dataclass(frozen=True)
class Firm(Goods):
    """An enterprise of one industry. Item numbers below `size(0)` are imported; version 1 is what was imported."""

    trade: str = "pear"
    key: str = ""
    index: int = 0

    def industry(self, number: int) -> str:
        return self.trade

    @property
    def later(self) -> int:
        """Rows that it sends again by day. However many codes it has: what is corrected on a day are some chunks."""
        return min(super().later, _MOST_LATER)

    @property
    def lot_size(self) -> int:
        return min(ITEMS_OF_A_LOT, self.chunk)

    def content(self, number: int, version: int) -> dict[str, Any]:
        """The item's own attributes at a version."""
        found: dict[str, Any] = orjson.loads("{" + self.attributes(number, version - 1) + "}")
        return found

    def address(self, number: int, version: int) -> str:
        """The URL among the handle values of an item that was changed: it names its version."""
        return f"https://goods.example.com/{self.handle(number)}/{version}"

    def document(self, number: int, lot: str, version: int) -> dict[str, Any]:
        """The body that registers or changes an item to this version."""
        made: dict[str, Any] = {
            "handle": self.handle(number),
            "lot": f"{self.prefix}/{lot}",
            "attributes": self.content(number, version),
        }
        if version > 1:
            made["values"] = [{"index": 1, "type": "URL", "data": self.address(number, version)}]
        return made


@dataclass(frozen=True, slots=True)
class Batch:
    """The items of one lot: numbers `first` to `first + count - 1` of a firm."""

    firm: Firm
    first: int
    count: int
    index: int  # among all lots of the run

    @property
    def lot(self) -> str:
        return self.firm.lot(self.first)


def sizes(rows: int, count: int) -> list[int]:
    """Rows of each firm, largest first: Zipf, and none below 150."""
    weights = [1 / (n + 1) ** _EXPONENT for n in range(count)]
    total = sum(weights)
    return [max(_SMALLEST, int(rows * w / total)) for w in weights]


def firms(rows: int, seed: int, tag: str, owners: Sequence[tuple[str, str]], count: int) -> list[Firm]:
    """`owners`: (prefix, key) of each firm, or one pair that all share; suffixes tell the firms apart."""
    made = []
    for n, size in enumerate(sizes(rows, count)):
        prefix, key = owners[n] if len(owners) > 1 else owners[0]
        made.append(Firm(prefix, size, seed, f"{tag}{n:03d}", INDUSTRIES[n % len(INDUSTRIES)], key, n))
    return made


def batches(found: Sequence[Firm]) -> Iterator[Batch]:
    """All lots of the run, in the order of their import."""
    index = itertools.count()
    for firm in found:
        for chunk in range(0, firm.size(0), firm.chunk):
            end = min(chunk + firm.chunk, firm.size(0))
            for first in range(chunk, end, ITEMS_OF_A_LOT):
                yield Batch(firm, first, min(ITEMS_OF_A_LOT, end - first), next(index))


class Share:
    """What one generator of several reads and writes: every n-th lot. No other touches it, so what its items have to
    look like is known here alone."""

    def __init__(self, found: Sequence[Firm], worker: int, workers: int) -> None:
        every = list(batches(found))
        workers = min(workers, len(every))
        self.batches = [b for b in every if b.index % workers == worker % workers]
        self._ends = list(itertools.accumulate(b.count for b in self.batches))
        self.size = self._ends[-1]
        # A recalled lot takes no items and no changes: lots are recalled, or written to, never both.
        self.recalled = [b for n, b in enumerate(self.batches) if n % 4 == 3 and b.first >= b.firm.later]
        self.aside = {b.index for b in self.recalled}
        self.written = [b for b in self.batches if b.index not in self.aside]

    def item(self, position: int) -> tuple[Batch, int]:
        """(lot, number) of the item at a position below `size`; broken rows were never registered, so one before."""
        at = bisect.bisect_right(self._ends, position)
        batch = self.batches[at]
        number = batch.first + position - (self._ends[at] - batch.count)
        if number % 200 == 199:
            number = number - 1 if number > batch.first else number + 1
        return batch, number
