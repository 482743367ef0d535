"""One value of one field: its type for msgspec, and what msgspec cannot say of it.

The quick way (decoding) and the slow way (findings) share `finisher`, so that they cannot disagree on
patterns, dates, check digits and characters.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from node.checks import CHECKS, Check
from node.fields import MAX_ITEMS, MAX_RECORDS, Field

# C0, DEL, C1, surrogates, and what turns or breaks a line on a page: bidi controls, line separators, BOM.
_TURNING = "\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff"
_FORBIDDEN = re.compile(f"[\x00-\x1f{_TURNING}]")
_FORBIDDEN_IN_LONG = re.compile(f"[\x00-\x08\x0b-\x1f{_TURNING}]")
_LONG = 255  # from this length on a text may have lines and tabs

Finisher = Callable[[Any], Any]
_CHECK_OF_TYPE = {"D": "day", "DT": "moment", "F": "file", "I": "file", "R": "reference"}


class Fault(Exception):
    """What is wrong with a value; `path` is below the field, such as `[2].date`."""

    def __init__(self, code: str, zh: str, en: str, path: str = "") -> None:
        super().__init__(en)
        self.code, self.zh, self.en, self.path = code, zh, en, path


def wire_type(field: Field) -> Any:
    """The msgspec type of a field: kind, length, range and enumeration are tested while decoding."""
    if field.type == "T":
        record = record_type(field.code, field.columns)
        return Annotated[list[record], Meta(min_length=1, max_length=MAX_RECORDS)]  # type: ignore[valid-type]
    one = _one_type(field)
    if not field.list:
        return one
    return Annotated[list[one], Meta(min_length=1, max_length=MAX_ITEMS)]  # type: ignore[valid-type]


def _one_type(field: Field) -> Any:
    if field.type == "B":
        return bool
    if field.type == "E":
        return Literal[field.words]
    if field.type == "N":
        low, high = field.bounds
        whole = Meta(ge=math.ceil(low), le=math.floor(high))
        return Annotated[int, whole] | Annotated[float, Meta(ge=low, le=high)]
    return Annotated[str, Meta(min_length=1, max_length=field.length)]


def record_type(name: str, fields: tuple[Field, ...], *, demand: bool = True) -> type[msgspec.Struct]:
    """A Struct of these fields, its attributes numbered and renamed, so that a code may be a Python keyword.
    `demand=False` leaves all of them optional: a row's required ones depend on its lot."""
    needed: list[Any] = []
    optional: list[Any] = []
    names: dict[str, str] = {}
    for order, field in enumerate(fields):
        names[f"a{order}"] = field.code
        if demand and field.required:
            needed.append((f"a{order}", wire_type(field)))
        else:
            optional.append((f"a{order}", wire_type(field) | UnsetType, UNSET))
    return msgspec.defstruct(
        f"Row_{name}", needed + optional, rename=names, forbid_unknown_fields=True, kw_only=True, gc=False
    )


def finisher(field: Field) -> Finisher | None:
    """Tests the rest of a value of the right type: raises Fault or returns it canonical; None: no rest."""
    one = _table_finisher(field) if field.type == "T" else single_finisher(field)
    if one is None or not (field.list or field.type == "T"):
        return one

    def finish_all(values: list[Any]) -> list[Any]:
        return [_at(one, value, f"[{i}]") for i, value in enumerate(values)]

    return finish_all


def _at(finish: Finisher, value: Any, path: str) -> Any:
    try:
        return finish(value)
    except Fault as fault:
        fault.path = path + fault.path
        raise


def _table_finisher(field: Field) -> Finisher:
    columns = {c.code: f for c in field.columns if (f := single_finisher(c)) is not None}

    def finish(record: dict[str, Any]) -> dict[str, Any]:
        return {k: _at(columns[k], v, f".{k}") if k in columns else v for k, v in record.items()}

    return finish


def single_finisher(field: Field) -> Finisher | None:
    """As `finisher`, for one element of a list or one cell of a table."""
    if field.type in ("B", "E"):
        return None
    if field.type == "N":
        return _whole_number if field.integer else _number
    return _text_finisher(field)


def _number(value: float) -> float:
    return int(value) if type(value) is float and value.is_integer() else value


def _whole_number(value: float) -> float:
    number = _number(value)
    if type(number) is float:
        raise Fault("wrong_type", "须为整数", "must be a whole number")
    return number


def _text_finisher(field: Field) -> Finisher:
    forbidden = (_FORBIDDEN_IN_LONG if field.length >= _LONG and field.type == "S" else _FORBIDDEN).search
    matches = re.compile(field.pattern).fullmatch if field.pattern else None
    checks = [CHECKS[name] for name in (field.check, _CHECK_OF_TYPE.get(field.type, "")) if name]
    also = frozenset(field.also)

    def finish(text: str) -> str:
        # isprintable() is the quick answer for nearly every text; it is False for some harmless ones as well.
        if not text.isprintable() and (bad := forbidden(text)):
            raise control_character(bad.group())
        if text in also:
            return text
        if matches is not None and not matches(text):
            raise _not_matching(field)
        for check in checks:
            if not check.passes(text):
                raise _not_passing(check, also)
        return text

    return finish


def control_character(character: str) -> Fault:
    name = f"U+{ord(character):04X}"
    return Fault("control_character", f"含不允许的控制字符 {name}", f"holds the control character {name}")


def _not_matching(field: Field) -> Fault:
    zh, en = (f"，如 {field.example}", f", such as {field.example}") if field.example else ("", "")
    return Fault("pattern", f"格式不符{zh}（{field.pattern}）", f"is not in its form{en} ({field.pattern})")


def _not_passing(check: Check, also: frozenset[str]) -> Fault:
    words = "、".join(sorted(also))
    zh, en = (f"，或“{words}”", f', or "{words}"') if also else ("", "")
    return Fault(check.code, check.zh + zh, check.en + en)
