"""The plots of the report, from the series of the result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from loadtest.acceptance.thresholds_measured import edge
from loadtest.report import Plot

Result = dict[str, Any]
_PERCENTILES = (("p50", "p50"), ("p90", "p90"), ("p99", "p99"), ("p999", "p99.9"))
_MOST_POINTS = 600  # a plot is 540 px wide: more points only make the file large


def phases(result: Result) -> list[tuple[float, float, str]]:
    """Named spans; one that did not end goes to the edge of the plot."""
    return [(p["from"], 1e9 if p["to"] is None else p["to"], p["zh"]) for p in result["run"]["phases"]]


def thin(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The largest of each stretch, so that no peak gets lost."""
    step = -(-len(points) // _MOST_POINTS) or 1
    return [max(points[n : n + step], key=lambda p: p[1]) for n in range(0, len(points), step)]


def rate(result: Result) -> Plot:
    lines = {name: thin([(s["t"], s[name]) for s in result["series"]]) for name in ("offered", "done", "errors")}
    return Plot(
        "速率 / rate", "次/秒 /s", lines["offered"], name="到达 offered",
        more=[("完成 done", lines["done"]), ("错误 errors", lines["errors"])], bands=phases(result),
    )  # fmt: skip


def latency(result: Result, call: str, title: str) -> Plot:
    """Percentiles of each second, ms, logarithmic: a p50 of 2 and a p99.9 of 900 both are to be read."""
    seconds = [(s["t"], s["calls"][call]) for s in result["series"] if call in s["calls"] and s["calls"][call]["n"]]
    lines = [
        (label, thin([(t, edge(one, name)) for t, one in seconds if one.get(name) is not None]))
        for name, label in _PERCENTILES
    ]
    return Plot(title, "ms", lines[0][1], name=lines[0][0], more=lines[1:], bands=phases(result), log=True)


def resources(result: Result) -> list[Plot]:
    """Processor and memory by process, disk, connections."""
    moments = result["resources"]
    names = sorted({name for m in moments for name in m["processes"]})
    found = []
    for key, title, unit in (("cpu", "处理器 / CPU", "核 cores"), ("rss_mib", "内存 / memory", "MiB")):
        lines = [(name, thin(_points(moments, name, key))) for name in names]
        first = lines[0] if lines else ("", [])
        found.append(Plot(title, unit, first[1], name=first[0], more=lines[1:], bands=phases(result)))
    for key, title, unit in (("disk_mib", "磁盘 / disk", "MiB"), ("connections", "连接 / connections", "")):
        points = thin([(m["t"], m[key]) for m in moments if m.get(key) is not None])
        found.append(Plot(title, unit, points, bands=phases(result)))
    return found


def _points(moments: Sequence[dict[str, Any]], name: str, key: str) -> list[tuple[float, float]]:
    """A process that came later, or whose figure nobody could read, has none at that moment."""
    seen = [(m["t"], m["processes"].get(name, {}).get(key)) for m in moments]
    return [(t, value) for t, value in seen if value is not None]


def knee(result: Result) -> list[Plot]:
    """What was done of what was offered, and what it cost."""
    steps = sorted(result["steps"], key=lambda s: s["offered"])
    rates = [(s["offered"], s["done"]) for s in steps]
    most = max((s["offered"] for s in steps), default=0.0)
    knee_at = result["knee"]["rate"] if result["knee"] else None
    bands = [(0.0, knee_at, ""), (knee_at, most, "拐点以上")] if knee_at is not None and knee_at < most else []
    times = {name: [(s["offered"], s[name]) for s in steps if s[name] is not None] for name in ("p50", "p99")}
    return [
        Plot("完成速率与到达速率 / done against offered", "次/秒 /s", rates, name="完成 done",
             more=[("到达 offered", [(r, r) for r, _ in rates])], bands=bands, across="/s"),
        Plot("时延与到达速率 / latency against offered", "ms", times["p50"], name="p50", more=[("p99", times["p99"])],
             bands=bands, log=True, across="/s"),
    ]  # fmt: skip
