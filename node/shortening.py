"""Keeps a page small whatever an enterprise registered: what is long is cut, what is too much is left out."""

from __future__ import annotations

from typing import Any

_MAX_ROWS = 20  # records of a table
_MAX_TEXT = 300  # characters of one value
_BUDGET = 30_000  # bytes of groups and values, markup counted: the page stays under 60 KB
_MARKUP = 190  # bytes around one line


def within_budget(
    groups: list[dict[str, Any]], values: list[dict[str, str]]
) -> tuple[list[dict[str, Any]], list[dict[str, str]], bool]:
    """(groups, values, whether something was left out): long texts and tables cut, then all that is over."""
    left, cut, kept = _BUDGET, False, []
    for group in groups:
        lines = []
        for line in group["fields"]:
            short, was_cut = _shortened(line)
            left -= _cost(short)
            cut |= was_cut or left < 0
            if left >= 0:
                lines.append(short)
        if lines:
            kept.append({**group, "fields": lines})
    texts = []
    for value in values:
        text, was_cut = cut_text(value["text"])
        left -= _bytes(text) + _bytes(value["type"]) + _MARKUP
        cut |= was_cut or left < 0
        if left >= 0:
            texts.append({"type": value["type"], "text": text})
    return kept, texts, cut


def _shortened(line: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    value, was_cut = cut_text(line["value"])
    short = {k: line[k] for k in ("code", "zh", "en", "type", "value_en", "emphasis")} | {"value": value}
    if line["type"] == "T":
        cells = [[cut_text(cell) for cell in row] for row in line["rows"][:_MAX_ROWS]]
        short |= {"columns": line["columns"], "rows": [[text for text, _ in row] for row in cells]}
        was_cut |= len(line["rows"]) > _MAX_ROWS or any(shorter for row in cells for _, shorter in row)
    return short, was_cut


def _cost(line: dict[str, Any]) -> int:
    """About the bytes of a line on the page."""
    cost = _MARKUP + sum(_bytes(line[k]) for k in ("zh", "en", "value", "value_en"))
    names = sum(_bytes(c["zh"]) + _bytes(c["en"]) + 40 for c in line.get("columns", ()))
    return cost + sum(names + sum(_bytes(cell) for cell in row) for row in line.get("rows", ()))


def _bytes(text: str) -> int:
    """Bytes of a text once it is escaped."""
    return len(text.encode()) + 4 * sum(text.count(c) for c in "<>&'\"")


def cut_text(text: str) -> tuple[str, bool]:
    return (f"{text[:_MAX_TEXT]}…", True) if len(text) > _MAX_TEXT else (text, False)
