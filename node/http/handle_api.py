"""The read part of Handle.Net's HTTP JSON API (handle-protocol.md 4.8)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from node import catalogue
from node.errors import BadRequest, HandleNotFound
from node.http.answers import Answer, public_json
from node.http.queries import Query
from node.kept import Form, View, etag_of
from node.records import values_of_record
from node.runtime import Node

_SUCCESS, _VALUES_NOT_FOUND = 1, 200


def api_answer(node: Node, view: View, query: Query) -> Answer:
    """The public values of a handle; a tombstone is a handle that is not there."""
    if view.form == Form.GONE:
        raise HandleNotFound.of(handle=view.handle)
    record = view.document()
    compiled = catalogue.known(node, record["template"])
    body = orjson.dumps(handle_document(view.handle, values_of_record(record, compiled), query))
    return public_json(view, body, etag_of(body), node.settings.max_age, api=True)


def handle_document(handle: str, values: Sequence[dict[str, Any]], query: Query) -> dict[str, Any]:
    """The body for `?index=` and `?type=`, a union of both."""
    indexes, types = _indexes(query.get("index", [])), query.get("type", [])
    if indexes or types:
        values = [v for v in values if v["index"] in indexes or _of_type(v["type"], types)]
    code = _SUCCESS if values or not (indexes or types) else _VALUES_NOT_FOUND
    return {"responseCode": code, "handle": handle, "values": values}


def _indexes(texts: list[str]) -> set[int]:
    if not all(text.isascii() and text.isdigit() and len(text) < 11 for text in texts):
        raise BadRequest.of(reason="index must be a number", reason_zh="index 须为数字")
    return {int(text) for text in texts}


def _of_type(kind: str, wanted: list[str]) -> bool:
    """Case does not count; `URL.` asks for URL and all its subtypes, `URL` for itself alone."""
    kind = kind.lower()
    for text in map(str.lower, wanted):
        if kind == text or (text.endswith(".") and (kind == text[:-1] or kind.startswith(text))):
            return True
    return False
