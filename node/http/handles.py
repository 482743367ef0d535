"""Routes of the enterprises: register, read, change, delete and list handles; lots; templates."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from node import catalogue, export, listing, publishing, revision
from node.access import require_scope
from node.drafts import raw_rows
from node.errors import BadRequest, TooManyRows
from node.http import problems
from node.http.requests import (
    Enterprise,
    Operator,
    claim_of,
    decode,
    if_match,
    json_response,
    node_of,
    path_after,
    read_json,
)
from node.model import MAX_BATCH, Identity, Kind
from node.outcomes import Outcome
from node.records import Resolved
from node.registration import register
from node.runtime import Node
from node.templates import template_document
from node.turns import batches

router = APIRouter(prefix="/api/v1")

_HANDLES = "/api/v1/handles/"
_ROW: dict[str, Any] = {
    "type": "object",
    "required": ["handle"],
    "properties": {
        "handle": {"type": "string", "example": "88.999.1001/BOX-000001"},
        "template": {"type": "string", "example": "pear@1"},
        "lot": {"type": "string", "example": "88.999.1001/LOT-20260912-01"},
        "attributes": {"type": "object"},
        "values": {"type": "array", "items": {"type": "object"}},
    },
}


def _body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _scope(identity: Identity) -> str:
    return f"registrant:{identity.registrant_id}"


def outcome_document(outcome: Outcome) -> dict[str, Any]:
    """One row's result in the answer to a batch."""
    body: dict[str, Any] = {"row": outcome.row, "handle": outcome.handle, "outcome": outcome.outcome}
    if outcome.version:
        body["version"] = outcome.version
    if outcome.error:
        body["code"] = outcome.error.code
        body["detail"] = outcome.error.detail
        if outcome.error.errors:
            body["errors"] = [e.as_dict(outcome.row) for e in outcome.error.errors]
    return body


def rendered(outcomes: list[Outcome]) -> tuple[int, bytes]:
    """(status, body) of a single registration."""
    outcome = outcomes[0]
    if outcome.error:
        return problems.status_of(outcome.error), problems.encoded(outcome.error)
    status = 201 if outcome.outcome == "created" else 200
    body = {"handle": outcome.handle, "outcome": outcome.outcome, "version": outcome.version}
    return status, msgspec.json.encode(body)


def created_headers(node: Node, outcome: Outcome) -> dict[str, str]:
    return {"Location": f"{node.settings.public_url}/{outcome.handle}", "ETag": f'"{outcome.version}"'}


def _batch(outcomes: list[Outcome]) -> tuple[int, bytes]:
    summary = dict.fromkeys(("created", "unchanged", "conflict", "rejected"), 0)
    for outcome in outcomes:
        summary[outcome.outcome] += 1
    body = {"summary": summary, "results": [outcome_document(o) for o in outcomes]}
    return 200, msgspec.json.encode(body)


async def _register_one(request: Request, identity: Identity, kind: Kind) -> Response:
    require_scope(identity, "register")
    node = node_of(request)
    body = await read_json(request)
    claim = claim_of(request, _scope(identity), body, rendered)
    outcomes = await register(node, identity, [body], kind=kind, claim=claim)
    if outcomes[0].error:
        return problems.response(outcomes[0].error)
    status, answer = rendered(outcomes)
    return json_response(answer, status, created_headers(node, outcomes[0]))


@router.post("/handles", status_code=201, tags=["handles"], openapi_extra=_body(_ROW))
async def register_handle(request: Request, identity: Enterprise) -> Response:
    """Register one handle: 201 when created, 200 for the same content again, 409 for other content."""
    return await _register_one(request, identity, Kind.ITEM)


@router.post("/lots", status_code=201, tags=["lots"], openapi_extra=_body(_ROW))
async def register_lot(request: Request, identity: Enterprise) -> Response:
    """Register a lot; its items inherit what it holds."""
    return await _register_one(request, identity, Kind.LOT)


@router.post("/handles:batch", tags=["handles"], openapi_extra=_body({"type": "array", "items": _ROW}))
async def register_batch(request: Request, identity: Enterprise) -> Response:
    """Register up to 2,000 handles; one result per row, in order; one bad row does not spoil the rest."""
    require_scope(identity, "register")
    body = await read_json(request)
    node, claim = node_of(request), claim_of(request, _scope(identity), body, _batch)
    async with batches(node).turn(identity.registrant_id):
        rows = decode(body, raw_rows)
        if len(rows) > MAX_BATCH:
            raise TooManyRows.of(limit=MAX_BATCH, got=len(rows))
        status, answer = _batch(await register(node, identity, rows, claim=claim))
    return json_response(answer, status)


def _owned(resolved: Resolved, status: int = 200) -> Response:
    headers = {"ETag": f'"{resolved.row.version}"', "Cache-Control": "private, no-store"}
    return json_response(resolved.record(), status, headers)


