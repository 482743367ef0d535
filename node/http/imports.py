"""Routes of imports: open one, put chunks, close it, see how it stands and what was wrong."""

from __future__ import annotations

import asyncio
import csv
import io
import zlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from node import closing, imports, sheets
from node.access import require_scope
from node.errors import BadRequest, BodyTooLarge, WrongContentType
from node.http.requests import Enterprise, claim_of, json_response, node_of, read_body, read_json

router = APIRouter(prefix="/api/v1/imports", tags=["imports"])

_BODY: dict[str, Any] = {"requestBody": {"content": {"application/json": {"schema": {"type": "object"}}}}}
rows_schema: dict[str, Any] = {
    "requestBody": {"content": {kind: {"schema": {"type": "string"}} for kind in ("application/x-ndjson", "text/csv")}}
}
_MAX_NUMBER = 1_000_000


def opened(document: dict[str, Any]) -> tuple[int, bytes]:
    return 201, msgspec.json.encode(document)


@router.post("", status_code=201, openapi_extra=_BODY)
async def begin(request: Request, identity: Enterprise) -> Response:
    """Open an import; `prefix`, `template`, `lot` stand for what rows do not say, `check` writes nothing, `atomic`
    stores all at :commit or nothing."""
    require_scope(identity, "register")
    body = await read_json(request)
    claim = claim_of(request, f"registrant:{identity.registrant_id}", body, opened)
    document = await imports.begin(node_of(request), identity, body, claim)
    location = f"{node_of(request).settings.public_url}/api/v1/imports/{document['id']}"
    return json_response(document, 201, {"Location": location})


@router.get("")
async def listed(request: Request, identity: Enterprise) -> Response:
    """The newest imports of the caller."""
    return json_response({"imports": await imports.listed(node_of(request), identity)})


@router.put("/{import_id}/chunks/{number}", openapi_extra=rows_schema)
async def put_chunk(request: Request, identity: Enterprise, import_id: str, number: int) -> Response:
    """One chunk of up to 50,000 rows, NDJSON or CSV, gzip or not. Its rows resolve when this answers; the same chunk
    again is answered as before."""
    require_scope(identity, "register")
    if not 0 <= number < _MAX_NUMBER:
        raise BadRequest.of(reason="chunks are numbered from 0", reason_zh="分块从 0 起编号")
    form = form_of(request)
    body = await _inflated(request)
    return json_response(await imports.put_chunk(node_of(request), identity, import_id, number, body, form))


def form_of(request: Request) -> str:
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind in ("application/x-ndjson", "application/ndjson", "application/jsonl"):
        return "ndjson"
    if kind == "text/csv":
        return "csv"
    raise WrongContentType.of(expected="application/x-ndjson or text/csv", got=kind or "nothing")


async def _inflated(request: Request) -> bytes:
    """The body, inflated where it says that it is gzip; BodyTooLarge before a bomb takes memory."""
    limit = imports.MAX_CHUNK_BYTES
    body = await read_body(request, limit)
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding == "identity":
        return body
    if encoding != "gzip":
        raise BadRequest.of(reason="Content-Encoding must be gzip", reason_zh="Content-Encoding 须为 gzip")

    def inflate() -> bytes:
        stream = zlib.decompressobj(wbits=31)
        plain = stream.decompress(body, limit + 1)
        if len(plain) > limit:
            raise BodyTooLarge.of(limit=limit)
        if not stream.eof or stream.unused_data:
            raise zlib.error("not one whole gzip member")
        return plain

    try:
        return await asyncio.to_thread(inflate)
    except zlib.error as error:
        raise BadRequest.of(reason=f"broken gzip: {error}", reason_zh="gzip 数据损坏") from None


@router.post("/{import_id}:commit", openapi_extra=_BODY)
async def commit(request: Request, identity: Enterprise, import_id: str) -> Response:
    """Close the import: 409 names the chunks that are missing."""
    require_scope(identity, "register")
    return json_response(await closing.commit(node_of(request), identity, import_id, await read_json(request)))


@router.get("/{import_id}")
async def state(request: Request, identity: Enterprise, import_id: str) -> Response:
    """How an import stands: sums, missing chunks, the next one to send."""
    return json_response(await imports.state(node_of(request), identity, import_id))


@router.get("/{import_id}/errors")
async def errors(request: Request, identity: Enterprise, import_id: str, format: str = "ndjson") -> Response:
    """Every conflict and rejected row with field, code and reason; NDJSON or CSV."""
    node = node_of(request)
    await imports.state(node, identity, import_id)  # 404 before the answer begins
    found = imports.errors(node, identity, import_id)
    if format == "csv":
        return StreamingResponse(_csv(found), media_type="text/csv; charset=utf-8")
    return StreamingResponse(_ndjson(found), media_type="application/x-ndjson")


async def _ndjson(found: AsyncIterator[dict[str, Any]]) -> AsyncIterator[bytes]:
    async for error in found:
        yield orjson.dumps(error) + b"\n"


async def _csv(found: AsyncIterator[dict[str, Any]]) -> AsyncIterator[bytes]:
    columns = ("chunk", "row", "handle", "outcome", "field", "code", "detail")
    yield ("\ufeff" + ",".join(columns) + "\r\n").encode()
    async for error in found:
        line = io.StringIO()
        csv.writer(line).writerow([sheets.cell_of(error[name]) for name in columns])
        yield line.getvalue().encode()
