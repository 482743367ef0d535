"""The fields of a template: what a data file may say of one, and whether it makes sense."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import msgspec

from node.checks import CHECKS

LEVELS = ("public", "partner", "private")  # each sees what those before it see
SAFE_INTEGER = 2**53 - 1  # beyond it a JSON reader with doubles sees another number
MAX_ITEMS = 1000  # elements of a list
MAX_RECORDS = 200  # records of a table; 200 of about 500 bytes stay far under a message of 262,144 bytes
FIRST_INDEX = 2000  # architecture.md 1: a handle value's index is 2000 + its order in the template

_CODE = re.compile(r"[a-z][a-z0-9_]{0,49}")
# Words of the record and of a CSV's columns; `hs_` is the Handle System's.
_RESERVED = frozenset({"handle", "prefix", "suffix", "template", "lot", "status", "values", "attributes", "version"})
_MAX_PATTERN = 200
_TEXTS = frozenset({"S", "D", "DT", "F", "I", "R"})
_LENGTHS = {"S": 255, "D": 10, "DT": 40, "F": 512, "I": 512, "R": 255}


class Group(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A heading of the scan page."""

    code: str
    zh: str
    en: str


class Field(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One attribute. Types: S text, N number, D day, DT day or time, E enumeration, F file, I image,
    R identifier, B yes or no, T table (a list of records with `columns`). `visibility` has no default:
    forgetting it must not leak."""

    code: str
    zh: str
    en: str
    type: Literal["S", "N", "D", "DT", "E", "F", "I", "R", "B", "T"]
    visibility: Literal["public", "partner", "private"]
    group: str = ""
    required: bool = False
    list: bool = False
    max: int = 0  # characters; 0: the length that goes with the type
    min: float | None = None
    max_value: float | None = None
    integer: bool = False
    unit: str = ""
    unit_by: str = ""  # the unit depends on that field ...
    units: dict[str, str] = {}  # ... as this says
    enum: tuple[str, ...] = ()
    enum_zh: tuple[str, ...] = ()
    enum_en: tuple[str, ...] = ()
    also: tuple[str, ...] = ()  # words that may stand instead of a value, such as 无
    pattern: str = ""
    example: str = ""
    check: str = ""
    public_as: Literal["", "person", "coarse_geo"] = ""
    searchable: bool = False
    emphasis: bool = False
    columns: tuple[Field, ...] = ()

    @property
    def length(self) -> int:
        """Characters a text may have."""
        return self.max or _LENGTHS[self.type]

    @property
    def is_text(self) -> bool:
        return self.type in _TEXTS

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest number."""
        low = -SAFE_INTEGER if self.min is None else max(self.min, -SAFE_INTEGER)
        high = SAFE_INTEGER if self.max_value is None else min(self.max_value, SAFE_INTEGER)
        return low, high

    @property
    def words(self) -> tuple[str, ...]:
        """All that an enumeration takes."""
        return self.enum + self.also


def field_fault(field: Field, groups: frozenset[str], known: frozenset[str]) -> str:
    """Why this field makes no sense, or "". A column is a field without a group (`groups` empty)."""
    faults = [
        (not _CODE.fullmatch(field.code), "code must be lower snake, at most 50 characters"),
        ((bool(groups) and field.code in _RESERVED) or field.code.startswith("hs_"), "reserved code"),
        (not field.zh or not field.en, "needs both names"),
        (bool(groups) and field.group not in groups, f"unknown group {field.group!r}"),
        (not groups and (field.type == "T" or field.list), "a column cannot be a table or a list"),
        (field.list and field.type in ("T", "B", "N"), "list is for texts and enumerations"),
        ((field.type == "T") != bool(field.columns), "a table needs columns, and only a table has them"),
        (
            bool(field.unit_by) and field.unit_by not in known,
            f"unknown field {field.unit_by!r} in unit_by",
        ),
        (
            bool(field.unit or field.units or field.integer) and field.type != "N",
            "unit, integer: for numbers",
        ),
        (field.public_as == "coarse_geo" and field.check != "geo", "coarse_geo needs check = geo"),
        (bool(field.public_as) and field.type != "S", "public_as is for texts"),
        (bool(field.max) and not (field.is_text and 0 < field.max <= 10000), "max is for texts, 1 to 10000"),
    ]
    return next((reason for wrong, reason in faults if wrong), "") or _value_fault(field)


def _value_fault(field: Field) -> str:
    low, high = field.bounds
    faults = [
        (
            (field.type == "E") != bool(field.enum),
            "enum goes with type E, and only with it",
        ),
        (
            len(set(field.words)) != len(field.words) or "" in field.words,
            "bad enum: repeated or empty words",
        ),
        (
            any(len(t) not in (0, len(field.enum)) for t in (field.enum_zh, field.enum_en)),
            "bad enum: names do not match",
        ),
        (bool(field.also) and field.type in ("N", "B", "T"), "also is for texts, dates and enumerations"),
        (field.type in ("D", "DT") and any(w[:1].isdigit() for w in field.also), "also begins like a date"),
        (field.min is not None and field.type != "N", "min is for numbers"),
        (field.max_value is not None and field.type != "N", "max_value is for numbers"),
        (low > high, "min is larger than max_value"),
        (bool(field.pattern) and field.type not in ("S", "R"), "pattern is for texts"),
        (bool(field.pattern) and not _compiles(field.pattern), "pattern is not a regular expression"),
        (
            bool(field.check) and (field.check not in CHECKS or field.type not in ("S", "R")),
            f"bad check {field.check!r}",
        ),
    ]
    return next((reason for wrong, reason in faults if wrong), "")


def _compiles(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except re.error:
        return False
    return len(pattern) <= _MAX_PATTERN


def repeated(codes: Sequence[str]) -> str:
    """The first code that occurs twice, or ""."""
    seen: set[str] = set()
    for code in codes:
        if code in seen:
            return code
        seen.add(code)
    return ""
