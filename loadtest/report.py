"""One HTML file with figures and plots: SVG of its own, no script, nothing from elsewhere."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 620, 200, 70, 24
_COLOURS = ("#1565c0", "#2e7d32", "#ef6c00", "#ad1457", "#6a1b9a", "#00838f")
_STYLE = """
body{font:15px/1.5 "Noto Sans SC","Microsoft YaHei",sans-serif;color:#222}
body{max-width:1300px;margin:2em auto;padding:0 1em}
table{border-collapse:collapse;margin:1em 0}td,th{padding:.25em .8em;border-bottom:1px solid #ddd;text-align:left}
td.n{text-align:right;font-variant-numeric:tabular-nums}.bad{color:#b00020}.good{color:#1b6e2e}
.plots{display:flex;flex-wrap:wrap;gap:1em}figure{margin:0}figcaption{font-weight:600}
svg{background:#fafafa}svg text{font:11px sans-serif;fill:#555}
"""


@dataclass(frozen=True)
class Plot:
    """Points are (seconds, value); `dots` draws them apart instead of as a line. `more` are further lines by name, of
    which `name` is the first's."""

    title: str
    unit: str
    points: Sequence[tuple[float, float]]
    dots: bool = False
    name: str = ""
    more: Sequence[tuple[str, Sequence[tuple[float, float]]]] = ()
    across: str = "s"  # the unit of what goes to the right


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


def svg(plot: Plot) -> str:
    """The plot as an SVG element."""
    lines = [(plot.name, plot.points), *plot.more]
    points = [point for _, line in lines for point in line]
    if not points:
        return "<p>无数据 / no data</p>"
    last, top = max(t for t, _ in points) or 1.0, _round_up(max(v for _, v in points))
    across, up = (_WIDTH - _LEFT - 10) / last, (_HEIGHT - _BOTTOM - 10) / top
    parts = []
    for n in range(5):
        y, value = _HEIGHT - _BOTTOM - n * top / 4 * up, n * top / 4
        parts.append(f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - 10}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:,.6g}</text>')
        along = f"{n * last / 4:,.3g} {plot.across}"
        x, anchor = _LEFT + n * last / 4 * across, "end" if n == 4 else "middle"
        parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - 6}" text-anchor="{anchor}">{along}</text>')
    for number, (name, line) in enumerate(lines):
        colour = _COLOURS[number % len(_COLOURS)]
        places = [(_LEFT + t * across, _HEIGHT - _BOTTOM - v * up) for t, v in line]
        if plot.dots:
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="1.6" fill="{colour}"/>' for x, y in places]
        else:
            joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
            parts.append(f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        if name:
            x = _LEFT + 8 + number * 100
            parts.append(f'<text x="{x}" y="12" style="fill:{colour}">{html.escape(name)}</text>')
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" role="img">{"".join(parts)}</svg>'
    )


def _round_up(value: float) -> float:
    """To 1, 2, 4 or 8 times a power of ten, so that quarters read well."""
    step = 1.0
    while step > value > 0:
        step /= 10
    while step * 10 < value:
        step *= 10
    return next((step * k for k in (1, 2, 4, 8) if step * k >= value), step * 10)
