"""Scan pages of one kind, rendered once: Jinja makes a form with gaps, and an item's page is the form filled.

Items of a lot differ in a handle, a few lines and a time; most are scanned once, so that each scan would render all of
it again: 0.3 ms, a seventh of a worker's time in a season of first scans.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from markupsafe import Markup, escape

from node.http import templating
from node.scanning import ScanPage

Render = Callable[[Mapping[str, Any]], str]

# What is an item's own. `path` is its handle in an address.
_OWN = ("handle", "path", "updated", "facts", "product", "values", "way", "tests")
# Letters and digits, which no escaping changes; random, so that nothing registered can hold one.
_MARK = f"gap{secrets.token_hex(16)}"
_GAPS = {name: Markup(f"{_MARK}{name}{_MARK}") for name in _OWN}  # noqa: S704  # ours
_SPLIT = re.compile(f"{_MARK}([a-z]+){_MARK}")
_MOST = 512  # forms of a worker, of about 4 KB each


class Forms:
    """Of one look. A form is good for all pages that agree in whatever is not a gap of it."""

    def __init__(self) -> None:
        self._kept: dict[tuple[object, ...], tuple[object, list[str]]] = {}

    def text(self, shown: ScanPage, zh: bool, where: tuple[str, ...], render: Render) -> str:
        """The page; `where` is what else it says, and `render` makes it of values for its template."""
        own = _own(shown, zh)
        if shown.steps:  # each has a way of its own
            return render({"page": shown, **own})
        key = (zh, *where, *_kind(shown), *map(bool, own.values()))
        kept = self._kept.get(key)
        if kept is None:
            gaps = {name: gap if own[name] else "" for name, gap in _GAPS.items()}
            if len(self._kept) >= _MOST:
                self._kept.clear()
            # With its trade, whose id is nobody else's meanwhile.
            kept = self._kept[key] = shown.trade, _SPLIT.split(render({"page": shown, **gaps}))
        parts = kept[1].copy()
        parts[1::2] = [own[name] for name in parts[1::2]]
        return "".join(parts)


def _own(shown: ScanPage, zh: bool) -> dict[str, str]:
    icons = shown.trade.icons
    return {
        "handle": escape(templating.visible(shown.handle)),
        "path": Markup(quote(shown.handle, safe="/")),  # noqa: S704  # nothing in it is markup
        "updated": shown.updated,
        "facts": templating.facts(zh, shown.facts),
        "product": templating.groups(zh, icons, shown.product),
        "values": templating.pairs(zh, shown.values),
        "way": templating.groups(zh, icons, shown.way),
        "tests": templating.groups(zh, icons, shown.tests, bare=len(shown.tests) == 1),
    }


def _kind(shown: ScanPage) -> tuple[object, ...]:
    """All that the template reads of a page besides."""
    badge = templating.as_key(shown.badge) if shown.badge else None
    return (
        id(shown.trade), shown.verdict, shown.reason, shown.title, shown.brand, badge, shown.picture, shown.lot,
        shown.is_lot, shown.name, shown.contact, shown.shortened, shown.trace_away, shown.earlier_steps,
    )  # fmt: skip
