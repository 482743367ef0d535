"""The load test's own parts: its workload is what it says, and it catches a wrong answer."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from pathlib import Path

from loadtest.workload import Goods, Zipf, hot_and_cold


def test_goods_follow_from_their_number() -> None:
    goods = Goods("88.999.1001", seed=7)
    assert goods.row(5) == Goods("88.999.1001", seed=7).row(5)
    assert goods.row(5) != goods.row(6)
    assert goods.row(5) != Goods("88.999.1001", seed=8).row(5)


def test_a_wrong_answer_is_caught() -> None:
    goods = Goods("88.999.1001")
    right = {"handle": goods.handle(3), "values": goods.values(3)}
    assert goods.wrong(3, right) is None
    assert goods.wrong(4, right) is not None
    changed = json.loads(json.dumps(right))
    changed["values"][0]["data"] = "https://example.com/other"
    assert "registered were" in str(goods.wrong(3, changed))
    assert goods.wrong(3, {"handle": goods.handle(3)}) is not None


def test_zipf_prefers_few() -> None:
    zipf = Zipf(1000, seed=3)
    seen = Counter(zipf.next() for _ in range(20_000))
    common = [count for _, count in seen.most_common()]
    assert 1.6 < common[0] / common[1] < 2.5
    assert sum(common[:100]) > 0.6 * 20_000
    assert max(seen) < 1000


def test_hot_handles_take_their_share() -> None:
    numbers = hot_and_cold(20_000, seed=1)
    assert 0.80 < sum(n < 1000 for n in numbers) / len(numbers) < 0.83


async def test_a_short_run_leaves_both_reports(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "loadtest.run", "--seconds", "3", "--users", "11", "--report-dir", str(tmp_path)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 90)
    assert process.returncode == 0, output.decode()
    report = json.loads((tmp_path / "loadtest.json").read_text())
    assert report["wrong_answers"] == []
    assert {r["name"] for r in report["requests"]} == {
        "register one", "register a batch", "resolve", "scan", "Aggregated",
    }  # fmt: skip
    assert all(r["count"] for r in report["requests"])
    assert (tmp_path / "loadtest.html").stat().st_size > 10_000
