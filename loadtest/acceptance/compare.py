"""Two runs side by side: what changed, and whether it is worse than runs differ by themselves."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Result = dict[str, Any]
NOISE = 0.25  # two runs of the same code on one machine differ by up to so much: less is no finding
_SMALL_MS = 5.0  # and by so much whatever the share
_SAME = (("run", "profile"), ("run", "seed"), ("machine", "cpu"), ("machine", "cpus"), ("machine", "memory_gib"))


@dataclass(frozen=True, slots=True)
class Line:
    """One figure of both runs. `worse`: B is worse than A by more than noise."""

    name: str
    a: float | None
    b: float | None
    worse: bool

    @property
    def change(self) -> str:
        if self.a is None or self.b is None or not self.a:
            return "–"
        return f"{(self.b - self.a) / self.a:+.0%}"


def main(a: str, b: str) -> int:
    """Print the table and write compare.html beside B; 1 where B is worse, 2 where one cannot be read."""
    try:
        first, second = _read(a), _read(b)
    except (OSError, ValueError, KeyError) as error:
        print(f"idnode acceptance compare: {error}")
        return 2
    other = [f"{x}.{y}: {first[x][y]} / {second[x][y]}" for x, y in _SAME if first[x][y] != second[x][y]]
    lines = list(compared(first, second))
    verdicts = f"{first['verdict']} / {second['verdict']}"
    print(f"A {a}\nB {b}\n判定 verdict: {verdicts}")
    for difference in other:
        print(f"条件不同 not the same conditions: {difference}")
    for line in lines:
        print(f"{'!' if line.worse else ' '} {line.name:34} {_text(line.a):>14} {_text(line.b):>14} {line.change:>8}")
    target = (Path(b) if Path(b).is_dir() else Path(b).parent) / "compare.html"
    target.write_text(_page(a, b, verdicts, other, lines), "utf-8")
    print(target)
    return int(any(line.worse for line in lines) or (first["verdict"] == "pass" != second["verdict"]))


def compared(a: Result, b: Result) -> Iterator[Line]:
    """Thresholds by their measurements, then each call's p50 and p99."""
    old = {threshold["name"]: threshold for threshold in a["thresholds"]}
    for threshold in b["thresholds"]:
        before, lower = old.get(threshold["name"], {}).get("measured"), threshold["better"] == "lower"
        small = _SMALL_MS if threshold["unit"] == "ms" else 0.0
        yield _line(threshold["name"], before, threshold["measured"], lower, small)
    for call in sorted({*a["calls"], *b["calls"]}):
        for key in ("p50", "p99"):
            before, now = a["calls"].get(call, {}).get(key), b["calls"].get(call, {}).get(key)
            yield _line(f"{call} {key} ms", before, now, True, _SMALL_MS)


def _line(name: str, a: float | None, b: float | None, lower: bool, small: float) -> Line:
    if a is None or b is None:
        return Line(name, a, b, a is not None)
    gap = b - a if lower else a - b
    return Line(name, a, b, gap > max(small, NOISE * abs(a)))


def _read(name: str) -> Result:
    path = Path(name)
    found: Result = json.loads((path / "result.json" if path.is_dir() else path).read_text("utf-8"))
    if found.get("format") != "idnode-acceptance/1":
        raise ValueError(f"{path}: not a result of idnode acceptance")
    return found


def _text(value: float | None) -> str:
    return "–" if value is None else f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"


def _page(a: str, b: str, verdicts: str, other: list[str], lines: list[Line]) -> str:
    rows = "".join(
        f"<tr{' class=w' if x.worse else ''}><td>{html.escape(x.name)}</td><td>{_text(x.a)}</td><td>{_text(x.b)}</td>"
        f"<td>{x.change}</td></tr>"
        for x in lines
    )
    notes = "".join(f"<li>条件不同 <small>not the same conditions</small>: {html.escape(one)}</li>" for one in other)
    return (
        '<!doctype html><html lang="zh-CN"><head><meta charset="utf-8"><title>两次验收对比 · Two runs compared</title>'
        "<style>body{font:14px/1.5 sans-serif;max-width:900px;margin:2em auto}td,th{padding:.2em .8em;text-align:left;"
        "border-bottom:1px solid #ddd}.w{color:#b00020;font-weight:600}</style></head><body>"
        f"<h1>两次验收对比 <small>Two runs compared</small></h1><p>A {html.escape(a)}<br>B {html.escape(b)}</p>"
        f"<p>判定 verdict: {html.escape(verdicts)}；噪声 noise ±{NOISE:.0%}</p><ul>{notes}</ul>"
        f"<table><tr><th></th><th>A</th><th>B</th><th>±</th></tr>{rows}</table></body></html>\n"
    )
