"""Resolving many handles, or any code, over REST; and what the API page says of the short way."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated, Any

import msgspec
import orjson
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

import handle_codec
from node import access
from node.drafts import decoded
from node.errors import BadRequest, NodeError, NotFound, TooManyRows
from node.http import problems
from node.http.requests import bearer, client_address, json_response, node_of, read_json
from node.kept import Form, View
from node.model import Identity
from node.records import Resolved, gone, gone_again
from node.resolution import ANYBODY, resolve_many, resolve_many_as
from node.runtime import Node

router = APIRouter(tags=["resolution"])

MAX_HANDLES = 1000


class Wanted(msgspec.Struct, forbid_unknown_fields=True):
    """What :batch takes."""

    handles: list[Annotated[str, msgspec.Meta(max_length=2048)]]


_wanted = msgspec.json.Decoder(Wanted)
_BODY: dict[str, Any] = {
    "type": "object",
    "required": ["handles"],
    "properties": {"handles": {"type": "array", "maxItems": MAX_HANDLES, "items": {"type": "string"}}},
}


@router.post(
    "/api/v1/resolve:batch", openapi_extra={"requestBody": {"content": {"application/json": {"schema": _BODY}}}}
)
async def resolve_batch(request: Request) -> Response:
    """Records of up to 1,000 handles, in order, each refusal in its place with its own code. Without a key, what
    anybody may see; with one, from the database alone, one's own in full."""
    node = node_of(request)
    form: Wanted = decoded(_wanted, await read_json(request))
    if len(form.handles) > MAX_HANDLES:
        raise TooManyRows.of(limit=MAX_HANDLES, got=len(form.handles))
    begin = time.perf_counter()
    if "authorization" in request.headers or "cookie" in request.headers:
        results = await _private(request, node, form.handles)
    else:
        results = [_result(h, found) for h, found in zip(form.handles, await _public(node, form), strict=True)]
    address, now = client_address(request.scope, node.settings), time.time()
    each = (time.perf_counter() - begin) / max(1, len(results))
    for text, result in zip(form.handles, results, strict=True):
        prefix = node.fence.prefixes.get(text.partition("/")[0])
        node.tally.count(prefix.id if prefix else 0, result["status"] == 200, each, address, now)
    return json_response({"results": results}, headers={"Cache-Control": "no-store"})


async def _public(node: Node, form: Wanted) -> list[View | NodeError]:
    return await resolve_many(node, form.handles)


def _result(text: str, found: View | NodeError) -> dict[str, Any]:
    if isinstance(found, View) and found.form == Form.GONE:
        found = gone_again(found.document())
    if isinstance(found, NodeError):
        return _refused(text, found)
    return {"handle": found.handle, "status": 200, "record": orjson.Fragment(found.body)}


def _refused(text: str, error: NodeError) -> dict[str, Any]:
    return {"handle": text, "status": problems.status_of(error), "problem": problems.document(error)}


async def _private(request: Request, node: Node, handles: list[str]) -> list[dict[str, Any]]:
    """Never shared: whoever shows a key or a cookie gets nothing from the public's cache."""
    identity: Identity = ANYBODY
    if "authorization" in request.headers:
        identity = await access.enterprise(node, bearer(request), client_address(request.scope, node.settings))
    found = await resolve_many_as(node, identity, handles)
    return [_private_result(text, one) for text, one in zip(handles, found, strict=True)]


def _private_result(text: str, found: Resolved | NodeError) -> dict[str, Any]:
    if isinstance(found, Resolved) and found.is_gone:
        found = gone(found.handle, found.row)
    if isinstance(found, NodeError):
        return _refused(text, found)
    return {"handle": found.handle, "status": 200, "record": found.record()}


@router.get("/api/v1/resolve")
async def resolve_any(
    request: Request,
    id: Annotated[str, Query(max_length=4096, description="a code of any scheme, as scanned or typed")],
    scheme: Annotated[str, Query(max_length=32, description="to force one, where several fit")] = "",
) -> Response:
    """Recognises the scheme of a code. One of this node's handles is resolved; of others the candidates are named, each
    with what was checked: this node does not know where they are kept."""
    node = node_of(request)
    host = node.settings.public_url.partition("://")[2].partition("/")[0].lower()
    try:
        candidates = handle_codec.recognise(id, scheme=scheme or None, hosts=frozenset({host}))
    except handle_codec.InvalidCode as error:
        raise BadRequest.of(reason=error.reason, reason_zh=error.reason_zh) from None
    except ValueError as error:
        raise BadRequest.of(reason=str(error), reason_zh=str(error)) from None
    document: dict[str, Any] = {"id": id, "candidates": [asdict(candidate) for candidate in candidates]}
    if candidates[0].scheme == "handle" and candidates[0].canonical.partition("/")[0] in node.fence.prefixes:
        document |= _result(candidates[0].canonical, (await resolve_many(node, [candidates[0].canonical]))[0])
    return json_response(document, headers={"Cache-Control": "no-store"})


@router.get("/{prefix}/{suffix}")
async def resolve_handle(prefix: str, suffix: str) -> Response:
    """Resolve a handle: by `Accept` the record (JSON) or the page (HTML). 404 for none, 410 with reason and successor
    for a deleted one. `If-None-Match` is honoured; `?qr=svg|png` draws its code; `?redirect=1` follows its URL to a
    host that the enterprise proved; `?explain=1` with a key says how it is read."""
    raise NotFound.of(what=f"{prefix}/{suffix}"[:200])  # handles are answered before they get here


@router.get("/api/handles/{handle:path}")
async def resolve_values(handle: str) -> Response:
    """The same as Handle.Net's HTTP JSON API has it, with `?index=` and `?type=`."""
    raise NotFound.of(what=handle[:200])  # answered before it gets here
