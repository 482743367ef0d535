"""The read part of Handle.Net's HTTP JSON API (handle-protocol.md 4.8)."""

from __future__ import annotations

from typing import Any

from node.errors import BadRequest, HandleNotFound
from node.model import Status
from node.records import Resolved

_SUCCESS, _VALUES_NOT_FOUND = 1, 200


def handle_document(resolved: Resolved, query: dict[str, list[str]]) -> tuple[int, dict[str, Any]]:
    """(status, body) for `?index=` and `?type=`, a union of both; a tombstone is a handle that is not there."""
    if resolved.row.status == Status.TOMBSTONE:
        raise HandleNotFound.of(handle=resolved.handle)
    values = resolved.handle_values()
    indexes, types = _indexes(query.get("index", [])), query.get("type", [])
    if indexes or types:
        values = [v for v in values if v["index"] in indexes or _of_type(v["type"], types)]
    code = _SUCCESS if values or not (indexes or types) else _VALUES_NOT_FOUND
    return 200, {"responseCode": code, "handle": resolved.handle, "values": values}


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
