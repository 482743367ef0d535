"""The acceptance report: what makes a verdict, that everything is in it, and that nothing is ticked that was not run."""

from __future__ import annotations

import copy
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from loadtest.acceptance import chapters, compare, pdf, report, thresholds

_FIGURES = {"n": 1000, "errors": 0, "mean": 3.0, "p50": 2.0, "p90": 5.0, "p99": 9.0, "p999": 20.0, "max": 31.0}
_CALLS = ("resolve", "batch_resolve", "scan", "unknown", "malformed", "register", "update", "recall", "replay")


def result() -> dict[str, Any]:
    """A run as it should be."""
    drill = {
        "name": "cache_killed", "zh": "缓存被杀", "en": "cache killed", "from": 30, "to": 33, "errors": 1, "stale": 0,
        "seconds_with_errors": 1, "seconds_to_normal": 2.0, "held": True, "notes_zh": "说明", "notes_en": "notes",
    }  # fmt: skip
    step = {"offered": 500.0, "done": 499.0, "p50": 2.0, "p99": 9.0, "errors": 0, "refused_503": 0, "p99_of_503": None}
    return {
        "format": "idnode-acceptance/1", "verdict": "pass", "why": [],
        "run": {"profile": "city", "seed": 1, "command": "idnode acceptance", "started": "2026-11-26T08:00:00+00:00",
                "ended": "2026-11-26T08:10:00+00:00", "url": "http://127.0.0.1:1", "own_node": True,
                "phases": [{"name": "day", "zh": "白天", "en": "day", "from": 0, "to": 30},
                           {"name": "drills", "zh": "演练", "en": "drills", "from": 30, "to": 60}]},
        "machine": {"cpus": 2, "cpu": "x", "memory_gib": 24.0, "os": "Linux", "disk_free_gib": 50.0},
        "versions": {"idnode": "0.1.0", "python": "3.11", "postgresql": "18", "valkey": "9", "locust": "2"},
        "generator": {"requests_per_core": 9000, "wanted": 5000},
        "series": [{"t": t, "offered": 100, "done": 100, "errors": 5 if t > 30 else 0,
                    "calls": {"resolve": dict(_FIGURES)}} for t in range(60)],
        "calls": {call: dict(_FIGURES) for call in (*_CALLS, "import_chunk", "claim")},
        "industries": {"pear": dict(_FIGURES)}, "errors": [{"cause": "503", "call": "scan", "n": 5, "example": "e"}],
        "wrong": [], "ledger": {"sent": 10, "created": 7, "unchanged": 1, "conflict": 1, "rejected": 1, "rows": 7,
                                "counters": 7, "balanced": True},
        "sweep": {"checked": 7, "wrong": 0},
        "resources": [{"t": t, "processes": {"idnode": {"cpu": 0.5, "rss_mib": 90}}, "disk_mib": 20 + t,
                       "connections": 9} for t in range(3)],
        "database": {"before_mib": 10, "after_mib": 20, "items": 7, "bytes_per_item": 300},
        "drills": [drill], "steps": [step, {**step, "offered": 1000.0, "refused_503": 9, "p99_of_503": 80.0}],
        "knee": {"rate": 500.0, "why_zh": "拐点", "why_en": "the knee"}, "thresholds": [], "chapters": [],
    }  # fmt: skip


def nothing() -> dict[str, Any]:
    """A run that was broken off before it did anything."""
    empty = result()
    empty |= {"verdict": "incomplete", "why": [{"zh": "节点停了", "en": "the node died"}], "knee": None}
    empty |= {name: [] for name in ("series", "errors", "wrong", "resources", "drills", "steps")}
    empty |= {"calls": {}, "industries": {}, "sweep": {"checked": None, "wrong": None}, "generator": {}}
    empty["ledger"] = dict.fromkeys(empty["ledger"]) | {"balanced": False}
    empty["database"] = dict.fromkeys(empty["database"])
    empty["run"]["phases"] = []
    return empty


def judged(given: dict[str, Any]) -> dict[str, Any]:
    thresholds.judge(given)
    chapters.fill(given)
    return given


def test_a_run_as_it_should_be_passes_and_errors_of_drills_do_not_count() -> None:
    found = judged(result())
    assert (found["verdict"], found["why"]) == ("pass", [])
    assert {t["name"] for t in found["thresholds"]} == set(
        tomllib.loads(thresholds.FILE.read_text("utf-8"))["threshold"]
    )
    assert all(t["held"] for t in found["thresholds"])


BREAKS: dict[str, Any] = {
    "resolve_p99": lambda r: r["calls"]["resolve"].update(p99=101.0),
    "scan_p99": lambda r: r["calls"]["scan"].update(p99=1e4),
    "register_p99": lambda r: r["calls"]["register"].update(p99=1e4),
    "errors": lambda r: r["series"][3].update(errors=50),
    "wrong": lambda r: r["wrong"].append({"kind": "stale", "call": "resolve", "handle": "h", "expected": 2, "got": 1, "at": 1}),
    "ledger": lambda r: r["ledger"].update(rows=8),
    "sweep": lambda r: r["sweep"].update(wrong=1),
    "bytes_per_item": lambda r: r["database"].update(bytes_per_item=9000),
    "generator": lambda r: r["generator"].update(requests_per_core=4999),
    "drill_stale": lambda r: r["drills"][0].update(stale=1),
    "drill_normal": lambda r: r["drills"][0].update(seconds_to_normal=31.0),
    "refusals_p99": lambda r: r["steps"][1].update(p99_of_503=1001.0),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(BREAKS))
