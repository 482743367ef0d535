"""Routes of trace events."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from node import tracing
from node.access import require_scope
from node.http.requests import Enterprise, claim_of, json_response, node_of, read_json
from node.model import Event

router = APIRouter(prefix="/api/v1", tags=["events"])

_FORM: dict[str, Any] = {
    "type": "object",
    "required": ["handle", "eventTime", "bizStep"],
    "properties": {
        "handle": {"type": "string"},
        "eventId": {"type": "string"},
        "type": {"enum": list(tracing.EVENT_TYPES)},
        "action": {"enum": list(tracing.ACTIONS)},
        "bizStep": {"enum": list(tracing.BIZ_STEPS)},
        "eventTime": {"type": "string", "format": "date-time"},
        "disposition": {"type": "string"},
        "readPoint": {"type": "string"},
        "bizLocation": {"type": "string"},
        "corrects": {"type": "string"},
        "note": {"type": "string"},
    },
}


def event_document(event: Event) -> dict[str, Any]:
    return {
        "eventId": event.event_id,
        "type": event.event_type,
        "action": event.action,
        "bizStep": event.biz_step,
        "disposition": event.disposition,
        "eventTime": event.event_time.isoformat(),
        "recordTime": event.recorded_at.isoformat(),
        "readPoint": event.read_point,
        "bizLocation": event.biz_location,
        "corrects": event.corrects or None,
        **event.body,
    }


def _render(result: tuple[str, bool]) -> tuple[int, bytes]:
    return (201 if result[1] else 200), msgspec.json.encode({"eventId": result[0], "created": result[1]})


@router.post(
    "/events",
    status_code=201,
    openapi_extra={"requestBody": {"content": {"application/json": {"schema": _FORM}}}},
)
async def record_event(request: Request, identity: Enterprise) -> Response:
    """Record what happened to a lot or an item: 201 when new, 200 for the same event again. Time, step, place and
    note are shown to the public on the handle's page (of drugs only time and step)."""
    require_scope(identity, "register")
    body = await read_json(request)
    claim = claim_of(request, f"registrant:{identity.registrant_id}", body, _render)
    status, answer = _render(await tracing.record(node_of(request), identity, body, claim))
    return json_response(answer, status)


@router.get("/events")
async def list_events(request: Request, identity: Enterprise, handle: str) -> Response:
    """Events of one of the caller's handles, in the order in which they happened."""
    found = await tracing.of_handle(node_of(request), identity, handle)
    return json_response({"events": [event_document(e) for e in found]})
