"""What is shown of attributes: by the reader's level, as handle values, and as lines of the scan page."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
import orjson

from node.fields import FIRST_INDEX, LEVELS, Field, Group

Transform = Callable[[Any], Any]
Plan = tuple[tuple[str, Transform | None], ...]

# A grower is an organisation when the name ends so (a place in brackets may follow); all others are people.
_ORGANISATION = re.compile(
    r".{2,}(?:合作社|联合社|联社|公司|集团|厂|农场|林场|果园|茶园|基地|园区|协会|中心|经营部|商行|企业|工厂"
    r"|研究所|委员会|Co\.?,? ?Ltd\.?|Company|Cooperative|Co-operative|Farm|Orchard|Group)"
    r"(?:[（(][^（()）]{1,20}[)）])?",
    re.IGNORECASE,
)
_GEO_COARSE = re.compile(r"(-?[0-9]+(?:\.[0-9]{1,2})?)[0-9]*, ?(-?[0-9]+(?:\.[0-9]{1,2})?)[0-9]*")
_BEIJING = "+08:00"
_PLAIN = frozenset((str, int, float, bool))
_LONG = 300  # characters
_KEPT = 4096  # lines of about a kilobyte
_LINES: dict[tuple[int, type, Any, str], tuple[Field, dict[str, Any]]] = {}
_UNITS_EN = {
    "天": "days",
    "年": "years",
    "个月": "months",
    "分钟": "min",
    "亩": "mu",
    "倍": "times",
    "级": "",
    "元": "CNY",
}


def mask_person(name: str) -> str:
    """张三丰 becomes 张*; an organisation's name (…合作社, …公司) stays. Masking twice changes nothing."""
    name = name.strip()
    return name if _ORGANISATION.fullmatch(name) else f"{name[:1]}*"


def coarse_geo(place: str) -> str | None:
    """ "34.42561,116.35128" cut to two decimals, about one kilometre; None (not shown) for anything else."""
    found = _GEO_COARSE.fullmatch(place)
    return f"{found[1]},{found[2]}" if found else None


_MASKS: dict[str, Transform] = {"person": mask_person, "coarse_geo": coarse_geo}


def plan(fields: Iterable[Field], level: str) -> Plan:
    """For each field that `level` may see: its code, and what is done to the value first."""
    rank = LEVELS.index(level)
    return tuple((f.code, _transform(f, level)) for f in fields if LEVELS.index(f.visibility) <= rank)


def _transform(field: Field, level: str) -> Transform | None:
    if level == "private":
        return None
    if field.columns:
        columns = plan(field.columns, level)
        return lambda records: [r for r in (seen(columns, record) for record in records) if r] or None
    mask = _MASKS.get(field.public_as)
    if mask is not None and field.list:
        return lambda values: [shown for v in values if (shown := mask(v)) is not None] or None
    return mask


