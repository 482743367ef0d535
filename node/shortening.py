"""Keeps a page small whatever an enterprise registered: what is long is cut, what is too much is left out."""

from __future__ import annotations

import re
from typing import Any

_MAX_ROWS = 20  # records of a table
_MAX_TEXT = 300  # characters of one value
_BUDGET = 24_000  # bytes of groups and values, markup counted: the page stays under 60 KB
_MARKUP = 190  # bytes around one line
_NOTED = "short"  # in a line: how it is shortened, whether it was cut, what it costs
_ESCAPED = re.compile("[<>&'\"]")


def within_budget(
    groups: list[dict[str, Any]], values: list[dict[str, str]]
) -> tuple[list[dict[str, Any]], list[dict[str, str]], bool]:
    """(groups, values, whether something was left out): long texts and tables cut, then all that is over."""
    left, cut, kept = _BUDGET, False, []
    for group in groups:
        lines = []
        for line in group["fields"]:
            noted = line.get(_NOTED)  # by a page before: items of a lot share lines
            if noted is None:
                short, was_cut = _shortened(line)
                noted = line[_NOTED] = short, was_cut, _cost(short)
            short, was_cut, cost = noted
            left -= cost
            cut |= was_cut or left < 0
            if left >= 0:
                lines.append({**short})
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
    """The line as the page needs it, and whether it was cut; a table's rows hold only the cells that are filled."""
    value, was_cut = cut_text(line["value"])
    short = {k: line[k] for k in ("code", "zh", "en", "type", "value_en", "emphasis", "raw")} | {"value": value}
    if line["type"] == "T":
        short["rows"] = []
        was_cut |= len(line["rows"]) > _MAX_ROWS
        for row, english in zip(line["rows"][:_MAX_ROWS], line["rows_en"], strict=False):
            filled = [t for t in zip(line["columns"], row, english, strict=True) if t[1]]
            cells = [(c, *cut_text(text), en) for c, text, en in filled]
            short["rows"].append([{"zh": c["zh"], "en": c["en"], "value": t, "value_en": e} for c, t, _, e in cells])
            was_cut |= any(shorter for _, _, shorter, _ in cells)
    return short, was_cut


def _cost(line: dict[str, Any]) -> int:
    """About the bytes of a line on the page."""
    cells = [cell for row in line.get("rows", ()) for cell in row]
    text = line["zh"] + line["en"] + line["value"] + line["value_en"]
    text += "".join([cell["zh"] + cell["en"] + cell["value"] for cell in cells])
    return _MARKUP + 60 * len(cells) + _bytes(text)


def _bytes(text: str) -> int:
    """Bytes of a text once it is escaped."""
    return len(text.encode()) + 4 * len(_ESCAPED.findall(text))


def cut_text(text: str, limit: int = _MAX_TEXT) -> tuple[str, bool]:
    """The text in at most `limit` characters, and whether it was longer."""
    return (f"{text[:limit]}…", True) if len(text) > limit else (text, False)
