"""A template as data: read from node/industries/ or from PostgreSQL, refused where it makes no sense."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import orjson

from node.errors import TemplateError
from node.fields import Field, Group, field_fault, repeated
from node.rules import Rule

_NAME = re.compile(r"[a-z][a-z0-9_.\-]{0,49}")
_HEAD = ("code", "version", "zh", "en", "industry", "gb4754", "basis")
_KEYS = frozenset({*_HEAD, "groups", "fields", "rules", "core_required"})
FOLDER = Path(__file__).parent / "industries"
# Tables of a data file that are no part of the template: `display` says how a page looks (node/trades.py). Outside
# the body, so outside the digest: a look may be mended without a new version, what rows must hold may not.
_ASIDE = frozenset({"core_required", "display"})


@dataclass(slots=True, frozen=True)
class Template:
    """A version of an industry's template, the core block expanded. `body` is its canonical JSON: equal
    bodies are equal templates, and PostgreSQL gives it back as it was."""

    code: str
    version: int
    zh: str
    en: str
    industry: str
    gb4754: str
    basis: tuple[str, ...]
    groups: tuple[Group, ...]
    fields: tuple[Field, ...]
    rules: tuple[Rule, ...]
    body: bytes

    @property
    def name(self) -> str:
        return f"{self.code}@{self.version}"

    @property
    def digest(self) -> bytes:
        """SHA-256 of the body."""
        return hashlib.sha256(self.body).digest()

    @classmethod
    def from_body(cls, body: bytes) -> Template:
        """The template of a canonical JSON, core block included; raises TemplateError."""
        try:
            return read_template(orjson.loads(body), "body")
        except orjson.JSONDecodeError as error:
            raise _bad("body", "-", f"broken JSON: {error}", "JSON 有误") from None


def industry_template(own: Any) -> Template:
    """A template from a document in the form of a file of node/industries/; raises TemplateError."""
    core = document(FOLDER, "core")
    try:
        expanded = expand(core, own)
    except (AttributeError, KeyError, TypeError):
        raise _bad(
            "body", "-", "groups, fields and rules must be lists of objects", "groups、fields、rules 须为对象的列表"
        ) from None
    return read_template(expanded, "body")


def load_industries(folder: Path = FOLDER) -> list[Template]:
    """The templates of a folder's data files, each with the core block first; raises TemplateError."""
    core = document(folder, "core")
    return [read_template(expand(core, document(folder, name)), f"{name}.toml") for name in industry_files(folder)]


def industry_files(folder: Path = FOLDER) -> list[str]:
    """The names of a folder's data files without `.toml`, the core block's left out."""
    names = (f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml"))
    return sorted(name for name in names if name != "core")


@cache  # four rooms read these at start; tomllib takes about 5 ms a file
def document(folder: Path, name: str) -> dict[str, Any]:
    """A data file as it stands; not to be changed by its reader."""
    return _toml(folder.joinpath(f"{name}.toml").read_text("utf-8"), f"{name}.toml")


def _toml(text: str, file: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _bad(file, "-", f"broken TOML: {error}", "TOML 有误") from None


def expand(core: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """An industry's file with the core block first. Its groups stand in the order of display and name core
    groups by code alone; core groups not named come first. `core_required` tightens core fields."""
    given = {group["code"]: group for group in core["groups"]}
    groups = [{**given.pop(g.get("code", ""), {}), **g} for g in own.get("groups", ())]
    harder = own.get("core_required", ())
    fields = [{**f, "required": True} if f["code"] in harder else f for f in core["fields"]]
    return {
        **{key: value for key, value in own.items() if key not in _ASIDE},
        "groups": [*given.values(), *groups],
        "fields": [*fields, *own.get("fields", ())],
        "rules": [*core["rules"], *own.get("rules", ())],
    }


def read_template(data: Any, file: str) -> Template:
    """A template from an expanded document; raises TemplateError naming `file`, field and reason."""
    if not isinstance(data, Mapping) or not _KEYS >= set(data) >= {*_HEAD, "groups", "fields"}:
        raise _bad(file, "-", f"must hold {', '.join(_HEAD)}, groups, fields, rules", "缺少或多出顶层键")
    head = _convert(data, _Head, file, "-")
    if not _NAME.fullmatch(head.code) or head.version < 1:
        raise _bad(file, "code", "code must be lower case, version 1 or more", "代码或版本无效")
    groups = tuple(_convert(g, Group, file, f"groups[{i}]") for i, g in enumerate(data["groups"]))
    fields = tuple(_convert(f, Field, file, _label(f, i)) for i, f in enumerate(data["fields"]))
    rules = tuple(_convert(r, Rule, file, _label(r, i)) for i, r in enumerate(data.get("rules", ())))
    _must_make_sense(file, groups, fields, rules)
    parts = {key: getattr(head, key) for key in _HEAD} | {"groups": groups, "fields": fields, "rules": rules}
    body = orjson.dumps(msgspec.to_builtins(parts), option=orjson.OPT_SORT_KEYS)
    return Template(**parts, body=body)


class _Head(msgspec.Struct, frozen=True):
    code: str
    version: int
    zh: str
    en: str
    industry: str
    gb4754: str
    basis: tuple[str, ...]
    groups: list[Any]
    fields: list[Any]
    rules: list[Any] = []


def _convert(data: Any, kind: Any, file: str, field: str) -> Any:
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        raise _bad(file, field, str(error)) from None


def _label(data: Any, order: int) -> str:
    code = data.get("code") if isinstance(data, Mapping) else None
    return code if isinstance(code, str) else f"[{order}]"


def _bad(file: str, field: str, reason: str, reason_zh: str = "") -> TemplateError:
    datum = {"file": file, "field": field, "reason": reason, "reason_zh": reason_zh or reason}
    return TemplateError(datum)


def _must_make_sense(file: str, groups: tuple[Group, ...], fields: tuple[Field, ...], rules: tuple[Rule, ...]) -> None:
    for what in (groups, fields, rules):
        if twice := repeated([one.code for one in what]):
            raise _bad(file, twice, "duplicate code", "代码重复")
    by_code = {f.code: f for f in fields}
    headings = frozenset(g.code for g in groups)
    for field in fields:
        reason = field_fault(field, headings, frozenset(by_code)) or _column_fault(field)
        if reason:
            raise _bad(file, field.code, reason)
    for rule in rules:
        if reason := rule.fault(by_code):
            raise _bad(file, rule.code, reason)


def _column_fault(field: Field) -> str:
    codes = [c.code for c in field.columns]
    faults = (f"{c.code}: {reason}" for c in field.columns if (reason := field_fault(c, frozenset(), frozenset(codes))))
    return next(faults, "") or (f"duplicate code {repeated(codes)!r}" if repeated(codes) else "")