def test_each_threshold_fails_a_run_and_says_why(name: str) -> None:
    broken = result()
    BREAKS[name](broken)
    found = judged(broken)
    assert found["verdict"] == "fail"
    assert [t["name"] for t in found["thresholds"] if t["held"] is False] == [name]
    assert len(found["why"]) == 1


@pytest.mark.parametrize(
    ("part", "key"),
    [("generator", "requests_per_core"), ("database", "bytes_per_item"), ("sweep", "wrong"), ("ledger", "rows")],
)
def test_what_was_not_measured_is_never_a_pass(part: str, key: str) -> None:
    broken = result()
    broken[part][key] = None
    found = judged(broken)
    assert found["verdict"] == "incomplete"
    assert "not measured" in found["why"][0]["en"]


def test_a_drill_that_never_became_normal_is_no_pass() -> None:
    broken = result()
    broken["drills"][0] |= {"seconds_to_normal": None, "held": False}
    assert judged(broken)["verdict"] == "incomplete"


def test_what_was_not_asked_for_is_not_held_against_a_run() -> None:
    plain = result() | {"drills": [], "steps": [], "knee": None}
    found = judged(plain)
    assert found["verdict"] == "pass"
    states = {p["en"]: p["state"] for c in found["chapters"] for p in c["points"]}
    assert states["resolution without the cache"] == "not_run"


def test_an_unfinished_run_stays_unfinished_whatever_it_measured() -> None:
    found = judged(result() | {"verdict": "incomplete", "why": [{"zh": "断了", "en": "broken off"}]})
    assert found["verdict"] == "incomplete"
    assert found["why"][0]["en"] == "broken off"


def test_nothing_is_ticked_that_was_not_run() -> None:
    states = [point["state"] for chapter in judged(nothing())["chapters"] for point in chapter["points"]]
    assert len(judged(nothing())["chapters"]) == 6
    assert set(states) == {"not_run", "needs_upper_node", "not_built"}
    proved = [point["state"] for chapter in judged(result())["chapters"] for point in chapter["points"]]
    assert "proved" in proved


def test_a_wrong_answer_fails_its_point() -> None:
    broken = result()
    BREAKS["wrong"](broken)
    points = {p["en"]: p["state"] for c in judged(broken)["chapters"] for p in c["points"]}
    assert points["resolution: known, unknown, malformed"] == "failed"


def test_every_section_is_there_and_what_comes_from_outside_is_text() -> None:
    hostile = result()
    hostile["run"]["url"] = "<script>alert(1)</script>"
    hostile["errors"][0]["example"] = "<img src=x onerror=y>"
    hostile["wrong"] = [{"kind": "lost", "call": "scan", "handle": "<b>", "expected": "</table>", "got": None, "at": 3}]
    page = report.render(judged(hostile))
    for words in (
        "不通过",
        "FAIL",
        "指标与实测",
        "按调用",
        "按行业",
        "账目与终检",
        "演练",
        "逐级加压",
        "对接测试各章",
        "测试环境",
    ):
        assert words in page
    for mark in ("<script", "<img", "<b>", "http-equiv"):
        assert mark not in page.replace("<b>不通过", "").replace("<b>500 /s</b>", "")
    assert "&lt;script&gt;" in page
    assert page.count("<svg") >= 6


def test_a_run_that_did_nothing_has_a_report_too(tmp_path: Path) -> None:
    page = report.render(judged(nothing()))
    assert "未完成" in page
    assert "the node died" in page


@pytest.mark.skipif(pdf.browser() is None, reason="no Chromium on this machine")
def test_the_pdf_says_the_same_in_chinese(tmp_path: Path) -> None:
    from pypdf import PdfReader

    found = report.write(judged(result()), tmp_path)
    assert [path.name for path in found] == ["report.html", "report.pdf"]
    pages = PdfReader(tmp_path / "report.pdf").pages
    assert "通过" in pages[0].extract_text()
    assert "对接测试各章" in "".join(page.extract_text() for page in pages)


def test_two_runs_compare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = judged(result()), copy.deepcopy(judged(result()))
    second["calls"]["scan"]["p99"] *= 1.2
    second["run"]["seed"] = 2
    for name, document in (("a", first), ("b", second)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text(json.dumps(document), "utf-8")
    assert compare.main(str(tmp_path / "a"), str(tmp_path / "b")) == 0
    assert "run.seed: 1 / 2" in capsys.readouterr().out
    second["calls"]["scan"]["p99"] = 60.0
    (tmp_path / "b" / "result.json").write_text(json.dumps(second), "utf-8")
    assert compare.main(str(tmp_path / "a"), str(tmp_path / "b")) == 1
    assert "! scan p99 ms" in capsys.readouterr().out
    assert "scan p99" in (tmp_path / "b" / "compare.html").read_text("utf-8")
    assert compare.main(str(tmp_path / "a"), str(tmp_path / "nowhere")) == 2
