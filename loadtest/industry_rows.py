"""Rows of the seven industries, by number and seed, with what has to become of each; written to a pipe by a process of
its own, so that the making of rows is not measured as the sending.

Part 0 is the season: new rows, and each 200th broken. Part 1 comes after it: rows again, changed or broken.
    python -m loadtest.industry_rows --prefix 88.999.1001 --rows 5000000 --part 0
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from loadtest.observing import memory_of

EXAMPLES = Path(__file__).parents[1] / "node" / "industries" / "examples"
ITEMS_OF_A_LOT = 5_000
OUTCOMES = {"new": "created", "again": "unchanged", "changed": "conflict", "broken": "rejected"}
_LATER = ("again",) * 5 + ("changed",) * 3 + ("broken",) * 2
_PLAIN = _LATER.count("again")
_MIX = 2_654_435_761
_BROKEN = ("broken_body", "unknown_prefix", "unknown_lot", "unknown_field", "wrong_type")

# Own values of an item, as JSON members. `n` is its number, `x` to `z` are digits that follow from number and seed;
# no number ends in 0, for then the codec would have to rewrite it.
_ITEMS: dict[str, Callable[[int, int, int, int], str]] = {
    "pear": lambda n, x, y, z: (
        f'"carton_id":"C{n:09d}","fruit_weight_g":{200 + 10 * x + y},"net_weight_kg":4.{x}{y},"ssc_pct":1{z}.{x}'
    ),
    "green_food": lambda n, x, y, z: f'"parent_id":"GF-BOX-{n // 24:07d}","produced_at":"2024-10-08T1{z}:2{x}:3{y}Z"',
    "textile": lambda n, x, y, z: (
        f'"carton_id":"TX-BOX-{n // 12:07d}","qc":"{x}{y}","rfid_epc":"30340BE4A8145E40{n:08X}","size":"1{x}5/9{z}A"'
    ),
    "home": lambda n, x, y, z: f'"parent_id":"HM-PLT-{n // 6:07d}","weight_kg":11{x}.{y}',
    "shoes": lambda n, x, y, z: f'"last_no":"L-2{x}0-{z}","pair_serial":"T2406-{n:09d}","shoe_size":"2{x}0"',
    "pharma": lambda n, x, y, z: (
        f'"drug_trace_code":"8999999{n:09d}{x}{y}{z}{x}","pack_level":"最小包装","parent_id":"PH-C{n // 200:07d}"'
    ),
    "machinery": lambda n, x, y, z: (
        f'"device_sn":"VF7{n:010d}","network_serial_no":"{n:09d}","parent_id":"MC-BOX-{x}{y}{z}"'
    ),
}
INDUSTRIES = tuple(_ITEMS)


@dataclass(frozen=True)
class Goods:
    """`count` rows under one prefix in chunks of one industry each; `run` begins the suffixes."""

    prefix: str
    count: int
    seed: int = 1
    run: str = "M"

    @property
    def later(self) -> int:
        """Rows of part 1."""
        return self.count // 25

    @property
    def chunk(self) -> int:
        """Rows of a chunk: small enough that each industry has one."""
        return max(100, min(25_000, self.count // 14))

    def size(self, part: int) -> int:
        return self.later if part else self.count - self.later

    def chunks(self, part: int) -> int:
        return -(-self.size(part) // self.chunk)

    def industry(self, number: int) -> str:
        return INDUSTRIES[number // self.chunk % len(INDUSTRIES)]

    def handle(self, number: int) -> str:
        return f"{self.prefix}/{self.run}{number:09d}"

    def lot(self, number: int) -> str:
        """The suffix of the lot: of some thousand items, and of one chunk."""
        chunk, place = divmod(number, self.chunk)
        return f"{self.run}-{chunk:05d}-{place // ITEMS_OF_A_LOT}"

    def lots(self) -> Iterator[dict[str, Any]]:
        """What registers the lots, each with the values of its industry's example."""
        values = {code: json.loads((EXAMPLES / f"{code}.json").read_text("utf-8"))["lot"] for code in INDUSTRIES}
        values["machinery"]["active_carrier"] = False  # no module in it: else each item needs an IMEI
        for first in range(0, self.size(0), self.chunk):
            for number in range(first, min(first + self.chunk, self.size(0)), ITEMS_OF_A_LOT):
                code = self.industry(number)
                yield {
                    "handle": f"{self.prefix}/{self.lot(number)}",
                    "template": f"{code}@1",
                    "attributes": values[code],
                }

    def kind(self, part: int, number: int) -> str:
        """new, again, changed or broken."""
        if number % 200 == 199:
            return "broken"
        return _LATER[number % 10] if part else "new"

    def fault(self, number: int) -> str:
        """The code with which a broken row has to be rejected."""
        return _BROKEN[(number // 200 + number // 10) % len(_BROKEN)]

    def attributes(self, number: int, change: int = 0) -> str:
        """The item's own values as JSON members; with another `change` the first digit is another."""
        mixed = (number + self.seed + change) * _MIX & 0xFFFFFFFF  # 7 or 3 apart modulo 9 for one more
        return _ITEMS[self.industry(number)](number, mixed % 9 + 1, mixed // 9 % 9 + 1, mixed // 81 % 8)

    def line(self, part: int, number: int) -> str:
        """The row as it is sent."""
        kind = self.kind(part, number)
        own, lot, prefix = self.attributes(number, kind == "changed"), self.lot(number), self.prefix
        fault = self.fault(number) if kind == "broken" else ""
        if fault == "broken_body":
            return f'{{"handle":"{self.handle(number)}",'
        if fault == "unknown_prefix":
            prefix = "88.999.999999"
        elif fault == "unknown_lot":
            lot = "NO-SUCH-LOT"
        elif fault == "unknown_field":
            own += ',"no_such_field":1'
        elif fault == "wrong_type":
            own = own.partition(":")[0] + ":{}"
        return f'{{"handle":"{prefix}/{self.run}{number:09d}","lot":"{lot}","attributes":{{{own}}}}}'

    def numbers(self, part: int, chunk: int) -> range:
        return range(chunk * self.chunk, min((chunk + 1) * self.chunk, self.size(part)))

    def body(self, part: int, chunk: int) -> bytes:
        """A chunk as NDJSON: the same lines as `line` makes, whose parts are looked up once a chunk."""
        numbers, make, seed = self.numbers(part, chunk), _ITEMS[self.industry(chunk * self.chunk)], self.seed
        head, later = f'{{"handle":"{self.prefix}/{self.run}', (part == 1) * len(_LATER)
        lines = []
        for n in numbers:
            if n % 200 == 199 or (later and n % later >= _PLAIN):
                lines.append(self.line(part, n))
                continue
            mixed = (n + seed) * _MIX & 0xFFFFFFFF
            own = make(n, mixed % 9 + 1, mixed // 9 % 9 + 1, mixed // 81 % 8)
            lot = f"{self.run}-{chunk:05d}-{(n - numbers.start) // ITEMS_OF_A_LOT}"
            lines.append(f'{head}{n:09d}","lot":"{lot}","attributes":{{{own}}}}}')
        return "\n".join(lines).encode()

    def expected(self, part: int, chunk: int) -> dict[str, int]:
        """How many rows of a chunk have which outcome."""
        numbers = self.numbers(part, chunk)
        if not part:
            broken = sum(n % 200 == 199 for n in numbers)
            return {"created": len(numbers) - broken, "unchanged": 0, "conflict": 0, "rejected": broken}
        found = Counter(OUTCOMES[self.kind(part, n)] for n in numbers)
        return {outcome: found[outcome] for outcome in OUTCOMES.values()}

    def errors(self, part: int) -> Iterator[tuple[int, int, str, str]]:
        """(chunk, row, outcome, code) of every row that is not taken, in order."""
        for number in range(self.size(part)):
            kind = self.kind(part, number)
            if kind in ("changed", "broken"):
                code = "handle_conflict" if kind == "changed" else self.fault(number)
                yield number // self.chunk, number % self.chunk, OUTCOMES[kind], code

    def wrong(self, number: int, record: dict[str, Any], public: set[str]) -> str | None:
        """What differs between a public record and what was registered; `public`: attributes that all may see."""
        if record.get("handle") != self.handle(number):
            return f"handle is {record.get('handle')!r}, asked was {self.handle(number)}"
        own = {k: v for k, v in json.loads("{" + self.attributes(number) + "}").items() if k in public}
        shown = {k: v for k, v in record.get("attributes", {}).items() if k in own}
        return None if own and shown == own else f"{self.handle(number)}: {shown!r}, registered was {own!r}"


def write(goods: Goods, part: int, out: BinaryIO) -> None:
    """Each chunk behind a line of JSON with its size and what has to become of it; then what this process used."""
    for chunk in range(goods.chunks(part)):
        body = goods.body(part, chunk)
        head = {"chunk": chunk, "rows": len(goods.numbers(part, chunk)), "bytes": len(body)}
        out.write(json.dumps(head | goods.expected(part, chunk)).encode() + b"\n" + body)
    used = {"cpu_seconds": time.process_time(), "peak_mib": memory_of(Path("/proc/self"))}
    out.write(json.dumps(used).encode() + b"\n")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtest.industry_rows", description=__doc__)
    parser.add_argument("--prefix", required=True)
    parser.add_argument("--rows", type=int, required=True, help="of both parts together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--run", default="M", help="begins the suffixes")
    parser.add_argument("--part", type=int, choices=(0, 1), default=0)
    given = parser.parse_args()
    write(Goods(given.prefix, given.rows, given.seed, given.run), given.part, sys.stdout.buffer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
