"""Pieces of the report: escaped text in two languages, tables, figures, the style of screen and paper."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from loadtest.report import Plot, plain, svg

STYLE = """
:root{--bad:#a31621;--good:#1b6e2e;--open:#8a5a00}
body{font:14px/1.55 "Noto Sans CJK SC","Noto Sans SC","Source Han Sans SC","Microsoft YaHei","PingFang SC",sans-serif}
body{color:#1d2433;max-width:1080px;margin:2em auto;padding:0 1em}
h1{font-size:1.7em;margin:0 0 .2em}h2{font-size:1.25em;margin:2em 0 .5em;border-bottom:2px solid #1d2433}
h3{font-size:1.05em;margin:1.2em 0 .3em}
.en{color:#5b6475;font-size:.86em;font-weight:400}
table{border-collapse:collapse;width:100%;margin:.5em 0 1em;font-size:.93em}
th{text-align:left;border-bottom:1px solid #1d2433;vertical-align:bottom;font-weight:600}
td,th{padding:.28em .55em}thead .en,.list td .en{display:block}.list td:first-child{min-width:9em}
.mark{white-space:nowrap}.said{overflow-wrap:anywhere}td{border-bottom:1px solid #dfe3ea;vertical-align:top}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}.mark .en{white-space:normal}
.bad{color:var(--bad);font-weight:600}.good{color:var(--good);font-weight:600}.open{color:var(--open);font-weight:600}
.verdict{border:3px solid;padding:.7em 1.1em;margin:1.2em 0}.verdict p{margin:0;font-size:2.4em;line-height:1.3}
.verdict p .en{color:inherit;font-size:.6em}.verdict ul{color:#1d2433;font-weight:400}
.verdict ul{margin:.4em 0 0;padding-left:1.2em}
.verdict li{margin:.25em 0}
figure{margin:.6em 0 1.2em}figcaption{font-weight:600}svg{display:block;width:100%;max-width:860px;height:auto}
.chapter td:first-child{width:52%}.chapter td:nth-child(2){width:16%}
code{font:.92em monospace;overflow-wrap:anywhere}.note{color:#5b6475;font-size:.9em}
@media print{body{font-size:9.5pt;margin:0;padding:0;max-width:none}h2{break-after:avoid}h3{break-after:avoid}
.page{break-before:page}tr,figure,.verdict li{break-inside:avoid}thead{display:table-header-group}
h2{margin-top:1.2em}table{font-size:8.3pt}svg{max-width:165mm}.verdict p{font-size:26pt}}
@page{size:A4;margin:16mm 14mm 18mm;@bottom-center{content:counter(page) " / " counter(pages);font:8pt sans-serif}}
"""


@dataclass(frozen=True, slots=True)
class Markup:
    """Text that is HTML already: only this module's functions make it."""

    text: str


Cell = Markup | str | float | None


def text(value: object) -> str:
    """Escaped; what is not known is a dash."""
    return "–" if value is None else plain(value)


def number(value: float | None, digits: int = 0) -> str:
    """With thousands; `digits` behind the point."""
    if value is None:
        return "–"
    return f"{value:,.{digits}f}"


def ms(value: float | None) -> str:
    """Three digits are all that a latency is known to."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def both(zh: object, en: object, apart: str = " ") -> Markup:
    """Chinese first, English beside it."""
    return Markup(f'{text(zh)}{apart}<span class="en">{text(en)}</span>')


def marked(kind: str, zh: str, en: str) -> Markup:
    """`kind`: good, bad or open."""
    return Markup(
        f'<span class="mark"><span class="{kind}">{text(zh)}</span> <span class="en">{text(en)}</span></span>'
    )


def said(value: object) -> Markup:
    """Foreign text, which may be one long word."""
    return Markup(f'<span class="said">{text(value)}</span>')


def cell(value: Cell) -> str:
    if isinstance(value, Markup):
        return value.text
    return text(f"{value:,}" if isinstance(value, int) else value)


def table(
    head: Sequence[Markup | str], rows: Iterable[Sequence[Cell]], numbers: Iterable[int] = (), style: str = "list"
) -> str:
    """`numbers`: the columns that stand at the right. Without rows: that there is nothing."""
    right = set(numbers)
    lines = ["".join(f"<td{_right(n in right)}>{cell(value)}</td>" for n, value in enumerate(row)) for row in rows]
    if not lines:
        return NOTHING
    top = "".join(f"<th{_right(n in right)}>{cell(one)}</th>" for n, one in enumerate(head))
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<table class="{style}"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>'


def pairs(rows: Iterable[tuple[Markup | str, Cell]]) -> str:
    """A table of labels and values without a head."""
    body = "".join(f"<tr><td>{cell(label)}</td><td>{cell(value)}</td></tr>" for label, value in rows)
    return f"<table><tbody>{body}</tbody></table>"


def _right(yes: bool) -> str:
    return ' class="n"' if yes else ""


def head(zh: str, en: str, new_page: bool = False) -> str:
    name = ' class="page"' if new_page else ""
    return f"<h2{name}>{both(zh, en).text}</h2>"


def figure(plot: Plot) -> str:
    caption = f'{text(plot.title)} <span class="en">{text(plot.unit)}</span>'
    return f"<figure><figcaption>{caption}</figcaption>{svg(plot)}</figure>"


def note(zh: str, en: str) -> str:
    return f'<p class="note">{both(zh, en).text}</p>'


NOTHING = '<p class="note">无 <span class="en">none</span></p>'


def words(names: dict[str, tuple[str, str]], name: Any) -> Markup | str:
    """A name of the document in the field's words; one that is not in the list as it is."""
    return both(*names[name]) if name in names else str(name)
