"""Errors as RFC 9457 problem documents: the one table from a kind of error to an HTTP status."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.responses import Response

from node.errors import NodeError

STATUS = {
    "bad_request": 400,
    "unauthenticated": 401,
    "forbidden": 403,
    "not_found": 404,
    "conflict": 409,
    "gone": 410,
    "precondition_failed": 412,
    "too_large": 413,
    "unsupported_media": 415,
    "invalid": 422,
    "unprocessable": 422,
    "precondition_required": 428,
    "too_many": 429,
    "head_too_large": 431,
    "internal": 500,
    "unavailable": 503,
}
CONTENT_TYPE = "application/problem+json"
_PUBLIC_DATA = ("handle", "reason", "successor", "version", "deleted_at", "limit", "first", "status")


def status_of(error: NodeError) -> int:
    return STATUS[error.kind]


def document(error: NodeError, row: int = 0) -> dict[str, Any]:
    """The problem document; `row` numbers its field errors (0 for a single registration)."""
    code = error.shown or error.code
    body: dict[str, Any] = {
        "type": f"urn:idnode:problem:{code}",
        "title": code.replace("_", " ").capitalize(),
        "status": status_of(error),
        "code": code,
        "response_code": error.response_code,
        "detail": error.detail,
    }
    body |= {name: error.datum[name] for name in _PUBLIC_DATA if name in error.datum and name not in body}
    if error.errors:
        body["errors"] = [e.as_dict(row) for e in error.errors]
    return body


def encoded(error: NodeError) -> bytes:
    return orjson.dumps(document(error), default=str)


def headers(error: NodeError) -> dict[str, str]:
    extra = {"Content-Language": "zh, en", "Cache-Control": "no-store"}
    if error.kind == "unauthenticated":
        extra["WWW-Authenticate"] = 'Bearer realm="idnode"'
    if "retry_after" in error.datum:
        extra["Retry-After"] = str(error.datum["retry_after"])
    return extra


def response(error: NodeError) -> Response:
    return Response(encoded(error), status_of(error), headers(error), CONTENT_TYPE)