@router.get("/handles/{prefix}/{suffix:path}", tags=["handles"])
async def read_handle(request: Request, identity: Enterprise) -> Response:
    """The handle as its owner sees it, private attributes included; ETag is the version."""
    return _owned(await revision.read(node_of(request), identity, path_after(request.scope, _HANDLES)))


@router.put("/handles/{prefix}/{suffix:path}", tags=["handles"], openapi_extra=_body(_ROW))
async def put_handle(request: Request, identity: Enterprise) -> Response:
    """Replace the whole content. If-Match is honoured where given; the same content changes nothing."""
    require_scope(identity, "register")
    version = if_match(request) if "if-match" in request.headers else None
    handle = path_after(request.scope, _HANDLES)
    return _owned(await revision.put(node_of(request), identity, handle, await read_json(request), version))


@router.patch("/handles/{prefix}/{suffix:path}", tags=["handles"], openapi_extra=_body(_ROW))
async def patch_handle(request: Request, identity: Enterprise) -> Response:
    """Change some members (RFC 7396 for attributes); If-Match with the version is required."""
    require_scope(identity, "register")
    version = if_match(request)
    handle = path_after(request.scope, _HANDLES)
    return _owned(await revision.patch(node_of(request), identity, handle, await read_json(request), version))


@router.delete("/handles/{prefix}/{suffix:path}", tags=["handles"])
async def delete_handle(request: Request, identity: Enterprise, reason: str = "", successor: str = "") -> Response:
    """Delete: the handle answers 410 with reason and successor from now on, and is never given out again."""
    require_scope(identity, "register")
    version = if_match(request) if "if-match" in request.headers else None
    handle = path_after(request.scope, _HANDLES)
    resolved = await revision.delete(node_of(request), identity, handle, reason, successor, version)
    row = resolved.row
    return json_response(
        {
            "handle": resolved.handle,
            "status": resolved.status,
            "reason": row.reason,
            "successor": row.successor or None,
            "version": row.version,
        }
    )


@router.get("/prefixes/{prefix}/handles", tags=["handles"])
async def list_handles(
    request: Request, identity: Enterprise, prefix: str, after: str = "", limit: int = 100
) -> Response:
    """A page of a prefix's handles; `next` is the cursor of the following page, null on the last."""
    limit = max(1, min(limit, listing.MAX_PAGE))
    listed, following = await listing.page(node_of(request), identity, prefix, after, limit)
    return json_response({"handles": listed, "next": following})


@router.get("/prefixes/{prefix}/export", tags=["handles"])
async def export_handles(
    request: Request, identity: Enterprise, prefix: str, kind: str = "items", format: str = "ndjson"
) -> Response:
    """All handles of a prefix as rows that an import takes again: NDJSON or CSV, `kind` items or lots."""
    if kind not in ("items", "lots") or format not in ("ndjson", "csv"):
        raise BadRequest.of(reason="kind is items or lots, format ndjson or csv", reason_zh="kind 或 format 有误")
    node = node_of(request)
    found = await export.check(node, identity, prefix)
    wanted = Kind.ITEM if kind == "items" else Kind.LOT
    stream = export.sheet(node, found, wanted) if format == "csv" else export.ndjson(node, found, wanted)
    headers = {
        "Content-Disposition": f'attachment; filename="{prefix}-{kind}.{format}"',
        "Cache-Control": "private, no-store",
    }
    media = "text/csv; charset=utf-8" if format == "csv" else "application/x-ndjson"
    return StreamingResponse(stream, headers=headers, media_type=media)


@router.get("/templates", tags=["templates"])
async def list_templates(request: Request) -> Response:
    """Published templates: one line each."""
    listed = [
        {"name": t.name, "zh": t.zh, "en": t.en, "industry": t.industry, "fields": len(t.fields)}
        for t in await catalogue.every(node_of(request))
    ]
    return json_response({"templates": listed})


def _published(result: tuple[str, bool]) -> tuple[int, bytes]:
    return (201 if result[1] else 200), msgspec.json.encode({"name": result[0], "created": result[1]})


@router.post("/templates", status_code=201, tags=["templates"], openapi_extra=_body({"type": "object"}))
async def publish_template(request: Request, operator: Operator) -> Response:
    """Publish a version (admins): the form of a file of node/industries/ as JSON. It never changes afterwards."""
    body = await read_json(request)
    claim = claim_of(request, operator.actor, body, _published)
    status, answer = _published(await publishing.publish(node_of(request), operator, body, claim))
    return json_response(answer, status)


@router.get("/templates/{name}", tags=["templates"])
async def read_template(request: Request, name: str) -> Response:
    """One template: its fields with types, units, enumerations, labels, visibility and order."""
    node = node_of(request)
    return json_response(template_document(await catalogue.fetch(node, name)))
