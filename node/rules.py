"""Rules over several fields of a row. Each kind is a Struct that a data file's `[[rules]]` fills.

A rule reads the merged attributes (lot and item) and is silent while a field it needs is absent: presence is
the business of `required`, `required_when` and `waived_when`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import ClassVar

import msgspec

from node.errors import RowError
from node.rule_words import (
    DAY_LENGTH,
    Attributes,
    Bounds,
    Fields,
    after,
    bad_when,
    cells,
    dates,
    find,
    holds,
    in_one_zone,
    names,
    not_of_type,
    reason,
    word,
)


class _Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """`code` is the code of the error, `basis` the standard that is quoted with it."""

    code: str
    basis: str = ""

    may_be_column: ClassVar[str] = ""  # the attribute that may name a `table.column`

    def reads(self) -> tuple[str, ...]:
        """The fields it needs, `table.column` for a column."""
        raise NotImplementedError

    def fault(self, fields: Fields) -> str:
        """Why this rule does not fit the fields, or ""."""
        column = getattr(self, self.may_be_column, "")
        for name in self.reads():
            if find(fields, name) is None or ("." in name and name != column):
                return f"unknown field {name!r}"
        return ""

    def broken(self, values: Attributes, fields: Fields) -> Iterator[RowError]:
        """An error for each field that breaks the rule; none by itself."""
        return iter(())

    def _error(self, field: str, zh: str, en: str, code: str = "") -> RowError:
        zh, en = (f"{zh}（{self.basis}）", f"{en} ({self.basis})") if self.basis else (zh, en)
        return RowError(f"attributes.{field}", code or self.code, zh, en)


class Order(_Rule, frozen=True, kw_only=True, tag_field="kind", tag="order"):
    """`earlier` is not after `later`; `earlier` may be a column of dates."""

    earlier: str
    later: str

    may_be_column: ClassVar[str] = "earlier"

    def reads(self) -> tuple[str, ...]:
        return self.earlier, self.later

    def fault(self, fields: Fields) -> str:
        return super().fault(fields) or not_of_type(fields, ("D", "DT"), self.earlier, self.later)

    def broken(self, values: Attributes, fields: Fields) -> Iterator[RowError]:
        a, b = values.get(self.earlier), values.get(self.later)
        if type(a) is type(b) is str and a <= b and in_one_zone(a, b):
            return  # nearly every row
        for later in dates(values, self.later):
            first = next((d for d in dates(values, self.earlier) if after(d, later)), "")
            if first:
                zh, en = names(fields, self.earlier)
                yield self._error(self.later, f"{later} 早于{zh} {first}", f"{later} is before {first} ({en})")


class Gap(_Rule, frozen=True, kw_only=True, tag_field="kind", tag="gap"):
    """From `earlier` to `later` pass at least the days of `days`, the largest where it is a column."""

    earlier: str
    later: str
    days: str

    may_be_column: ClassVar[str] = "days"

    def reads(self) -> tuple[str, ...]:
        return self.earlier, self.later, self.days

    def fault(self, fields: Fields) -> str:
        wrong = super().fault(fields) or not_of_type(fields, ("D", "DT"), self.earlier, self.later)
        return wrong or not_of_type(fields, ("N",), self.days)

    def broken(self, values: Attributes, fields: Fields) -> Iterator[RowError]:
        earlier, later = (next(iter(dates(values, name)), "") for name in (self.earlier, self.later))
        need = max(cells(values, self.days), default=0)
        if not earlier or not later:
            return
        days = (date.fromisoformat(later[:DAY_LENGTH]) - date.fromisoformat(earlier[:DAY_LENGTH])).days
        if days < need:
            zh, en = names(fields, self.earlier)
            yield self._error(
                self.later,
                f"距{zh} {earlier} 为 {days} 天，须不少于 {need} 天",
                f"{days} days after {en} {earlier} ({self.earlier}), at least {need} days are needed",
            )


class Limit(_Rule, frozen=True, kw_only=True, tag_field="kind", tag="limit"):
    """The range of the number `field` goes by the enumeration `by`; only where `when` holds."""

    field: str
    by: str
    limits: dict[str, Bounds]
    when: dict[str, list[str | bool]] = {}

    def reads(self) -> tuple[str, ...]:
        return self.field, self.by, *self.when

    def fault(self, fields: Fields) -> str:
        wrong = super().fault(fields) or not_of_type(fields, ("N",), self.field) or bad_when(fields, self.when)
        return wrong or bad_when(fields, {self.by: list(self.limits)})

    def broken(self, values: Attributes, fields: Fields) -> Iterator[RowError]:
        value, grade = values.get(self.field), values.get(self.by)
        bounds = self.limits.get(grade) if isinstance(grade, str) else None
        if value is None or bounds is None or not holds(values, self.when):
            return
        low, high = bounds.min, bounds.max
        if (low is not None and value < low) or (high is not None and value > high):
            zh, en = names(fields, self.by)
            limit = f"{bounds.words} {fields[self.field].unit}".rstrip()
            yield self._error(
                self.field,
                f"{zh} {grade} 要求 {limit}，实际 {value}",
                f"{en} {grade} allows {limit}, got {value}",
            )


class PercentSum(_Rule, frozen=True, kw_only=True, tag_field="kind", tag="percent_sum"):
    """The percentages written in a text add up to 100; pieces (面料, 里料) are parted by ; or lines."""

    field: str

    _parts: ClassVar[re.Pattern[str]] = re.compile(r"[;；\n]")
    _percent: ClassVar[re.Pattern[str]] = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)\s*[%％]")

    def reads(self) -> tuple[str, ...]:
        return (self.field,)

    def fault(self, fields: Fields) -> str:
        return super().fault(fields) or not_of_type(fields, ("S",), self.field)

    def broken(self, values: Attributes, fields: Fields) -> Iterator[RowError]:
        for part in filter(str.strip, self._parts.split(values.get(self.field, ""))):
            total = sum((Decimal(p) for p in self._percent.findall(part)), Decimal(0))
            if total != 100:
                yield self._error(
                    self.field,
                    f"“{part.strip()}”的百分比合计 {total}%，须为 100%；不同部位用分号分开",
                    f'"{part.strip()}" adds up to {total} %, not 100 %; part the pieces by semicolons',
                )
                return


class OnlyWith(_Rule, frozen=True, kw_only=True, tag_field="kind", tag="only_with"):
    """Where `when` holds, `field` has one of `values`."""

    when: dict[str, list[str | bool]]
    field: str
    values: list[str | bool]

    def reads(self) -> tuple[str, ...]:
        return self.field, *self.when

    def fault(self, fields: Fields) -> str:
        return super().fault(fields) or bad_when(fields, {**self.when, self.field: self.values})

    def broken(self, values: Attributes, fields: Fields) -> Iterator[RowError]:
        value = values.get(self.field)
        if value is not None and value not in self.values and holds(values, self.when):
            zh, en = reason(fields, values, self.when)
            allowed = "、".join(map(word, self.values))
            yield self._error(self.field, f"{zh}时须为 {allowed}", f"must be {allowed} when {en}")


class RequiredWhen(_Rule, frozen=True, kw_only=True, tag_field="kind", tag="required_when"):
    """Where `when` holds, `fields` are required."""

    when: dict[str, list[str | bool]]
    fields: list[str]

    def reads(self) -> tuple[str, ...]:
        return *self.when, *self.fields

    def fault(self, fields: Fields) -> str:
        return super().fault(fields) or bad_when(fields, self.when)

    def broken(self, values: Attributes, fields: Fields) -> Iterator[RowError]:
        if not holds(values, self.when):
            return
        zh, en = reason(fields, values, self.when)
        for code in self.fields:
            if code not in values:
                name_zh, name_en = names(fields, code)
                yield self._error(code, f"{zh}时必填：{name_zh}", f"{name_en}: required when {en}", "required")


class WaivedWhen(_Rule, frozen=True, kw_only=True, tag_field="kind", tag="waived_when"):
    """Where `when` holds, `fields` are not required, though the template requires them."""

    when: dict[str, list[str | bool]]
    fields: list[str]

    def reads(self) -> tuple[str, ...]:
        return *self.when, *self.fields

    def fault(self, fields: Fields) -> str:
        return super().fault(fields) or bad_when(fields, self.when)

    def waived(self, values: Attributes) -> frozenset[str]:
        return frozenset(self.fields) if holds(values, self.when) else frozenset()


Rule = Order | Gap | Limit | PercentSum | OnlyWith | RequiredWhen | WaivedWhen
