"""From the body of a chunk to rows as JSON: NDJSON as it is, CSV by its header. Bytes in, bytes out; no I/O."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from handle_codec.twin import line_count
from node.errors import ImportRefused, RowError
from node.fields import Field

_OWN = frozenset({"handle", "suffix", "lot", "template", "values"})
_WORDS = {"标识": "handle", "后缀": "suffix", "批次": "lot", "模板": "template"}
_YES, _NO = frozenset({"true", "是", "1", "yes"}), frozenset({"false", "否", "0", "no"})
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,17})?")
_SLASHED = re.compile(r"([0-9]{4})[/.]([0-9]{1,2})[/.]([0-9]{1,2})")
_FORMULA = frozenset("=+-@\t\r'")  # a spreadsheet runs, or eats, a text that begins so
_LIST = re.compile(r"\s*[;；]\s*")


@dataclass(slots=True)
class Given:
    """The rows of a chunk as NDJSON, and what the sender should know of how they were read."""

    body: bytes
    note: dict[str, Any] = field(default_factory=dict)


def _refused(code: str, zh: str, en: str, where: str = "") -> ImportRefused:
    return ImportRefused.of(RowError(where, code, zh, en), reason=en, reason_zh=zh)


def templates_in(body: bytes) -> list[str]:
    """Names in the template column of a CSV, where it has one; at most ten."""
    text, _ = _decoded(body)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
    try:
        header = [_WORDS.get(cell.strip(), cell.strip()) for cell in next(reader, [])]
        if "template" not in header:
            return []
        at = header.index("template")
        names = dict.fromkeys(cells[at].strip() for cells in reader if len(cells) > at)
    except csv.Error:
        return []  # rows_of says what is wrong
    return [name for name in names if name][:10]


def _delimiter(text: str) -> str:
    return max(",;\t", key=text[:4096].split("\n", 1)[0].count)


def rows_of(body: bytes, form: str, defaults: Mapping[str, Any], fields: Mapping[str, Field], most: int) -> Given:
    """Read a chunk; `defaults` are the import's prefix, template and lot, `fields` its templates' by code. Raises
    ImportRefused for a body whose rows cannot be told apart: a wrong header, an unknown encoding, too many rows."""
    given = _csv(body, defaults, fields) if form == "csv" else Given(_ndjson(body, defaults))
    if not given.body or given.body.isspace():
        raise _refused("empty", "没有数据行", "there are no rows")
    # Blank lines are no rows; to tell them takes twenty times as long as to count lines.
    if line_count(given.body) > most and row_count(given.body) > most:
        raise _refused("too_many_rows", f"一个分块至多 {most} 行", f"a chunk has at most {most} rows")
    return given


def row_count(body: bytes) -> int:
    """The rows of NDJSON; blank lines are none."""
    return sum(not line.isspace() for line in body.split(b"\n") if line)


def _ndjson(body: bytes, defaults: Mapping[str, Any]) -> bytes:
    body = body.removeprefix(b"\xef\xbb\xbf")
    usual = {name: defaults[name] for name in ("template", "lot") if defaults[name]}
    if not usual:
        return body
    return b"\n".join([_completed(line, usual) for line in body.split(b"\n") if line.strip()])


def _completed(line: bytes, usual: dict[str, str]) -> bytes:
    """The row with what it does not say itself; what is no object is left for the reader of rows to refuse."""
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        return line
    return orjson.dumps(usual | row) if isinstance(row, dict) else line


def _csv(body: bytes, defaults: Mapping[str, Any], fields: Mapping[str, Field]) -> Given:
    text, encoding = _decoded(body)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
    try:
        header = _header(next(reader, []), defaults, fields)
        rows = list(_rows(reader, header, defaults))
    except csv.Error as error:
        raise _refused(
            "broken_csv", f"CSV 无法解析：第 {reader.line_num} 行", f"line {reader.line_num}: {error}"
        ) from None
    note = {} if encoding == "utf-8" else {"encoding": encoding}
    return Given(b"\n".join(rows), note)


def _decoded(body: bytes) -> tuple[str, str]:
    """UTF-8, with or without its mark, or GB18030, which spreadsheets here still write; a mixture is neither."""
    try:
        return body.decode("utf-8-sig"), "utf-8"
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
    for number, part in enumerate(body.split(b"\n"), 1):
        if number != line and not part.isascii() and _is(part, "utf-8"):
            zh, en = (
                f"编码混杂：第 {number} 行为 UTF-8，第 {line} 行不是",
                f"line {number} is UTF-8 and line {line} is not",
            )
            raise _refused("mixed_encoding", zh, en)
    if not _is(body, "gb18030"):
        raise _refused("encoding", f"第 {line} 行既非 UTF-8 也非 GB18030", f"line {line} is neither UTF-8 nor GB18030")
    return body.decode("gb18030"), "gb18030"


def _is(body: bytes, encoding: str) -> bool:
    try:
        body.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _header(
    cells: list[str], defaults: Mapping[str, Any], fields: Mapping[str, Field]
) -> list[tuple[str, Field | None]]:
    """(name, field) of each column; raises ImportRefused naming what is wrong with the header."""
    labels = {label: f for f in fields.values() for label in (f.zh, f.code)}
    columns: list[tuple[str, Field | None]] = []
    for cell in cells:
        name = cell.strip()
        word = _WORDS.get(name, name)
        known = labels.get(name)
        if word not in _OWN and known is None:
            hint = "" if fields else "（须给出模板）"
            raise _refused("unknown_column", f"未知列“{name}”{hint}", f"unknown column {name!r}", name[:64])
        columns.append((word if word in _OWN else known.code if known else "", known if word not in _OWN else None))
    names = [name for name, _ in columns]
    if len(set(names)) != len(names):
        raise _refused("duplicate_column", "表头有重复列", "the header names a column twice")
    if "handle" not in names and not ("suffix" in names and defaults["prefix"]):
        zh, en = (
            "表头须有 handle 列，或 suffix 列并给出前缀",
            "needs a column handle, or suffix with the import's prefix",
        )
        raise _refused("no_handle", zh, en)
    return columns


def _rows(reader: Any, header: list[tuple[str, Field | None]], defaults: Mapping[str, Any]) -> Iterator[bytes]:
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        yield _row(cells, header, defaults)


def _row(cells: list[str], header: list[tuple[str, Field | None]], defaults: Mapping[str, Any]) -> bytes:
    row: dict[str, Any] = {name: defaults[name] for name in ("template", "lot") if defaults[name]}
    attributes: dict[str, Any] = {}
    for (name, spec), cell in zip(header, cells, strict=False):
        text = read_cell(cell)
        if not text:
            continue
        if spec is not None:
            attributes[name] = value_of(spec, text)
        elif name == "values":
            row[name] = _json(text)
        else:
            row[name] = text
    if "suffix" in row:
        suffix = row.pop("suffix")
        row.setdefault("handle", f"{defaults['prefix']}/{suffix}")
    if len(cells) > len(header):
        row["surplus cells"] = len(cells) - len(header)  # refused with the row: a separator stands inside a value
    if attributes:
        row["attributes"] = attributes
    return orjson.dumps(row, option=orjson.OPT_PASSTHROUGH_SUBCLASS) if _encodable(row) else b"not UTF-8"


def read_cell(cell: str) -> str:
    """The text of a cell, without the quote that `safe_cell` put before it."""
    return cell[1:] if cell[:1] == "'" and _needs_guard(cell[1:]) else cell.strip()


def _needs_guard(text: str) -> bool:
    return text[:1] in _FORMULA or text != text.strip()


def safe_cell(text: str) -> str:
    """A cell that no spreadsheet takes for a formula: a quote before what begins like one. Reading takes it off."""
    return f"'{text}" if text and _needs_guard(text) else text


def cell_of(value: Any) -> str:
    """A value as a cell that `value_of` reads back."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return orjson.dumps(value).decode()
    if isinstance(value, list) and all(isinstance(v, str) and not set(v) & set(";；[") for v in value):
        return safe_cell(";".join(value))
    if isinstance(value, (list, dict)):
        return orjson.dumps(value).decode()
    return safe_cell(str(value))


def _encodable(row: Any) -> bool:
    return not re.search("[\ud800-\udfff]", repr(row)) if isinstance(row, dict) else True


def value_of(spec: Field, text: str) -> Any:
    """A cell as the template's type; what does not fit stays text, so that the row is refused by its field."""
    if spec.type == "T":
        return _json(text)
    if spec.list and text.startswith("["):
        return _json(text)
    if spec.list:
        return [part for part in _LIST.split(text) if part]
    if spec.type == "N" and _NUMBER.fullmatch(text):
        return float(text) if "." in text else int(text)
    if spec.type == "B" and text.lower() in _YES | _NO:
        return text.lower() in _YES
    if spec.type in ("D", "DT") and (slashed := _SLASHED.fullmatch(text)):
        return f"{slashed[1]}-{slashed[2]:0>2}-{slashed[3]:0>2}"
    return text


def _json(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
