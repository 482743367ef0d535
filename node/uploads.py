"""Files that people send: NDJSON, CSV or XLSX, cut into chunks of rows for an import. The same file is always cut the
same way, so that an upload can go on where it stopped."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import openpyxl

CHUNK_ROWS = 10_000
_MERGED = b"<mergeCell "


class UploadError(Exception):
    """The file cannot be read as rows; the message names the place."""


@dataclass(slots=True, frozen=True)
class Piece:
    """One chunk: its number, its body, and for each row the line of the file and the row as it stands there."""

    number: int
    body: bytes
    kind: str  # media type
    lines: list[int]
    rows: list[bytes]


def pieces(path: Path, size: int = CHUNK_ROWS) -> Iterator[Piece]:
    """The file's chunks. Raises UploadError for a file that is none of the three or cannot be read."""
    suffix = path.suffix.lower()
    if suffix in (".ndjson", ".jsonl"):
        yield from _cut(_json_lines(path), "application/x-ndjson", b"", size)
    elif suffix == ".csv":
        header, rows = _csv_rows(path)
        yield from _cut(rows, "text/csv", header, size)
    elif suffix in (".xlsx", ".xlsm"):
        header, rows = _sheet_rows(path)
        yield from _cut(rows, "text/csv", header, size)
    else:
        raise UploadError(f"{path}: 须为 .ndjson、.csv 或 .xlsx / must be .ndjson, .csv or .xlsx")


def header_of(path: Path) -> bytes:
    """What the first line of a file of rejected rows has to be."""
    if path.suffix.lower() in (".ndjson", ".jsonl"):
        return b""
    return _csv_rows(path)[0] if path.suffix.lower() == ".csv" else _sheet_rows(path)[0]


def _cut(rows: Iterable[tuple[int, bytes]], kind: str, header: bytes, size: int) -> Iterator[Piece]:
    lines: list[int] = []
    texts: list[bytes] = []
    number = 0
    for line, text in rows:
        lines.append(line)
        texts.append(text)
        if len(texts) == size:
            yield Piece(number, header + b"".join(texts), kind, lines, texts)
            lines, texts, number = [], [], number + 1
    if texts:
        yield Piece(number, header + b"".join(texts), kind, lines, texts)


def _json_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if text.strip():
                yield number, text if text.endswith(b"\n") else text + b"\n"


def encoding_of(path: Path) -> str:
    """UTF-8 or GB18030, whichever all of the file is; UploadError naming the line where it is neither."""
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            with path.open("r", encoding=encoding, newline="") as file:
                for _ in file:
                    pass
        except UnicodeDecodeError as error:
            fault = error
            continue
        return encoding
    raise UploadError(f"{path}: 既非 UTF-8 也非 GB18030 / neither UTF-8 nor GB18030: {fault}")


def _csv_rows(path: Path) -> tuple[bytes, Iterator[tuple[int, bytes]]]:
    encoding = encoding_of(path)
    with path.open("r", encoding=encoding, newline="") as file:
        sample = file.readline()
    delimiter = max(",;\t", key=sample.count)

    def rows() -> Iterator[tuple[int, bytes]]:
        with path.open("r", encoding=encoding, newline="") as file:
            reader = csv.reader(file, delimiter=delimiter)
            try:
                next(reader, None)
                begin = reader.line_num + 1
                for cells in reader:
                    if any(cell.strip() for cell in cells):
                        yield begin, _line(cells)
                    begin = reader.line_num + 1
            except csv.Error as error:
                raise UploadError(f"{path}: 第 {reader.line_num} 行 / line {reader.line_num}: {error}") from None

    header = next(csv.reader([sample], delimiter=delimiter), [])
    if not header:
        raise UploadError(f"{path}: 没有表头 / there is no header")
    return _line(header), rows()


def _sheet_rows(path: Path) -> tuple[bytes, Iterator[tuple[int, bytes]]]:
    """The first sheet. Formulas and merged cells are refused: what a reader sees there is not what is stored."""
    try:
        with zipfile.ZipFile(path) as archive:
            merged = [n for n in archive.namelist() if "/worksheets/sheet1" in n and _MERGED in archive.read(n)]
        book = openpyxl.load_workbook(path, read_only=True)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise UploadError(f"{path}: 不是 XLSX 文件 / not an XLSX file: {error}") from None
    if merged:
        raise UploadError(f"{path}: 有合并单元格，请先取消合并 / has merged cells: unmerge them first")
    sheet = book.worksheets[0]

    def rows() -> Iterator[tuple[int, bytes]]:
        for number, cells in enumerate(sheet.iter_rows(), 1):
            if number > 1 and any(cell.value is not None for cell in cells):
                yield number, _line([_text(path, cell) for cell in cells])

    first = next(sheet.iter_rows(max_row=1), ())
    header = [_text(path, cell) for cell in first]
    while header and not header[-1]:
        header.pop()
    if not header:
        raise UploadError(f"{path}: 没有表头 / there is no header")
    return _line(header), rows()


def _text(path: Path, cell: Any) -> str:
    value = cell.value
    if value is None:
        return ""
    if cell.data_type == "f":
        where = cell.coordinate
        raise UploadError(f"{path}: 单元格 {where} 是公式，请粘贴为数值 / cell {where} is a formula: paste its value")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat() + "+08:00"
    return value.isoformat() if isinstance(value, date) else str(value)


def _line(cells: list[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(cells)
    return text.getvalue().encode()
