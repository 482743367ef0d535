"""The first page: the verdict, why, what was run and what was not; and the limits against what was measured."""

from __future__ import annotations

from typing import Any

from loadtest.acceptance.report_html import Cell, Markup, both, head, marked, note, number, pairs, table, text
from loadtest.acceptance.thresholds_measured import asked, wrong_count

Result = dict[str, Any]
VERDICTS = {
    "pass": ("good", "通过", "PASS"),
    "fail": ("bad", "不通过", "FAIL"),
    "incomplete": ("open", "未完成", "INCOMPLETE"),
}
_MOST_REASONS = 12  # more would push the run's own facts off the first page


def front(result: Result) -> str:
    kind, zh, en = VERDICTS[result["verdict"]]
    reasons = [f"<li>{both(r['zh'], r['en']).text}</li>" for r in result["why"][:_MOST_REASONS]]
    if len(result["why"]) > _MOST_REASONS:
        left = len(result["why"]) - _MOST_REASONS
        reasons.append(f"<li>{both(f'另有 {left} 条，见下表', f'{left} more, see the tables').text}</li>")
    if result["verdict"] == "pass":
        en_why = "every limit that applies is held, no answer was wrong, the ledger balances"
        reasons = [f"<li>{both('适用的门限全部达到，应答无一有误，账目相符', en_why).text}</li>"]
    run = result["run"]
    return (
        f"<h1>{both('二级节点验收测试报告', 'Acceptance report of a secondary node').text}</h1>"
        f'<div class="verdict {kind}"><p>{text(zh)} <span class="en">{text(en)}</span></p>'
        f"<ul>{''.join(reasons)}</ul></div>"
        + pairs(
            [
                (both("被测节点", "node"), f"{run.get('url') or '–'}"),
                (both("何处的节点", "whose"), _whose(run)),
                (both("规模与种子", "profile and seed"), f"{run.get('profile')}, {run.get('seed')}"),
                (both("起止", "from and to"), f"{run.get('started') or '–'} — {run.get('ended') or '–'}"),
                (both("范围", "scope"), _scope(result)),
                (both("命令", "command"), Markup(f"<code>{text(run.get('command'))}</code>")),
                *_sizes(result),
            ]
        )
        + _signature()
    )


def _whose(run: dict[str, Any]) -> Markup:
    if run.get("own_node"):
        return both("由本次测试启动，与发生器同机", "started by the run, on the generator's machine")
    return both("外部节点", "not of the run")


def _sizes(result: Result) -> list[tuple[Markup, Cell]]:
    done = sum(one["n"] for one in result["calls"].values())
    return [
        (both("登记的标识", "identifiers registered"), number(result["ledger"].get("created"))),
        (both("请求", "requests"), number(done)),
        (both("有误的应答", "wrong answers"), number(wrong_count(result) if done else None)),
    ]


def _scope(result: Result) -> Markup:
    """What a reader would else take for tested."""
    parts = []
    for name, zh, en in (("drills", "故障演练", "drills"), ("steps", "逐级加压", "steps")):
        word = ("含", "with") if asked(result, name) else ("不含", "without")
        parts.append((f"{word[0]}{zh}", f"{word[1]} {en}"))
    skipped = [d for d in result["drills"] if d["held"] is None]
    if skipped:
        parts.append(("未执行的演练：" + "、".join(d["zh"] for d in skipped),
                      "drills not run: " + ", ".join(d["en"] for d in skipped)))  # fmt: skip
    return both("；".join(zh for zh, _ in parts), "; ".join(en for _, en in parts))


def _signature() -> str:
    line = "____________________"
    return pairs([(both("测试人、日期", "tested by, date"), line), (both("接收人、日期", "accepted by, date"), line)])


def limits(result: Result) -> str:
    rows: list[list[Cell]] = []
    for one in result["thresholds"]:
        sign = "≤" if one["better"] == "lower" else "≥"
        unit = f" {one['unit']}" if one["unit"] else ""
        rows.append([
            both(one["zh"], one["en"]), f"{sign} {_figure(one['limit'])}{unit}",
            f"{_figure(one['measured'])}{unit if one['measured'] is not None else ''}", _held(one["held"]),
            both(one["why_zh"], one["why_en"]),
        ])  # fmt: skip
    columns = [both("门限", "threshold"), both("限值", "limit"), both("实测", "measured"), both("结果", "result"),
               both("理由", "why this limit")]  # fmt: skip
    found = head("门限与实测", "Thresholds and measurements", True) + note(
        "限值均为本项目的建议（loadtest/acceptance.toml）；能查阅的标准没有给出数值。时延自应发时刻起计。",
        "All limits are this project's proposals (loadtest/acceptance.toml): no standard that could be read states "
        "any. Latency counts from when a request was due.",
    )
    found += table(columns, rows, (1, 2))
    left = result.get("not_asked", [])
    if left:
        found += f"<h3>{both('不适用于本次的门限', 'Limits that this run is not judged by').text}</h3>"
        found += table(
            [both("门限", "threshold"), both("原因", "why not")],
            [[both(one["zh"], one["en"]), both(one["why_zh"], one["why_en"])] for one in left],
        )
    return found


def _held(value: bool | None) -> Markup:
    if value is None:
        return marked("open", "未测得", "not measured")
    return marked("good", "达到", "held") if value else marked("bad", "未达到", "missed")


def _figure(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 1000 else f"{value:,.4g}"
