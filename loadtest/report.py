"""One HTML file with figures and plots: SVG of its own, no script, nothing from elsewhere."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 620, 200, 70, 24, 10
_LEGEND = 16  # px more at the top where lines have names
_COLOURS = ("#1565c0", "#c75b00", "#1b6e2e", "#8e24aa", "#b00020", "#00796b", "#5d4037")
# As attributes: what makes PDF of the page does not look for the style of letters inside an SVG.
_LETTERS = 'font-size="10" fill="#444" font-family="Noto Sans CJK SC,Noto Sans SC,Microsoft YaHei,sans-serif"'
Points = Sequence[tuple[float, float]]
_STYLE = """
body{font:15px/1.5 "Noto Sans SC","Microsoft YaHei",sans-serif;color:#222}
body{max-width:1300px;margin:2em auto;padding:0 1em}
table{border-collapse:collapse;margin:1em 0}td,th{padding:.25em .8em;border-bottom:1px solid #ddd;text-align:left}
td.n{text-align:right;font-variant-numeric:tabular-nums}.bad{color:#b00020}.good{color:#1b6e2e}
.plots{display:flex;flex-wrap:wrap;gap:1em}figure{margin:0}figcaption{font-weight:600}
svg{background:#fafafa}
"""


@dataclass(frozen=True)
class Plot:
    """Points are (seconds, value); `dots` draws them apart instead of as a line. `more` are further lines, each with
    its name, `name` is then the first one's; `bands` are spans of x with a label; `log` from 1 up by powers of ten."""

    title: str
    unit: str
    points: Points
    dots: bool = False
    name: str = ""
    more: Sequence[tuple[str, Points]] = ()
    bands: Sequence[tuple[float, float, str]] = ()
    log: bool = False
    across: str = "s"


def page(
    title: str,
    verdict: tuple[bool, str],
    tables: Sequence[tuple[str, Sequence[tuple[str, str]]]],
    plots: Sequence[Plot],
) -> str:
    """The report. `tables` are (caption, rows of label and figure)."""
    good, words = verdict
    body = [f"<h1>{html.escape(title)}</h1>", f'<p class="{"good" if good else "bad"}">{html.escape(words)}</p>']
    for caption, rows in tables:
        body.append(f"<h2>{html.escape(caption)}</h2><table>")
        body += [f'<tr><td>{html.escape(a)}</td><td class="n">{html.escape(b)}</td></tr>' for a, b in rows]
        body.append("</table>")
    figures = "".join(
        f"<figure><figcaption>{html.escape(f'{p.title}, {p.unit}')}</figcaption>{svg(p)}</figure>" for p in plots
    )
    body.append(f'<div class="plots">{figures}</div>')
    return (
        f'<!doctype html><html lang="zh"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body>{''.join(body)}</body></html>\n"
    )


def plain(value: object) -> str:
    """Escaped. Control characters and halves of surrogates, which no HTML or UTF-8 may hold, are shown as boxes: what a
    node answered is not always text."""
    words = "".join("□" if (c < " " and c not in "\t\n") or "\ud800" <= c <= "\udfff" else c for c in str(value))
    return html.escape(words)


def svg(plot: Plot) -> str:
    """The plot as an element of the page."""
    lines = [line for line in ((plot.name, plot.points), *plot.more) if line[1]]
    if not lines:
        return "<p>无数据 / no data</p>"
    named = len(lines) > 1
    scale = _Scale.of([p for _, points in lines for p in points], plot.log, _TOP + (_LEGEND if named else 0))
    parts = [*_bands(plot, scale), *scale.axes(plot.across)]
    for n, (name, points) in enumerate(lines):
        colour = _COLOURS[n % len(_COLOURS)]
        places = [scale.place(*point) for point in points]
        if plot.dots or len(places) == 1:
            radius = 1.6 if plot.dots else 3
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}"/>' for x, y in places]
        else:
            line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
            parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        if named:
            across = _LEFT + n * (_WIDTH - _LEFT - 24) / len(lines)
            parts.append(f'<rect x="{across:.1f}" y="4" width="10" height="10" fill="{colour}"/>')
            parts.append(f'<text x="{across + 14:.1f}" y="13">{plain(name)}</text>')
    size = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}"'
    return f'<svg {size} {_LETTERS} role="img">{"".join(parts)}</svg>'


def _bands(plot: Plot, scale: _Scale) -> list[str]:
    """Phases behind the lines, every second one grey."""
    parts = []
    for n, (begin, end, label) in enumerate(plot.bands):
        left, _ = scale.place(max(begin, 0), scale.low)
        right, bottom = scale.place(min(end, scale.last), scale.low)
        if right - left < 1:
            continue
        fill = "#eef2f7" if n % 2 else "#fafafa"
        parts.append(f'<rect x="{left:.1f}" y="{scale.over}" width="{right - left:.1f}" '
                     f'height="{bottom - scale.over:.1f}" fill="{fill}"/>')  # fmt: skip
        if right - left > 11 * len(label):
            parts.append(f'<text x="{left + 3:.1f}" y="{scale.over + 11}">{plain(label)}</text>')
    return parts


@dataclass(frozen=True, slots=True)
class _Scale:
    """From (x, value) to places; `over` is the upper edge of the lines in px."""

    last: float
    low: float
    top: float
    over: int
    log: bool

    @classmethod
    def of(cls, points: Points, log: bool, over: int) -> _Scale:
        last, most = max(t for t, _ in points) or 1.0, max(v for _, v in points)
        if log:
            return cls(last, 0.0, max(1.0, math.ceil(math.log10(max(most, 1.0)))), over, True)
        return cls(last, 0.0, _round_up(most) or 1.0, over, False)

    def place(self, x: float, value: float) -> tuple[float, float]:
        height = math.log10(max(value, 1.0)) if self.log else value
        up = (_HEIGHT - _BOTTOM - self.over) / (self.top - self.low)
        return _LEFT + x * (_WIDTH - _LEFT - 24) / self.last, _HEIGHT - _BOTTOM - height * up

    def axes(self, unit: str) -> list[str]:
        parts = []
        values = [10.0**n for n in range(int(self.top) + 1)] if self.log else [n * self.top / 4 for n in range(5)]
        for value in values:
            _, y = self.place(0, value)
            parts.append(f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - 24}" y2="{y:.1f}" stroke="#ddd"/>')
            parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:,.6g}</text>')
        step = _round_up(self.last / 5)
        for n in range(int(self.last / step) + 1):
            x, _ = self.place(n * step, self.low)
            label = f"{n * step:,.6g} {unit}"
            parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - 6}" text-anchor="middle">{label}</text>')
        return parts


def _round_up(value: float) -> float:
    """To 1, 2, 4 or 8 times a power of ten, so that quarters read well."""
    step = 1.0
    while step > value > 0:
        step /= 10
    while step * 10 < value:
        step *= 10
    return next((step * k for k in (1, 2, 4, 8) if step * k >= value), step * 10)
