"""A season of goods for bulk loads: lots of an industry and their items, as NDJSON chunks. Deterministic by seed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

EXAMPLES = Path(__file__).parents[1] / "node" / "industries" / "examples"
ITEMS_OF_A_LOT = 5_000


@dataclass(frozen=True)
class Season:
    """`count` items of one prefix in lots of 5,000, each with a few attributes of its own industry (pear)."""

    prefix: str
    count: int
    seed: int = 1
    run: str = "S"

    def lots(self) -> Iterator[dict[str, Any]]:
        lot = json.loads((EXAMPLES / "pear.json").read_text("utf-8"))["lot"]
        for number in range(-(-self.count // ITEMS_OF_A_LOT)):
            yield {"handle": f"{self.prefix}/{self.lot(number)}", "template": "pear@1", "attributes": lot}

    def lot(self, number: int) -> str:
        return f"{self.run}-LOT-{number:05d}"

    def item(self, number: int) -> dict[str, Any]:
        pick = Random(self.seed * 1_000_003 + number)
        return {
            "handle": f"{self.prefix}/{self.run}{number:09d}",
            "lot": f"{self.prefix}/{self.lot(number // ITEMS_OF_A_LOT)}",
            "attributes": {
                "carton_id": f"C{number:09d}",
                "net_weight_kg": round(4.8 + pick.random() * 0.4, 2),
                "fruit_weight_g": pick.randint(200, 360),
                "ssc_pct": round(10 + pick.random() * 4, 1),
            },
        }

    def chunk(self, first: int, count: int) -> bytes:
        """The items from `first` on as NDJSON."""
        return b"".join(
            json.dumps(self.item(n), ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
            for n in range(first, min(first + count, self.count))
        )
