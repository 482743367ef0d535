"""The five-million run made small: its rows are what it says, its ledger closes, and it fails where something is wrong."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

import pytest

from loadtest import season_report
from loadtest.industry_rows import INDUSTRIES, OUTCOMES, Goods

GOODS = Goods("88.999.1001", 42_000, seed=3)


def test_rows_follow_from_number_and_seed() -> None:
    assert GOODS.body(0, 3) == Goods("88.999.1001", 42_000, seed=3).body(0, 3)
    assert GOODS.body(0, 3) != Goods("88.999.1001", 42_000, seed=4).body(0, 3)
    for part in (0, 1):
        assert sum(len(GOODS.numbers(part, chunk)) for chunk in range(GOODS.chunks(part))) == GOODS.size(part)
        for chunk in range(GOODS.chunks(part)):
            lines = [GOODS.line(part, n) for n in GOODS.numbers(part, chunk)]
            assert GOODS.body(part, chunk).decode().split("\n") == lines
    assert {GOODS.industry(n * GOODS.chunk) for n in range(GOODS.chunks(0))} == set(INDUSTRIES)


def test_what_is_expected_of_a_chunk_is_what_is_in_it() -> None:
    for part in (0, 1):
        kinds = Counter(GOODS.kind(part, n) for n in range(GOODS.size(part)))
        sums = Counter[str]()
        for chunk in range(GOODS.chunks(part)):
            sums.update(GOODS.expected(part, chunk))
        assert {OUTCOMES[kind]: count for kind, count in kinds.items()} == {k: v for k, v in sums.items() if v}
        refused = list(GOODS.errors(part))
        assert len(refused) == kinds["changed"] + kinds["broken"]
        assert refused == sorted(refused, key=lambda e: e[:2])
    assert {e[3] for e in GOODS.errors(1)} >= {"handle_conflict", "unknown_prefix", "unknown_field"}


@pytest.mark.parametrize("number", range(0, 42_000, 2_999))
def test_a_changed_row_is_another_and_a_repeated_one_the_same(number: int) -> None:
    assert GOODS.attributes(number) != GOODS.attributes(number, 1)
    right = {"handle": GOODS.handle(number), "attributes": json.loads("{" + GOODS.attributes(number) + "}")}
    names = set(right["attributes"])
    assert GOODS.wrong(number, right, names) is None
    assert GOODS.wrong(number, right, set()) is not None  # nothing to see proves nothing
    other = right | {"attributes": json.loads("{" + GOODS.attributes(number, 1) + "}")}
    assert GOODS.wrong(number, other, names) is not None
    assert GOODS.wrong(number, right | {"handle": GOODS.handle(number + 1)}, names) is not None


def test_one_row_too_few_fails_the_run() -> None:
    classes = {kind: {"sent": 5, "counted": 5} for kind in OUTCOMES}
    found = {"classes": classes, "wrong": [], "rows_in_postgresql": 5}
    assert season_report.right(found)
    assert not season_report.right(found | {"wrong": ["x"]})
    assert not season_report.right(found | {"rows_in_postgresql": 4})
    assert not season_report.right(found | {"classes": classes | {"again": {"sent": 5, "counted": 4}}})


async def ran(*arguments: str, **env: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=os.environ | env,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 300)
    assert process.returncode == 0, output.decode()
    return output.decode()


async def test_a_small_season_is_verified_and_reported(tmp_path: Path) -> None:
    output = await ran("loadtest.five_million", "--rows", "4200", "--samples", "300", "--report-dir", str(tmp_path))
    assert "passed: the ledger is right row by row" in output
    found = json.loads((tmp_path / "five-million.json").read_text("utf-8"))
    assert found["wrong"] == []
    assert sum(one["counted"] for one in found["classes"].values()) == 4200
    assert all(one["counted"] for one in found["classes"].values())
    assert found["resolved"] > 280
    assert min(found[k] for k in ("generator_cpu_seconds", "peak_mib_of_a_worker", "database_bytes")) > 0
    assert sum(rows for _, rows, _ in found["chunks"]) == 4200
    text = (tmp_path / "five-million.html").read_text("utf-8")
    assert not re.search(r"https?:|<script|src=|@import", text)
    pictures = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert len(pictures) == 4
    for picture in pictures:
        assert ET.fromstring(picture).findall(".//polyline") or ET.fromstring(picture).findall(".//circle")


async def test_the_same_as_a_locust_shape(tmp_path: Path) -> None:
    arguments = ("loadtest.run", "--season", "1400", "--report-dir", str(tmp_path))
    output = await ran(*arguments, SEASON_SAMPLES="100")
    assert "0 wrong answers" in output
    requests = {r["name"]: r for r in json.loads((tmp_path / "loadtest.json").read_text())["requests"]}
    assert requests["put a chunk"]["count"] == 15
    assert requests["resolve"]["count"] >= 100
