"""The route of imports in one request."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from node import imports, streams
from node.access import require_scope
from node.errors import BadRequest, BodyTooLarge
from node.http.imports import form_of, opened, rows_schema
from node.http.requests import Enterprise, claim_of, json_response, node_of
from node.model import Identity
from node.writing import Replayed

router = APIRouter(prefix="/api/v1/imports", tags=["imports"])

_TEXTS = ("name", "prefix", "template", "lot")
_FLAGS = ("check", "atomic")
_SLICE = 256 * 1024  # bytes inflated without giving way: about a millisecond
_FREE, _RATIO = 64 * 1024 * 1024, 400  # gzip makes at most 1,032 of one byte, of rows about 30


@router.post(":stream", openapi_extra=rows_schema)
async def stream(request: Request, identity: Enterprise, id: str = "") -> Response:
    """Import a body of any length, NDJSON or CSV, gzip or not, and close the ledger. `?id=` names an import that was
    opened before; without it `name`, `prefix`, `template`, `lot`, `check`, `atomic` open one, which the same
    `Idempotency-Key` finds again. After a break send the same body again: what had arrived is answered as before."""
    require_scope(identity, "register")
    form = form_of(request)
    source = _plain(request)
    import_id = id or await _import(request, identity)
    if id and set(request.query_params) != {"id"}:
        raise BadRequest.of(reason="id stands alone: the import has its options", reason_zh="id 须单独给出")
    node = node_of(request)
    document = await streams.take(node, identity, import_id, source, form)
    return json_response(document, 200, {"Location": f"{node.settings.public_url}/api/v1/imports/{import_id}"})


async def _import(request: Request, identity: Identity) -> str:
    """The id of a new import, or of the one that this Idempotency-Key opened."""
    options: dict[str, Any] = {}
    for name, text in request.query_params.multi_items():
        if name in _TEXTS:
            options[name] = text
        elif name in _FLAGS and text in ("true", "false"):
            options[name] = text == "true"
        else:
            raise BadRequest.of(reason=f"unknown option {name[:32]}={text[:32]}", reason_zh=f"未知选项 {name[:32]}")
    body = msgspec.json.encode(options, order="sorted")
    claim = claim_of(request, f"registrant:{identity.registrant_id}", body, opened)
    try:
        document = await imports.begin(node_of(request), identity, body, claim)
    except Replayed as before:
        document = msgspec.json.decode(before.body)
    return str(document["id"])


def _plain(request: Request) -> AsyncIterator[bytes]:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding == "identity":
        return _body(request)
    if encoding != "gzip":
        raise BadRequest.of(reason="Content-Encoding must be gzip", reason_zh="Content-Encoding 须为 gzip")
    return _inflated(_body(request))


async def _body(request: Request) -> AsyncIterator[bytes]:
    try:
        async for part in request.stream():
            yield part
    except ClientDisconnect:  # nobody reads the answer; the import stays open for the next try
        raise BadRequest.of(reason="the body ended early", reason_zh="请求体不完整") from None


async def _inflated(source: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Slice by slice; BodyTooLarge where it grows as no rows do."""
    inflater = zlib.decompressobj(wbits=31)
    packed = plain = 0
    try:
        async for part in source:
            packed += len(part)
            piece = inflater.decompress(part, _SLICE)
            while piece:
                plain += len(piece)
                if plain > _FREE + _RATIO * packed:
                    raise BodyTooLarge.of(limit=_FREE)
                yield piece
                piece = inflater.decompress(inflater.unconsumed_tail, _SLICE)
            if inflater.unused_data:
                raise zlib.error("not one whole gzip member")
        if not inflater.eof:
            raise zlib.error("not one whole gzip member")
    except zlib.error as error:
        raise BadRequest.of(reason=f"broken gzip: {error}", reason_zh="gzip 数据损坏") from None
