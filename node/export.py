"""A prefix's handles as they went in: rows that an import takes again, as NDJSON or CSV; read in pages, by key.

Items with rows first, then registered serials without one. Tombstones stay out: they cannot be registered again.
"""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from typing import Any

import orjson

from node import catalogue
from node.listing import rowless_from
from node.model import Identity, Kind, Prefix, Row, Status
from node.records import unpack
from node.revision import shards_of, visible_prefix
from node.runtime import Node, reading
from node.sheets import cell_of
from node.store import handles
from node.templates import Compiled

_PAGE = 2000


async def check(node: Node, identity: Identity, prefix_text: str) -> Prefix:
    """The prefix, if it is the caller's to export."""
    async with reading(node) as conn:
        return await visible_prefix(conn, identity, prefix_text)


async def rows(node: Node, prefix: Prefix, kind: Kind) -> AsyncIterator[tuple[dict[str, Any], Compiled | None]]:
    """Each handle as a row to register, with its template. A page holds a connection, a slow reader none."""
    after = (-1, "")
    while True:
        async with reading(node) as conn:
            page = await handles.page(conn, shards_of(prefix), prefix.id, after, _PAGE)
            compiled = {row.template_id: await catalogue.by_id(node, row.template_id, conn) for _, row in page}
        for _, row in page:
            if row.kind == kind and row.status != Status.TOMBSTONE:
                yield _document(prefix, row, compiled[row.template_id]), compiled[row.template_id]
        if len(page) < _PAGE:
            break
        after = (page[-1][0], page[-1][1].suffix)
    if kind == Kind.ITEM:
        async for document in _rowless(node, prefix):
            yield document, None


async def _rowless(node: Node, prefix: Prefix) -> AsyncIterator[dict[str, Any]]:
    start = 0
    while True:
        found: list[dict[str, Any]] = []
        async with reading(node) as conn:
            async for counter, _, row in rowless_from(node, conn, prefix, start):
                found.append({"handle": f"{prefix.prefix}/{row.suffix}", "lot": f"{prefix.prefix}/{row.lot}"})
                start = counter + 1
                if len(found) == _PAGE:
                    break
        for document in found:
            yield document
        if len(found) < _PAGE:
            return


def _document(prefix: Prefix, row: Row, compiled: Compiled | None) -> dict[str, Any]:
    attributes, values = unpack(row.content)
    document: dict[str, Any] = {"handle": f"{prefix.prefix}/{row.suffix}"}
    if row.lot:
        document["lot"] = f"{prefix.prefix}/{row.lot}"
    if compiled is not None:
        document["template"] = compiled.template.name
    if attributes:
        document["attributes"] = attributes
    if values:
        document["values"] = values
    return document


async def ndjson(node: Node, prefix: Prefix, kind: Kind) -> AsyncIterator[bytes]:
    """One row a line, some hundred lines at a time."""
    lines: list[bytes] = []
    async for document, _ in rows(node, prefix, kind):
        lines.append(orjson.dumps(document))
        if len(lines) == 500:
            yield b"\n".join(lines) + b"\n"
            lines = []
    if lines:
        yield b"\n".join(lines) + b"\n"


async def sheet(node: Node, prefix: Prefix, kind: Kind) -> AsyncIterator[bytes]:
    """CSV with a byte order mark (spreadsheets here need it): handle, lot, template, the attributes, values."""
    async with reading(node) as conn:
        used = await handles.templates_of(conn, shards_of(prefix), prefix.id)
        templates = [await catalogue.by_id(node, template_id, conn) for template_id in used if template_id]
    codes = list(dict.fromkeys(f.code for compiled in templates if compiled for f in compiled.template.fields))
    columns = ["handle", "lot", "template", *codes, "values"]
    yield "\ufeff".encode() + _line(columns)
    lines: list[bytes] = []
    async for document, _ in rows(node, prefix, kind):
        attributes = document.pop("attributes", {})
        own = document | attributes
        lines.append(_line([cell_of(own.get(column)) for column in columns]))
        if len(lines) == 500:
            yield b"".join(lines)
            lines = []
    yield b"".join(lines)


def _line(cells: list[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(cells)
    return text.getvalue().encode()
