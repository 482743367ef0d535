"""The small ASGI callable in front of FastAPI: resolves handles, hands everything else on.

`GET /{prefix}/{suffix}` and `GET /api/handles/{handle}`. The path is decoded once, from the raw bytes. A request
with credentials is answered from PostgreSQL and never meets what is kept for the public.
"""

from __future__ import annotations

import logging
import re
import time
from typing import Any
from urllib.parse import parse_qs

import orjson
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from node import access, metrics, revision
from node.errors import BadRequest, NodeError
from node.http import pages, problems, refusals
from node.http.handle_api import handle_document
from node.http.negotiation import CHINESE, Reader, reader_of, wants_page
from node.http.requests import client_address, path_after
from node.model import Identity, Status
from node.records import Resolved
from node.resolution import resolve, resolve_as
from node.runtime import Node

_PREFIX = re.compile(rb"^/\d{2}\.\d{3,5}\.\d+(/|%2[fF])")
_API = b"/api/handles/"
_log = logging.getLogger(__name__)

Query = dict[str, list[str]]


class FrontDoor:
    """ASGI application: the resolver's own paths, else `app`."""

    def __init__(self, app: ASGIApp, state: Any) -> None:
        self._app = app
        self._state = state  # state.node is set while the lifespan runs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _ours(scope):
            await self._app(scope, receive, send)
            return
        response = await self._answer(scope)
        if scope["method"] == "HEAD":
            response.body = b""
        await response(scope, receive, send)

    async def _answer(self, scope: Scope) -> Response:
        node: Node = self._state.node
        start = time.perf_counter()
        source, result = "none", "hit"
        headers = {k: v.decode("latin-1") for k, v in scope["headers"]}
        api = scope["raw_path"].startswith(_API)
        html = not api and wants_page(headers.get(b"accept", ""))
        reader = CHINESE
        try:
            query = _query(scope)
            reader = reader_of(headers.get(b"accept-language", ""), query.get("lang", [""])[0])
            resolved, source = await _look_up(node, scope, headers, "/api/handles/" if api else "/")
            if not api and resolved.row.status == Status.TOMBSTONE:
                raise revision.gone(resolved.handle, resolved.row)
            response = await _render(node, resolved, query, api, reader if html else None)
        except NodeError as error:
            result = error.code
            response = _refusal(node, error, api, reader if html else None, scope)
        except Exception:
            _log.exception("resolution failed")
            result = "internal"
            response = _refusal(node, NodeError(), api, reader if html else None, scope)
        metrics.resolve_total.labels(result, source).inc()
        metrics.resolve_seconds.observe(time.perf_counter() - start)
        return response


def _ours(scope: Scope) -> bool:
    path: bytes = scope["raw_path"]
    if scope["method"] not in ("GET", "HEAD"):
        return False
    return bool(_PREFIX.match(path)) or path.startswith(_API)


def _query(scope: Scope) -> Query:
    try:
        return parse_qs(
            scope["query_string"].decode("ascii"), keep_blank_values=True, max_num_fields=100, errors="strict"
        )
    except ValueError:
        raise BadRequest.of(reason="the query cannot be read", reason_zh="查询参数无法解析") from None


async def _look_up(node: Node, scope: Scope, headers: dict[bytes, str], start: str) -> tuple[Resolved, str]:
    handle = path_after(scope, start)
    scheme, _, token = headers.get(b"authorization", "").partition(" ")
    if b"authorization" not in headers:
        if b"cookie" in headers:  # nothing here sets one; whoever sends one is kept from shared answers all the same
            return await resolve_as(node, Identity("anonymous"), handle), "pg"
        return await resolve(node, handle)
    identity = await access.enterprise(
        node, token.strip() if scheme.lower() == "bearer" else "", client_address(scope, node.settings)
    )
    return await resolve_as(node, identity, handle), "pg"


async def _render(node: Node, resolved: Resolved, query: Query, api: bool, reader: Reader | None) -> Response:
    if api:
        status, document = handle_document(resolved, query)
        return _json(document, status, {"Access-Control-Allow-Origin": "*", "Cache-Control": "no-cache"})
    if "qr" in query:
        return pages.qr(node, resolved.handle, query)
    if reader:
        return await pages.scan(node, resolved, reader)
    private = resolved.level == "private"
    headers = {"Cache-Control": "private, no-store" if private else "no-cache", "Vary": "Accept"}
    return _json(resolved.record(), 200, headers)


def _json(document: Any, status: int, headers: dict[str, str]) -> Response:
    return Response(orjson.dumps(document), status, headers, "application/json")


def _refusal(node: Node, error: NodeError, api: bool, reader: Reader | None, scope: Scope) -> Response:
    if reader:
        return refusals.problem(node, error, reader)
    if not api:
        return problems.response(error)
    # Handle.Net's own codes: a tombstone is not found, a prefix that lives elsewhere a bad request.
    status = {100: 404, 102: 400, 301: 400}.get(error.response_code, problems.status_of(error))
    handle = scope["raw_path"][len(_API) :].decode("ascii", "replace")
    document = {"responseCode": error.response_code, "handle": handle, "message": error.detail}
    return _json(document, status, problems.headers(error))
