"""The slow look at a row that did not decode: every wrong field, once, with what was expected of it.

It uses the same finishers and rules as the quick way, and restates in words what msgspec tests by type.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from node.errors import RowError
from node.fields import MAX_ITEMS, MAX_RECORDS, Field
from node.values import Fault, single_finisher

MAX_ERRORS = 100  # of one row; a row of ten thousand unknown names needs no more to be mended
_MAX_SHOWN = 40  # characters of a wrong value or name that are repeated in an answer
_TYPES = {
    "N": ("数字", "a number"),
    "B": ("true 或 false", "true or false"),
    "T": ("记录数组", "a list of records"),
}
_TEXT = ("字符串", "a text")
ROOT = "attributes"


def read(raw: bytes) -> Any:
    """The JSON value of `raw`; raises Fault. NaN, huge numbers and lone surrogates are told of by field."""
    try:
        return json.loads(bytes(raw).decode(), parse_int=_integer)
    except UnicodeDecodeError as error:
        raise Fault("broken_json", f"第 {error.start} 字节不是 UTF-8", f"byte {error.start} is not UTF-8") from None
    except RecursionError:
        raise Fault("too_deep", "JSON 嵌套过深", "the JSON is nested too deeply") from None
    except ValueError as error:
        at, reason = getattr(error, "pos", 0), getattr(error, "msg", "invalid")
        raise Fault("broken_json", f"第 {at} 字符处 JSON 有误", f"broken JSON at character {at}: {reason}") from None


def _integer(digits: str) -> float:
    # int() refuses more than 4300 digits; anything near that is out of every range anyway.
    return int(digits) if len(digits) < 300 else float(digits)


def of_values(fields: Mapping[str, Field], attributes: Any) -> Iterator[RowError]:
    """What is wrong with each value by itself, and with names that no field has."""
    if not isinstance(attributes, Mapping):
        yield RowError(ROOT, "wrong_type", "须为 JSON 对象", "must be a JSON object")
        return
    for name, value in attributes.items():
        field = fields.get(name) if isinstance(name, str) else None
        if field is None:
            yield _unknown(str(name), ROOT, fields)
        else:
            yield from _of_field(field, value, f"{ROOT}.{name}")


def missing(field: Field, path: str = ROOT) -> RowError:
    zh, en = _expected(field)
    return RowError(f"{path}.{field.code}", "required", f"必填：{field.zh}，{zh}", f"{field.en} is required: {en}")


def _of_field(field: Field, value: Any, path: str) -> Iterator[RowError]:
    if not field.list and field.type != "T":
        yield from _of_one(field, value, path)
        return
    limit = MAX_RECORDS if field.type == "T" else MAX_ITEMS
    if not isinstance(value, list | tuple):
        zh, en = _TYPES["T"] if field.type == "T" else ("数组", "a list")
        yield _error(path, Fault("wrong_type", f"须为{zh}", f"must be {en}"), value)
    elif not value:
        yield RowError(path, "empty", "不能为空数组；没有值就不要给出此字段", "empty list; leave the field out instead")
    elif len(value) > limit:
        zh, en = f"最多 {limit} 项，收到 {len(value)} 项", f"at most {limit} entries, got {len(value)}"
        yield RowError(path, "too_long", zh, en)
    else:
        for i, one in enumerate(value):
            look = _of_record if field.type == "T" else _of_one
            yield from look(field, one, f"{path}[{i}]")


def _of_record(field: Field, record: Any, path: str) -> Iterator[RowError]:
    if not isinstance(record, Mapping):
        yield _error(path, Fault("wrong_type", "须为 JSON 对象", "must be a JSON object"), record)
        return
    columns = {column.code: column for column in field.columns}
    for name, value in record.items():
        if name in columns:
            yield from _of_one(columns[name], value, f"{path}.{name}")
        else:
            yield _unknown(str(name), path, columns)
    yield from (missing(c, path) for c in field.columns if c.required and c.code not in record)


def _of_one(field: Field, value: Any, path: str) -> Iterator[RowError]:
    try:
        must_fit(field, value)
        finish = single_finisher(field)
        if finish is not None:
            finish(value)
    except Fault as fault:
        yield _error(path, fault, value)


def must_fit(field: Field, value: Any) -> None:
    """What msgspec tests by the type of the field; raises Fault."""
    zh, en = _expected(field)
    if value is None:
        raise Fault("wrong_type", f"不能为 null；{zh}", f"cannot be null; {en}")
    if value == "" and isinstance(value, str):
        raise Fault("empty", f"不能为空字符串；没有值就不要给出此字段；{zh}", f"empty; leave the field out, or: {en}")
    wanted: Any = {"N": (int, float), "B": bool}.get(field.type, str)
    if not isinstance(value, wanted) or (field.type == "N" and isinstance(value, bool)):
        raise Fault("wrong_type", zh, en)
    if field.type == "N":
        low, high = field.bounds
        if not low <= value <= high:  # NaN compares false and is refused here as well
            raise Fault("out_of_range", zh, en)
    elif field.type == "E" and value not in field.words:
        raise Fault("not_in_enum", zh, en)
    elif field.is_text and len(value) > field.length:
        got = len(value)
        raise Fault(
            "too_long",
            f"最多 {field.length} 字，收到 {got} 字",
            f"at most {field.length} characters, got {got}",
        )


def _expected(field: Field) -> tuple[str, str]:
    """What a field takes, in words."""
    if field.type == "E":
        words = [f"{w}（{zh}）" if zh else w for w, zh in _named(field)]
        return f"须为：{'、'.join(words)}", f"one of: {', '.join(field.words)}"
    if field.type == "N":
        unit = f" {field.unit}" if field.unit else ""
        whole_zh, whole_en = ("整数", "a whole number") if field.integer else _TYPES["N"]
        low, high = (f"{int(b) if float(b).is_integer() else b}" for b in field.bounds)
        return f"须为{whole_zh}，{low} 至 {high}{unit}", f"must be {whole_en} from {low} to {high}{unit}"
    zh, en = _TYPES.get(field.type, _TEXT)
    sample = field.example or {"D": "2024-09-10", "DT": "2024-09-10T08:30:00+08:00"}.get(field.type, "")
    return (f"须为{zh}，如 {sample}", f"must be {en} such as {sample}") if sample else (f"须为{zh}", f"must be {en}")


def _named(field: Field) -> Iterator[tuple[str, str]]:
    names = field.enum_zh or ("",) * len(field.enum)
    yield from zip(field.enum, names, strict=True)
    yield from ((word, "") for word in field.also)


def _unknown(name: str, path: str, fields: Mapping[str, Field]) -> RowError:
    """A name that no field has, with the field that may have been meant: by its label or by harvestDate."""
    near = next(
        (
            f.code
            for f in fields.values()
            if _plain_name(name) in map(_plain_name, (f.code, f.en, f.zh, *f.zh.split("/")))
        ),
        "",
    )
    zh, en = (f"；是否为 {near}？", f"; did you mean {near}?") if near else ("", "")
    shown = show(name)
    return RowError(f"{path}.{shown}", "unknown_field", f"模板没有字段 {shown}{zh}", f"no field {shown}{en}")


def _plain_name(name: str) -> str:
    return name[:_MAX_SHOWN].casefold().replace("_", "").replace(" ", "")


def _error(path: str, fault: Fault, value: Any) -> RowError:
    got = show(value if isinstance(value, str) else _plain(value))
    return RowError(f"{path}{fault.path}", fault.code, f"{fault.zh}；收到 {got}", f"{fault.en}; got {got}")


def _plain(value: Any) -> str:
    """A value that is no text, as JSON would write it; lists and objects are not repeated."""
    if isinstance(value, int) and abs(value) >= 10**_MAX_SHOWN:
        return "…"
    if value is None or isinstance(value, bool | int | float):
        return json.dumps(value)
    return "[…]" if isinstance(value, list | tuple) else "{…}" if isinstance(value, Mapping) else "?"


def show(text: str) -> str:
    """A text as an answer may repeat it: short, with escapes for what cannot be printed."""
    short = text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "…"
    return short if short.isprintable() else ascii(short)[1:-1]
