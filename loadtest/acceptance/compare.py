"""Two runs side by side: `idnode acceptance compare A B`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtest.acceptance.report import read
from loadtest.acceptance.report_front import VERDICTS
from loadtest.acceptance.report_html import STYLE, Cell, Markup, both, head, marked, note, pairs, table, text

Result = dict[str, Any]
NOISE = 0.15  # of A's figure: two runs of one node on one idle machine lie within that; a shared machine strays more
LEAST_MS = 2.0  # a latency that moves less than that moves with the scheduler
_ORDER = {"pass": 0, "incomplete": 1, "fail": 2}
_ZERO_IS_PROMISED = {
    "wrong_answers", "stale_answers", "lost_items", "doubled_items", "ledger_difference", "drills_failed", "drill_stale"
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """`change`: better, worse, same, or unknown where one of the runs did not measure it."""

    name: str
    zh: str
    en: str
    unit: str
    a: float | None
    b: float | None
    change: str


def rows(a: Result, b: Result) -> list[Row]:
    """All thresholds that either run was judged by, then p99 of the calls of both."""
    first, second = ({t["name"]: t for t in r["thresholds"]} for r in (a, b))
    found = []
    for name in [*first, *(n for n in second if n not in first)]:
        one = first.get(name) or second[name]
        values = [side[name]["measured"] if name in side else None for side in (first, second)]
        change = _change(name, one["better"], one["unit"], values[0], values[1])
        found.append(Row(name, one["zh"], one["en"], one["unit"], values[0], values[1], change))
    for call in a["calls"].keys() & b["calls"].keys():
        p99 = [r["calls"][call].get("p99") for r in (a, b)]
        words = (f"{call} p99，整个运行", f"{call} p99, the whole run")
        found.append(Row(f"call:{call}", *words, "ms", p99[0], p99[1], _change(call, "lower", "ms", p99[0], p99[1])))
    return sorted(found, key=lambda r: (r.name.startswith("call:") and r.name) or "")


def _change(name: str, better: str, unit: str, a: float | None, b: float | None) -> str:
    if a is None or b is None:
        return "unknown"
    gain = (b - a) if better == "higher" else (a - b)
    least = 0.0 if name in _ZERO_IS_PROMISED else max(NOISE * abs(a), LEAST_MS if unit == "ms" else 0.0)
    if abs(gain) <= least:
        return "same"
    return "better" if gain > 0 else "worse"


def differences(a: Result, b: Result) -> list[tuple[str, str]]:
    """What makes the figures of two runs no fair comparison."""
    found = []
    for place, zh, en in (
        ("profile", "规模", "profiles"),
        ("seed", "种子", "seeds"),
        ("own_node", "节点", "whose node"),
    ):
        if a["run"].get(place) != b["run"].get(place):
            pair = f"{a['run'].get(place)} / {b['run'].get(place)}"
            found.append((f"{zh}不同：{pair}", f"{en} differ: {pair}"))
    for place, zh, en in (("cpus", "处理器数", "processors"), ("cpu", "处理器", "processor"), ("os", "系统", "system"),
                          ("memory_gib", "内存", "memory")):  # fmt: skip
        if a["machine"].get(place) != b["machine"].get(place):
            pair = f"{a['machine'].get(place)} / {b['machine'].get(place)}"
            found.append((f"机器不同，{zh}：{pair}", f"the machines differ, {en}: {pair}"))
    return found


def worse(a: Result, b: Result, found: list[Row]) -> bool:
    """Whether B is worse: a figure beyond the noise, something measured before and no more, or its verdict. What is
    judged are thresholds; the calls' p99 of the whole run are only shown, drills and steps are in them."""
    judged = [r for r in found if not r.name.startswith("call:")]
    gone = any(r.a is not None and r.b is None for r in judged)
    return gone or any(r.change == "worse" for r in judged) or _ORDER[b["verdict"]] > _ORDER[a["verdict"]]


def main(a: str | Path, b: str | Path) -> int:
    """Print the table, write compare.html beside B's result; 0; 1: B is worse; 2: nothing to read."""
    try:
        first, second = read(Path(a)), read(Path(b))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    found = rows(first, second)
    bad = worse(first, second, found)
    print(f"{'':44}{'A':>14}{'B':>14}")
    print(f"{'verdict':44}{first['verdict']:>14}{second['verdict']:>14}")
    for row in found:
        print(f"{row.en[:43]:44}{_figure(row.a):>14}{_figure(row.b):>14}  {row.unit:12} {row.change}")
    for zh, en in differences(first, second):
        print(f"注意 {zh} / note: {en}")
    print(f"B 较差 / B is worse (noise {NOISE:.0%})" if bad else f"B 不比 A 差 / B is not worse (noise {NOISE:.0%})")
    place = Path(b) if Path(b).is_dir() else Path(b).parent
    page = place / "compare.html"
    try:
        page.write_text(render(first, second, (str(a), str(b))), "utf-8")
        print(page)
    except OSError as error:
        print(f"{page}: {error.strerror}", file=sys.stderr)
    return int(bad)


def render(a: Result, b: Result, names: tuple[str, str]) -> str:
    found = rows(a, b)
    bad = worse(a, b, found)
    kind, zh, en = ("bad", "B 较差", "B is worse") if bad else ("good", "B 不比 A 差", "B is not worse than A")
    notes = "".join(f"<li>{both(*one).text}</li>" for one in differences(a, b))
    marks = {"better": marked("good", "较好", "better"), "worse": marked("bad", "较差", "worse"),
             "same": both("相当", "same"), "unknown": marked("open", "未测得", "not measured")}  # fmt: skip
    lines: list[list[Cell]] = [[both(r.zh, r.en), _figure(r.a), _figure(r.b), r.unit, marks[r.change]] for r in found]
    body = (
        f"<h1>{both('两次验收测试比较', 'Two acceptance runs compared').text}</h1>"
        f'<div class="verdict {kind}"><p>{text(zh)} <span class="en">{text(en)}</span></p><ul>{notes}</ul></div>'
        + pairs((f"{label}", _about(name, r)) for label, name, r in (("A", names[0], a), ("B", names[1], b)))
        + head("实测", "Measurements")
        + note(f"差别在 {NOISE:.0%} 以内（时延另加 {LEAST_MS:g} ms）视为相当；零错项不留余地。",
               f"Within {NOISE:.0%} (latencies also {LEAST_MS:g} ms) it counts as the same; where zero is promised any "
               "difference counts.")
        + table([both("项目", "what"), "A", "B", both("单位", "unit"), both("变化", "change")], lines, (1, 2))
    )  # fmt: skip
    return (
        '<!doctype html><html lang="zh-CN"><head><meta charset="utf-8"><title>验收测试比较</title>'
        f"<style>{STYLE}</style></head><body>{body}</body></html>\n"
    )


def _about(name: str, result: Result) -> Markup:
    run = result["run"]
    _, zh, en = VERDICTS[result["verdict"]]
    said = f"{name}，{run.get('started')}，{run.get('profile')}，seed {run.get('seed')}，"
    return Markup(f"{text(said)}{both(zh, en).text}")


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:,.4g}" if abs(value) < 10_000 else f"{value:,.0f}"
