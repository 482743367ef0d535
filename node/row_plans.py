"""A template and its lots as data for `decode_rows`: what of a row the codec may be certain about.

Nothing here may be more lenient than node/templates.py; being stricter costs time alone, for the rest of the rows is
decided there. What a rule says is turned into needs and bounds that hang on the lot's values where that is simple;
otherwise a row that touches the rule's fields is left to the rule itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import date, timedelta
from functools import lru_cache
from typing import Any

import handle_codec
from handle_codec.plans import Bound, FieldPlan, LotPlan, Pair, RowPlan
from node.fields import Field
from node.model import Prefix
from node.patterns import automaton
from node.rule_words import DAY_LENGTH, cells, dates, holds
from node.rules import Gap, Order, RequiredWhen, WaivedWhen
from node.templates import Compiled, Template

_KIND_OF_TYPE = {"S": "text", "B": "bool", "E": "enum", "D": "day", "DT": "moment", "F": "file", "I": "file"}
_KIND_OF_TYPE |= {"R": "reference"}
_KIND_OF_CHECK = {"": "text", "gtin": "gtin", "imei": "imei", "drug20": "drug20", "file": "file"}
_KIND_OF_CHECK |= {"reference": "reference"}
_BEHIND = "~"  # behind all that may follow a day: "2024-09-10" <= "2024-09-10T08:30:00Z" <= "2024-09-10~"
_ZONES = timedelta(days=3)  # two times that are as far apart as written are in order, whatever their offsets


def plan_of(
    compiled: Compiled | None,
    prefix: Prefix,
    lots: Mapping[str, Mapping[str, Any]],
    names: Iterable[str] = (),
    *,
    without_lot: bool = True,
) -> RowPlan:
    """The plan of the items of one template (None: plain handles). `lots` are the attributes, by suffix, of those
    lots that can take items and have this template; `names`, beside `code@version`, are names that mean it now.
    `without_lot`: rows without a lot, which then have to name the template, are decided as well."""
    taken = {s: attributes for s, attributes in lots.items() if s and not handle_codec.is_serial(s)}
    if without_lot:
        taken[""] = {}
    template = compiled.template if compiled else None
    asked: dict[int, LotPlan] = {}  # by the lot's values: those of a season are often one object
    for suffix, attributes in taken.items():
        if id(attributes) not in asked:
            asked[id(attributes)] = _lot_plan(template, suffix, attributes)
    return RowPlan(
        prefix.prefix,
        prefix.home,
        prefix.spread,
        frozenset((*names, template.name)) if template else frozenset(),
        _field_plans(compiled) if compiled else (),
        tuple(
            replace(asked[id(own)], suffix=suffix, named=_is_named(template, suffix)) for suffix, own in taken.items()
        ),
    )


@lru_cache(maxsize=256)
def _field_plans(compiled: Compiled) -> tuple[FieldPlan, ...]:
    return tuple(map(_field_plan, compiled.template.fields))


def _is_named(template: Template | None, suffix: str) -> bool:
    """Whether rows have to name their template: those without a lot."""
    return template is not None and not suffix


def _field_plan(field: Field) -> FieldPlan:
    kind = _kind(field)
    if field.type == "N":
        return FieldPlan(field.code, kind, low=field.bounds[0], high=field.bounds[1])
    if field.type == "E":
        return FieldPlan(field.code, kind, words=field.words)
    most = field.length if field.is_text else 0
    table = automaton(field.pattern) if field.pattern and kind != "other" else None
    return FieldPlan(field.code, kind, most=most, words=field.also, automaton=table or b"")


def _kind(field: Field) -> str:
    if field.list or field.type == "T" or (field.pattern and not automaton(field.pattern)):
        return "other"
    if field.type == "N":
        return "integer" if field.integer else "number"
    if field.check:  # of types S and R; R has a check of its own besides
        return _KIND_OF_CHECK.get(field.check, "other") if field.type == "S" else "other"
    return _KIND_OF_TYPE[field.type]


def _lot_plan(template: Template | None, suffix: str, lot: Mapping[str, Any]) -> LotPlan:
    if template is None:
        return LotPlan(suffix)
    needs, never = _needs(template, lot)
    bounds: list[Bound] = []
    pairs: list[Pair] = []
    for rule in template.rules:
        if isinstance(rule, Order | Gap):
            bounds += _bounds(rule, lot)
            pairs += _pairs(rule)
        elif not isinstance(rule, WaivedWhen | RequiredWhen):
            never |= {name.partition(".")[0] for name in rule.reads()}
    pairs += [Pair(code, code) for code in sorted(never)]
    return LotPlan(suffix, _is_named(template, suffix), frozenset(needs), tuple(bounds), tuple(pairs))


def _needs(template: Template, lot: Mapping[str, Any]) -> tuple[set[str], set[str]]:
    """(fields without which a row of this lot is not sure, fields with which it is not)."""
    needs = {f.code for f in template.fields if f.required} - lot.keys()
    never: set[str] = set()
    for rule in template.rules:
        # A waiver that a row earns itself makes the row no less right; one of the lot's, its own value may take back.
        if isinstance(rule, WaivedWhen) and holds(lot, rule.when):
            needs.difference_update(rule.fields)
            never |= rule.when.keys()
    for rule in template.rules:  # after the waivers: nothing waives a demand
        if isinstance(rule, RequiredWhen) and holds(lot, rule.when):
            needs |= set(rule.fields) - lot.keys()
        elif isinstance(rule, RequiredWhen):
            # While one condition is the lot's, which fails it, the rule is silent.
            never.add(next(code for code, words in rule.when.items() if lot.get(code) not in words))
    return needs, never


def _pairs(rule: Order | Gap) -> Iterator[Pair]:
    """A row with both dates: compared as texts for an order; never sure for a gap, nor with a table of dates."""
    plain = isinstance(rule, Order) and "." not in rule.earlier
    if plain:
        yield Pair(rule.earlier, rule.later, ordered=True)
    else:
        yield Pair(rule.earlier.partition(".")[0], rule.later)
    if isinstance(rule, Gap):
        table = rule.days.partition(".")[0]
        yield Pair(table, table)


def _bounds(rule: Order | Gap, lot: Mapping[str, Any]) -> Iterator[Bound]:
    """What the lot's dates ask of a row that has one of the two."""
    earlier = rule.earlier.partition(".")[0]
    firsts, lasts = dates(lot, rule.earlier), dates(lot, rule.later)
    try:
        apart = timedelta(math.ceil(max(cells(lot, rule.days), default=0)) if isinstance(rule, Gap) else 0)
        if firsts:
            yield Bound(rule.later, low=max(_shifted(d, apart, 1) for d in firsts), without=earlier)
        if lasts:
            high = min(_shifted(d, apart, -1) for d in lasts)
            yield Bound(earlier, high=f"{high}{_BEHIND}", without=rule.later)
    except OverflowError:  # days beyond the calendar
        yield Bound(rule.later, high="!")
        yield Bound(earlier, high="!")


def _shifted(text: str, apart: timedelta, sign: int) -> str:
    """The day from which on (or until which) every date keeps its distance to `text`, as text."""
    margin = timedelta(0) if len(text) == DAY_LENGTH else _ZONES
    return (date.fromisoformat(text[:DAY_LENGTH]) + sign * max(apart, margin)).isoformat()