def seen(what: Plan, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes of a plan, in its order; what a mask cannot show safely is left out."""
    shown: dict[str, Any] = {}
    for code, transform in what:
        if code in attributes:
            value = attributes[code] if transform is None else transform(attributes[code])
            if value is not None:
                shown[code] = value
    return shown


def indexed(order: Mapping[str, int], attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Attributes as handle values, in index order; `data` is a text: numbers and lists as JSON."""
    known = sorted((order[code], code) for code in attributes if code in order)
    return [{"index": FIRST_INDEX + i, "type": code, "data": _as_data(attributes[code])} for i, code in known]


def _as_data(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def display(groups: Iterable[Group], fields: Iterable[Field], values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The scan page's groups with the fields that are present; groups without any are left out. Lines are shared by
    pages: nobody may change them, except to note with them what follows from them (node/shortening.py)."""
    lines: dict[str, list[dict[str, Any]]] = {group.code: [] for group in groups}
    for field in fields:
        if field.code in values:
            lines[field.group].append(_kept_line(field, values))
    return [{"code": g.code, "zh": g.zh, "en": g.en, "fields": lines[g.code]} for g in groups if lines[g.code]]


def _kept_line(field: Field, values: Mapping[str, Any]) -> dict[str, Any]:
    """Items of a lot have most lines in common."""
    raw = values[field.code]
    if type(raw) not in _PLAIN or (type(raw) is str and len(raw) > _LONG):
        return _line(field, values)
    key = (id(field), type(raw), raw, str(values.get(field.unit_by, "")))
    kept = _LINES.get(key)
    if kept is None:
        if len(_LINES) >= _KEPT:
            _LINES.clear()
        kept = _LINES[key] = field, _line(field, values)  # with its field, whose id is nobody else's meanwhile
    return kept[1]


def _line(field: Field, values: Mapping[str, Any]) -> dict[str, Any]:
    raw = values[field.code]
    unit = field.units.get(str(values.get(field.unit_by, "")), field.unit)
    line = {
        "code": field.code,
        "zh": field.zh,
        "en": field.en,
        "type": field.type,
        "value": spoken(field, raw, unit),
        "value_en": _english(field, raw, unit),
        "raw": raw,
        "unit": unit,
        "emphasis": field.emphasis,
    }
    if field.type == "T":
        line |= _table(field, raw)
    return line


def _table(field: Field, records: list[dict[str, Any]]) -> dict[str, Any]:
    columns = [c for c in field.columns if any(c.code in record for record in records)]
    rows = [[spoken(c, r[c.code], c.unit) if c.code in r else "" for c in columns] for r in records]
    rows_en = [[_english(c, r[c.code], c.unit) if c.code in r else "" for c in columns] for r in records]
    heads = [{"code": c.code, "zh": c.zh, "en": c.en} for c in columns]
    return {"columns": heads, "rows": rows, "rows_en": rows_en}


def spoken(field: Field, value: Any, unit: str) -> str:
    """A value as people read it, with its unit."""
    if field.type == "T":
        return f"{len(value)} 条记录"
    if isinstance(value, list):
        return "、".join(spoken(field, one, unit) for one in value)
    if isinstance(value, bool):
        return "是" if value else "否"
    if field.type == "N":
        return f"{value}{'' if unit in ('', '%') else ' '}{unit}"
    if field.type == "DT" and len(value) > 10 and value not in field.also:
        return _moment(value)
    name = _name_of(field, field.enum_zh, value)
    return f"{value} {name}" if name else str(value)


def _moment(text: str) -> str:
    """2024-09-10T08:30:00+08:00 becomes 2024-09-10 08:30; another offset than Beijing's is kept."""
    found = re.fullmatch(r"(.{10})T(.{5}).*?(Z|[+-].{5})", text)
    if found is None:
        return text
    offset = "" if found[3] == _BEIJING else f" {'UTC' if found[3] == 'Z' else found[3]}"
    return f"{found[1]} {found[2]}{offset}"


def _english(field: Field, value: Any, unit: str) -> str:
    """What an English reader gets instead of `spoken`; "" where that serves both."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if field.type == "N" and unit in _UNITS_EN:
        return f"{value} {_UNITS_EN[unit]}".rstrip()
    return "" if isinstance(value, list) else _name_of(field, field.enum_en, value)


def _name_of(field: Field, names: tuple[str, ...], value: Any) -> str:
    return names[field.enum.index(value)] if names and value in field.enum else ""


def described(field: Field, index: int) -> dict[str, Any]:
    """A field for GET /api/v1/templates: its names, type, index and rights, the rest where it is set."""
    always = {
        "index": index,
        "code": field.code,
        "zh": field.zh,
        "en": field.en,
        "type": field.type,
        "required": field.required,
        "visibility": field.visibility,
        "searchable": field.searchable,
        "group": field.group,
    }
    return {**always, **msgspec.to_builtins(field)}
