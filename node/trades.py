"""How each trade's scan page looks: the `[display]` table of an industry's data file. Presentation, not meaning:
it lies outside the digest of the template's body, so a published version keeps its digest when its look changes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from node.errors import TemplateError
from node.template_files import FOLDER, Template, document, industry_files, load_industries

_COLOUR = re.compile(r"#[0-9a-f]{6}")
_PATH = re.compile(r"[MmLlHhVvCcSsQqTtAaZz0-9 ,.\-]{4,600}")  # of SVG's path data; nothing that ends an attribute
_PAPER, _PAPER_DARK = "#ffffff", "#1a201e"  # --paper of page.css
_LEGIBLE = 4.5  # WCAG 2.2, 1.4.3


class Trade(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One trade's look. `accent` is legible on white and `accent_dark` on the dark paper, or the file is refused.

    `badge` is the field shown beside the name, `facts` those under it. `way` and `tests` are the groups that stand
    under the timeline and under the tests; the others describe the product. `results` says which values of a test
    are a pass. `icons` are strokes for the groups, 24 × 24.
    """

    accent: str
    accent_dark: str
    icon: str
    way_zh: str
    way_en: str
    tests_zh: str
    tests_en: str
    compare_zh: str
    compare_en: str
    badge: str = ""
    facts: tuple[str, ...] = ()
    way: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    results: dict[str, tuple[str, ...]] = {}
    icons: dict[str, str] = {}
    code: str = ""
    zh: str = ""
    en: str = ""


class Trades:
    """The trades of a folder, and the look of a template: by its code, else by its industry, else the core's."""

    def __init__(self, folder: Path = FOLDER) -> None:
        """Raises TemplateError naming file and field."""
        templates = {template.code: template for template in load_industries(folder)}
        core = document(folder, "core")["display"]
        self.plain = _trade(core, {}, "core", None)
        self.by_code: dict[str, Trade] = {}
        for name in industry_files(folder):
            own = document(folder, name)
            template = templates[own["code"]]
            self.by_code[template.code] = _trade(core, own.get("display", {}), name, template)
        # A newer template of the same industry may have another code: the first file of an industry stands for it.
        self._by_industry = {templates[code].industry: trade for code, trade in reversed(self.by_code.items())}

    def of(self, code: str, industry: str = "") -> Trade:
        """The look for a template's code, or for an enterprise's industry."""
        return self.by_code.get(code) or self._by_industry.get(industry) or self.plain

    def of_template(self, template: Template | None) -> Trade:
        return self.of(template.code, template.industry) if template else self.plain


def _trade(core: Mapping[str, Any], own: Mapping[str, Any], name: str, template: Template | None) -> Trade:
    """The core's display with the industry's own over it."""
    names = {"code": template.code, "zh": template.zh, "en": template.en} if template else {}
    merged = {**core, **own, "icons": {**core["icons"], **own.get("icons", {})}, **names}
    try:
        trade = msgspec.convert(merged, Trade)
    except msgspec.ValidationError as error:
        raise _bad(name, "display", str(error)) from None
    if fault := _fault(trade, template):
        raise _bad(name, *fault)
    return trade


def _fault(trade: Trade, template: Template | None) -> tuple[str, str] | None:
    """(field, reason) of what makes no sense in a display."""
    for field, colour, paper in (
        ("accent", trade.accent, _PAPER),
        ("accent_dark", trade.accent_dark, _PAPER_DARK),
    ):
        if not _COLOUR.fullmatch(colour):
            return f"display.{field}", "must be a colour such as #1f7a33"
        if contrast(colour, paper) < _LEGIBLE:
            return f"display.{field}", f"has a contrast of {contrast(colour, paper):.1f} on {paper}, needs {_LEGIBLE}"
    for code, path in {"icon": trade.icon, **trade.icons}.items():
        if not _PATH.fullmatch(path):
            return f"display.{code}", "must be SVG path data"
    if template is None:
        return None
    groups, fields = {g.code for g in template.groups}, {f.code for f in template.fields}
    known = ((trade.way + trade.tests, groups), ((*trade.facts, *trade.results), fields))
    lost = [code for codes, those in known for code in codes if code not in those]
    if trade.badge and trade.badge not in fields:
        lost.append(trade.badge)
    return (f"display.{lost[0]}", "is no group or field of the template") if lost else None


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours (WCAG 2.2, 1 to 21)."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def mixed(colour: str, paper: str, share: float) -> str:
    """`share` of the colour over the paper, as a colour: old browsers know no color-mix()."""
    parts = (share * int(colour[i : i + 2], 16) + (1 - share) * int(paper[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(part):02x}" for part in parts)


def stylesheet(trades: Trades) -> str:
    """The colours of all trades as CSS classes `t-<code>`: about 150 bytes each, so one file serves every page."""
    light: list[str] = []
    dark: list[str] = []
    for code, trade in {"": trades.plain, **trades.by_code}.items():
        for rules, colour, paper in ((light, trade.accent, _PAPER), (dark, trade.accent_dark, _PAPER_DARK)):
            soft = mixed(colour, paper, 0.1)
            rules.append(f".t-{code or 'plain'}{{--accent:{colour};--tint:{soft}}}")
    return f"{''.join(light)}@media (prefers-color-scheme:dark){{{''.join(dark)}}}"


def _bad(name: str, field: str, reason: str) -> TemplateError:
    return TemplateError({"file": f"{name}.toml", "field": field, "reason": reason, "reason_zh": reason})
