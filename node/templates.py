"""Templates made ready for rows: decoding, checking and showing the attributes of a handle. Pure, no store.

A row is decoded by msgspec into a Struct made from the template; what types cannot say is tested by finishers
and rules. Only a row that fails is looked at again, slowly, for one error per field (node/findings.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import msgspec

from node import findings, showing
from node.errors import InvalidRow, NodeError, RowError
from node.fields import FIRST_INDEX, LEVELS, Field
from node.rules import RequiredWhen, WaivedWhen
from node.template_files import Template, industry_template, load_industries
from node.values import Fault, finisher, record_type, single_finisher

__all__ = [
    "Compiled",
    "Template",
    "compile_template",
    "industry_template",
    "load_industries",
    "plain_text",
    "template_document",
]

_NOTHING: Mapping[str, Any] = {}


class _Refused(Exception):
    """The row is wrong; findings will say why."""


# What a bad row raises on the quick way; a mapping given to check() may be nested deeply.
_REFUSALS = (msgspec.MsgspecError, UnicodeError, RecursionError, OverflowError, Fault, _Refused)


class Compiled:
    """A template made ready for rows. Immutable, so safe to share."""

    def __init__(self, template: Template) -> None:
        self.template = template
        self._fields = {f.code: f for f in template.fields}
        self._order = {f.code: i for i, f in enumerate(template.fields)}
        self._required = frozenset(f.code for f in template.fields if f.required)
        self._row = record_type(template.code, template.fields, demand=False)
        self._decoder = msgspec.json.Decoder(self._row)
        self._finishers = {f.code: finish for f in template.fields if (finish := finisher(f)) is not None}
        self._waivers = [r for r in template.rules if isinstance(r, WaivedWhen)]
        self._demands = [r for r in template.rules if isinstance(r, RequiredWhen)]
        rest = [r for r in template.rules if not isinstance(r, WaivedWhen | RequiredWhen)]
        self._rules = [(r, frozenset(name.partition(".")[0] for name in r.reads())) for r in rest]
        self._watched = frozenset(name for _, names in self._rules for name in names)
        self._plans = {level: showing.plan(template.fields, level) for level in LEVELS}

    def decode(
        self, raw: bytes | msgspec.Raw, inherited: Mapping[str, Any] | None = None, *, partial: bool = False
    ) -> dict[str, Any]:
        """The canonical own attributes in a row's JSON object, in template order. `inherited` are the lot's,
        which were checked when it was stored; `partial` is for a lot, of which nothing is required. Raises
        InvalidRow and nothing else."""
        lot = _NOTHING if inherited is None else inherited
        try:
            return self._finish(msgspec.to_builtins(self._decoder.decode(raw)), lot, partial)
        except _REFUSALS:
            raise self._refusal_of(bytes(raw), lot, partial) from None

    def check(
        self,
        attributes: Mapping[str, Any],
        inherited: Mapping[str, Any] | None = None,
        *,
        partial: bool = False,
    ) -> dict[str, Any]:
        """As `decode`, for attributes that are parsed already."""
        lot = _NOTHING if inherited is None else inherited
        try:
            return self._finish(msgspec.to_builtins(msgspec.convert(attributes, self._row)), lot, partial)
        except _REFUSALS:
            raise self._refusal(attributes, lot, partial) from None

    def _finish(self, own: dict[str, Any], lot: Mapping[str, Any], partial: bool) -> dict[str, Any]:
        """Finish the values in place and ask the rules; raises at the first that is wrong. Rules whose fields
        all come from the lot are not asked again: they were asked when the lot was stored."""
        finishers = self._finishers
        for code, value in own.items():  # keys stay, so changing values under way is sound
            if code in finishers:
                own[code] = finishers[code](value)
        if not self._watched.isdisjoint(own) and next(self._broken({**lot, **own}, own), None):
            raise _Refused
        if partial or not (self._demands or self._required.difference(own).difference(lot)):
            return own
        if next(self._missing(own, lot), None):
            raise _Refused
        return own

    def _broken(self, merged: Mapping[str, Any], own: Mapping[str, Any]) -> Iterator[RowError]:
        for rule, names in self._rules:
            if not names.isdisjoint(own):
                yield from rule.broken(merged, self._fields)

    def _missing(self, own: Mapping[str, Any], lot: Mapping[str, Any]) -> Iterator[RowError]:
        """What the template or a rule requires and neither row nor lot has."""
        absent = self._required.difference(own).difference(lot)
        if not absent and not self._demands:
            return
        merged = {**lot, **own}
        for waiver in self._waivers:
            absent -= waiver.waived(merged)
        for code in sorted(absent, key=self._order.__getitem__):
            yield findings.missing(self._fields[code])
        for rule in self._demands:
            yield from rule.broken(merged, self._fields)

    def _refusal_of(self, raw: bytes, lot: Mapping[str, Any], partial: bool) -> NodeError:
        try:
            return self._refusal(findings.read(raw), lot, partial)
        except Fault as fault:
            return InvalidRow.of(RowError(findings.ROOT, fault.code, fault.zh, fault.en))

    def _refusal(self, given: Any, lot: Mapping[str, Any], partial: bool) -> NodeError:
        """InvalidRow with one error per wrong field, in the row's order; what is missing comes last."""
        wrong = {e.field: e for e in islice(findings.of_values(self._fields, given), findings.MAX_ERRORS)}
        if isinstance(given, Mapping):
            bad = {field.partition(".")[2].partition(".")[0].partition("[")[0] for field in wrong}
            good = {code: value for code, value in given.items() if code in self._fields and code not in bad}
            for error in self._broken({**lot, **good}, good):
                wrong.setdefault(error.field, error)
            if not partial:
                for error in self._missing({**dict.fromkeys(bad), **good}, lot):
                    wrong.setdefault(error.field, error)
        # The readers may differ over JSON so odd that no field is wrong; the row is refused all the same.
        last = RowError(findings.ROOT, "invalid", "无法按模板解读", "cannot be read by its template")
        return InvalidRow.of(*(list(wrong.values())[: findings.MAX_ERRORS] or [last]))

    def view(self, attributes: Mapping[str, Any], level: str) -> dict[str, Any]:
        """What a reader of `level` (public, partner, private) may see, in template order. Viewing twice is
        viewing once, so a cache may keep the public view."""
        return showing.seen(self._plans[level], attributes)

    @property
    def public_plan(self) -> showing.Plan:
        """What anybody may see: each code in template order, and what is done to its value first."""
        return self._plans["public"]

    def display(self, attributes: Mapping[str, Any], level: str = "public") -> list[dict[str, Any]]:
        """The scan page's groups and lines: `[{code, zh, en, fields: [{code, zh, en, type, value, value_en,
        raw, unit, emphasis}]}]`; a table has `columns`, `rows` and `rows_en` besides."""
        return showing.display(self.template.groups, self.template.fields, self.view(attributes, level))

    def indexed(self, attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The attributes as handle values `{index, type, data}`, data a text, in index order."""
        return showing.indexed(self._order, attributes)


def compile_template(template: Template) -> Compiled:
    """About a millisecond a template: keep the result (node/catalogue.py does)."""
    return Compiled(template)


def template_document(template: Template) -> dict[str, Any]:
    """The template for GET /api/v1/templates/{name}: labels, types, units, enumerations, rights, index."""
    fields = [showing.described(field, FIRST_INDEX + i) for i, field in enumerate(template.fields)]
    return {
        "name": template.name,
        "code": template.code,
        "version": template.version,
        "zh": template.zh,
        "en": template.en,
        "industry": template.industry,
        "gb4754": template.gb4754,
        "basis": list(template.basis),
        "digest": template.digest.hex(),
        "groups": msgspec.to_builtins(template.groups),
        "fields": fields,
        "rules": msgspec.to_builtins(template.rules),
    }


def plain_text(text: str, field: str, limit: int) -> str:
    """A text given beside a row, such as the reason of a deletion: 1 to `limit` characters, no
    control characters among them. Raises InvalidRow naming `field`."""
    spec = Field(code="text", zh=field, en=field, type="S", visibility="public", max=limit)
    finish = single_finisher(spec)
    try:
        findings.must_fit(spec, text)
        return str(finish(text)) if finish else text
    except Fault as fault:
        raise InvalidRow.of(RowError(field, fault.code, fault.zh, fault.en)) from None
