"""The report of a run: one HTML file without scripts or anything from elsewhere, the same as PDF, and its JSON.

python -m loadtest.acceptance.report FOLDER     render again from its result.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from loadtest.acceptance import pdf
from loadtest.report import Plot, svg

Result = dict[str, Any]
_VERDICTS = {"pass": ("通过", "PASS"), "fail": ("不通过", "FAIL"), "incomplete": ("未完成", "INCOMPLETE")}
_STATES = {
    "proved": "已证明 proved",
    "failed": "未通过 failed",
    "needs_upper_node": "需上级节点 needs the upper node",
    "not_built": "尚未实现 not built",
    "not_run": "本次未执行 not run",
}
_PERCENTILES = (("p50", "p50"), ("p90", "p90"), ("p99", "p99"), ("p999", "p99.9"))
_LINES = ("resolve", "scan", "register", "import_chunk")


def write(result: Result, folder: Path) -> list[Path]:
    """Write report.html and report.pdf; what was written. Without a browser there is no PDF, and it is said."""
    page = folder / "report.html"
    page.write_text(render(result), "utf-8")
    made = pdf.make(page, folder / "report.pdf")
    if made is None:
        print("没有 PDF：未找到 Chromium / no PDF: Chromium was not found (Debian: apt-get install chromium)")
    return [page] if made is None else [page, made]


def render(result: Result) -> str:
    """The whole HTML of a result, finished or not."""
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.ChainableUndefined
    )
    env.filters["figure"] = _figure
    return env.get_template("report.html.j2").render(
        r=result, verdict=_VERDICTS[result["verdict"]], states=_STATES, plots=_plots(result)
    )


def _figure(value: Any) -> str:
    if value is None or isinstance(value, jinja2.Undefined):
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:,.4g}"


def _plots(result: Result) -> list[tuple[str, Markup]]:
    """(title, SVG) of what there are points of."""
    series, resources = result["series"], result["resources"]
    plots = [
        Plot(
            "每秒请求 · requests a second",
            "/s",
            [(s["t"], s["done"]) for s in series],
            name="完成 done",
            more=[
                ("应发 offered", [(s["t"], s["offered"]) for s in series]),
                ("错误 errors", [(s["t"], s["errors"]) for s in series]),
            ],
        ),
        *(_percentiles(series, call) for call in _LINES),
        _by_process(resources, "cpu", "处理器 · CPU", "cores"),
        _by_process(resources, "rss_mib", "内存 · memory", "MiB"),
        Plot("数据库 · database", "MiB", [(r["t"], r["disk_mib"] or 0) for r in resources]),
        Plot("数据库连接 · connections", "", [(r["t"], r["connections"] or 0) for r in resources]),
        _steps(result["steps"]),
    ]
    return [(f"{p.title} {p.unit}", Markup(svg(p))) for p in plots if p.points]  # noqa: S704  # svg escapes its texts


def _percentiles(series: list[Result], call: str) -> Plot:
    lines = {
        name: [(s["t"], s["calls"][call][key]) for s in series if s["calls"].get(call, {}).get(key) is not None]
        for key, name in _PERCENTILES
    }
    first, *more = lines.items()
    return Plot(f"{call} · 时延 latency", "ms", first[1], name=first[0], more=more)


def _by_process(resources: list[Result], what: str, title: str, unit: str) -> Plot:
    names = list(dict.fromkeys(name for r in resources for name in r["processes"]))
    lines = [
        (name, [(r["t"], r["processes"][name][what] or 0) for r in resources if name in r["processes"]])
        for name in names
    ]
    if not lines:
        return Plot(title, unit, [])
    return Plot(title, unit, lines[0][1], name=lines[0][0], more=lines[1:])


def _steps(steps: list[Result]) -> Plot:
    rising = sorted(steps, key=lambda step: step["offered"])
    done = [(step["offered"], step["done"]) for step in rising]
    more = [("503", [(s["offered"], s["refused_503"] or 0) for s in rising])]
    return Plot("逐级加压 · steps: done against offered", "/s", done, name="完成 done", more=more, across="/s")


def main(words: list[str]) -> int:
    if len(words) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    folder = Path(words[0])
    for path in write(json.loads((folder / "result.json").read_text("utf-8")), folder):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
