"""What the load met: over time, by call and industry, errors, wrong answers, ledger."""

from __future__ import annotations

from typing import Any

from loadtest.acceptance import plots
from loadtest.acceptance.report_html import (
    Cell,
    Markup,
    both,
    figure,
    head,
    marked,
    ms,
    note,
    number,
    said,
    table,
    words,
)

Result = dict[str, Any]
CALLS = {
    "resolve": ("解析", "resolve"),
    "batch_resolve": ("批量解析", "batch resolve"),
    "scan": ("扫码", "scan"),
    "claim": ("扫码计数", "claim"),
    "unknown": ("未知标识", "unknown"),
    "malformed": ("畸形标识", "malformed"),
    "register": ("登记", "register"),
    "update": ("变更", "update"),
    "recall": ("召回", "recall"),
    "replay": ("重发", "replay"),
    "import_chunk": ("导入分块", "import chunk"),
    "sweep": ("全量核对", "sweep"),
}
INDUSTRIES = {
    "pear": ("砀山梨", "pear"),
    "green_food": ("绿色食品", "green food"),
    "textile": ("纺织服装", "textile"),
    "home": ("绿色家居", "home"),
    "shoes": ("制鞋", "shoes"),
    "pharma": ("生物医药", "pharma"),
    "machinery": ("机械电子", "machinery"),
}
KINDS = {
    "stale": ("过时", "stale"),
    "wrong": ("有误", "wrong"),
    "lost": ("丢失", "lost"),
    "doubled": ("重复", "doubled"),
}
_PLOTTED = ("resolve", "scan", "register", "import_chunk")
_MOST_WRONG = 50  # in the page; result.json has what the run kept


def over_time(result: Result) -> str:
    found = head("速率与时延", "Rate and latency over time", True) + figure(plots.rate(result))
    seen = {call for second in result["series"] for call in second["calls"]}
    for call in (c for c in _PLOTTED if c in seen):
        zh, en = CALLS[call]
        found += figure(plots.latency(result, call, f"{zh}时延 / {en} latency"))
    return found


def by_call(result: Result) -> str:
    return (
        head("按调用", "By call", True)
        + note("整个运行，含演练与加压；单位毫秒。", "Of the whole run, drills and steps among it; milliseconds.")
        + _spread(result["calls"], CALLS, both("调用", "call"))
        + head("按行业", "By industry")
        + _spread(result["industries"], INDUSTRIES, both("行业", "industry"))
    )


def _spread(found: dict[str, Any], names: dict[str, tuple[str, str]], label: Markup) -> str:
    order = [name for name in names if name in found] + sorted(found.keys() - names.keys())
    rows: list[list[Cell]] = []
    for name in order:
        one = found[name]
        share = 100 * one["errors"] / one["n"] if one["n"] else None
        times = [ms(one.get(key)) for key in ("mean", "p50", "p90", "p99", "p999", "max")]
        rows.append([words(names, name), number(one["n"]), number(one["errors"]), number(share, 3), *times])
    counts = (both("次数", "n"), both("错误", "errors"), "%")
    columns = (label, *counts, both("平均", "mean"), "p50", "p90", "p99", "p99.9", both("最大", "max"))
    return table(columns, rows, range(1, 10), "wide")


def troubles(result: Result) -> str:
    errors: list[list[Cell]] = [
        [said(e["cause"]), words(CALLS, e["call"]), number(e["n"]), said(str(e["example"])[:300])]
        for e in sorted(result["errors"], key=lambda e: -e["n"])
    ]
    wrong: list[list[Cell]] = [
        [words(KINDS, w["kind"]), words(CALLS, w["call"]), said(w["handle"]), said(str(w["expected"])[:300]),
         said(str(w["got"])[:300]), f"{w['at']:,.1f} s"]
        for w in result["wrong"][:_MOST_WRONG]
    ]  # fmt: skip
    found = head("错误，按原因", "Errors by cause") + table(
        [both("原因", "cause"), both("调用", "call"), both("次数", "n"), both("例", "example")], errors, (2,)
    )
    found += head("有误的应答", "Wrong answers") + table(
        [both("类别", "kind"), both("调用", "call"), both("标识", "handle"), both("应为", "expected"),
         both("实为", "got"), both("时刻", "at")],
        wrong, (5,),
    )  # fmt: skip
    if len(result["wrong"]) > _MOST_WRONG:
        found += note(f"共 {len(result['wrong'])} 条，其余见 result.json。", "The others are in result.json.")
    return found


def ledger(result: Result) -> str:
    names = {
        "sent": ("发送", "sent"), "created": ("新增", "created"), "unchanged": ("不变", "unchanged"),
        "conflict": ("冲突", "conflict"), "rejected": ("拒绝", "rejected"), "rows": ("库内（导出）", "rows (export)"),
        "counters": ("节点计数", "counters"),
    }  # fmt: skip
    found, sweep = result["ledger"], result["sweep"]
    verdict = marked("good", "相符", "balanced") if found.get("balanced") else marked("bad", "不符", "not balanced")
    if found.get("sent") is None:
        verdict = marked("open", "未测得", "not measured")
    return (
        head("账目", "Ledger")
        + table(
            [both(*name) for name in names.values()], [[number(found.get(key)) for key in names]], range(len(names))
        )
        + f"<p>{verdict.text}</p>"
        + note("发送 = 新增 + 不变 + 冲突 + 拒绝；新增 = 库内 = 计数。",
               "sent = created + unchanged + conflict + rejected; created = rows = counters.")
        + f"<p>{both('全量核对', 'sweep').text}: {number(sweep.get('checked'))}; "
        + f"{both('有误', 'wrong').text}: {number(sweep.get('wrong'))}</p>"
    )  # fmt: skip
