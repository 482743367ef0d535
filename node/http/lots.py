"""Routes of lots and their serials: register, mint, print, activate, void, recall, restore."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from node import lots
from node.access import require_scope
from node.errors import NotFound
from node.http.requests import Enterprise, claim_of, json_response, node_of, read_json
from node.intervals import Action
from node.lots import Printing

router = APIRouter(prefix="/api/v1/lots", tags=["lots"])

_FORMS = {"csv": "text/csv; charset=utf-8", "ndjson": "application/x-ndjson"}
_ACTIONS = {action.value: action for action in Action}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"content": {"application/json": {"schema": schema}}}}


_SELECTION = _json(
    {
        "type": "object",
        "properties": {
            "run": {"type": "integer"},
            "from": {"type": "integer"},
            "to": {"type": "integer"},
            "serials": {"type": "array", "items": {"type": "string"}, "maxItems": 2000},
            "reason": {"type": "string"},
        },
    }
)


def _minted(printing: Printing) -> tuple[int, bytes]:
    return 201, msgspec.json.encode(printing.document())


def _wanted(request: Request) -> str:
    """csv or ndjson where the caller accepts one of them, "" for the run's document."""
    accept = request.headers.get("accept", "")
    return "csv" if "text/csv" in accept else "ndjson" if "ndjson" in accept else ""


def _printed(request: Request, printing: Printing, form: str, status: int) -> Response:
    node = node_of(request)
    name = f"{printing.run.lot}-{printing.run.id}.{form}"
    headers = {
        "Location": f"{node.settings.public_url}{printing.document()['serials']}",
        "Content-Disposition": f'attachment; filename="{name}"',
        "Cache-Control": "no-store",
    }
    slices = lots.stream(printing, node.settings.public_url, form)
    return StreamingResponse(slices, status, headers, _FORMS[form])


@router.post("/{prefix}/{lot}:mint", status_code=201, openapi_extra=_json({"type": "object", "required": ["count"]}))
async def mint(request: Request, identity: Enterprise, prefix: str, lot: str) -> Response:
    """Reserve `count` serials for the lot: the run's document, or with `Accept: text/csv` its serials at once."""
    require_scope(identity, "register")
    body = await read_json(request)
    claim = claim_of(request, f"registrant:{identity.registrant_id}", body, _minted)
    printing = await lots.mint(node_of(request), identity, f"{prefix}/{lot}", body, claim)
    if form := _wanted(request):
        return _printed(request, printing, form, 201)
    return json_response(printing.document(), 201)


@router.get("/{prefix}/{lot}/runs")
async def list_runs(request: Request, identity: Enterprise, prefix: str, lot: str) -> Response:
    """The lot's runs with the intervals that they have become."""
    return json_response({"runs": await lots.runs(node_of(request), identity, f"{prefix}/{lot}")})


@router.get("/{prefix}/{lot}/runs/{run}/serials")
async def print_again(request: Request, identity: Enterprise, prefix: str, lot: str, run: int) -> Response:
    """The run's serials once more, for a printer that broke: CSV, or NDJSON where that is accepted. Audited."""
    require_scope(identity, "register")
    printing = await lots.print_again(node_of(request), identity, f"{prefix}/{lot}", run)
    return _printed(request, printing, _wanted(request) or "csv", 200)


@router.post("/{prefix}/{lot}:{action}", openapi_extra=_SELECTION)
async def set_state(request: Request, identity: Enterprise, prefix: str, lot: str, action: str) -> Response:
    """activate, void, recall or restore: a run, a part of one, a list of serials, or without any of these the lot."""
    require_scope(identity, "register")
    if action not in _ACTIONS:
        raise NotFound.of(what=f"action {action[:32]}")
    body = await read_json(request)

    def render(document: dict[str, Any]) -> tuple[int, bytes]:
        return 200, msgspec.json.encode(document)

    claim = claim_of(request, f"registrant:{identity.registrant_id}", body, render)
    handle = f"{prefix}/{lot}"
    return json_response(await lots.set_state(node_of(request), identity, handle, _ACTIONS[action], body, claim))
