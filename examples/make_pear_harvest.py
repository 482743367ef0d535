"""Writes pear-harvest.csv: 10,000 cartons of one harvest lot of an invented Dangshan co-operative. Same seed, same file.

Ranges: DB34/T 615 and GB/T 10650 as quoted in the template's basis (unchecked against the standards' own text):
fruit around 250 g, soluble solids 11 to 14 %, harvest in the first half of September.
"""

from __future__ import annotations

import csv
import random
from datetime import date, datetime, timedelta
from pathlib import Path

CARTONS = 10_000
PREFIX = "88.999.1001"
LOT = "LC-2026-HARVEST"
ORCHARDS = [
    ("GY01", "良梨镇一号园", "341321104"),
    ("GY02", "良梨镇二号园", "341321104"),
    ("GY03", "良梨镇三号园", "341321104"),
    ("GY07", "李庄镇河滩园", "341321101"),
    ("GY11", "葛集镇老树园", "341321105"),
]
TEAMS = ["一组", "二组", "三组"]
COLD_STORES = ["LK-01", "LK-02", "LK-03"]
# grade, share, grams, soluble solids in per cent
GRADES = [("优等品", 0.35, (260, 310), (12.2, 14.0)), ("一等品", 0.45, (225, 265), (11.6, 13.2)), ("二等品", 0.20, (195, 230), (11.0, 12.4))]  # fmt: skip
HEADER = [
    "suffix", "果园编号", "果园名称", "产地行政区划", "采收日期", "采收班组", "等级", "单果重", "可溶性固形物",
    "净含量", "箱标识", "分选时间", "冷库", "入库时间", "农残报告", "承诺达标合格证",
]  # fmt: skip


def cartons(seed: int = 341321) -> list[list[str]]:
    """The rows, in the order in which the cartons left the sorting line."""
    random_ = random.Random(seed)
    rows = []
    for number in range(1, CARTONS + 1):
        orchard, name, area = ORCHARDS[(number - 1) * len(ORCHARDS) // CARTONS]
        day = date(2026, 9, 8) + timedelta(days=(number - 1) * 10 // CARTONS)
        grade, _, grams, solids = random_.choices(GRADES, [g[1] for g in GRADES])[0]
        sorted_at = datetime(day.year, day.month, day.day, 13) + timedelta(seconds=(number * 29) % 18_000)
        suffix = f"{LOT}-{number:05d}"
        rows.append(
            [
                suffix,
                orchard,
                name,
                area,
                day.isoformat(),
                TEAMS[number % 3],
                grade,
                str(random_.randint(*grams)),
                f"{random_.uniform(*solids):.1f}",
                f"{random_.gauss(5.0, 0.04):.2f}",
                f"{PREFIX}/{suffix}",
                f"{sorted_at.isoformat()}+08:00",
                COLD_STORES[number % 3],
                f"{(sorted_at + timedelta(hours=2)).isoformat()}+08:00",
                f"NC-{day:%Y%m%d}-{orchard}.pdf",
                f"HGZ-341321-{day:%Y%m%d}-{orchard}",
            ]
        )
    return rows


if __name__ == "__main__":
    with Path(__file__).with_name("pear-harvest.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        writer.writerows(cartons())
