"""Looking at the fields and values that a rule names; `table.column` names a column. For rules.py only."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from node.fields import Field

Attributes = Mapping[str, Any]
Fields = Mapping[str, Field]
DAY_LENGTH = len("2024-09-10")


class Bounds(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A range of numbers, open where a side is None."""

    min: float | None = None
    max: float | None = None

    @property
    def words(self) -> str:
        if self.min is None:
            return f"≤ {self.max:g}"
        return f"≥ {self.min:g}" if self.max is None else f"{self.min:g}–{self.max:g}"


def find(fields: Fields, name: str) -> Field | None:
    code, _, column = name.partition(".")
    field = fields.get(code)
    if field is None or not column:
        return field
    return next((c for c in field.columns if c.code == column), None)


def not_of_type(fields: Fields, types: tuple[str, ...], *names: str) -> str:
    wrong = (n for n in names if (f := find(fields, n)) is None or f.type not in types or f.list)
    return next((f"field {name!r} must have type {' or '.join(types)}" for name in wrong), "")


def bad_when(fields: Fields, when: Mapping[str, Any]) -> str:
    for code, words in when.items():
        field = fields.get(code)
        allowed: tuple[Any, ...] = () if field is None else (True, False) if field.type == "B" else field.words
        for word in words:
            if word not in allowed or not words:
                return f"bad enum: {word!r} is no value of {code!r}"
    return ""


def holds(values: Attributes, when: Mapping[str, list[str | bool]]) -> bool:
    return all(values.get(code) in words for code, words in when.items())


def cells(values: Attributes, name: str) -> list[Any]:
    if name in values:
        return [values[name]]
    code, _, column = name.partition(".")
    return [record[column] for record in values.get(code, ()) if column in record] if column else []


def dates(values: Attributes, name: str) -> list[str]:
    """Dates begin with a digit; the words that may stand instead (无) do not: fields.py sees to that."""
    return [text for text in cells(values, name) if text[0].isdigit()]


def after(first: str, second: str) -> bool:
    """Is `first` after `second`? A day against a time: the days as written, each in its own offset."""
    if DAY_LENGTH in (len(first), len(second)):
        return first[:DAY_LENGTH] > second[:DAY_LENGTH]
    return datetime.fromisoformat(first) > datetime.fromisoformat(second)


def in_one_zone(first: str, second: str) -> bool:
    """Can the two be compared as texts? Yes, where one is a day, or both end in the same offset."""
    return DAY_LENGTH in (len(first), len(second)) or first[-6:] == second[-6:]


def names(fields: Fields, name: str) -> tuple[str, str]:
    field = find(fields, name)
    return (field.zh, field.en) if field is not None else (name, name)


def word(value: Any) -> str:
    return {True: "是/true", False: "否/false"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def reason(fields: Fields, values: Attributes, when: Mapping[str, Any]) -> tuple[str, str]:
    zh = "、".join(f"{names(fields, code)[0]}为 {word(values[code])} " for code in when)
    return zh.rstrip(), " and ".join(f"{code} is {word(values[code])}" for code in when)
