"""The verdict: limits of acceptance.toml against what a run measured."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from loadtest.acceptance.thresholds_measured import MEASURES, NEEDS, left_out, wrong_count

FILE = Path(__file__).parent.parent / "acceptance.toml"
Result = dict[str, Any]
Reason = dict[str, str]


@cache
def limits() -> dict[str, dict[str, Any]]:
    """The file, checked. Raises ValueError that names the table: a limit nobody measures would never be noticed."""
    found = tomllib.loads(FILE.read_text("utf-8"))
    for name, one in found.items():
        missing = {"zh", "en", "limit", "unit", "better", "why_zh", "why_en"} - one.keys()
        if missing:
            raise ValueError(f"{FILE.name} [{name}]: {', '.join(sorted(missing))} missing")
        if name not in MEASURES:
            raise ValueError(f"{FILE.name} [{name}]: nothing measures that; there is {', '.join(MEASURES)}")
        if one["better"] not in {"lower", "higher"}:
            raise ValueError(f"{FILE.name} [{name}] better: lower or higher, not {one['better']!r}")
        if one.get("needs", "own_node") not in NEEDS:
            raise ValueError(f"{FILE.name} [{name}] needs: one of {', '.join(NEEDS)}")
    return found


def judge(result: Result) -> None:
    """Fill "thresholds", "not_asked" (limits that this run is not judged by, with the reason), "verdict", "why".

    Reasons that are there already stay first. `pass` only where the run is whole, no answer wrong, the ledger balanced
    and every limit that applies measured and held.
    """
    result["thresholds"], result["not_asked"] = [], []
    for name, one in limits().items():
        words = {"name": name, "zh": one["zh"], "en": one["en"]}
        limit = one["limit"]
        if isinstance(limit, dict):
            limit = limit.get(result["run"]["profile"])
        reason = left_out(result, one.get("needs")) if limit is not None else ("此规模不判", "not judged at this size")
        if reason:
            result["not_asked"].append({**words, "why_zh": reason[0], "why_en": reason[1]})
            continue
        measured = MEASURES[name](result)
        result["thresholds"].append({
            **words, "limit": limit, "unit": one["unit"], "better": one["better"], "measured": measured,
            "held": held(measured, limit, one["better"]), "why_zh": one["why_zh"], "why_en": one["why_en"],
        })  # fmt: skip
    broken, failed, unknown = _broken(result), _failed(result), _unknown(result)
    result["verdict"] = "incomplete" if broken else "fail" if failed else "incomplete" if unknown else "pass"
    before = list(result["why"])
    result["why"] = before + [r for r in broken + failed + ([] if broken else unknown) if r not in before]


def held(measured: float | None, limit: float, better: str) -> bool | None:
    """None where nothing was measured; NaN holds nothing."""
    if measured is None:
        return None
    return measured <= limit if better == "lower" else measured >= limit


def _broken(result: Result) -> list[Reason]:
    """Why the run is no whole run."""
    if result["verdict"] == "incomplete":
        return list(result["why"]) or [_reason("未完成：运行没有说明原因", "Incomplete: the run gave no reason")]
    found: list[Reason] = []
    run = result["run"]
    if not run.get("ended"):
        found.append(_reason("未完成：没有结束时间", "Incomplete: it has no end"))
    open_ = [p for p in run.get("phases", []) if p.get("to") is None]
    found += [_reason(f"未完成：阶段“{p['zh']}”没有结束", f"Incomplete: phase “{p['en']}” did not end") for p in open_]
    names = {p["name"] for p in run.get("phases", [])}
    words = {"morning": "早间导入 morning imports", "day": "白天 the day", "sweep": "对账与核对 ledger and sweep"}
    for name, text in words.items():
        if name not in names:
            zh, _, en = text.partition(" ")
            found.append(_reason(f"未完成：没有阶段“{zh}”", f"Incomplete: no phase “{en}”"))
    return found


def _failed(result: Result) -> list[Reason]:
    found: list[Reason] = []
    count = wrong_count(result)
    if count:
        found.append(_reason(f"{count} 个应答与事实不符", f"{count} answers were not what the handles were"))
    if result["ledger"].get("sent") is not None and not result["ledger"].get("balanced"):
        found.append(_reason("账目不平", "the ledger does not balance"))
    for one in result["thresholds"]:
        if one["held"] is False:
            figures = f"{_plain(one['measured'])} (≤ {_plain(one['limit'])})"
            if one["better"] == "higher":
                figures = figures.replace("≤", "≥")
            found.append(_reason(f"{one['zh']}：{figures} {one['unit']}", f"{one['en']}: {figures} {one['unit']}"))
    return found


def _unknown(result: Result) -> list[Reason]:
    missing = [one for one in result["thresholds"] if one["held"] is None]
    found = [_reason(f"未测得：{one['zh']}", f"Not measured: {one['en']}") for one in missing]
    if result["ledger"].get("balanced") is not True and result["ledger"].get("sent") is None:
        found.append(_reason("未测得：账目", "Not measured: the ledger"))
    return found


def _plain(value: float) -> str:
    return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"


def _reason(zh: str, en: str) -> Reason:
    return {"zh": zh.strip(), "en": en.strip()}
