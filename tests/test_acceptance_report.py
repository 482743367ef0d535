"""The acceptance run's verdict, report, comparison and chapters, over results made here."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from loadtest.acceptance import chapters, compare, pdf, report, thresholds
from loadtest.acceptance.thresholds_measured import MEASURES, day
from tests.acceptance_example import empty, example

HOSTILE = '</td><script>alert(1)</script><img src="http://example.com/x">\x00\x1b\ud800'
HEADS = ("验收测试报告", "门限与实测", "速率与时延", "按调用", "按行业", "错误，按原因", "有误的应答", "账目", "数据库", "资源",
         "故障演练", "逐级加压与拐点", "对接测试章节", "机器、版本、命令", "阶段")  # fmt: skip


def judged(result: dict[str, Any]) -> dict[str, Any]:
    thresholds.judge(result)
    chapters.fill(result)
    return result


def english(result: dict[str, Any]) -> str:
    return "; ".join(reason["en"] for reason in result["why"])


def threshold(result: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(t for t in result["thresholds"] if t["name"] == name)
    return found


def states(result: dict[str, Any]) -> dict[str, str]:
    return {p["en"]: p["state"] for c in result["chapters"] for p in c["points"]}


# --- the verdict


def test_a_whole_run_within_its_limits_passes() -> None:
    result = judged(example())
    assert result["verdict"] == "pass"
    assert result["why"] == []
    assert {t["name"] for t in result["thresholds"]} == set(MEASURES)
    assert all(t["held"] is True for t in result["thresholds"])


# What is done to a run that passes; the threshold that must see it.
WORSE: dict[str, Any] = {
    "resolve_p99": lambda r: [s["calls"]["resolve"].update(p90=60.0, p99=70.0, p999=90.0)
                              for s in r["series"] if "resolve" in s["calls"]],
    "scan_p99": lambda r: [s["calls"]["scan"].update(p99=300.0) for s in r["series"] if "scan" in s["calls"]],
    "batch_resolve_p99": lambda r: [s["calls"]["batch_resolve"].update(p99=900.0) for s in r["series"][200:]],
    "register_p99": lambda r: [s["calls"]["register"].update(p99=501.0, p999=501.0) for s in r["series"][200:]],
    "update_p99": lambda r: [s["calls"]["update"].update(p99=501.0, p999=501.0) for s in r["series"][200:]],
    "recall_p99": lambda r: [s["calls"]["recall"].update(p99=2000.0, p999=2000.0) for s in r["series"][200:]],
    "errors_share": lambda r: r["series"][250].update(errors=300),
    "wrong_answers": lambda r: r["sweep"].update(wrong=1),
    "stale_answers": lambda r: r["wrong"].append(wrong("stale")),
    "lost_items": lambda r: r["wrong"].append(wrong("lost")),
    "doubled_items": lambda r: r["wrong"].append(wrong("doubled")),
    "ledger_difference": lambda r: r["ledger"].update(counters=1),
    "swept_share": lambda r: r["sweep"].update(checked=5_000_000),
    "import_rate": lambda r: r["run"]["phases"][2].update({"to": 408}),
    "bytes_per_item": lambda r: r["database"].update(bytes_per_item=601),
    "generator_rate": lambda r: r["generator"].update(requests_per_core=4999),
    "drills_failed": lambda r: r["drills"][0].update(held=False),
    "drill_seconds_to_normal": lambda r: r["drills"][0].update(seconds_to_normal=30.5),
    "drill_stale": lambda r: r["drills"][0].update(stale=1),
    "knee_rate": lambda r: r["knee"].update(rate=999),
    "refusal_p99": lambda r: r["steps"][4].update(p99_of_503=1001.0),
    "overload_share": lambda r: r["steps"][4].update(done=500),
    "recovered_share": lambda r: r["steps"][5].update(done=400),
}  # fmt: skip
UNKNOWN: dict[str, Any] = {
    "resolve_p99": lambda r: [s["calls"].pop("resolve", None) for s in r["series"]],
    "register_p99": lambda r: [s["calls"]["register"].update(p99=None) for s in r["series"][200:]],
    "errors_share": lambda r: r.update(series=[]),
    "wrong_answers": lambda r: r.update(calls={}),
    "lost_items": lambda r: r["sweep"].update(checked=None),
    "ledger_difference": lambda r: r["ledger"].update(counters=None),
    "import_rate": lambda r: r["calls"].pop("import_chunk"),
    "bytes_per_item": lambda r: r["database"].update(bytes_per_item=None),
    "generator_rate": lambda r: r["generator"].update(requests_per_core=None),
    "drills_failed": lambda r: r.update(drills=[]),
    "drill_seconds_to_normal": lambda r: r["drills"][0].update(seconds_to_normal=None),
    "drill_stale": lambda r: r["drills"][0].update(stale=None),
    "knee_rate": lambda r: r.update(knee=None),
    "refusal_p99": lambda r: r["steps"][4].update(p99_of_503=None),
}  # fmt: skip


def wrong(kind: str, text: str = "x") -> dict[str, Any]:
    return {"kind": kind, "call": "resolve", "handle": "88.999.1/A", "expected": text, "got": text, "at": 3.0}


def test_every_threshold_can_be_missed_here() -> None:
    assert WORSE.keys() == MEASURES.keys() == thresholds.limits().keys()


@pytest.mark.parametrize("name", WORSE)
def test_a_limit_that_is_missed_fails_the_run(name: str) -> None:
    result = example()
    WORSE[name](result)
    judged(result)
    one = threshold(result, name)
    assert one["held"] is False, one
    assert result["verdict"] == "fail"
    assert one["en"] in english(result)


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_was_not_measured_is_no_pass(name: str) -> None:
    result = example()
    UNKNOWN[name](result)
    judged(result)
    assert threshold(result, name)["held"] is None
    assert result["verdict"] in {"incomplete", "fail"}
    assert f"Not measured: {threshold(result, name)['en']}" in english(result)


def test_a_wrong_answer_fails_whatever_the_limits_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thresholds, "limits", dict)
    result = example()
    result["wrong"].append(wrong("wrong"))
    thresholds.judge(result)
    assert result["verdict"] == "fail"
    result = example()
    result["ledger"]["balanced"] = False
    thresholds.judge(result)
    assert (result["verdict"], english(result)) == ("fail", "the ledger does not balance")


def break_end(result: dict[str, Any]) -> None:
    result["run"]["ended"] = None


def break_phase(result: dict[str, Any]) -> None:
    result["run"]["phases"][-1]["to"] = None


def break_sweep(result: dict[str, Any]) -> None:
    result["run"]["phases"].pop()


def break_verdict(result: dict[str, Any]) -> None:
    result["verdict"] = "incomplete"


@pytest.mark.parametrize("broken", [break_end, break_phase, break_sweep, break_verdict])
def test_a_run_without_its_end_is_incomplete_even_where_all_is_held(broken: Any) -> None:
    result = example()
    broken(result)
    judged(result)
    assert result["verdict"] == "incomplete"
    assert "Incomplete" in english(result)
    before = list(result["why"])
    judged(result)
    assert result["why"] == before, "judging again says nothing twice"


def test_reasons_of_the_run_stay_first_and_say_nothing_twice() -> None:
    result = example()
    result["wrong"].append(wrong("stale"))
    said = {"zh": "1 个应答与事实不符", "en": "1 answers were not what the handles were"}
    result |= {"verdict": "fail", "why": [said]}
    judged(result)
    assert result["why"][0] == said
    assert result["why"].count(said) == 1


def test_limits_that_do_not_apply_are_named_and_not_judged() -> None:
    result = example()
    result["run"] |= {"own_node": False, "command": "idnode acceptance", "profile": "smoke"}
    result["run"]["phases"] = [p for p in result["run"]["phases"] if p["name"] not in {"drills", "steps"}]
    result |= {"drills": [], "steps": [], "knee": None}
    judged(result)
    left = {one["name"] for one in result["not_asked"]}
    assert left == {"bytes_per_item", "drills_failed", "drill_seconds_to_normal", "drill_stale", "knee_rate",
                    "refusal_p99", "overload_share", "recovered_share"}  # fmt: skip
    assert threshold(result, "import_rate")["limit"] == 1000
    assert result["verdict"] == "pass"


def test_drills_that_were_asked_for_and_never_run_are_no_pass() -> None:
    result = example()
    result["run"]["phases"] = [p for p in result["run"]["phases"] if p["name"] != "drills"]
    result["drills"] = []
    assert judged(result)["verdict"] == "incomplete"


def test_the_percentile_of_a_day_is_never_better_than_it_was() -> None:
    result = example()
    result["series"] = [
        {"t": t, "offered": 10, "done": 10, "errors": 0,
         "calls": {"resolve": {"n": 10, "errors": 0, "p50": 1.0, "p90": 1.0, "p99": p, "p999": p}}}
        for t, p in ((210, 5.0), (211, 5.0), (212, 400.0), (500, 9000.0))
    ]  # fmt: skip
    assert day(result, "resolve") == 400.0  # 1 of 30 took that long; the second after the day does not count
    assert day(result, "resolve", 0.5) == 1.0
    assert day(result, "scan") is None
    assert day(result | {"day": {"resolve": {"n": 30, "p99": 123.0}}}, "resolve") == 123.0


def test_a_broken_file_of_limits_names_its_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = tmp_path / "acceptance.toml"
    monkeypatch.setattr(thresholds, "FILE", bad)
    whole = 'zh="a"\nen="a"\nlimit=1\nunit=""\nwhy_zh="a"\nwhy_en="a"\n'
    for text, words in (
        ('[knee_rate]\nzh="a"', r"\[knee_rate\].*missing"),
        (f'[nonsense]\n{whole}better="lower"', "nothing measures"),
        (f'[knee_rate]\n{whole}better="more"', "better"),
        (f'[knee_rate]\n{whole}better="lower"\nneeds="luck"', "needs"),
    ):
        bad.write_text(text, "utf-8")
        with pytest.raises(ValueError, match=words):
            thresholds.limits.__wrapped__()


# --- the report


@pytest.mark.parametrize("made", [example, empty])
def test_the_page_has_every_section_and_fetches_nothing(made: Any) -> None:
    page = report.render(judged(made()))
    for title in HEADS:
        assert title in page
    assert not re.search(r"<script|<link|<img|\ssrc=|url\(|@import", page)
    assert page.index("verdict") < page.index("门限与实测")


def test_the_page_shows_what_was_measured() -> None:
    result = example()
    result["wrong"].append(wrong("stale", "version 2"))
    page = report.render(judged(result))
    for words in ("不通过", "version 2", "5,060,000", "26,000", "disk nearly full", "1,690", "Xeon", "3.11.9", "2,400.0",
                  "database unavailable", "AII 004-2021", "砀山梨", "--profile city"):  # fmt: skip
        assert words in page
    assert page.count("<svg") == 11
    assert "未完成" in report.render(judged(empty()))


def test_hostile_text_is_shown_and_never_obeyed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = example()
    result["wrong"].append(wrong("stale", HOSTILE))
    result["errors"].append({"cause": HOSTILE, "call": HOSTILE, "n": 1, "example": HOSTILE})
    result["run"] |= {"command": HOSTILE, "url": HOSTILE}
    result["why"] = [{"zh": HOSTILE, "en": HOSTILE}]
    result["versions"][HOSTILE] = HOSTILE
    result["industries"][HOSTILE] = result["industries"]["pear"]
    result["resources"][0]["processes"][HOSTILE] = {"cpu": 1.0, "rss_mib": 1.0}
    result["run"]["phases"][3]["zh"] = HOSTILE[:20]
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "weasyprint", None)
        assert len(report.write(judged(result), tmp_path)) == 2
    assert report.read(tmp_path)["wrong"][0]["got"] == HOSTILE
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "<script" not in page
    assert "<img" not in page
    assert "\x00" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_the_pdf_reads_back_in_chinese(tmp_path: Path) -> None:
    pypdf = pytest.importorskip("pypdf")
    result = judged(example())
    written = report.write(result, tmp_path)
    assert [p.name for p in written] == ["result.json", "report.html", "report.pdf"]
    assert json.loads(written[0].read_text("utf-8")) == json.loads(json.dumps(result))
    pages = pypdf.PdfReader(written[2]).pages
    assert re.sub(r"\s", "", pages[0].extract_text()).startswith("二级节点验收测试报告Acceptancereport")
    assert "通过" in pages[0].extract_text()
    whole = re.sub(r"\s", "", "".join(page.extract_text() for page in pages))
    for title in HEADS:
        assert title in whole


def test_without_a_pdf_the_run_says_so_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "report.pdf").write_text("of an older run")
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    written = report.write(judged(empty()), tmp_path)
    assert [p.name for p in written] == ["result.json", "report.html"]
    assert "no PDF" in capsys.readouterr().err
    assert not (tmp_path / "report.pdf").exists()
    monkeypatch.undo()
    monkeypatch.setattr(pdf, "_has_chinese", lambda: False)
    with pytest.raises(pdf.NoPdf, match="fonts-noto-cjk"):
        pdf.write("<p>x</p>", tmp_path / "x.pdf")


def test_the_report_is_written_again_from_its_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    (tmp_path / "result.json").write_text(json.dumps(judged(example())), "utf-8")
    assert report.main([str(tmp_path)]) == 0
    assert "通过" in (tmp_path / "report.html").read_text("utf-8")
    for content, words in (("{", "no JSON"), ("[]", "no result"), ('{"format":"x"}', "no result")):
        (tmp_path / "result.json").write_text(content)
        assert report.main([str(tmp_path)]) == 2
        assert words in capsys.readouterr().err
    assert report.main([str(tmp_path / "nothing")]) == 2
    assert report.main([]) == 2


# --- two runs


def kept(folder: Path, result: dict[str, Any]) -> Path:
    folder.mkdir()
    (folder / "result.json").write_text(json.dumps(judged(result)), "utf-8")
    return folder


def test_the_same_run_twice_is_not_worse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = kept(tmp_path / "a", example()), kept(tmp_path / "b", example())
    assert compare.main(a, b / "result.json") == 0
    said = capsys.readouterr().out
    assert "B is not worse" in said
    assert "note:" not in said
    assert "不比 A 差" in (b / "compare.html").read_text("utf-8")


def test_worse_is_beyond_the_noise_or_any_wrong_answer(tmp_path: Path) -> None:
    a = kept(tmp_path / "a", example())
    for n, (rate, expected) in enumerate(((25_000, 0), (5_600, 1))):
        result = example()
        result["generator"]["requests_per_core"] = rate
        assert compare.main(a, kept(tmp_path / f"rate{n}", result)) == expected
    result = example()
    result["wrong"].append(wrong("stale"))
    assert compare.main(a, kept(tmp_path / "wrong", result)) == 1
    assert compare.main(tmp_path / "wrong", a) == 0
    result = example()
    result["database"]["bytes_per_item"] = None
    assert compare.main(a, kept(tmp_path / "unknown", result)) == 1


def test_it_says_where_two_runs_are_no_fair_comparison(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = example()
    other["run"] |= {"profile": "smoke", "seed": 8}
    other["machine"]["cpus"] = 64
    a, b = kept(tmp_path / "a", example()), kept(tmp_path / "b", other)
    compare.main(a, b)
    said = capsys.readouterr().out
    for words in ("profiles differ: city / smoke", "seeds differ: 7 / 8", "machines differ, processors: 2 / 64"):
        assert words in said
        assert words in (b / "compare.html").read_text("utf-8")
    assert compare.main(a, tmp_path / "nothing") == 2


# --- the chapters


def test_an_empty_run_ticks_nothing() -> None:
    found = states(judged(empty()))
    assert set(found.values()) == {"not_run", "not_built", "needs_upper_node"}
    assert {c["name"] for c in judged(empty())["chapters"]} == {
        "access", "synchronisation", "monitoring", "takeover", "transport", "authentication"
    }  # fmt: skip


def test_only_what_was_run_is_proved_and_what_went_wrong_failed() -> None:
    result = example()
    found = states(judged(result))
    assert found["identifiers registered, singly and in bulk"] == "proved"
    assert found["resolution goes on without the cache"] == "proved"
    assert found["nothing lost with a disk nearly full"] == "not_run"
    assert found["resolution over HTTPS"] == "not_run"
    assert found["a wrong key refused"] == "not_run"
    result["run"]["url"] = "https://id.example.com"
    result["wrong"].append(wrong("stale"))
    result["drills"][0]["held"] = False
    result["ledger"]["balanced"] = False
    found = states(judged(result))
    for point in ("resolution over HTTPS", "resolution goes on without the cache", "the ledger of registrations balances",
                  "identifiers resolved, singly and in batches"):  # fmt: skip
        assert found[point] == "failed"


def test_a_call_that_only_failed_proves_nothing() -> None:
    result = example()
    result["calls"]["register"]["errors"] = result["calls"]["register"]["n"]
    assert states(judged(result))["registration with a key accepted"] == "not_run"
