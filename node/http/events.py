"""Routes of trace events."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from typing import Any

import msgspec
import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from node import capturing, epcis_documents, tracing
from node.access import require_scope
from node.capturing import Recorded
from node.drafts import raw_rows
from node.epcis_words import ACTIONS, BIZ_STEPS, EVENT_TYPES
from node.errors import BadRequest
from node.http import problems
from node.http.requests import Enterprise, claim_of, decode, json_response, node_of, read_json
from node.model import Event
from node.turns import batches

router = APIRouter(prefix="/api/v1", tags=["events"])

_SHORT: dict[str, Any] = {
    "type": "object",
    "required": ["handle", "eventTime", "bizStep"],
    "properties": {
        "handle": {"type": "string"},
        "eventId": {"type": "string"},
        "type": {"enum": list(EVENT_TYPES)},
        "action": {"enum": list(ACTIONS)},
        "bizStep": {"enum": list(BIZ_STEPS)},
        "eventTime": {"type": "string", "format": "date-time"},
        "disposition": {"type": "string"},
        "readPoint": {"type": "string"},
        "bizLocation": {"type": "string"},
        "corrects": {"type": "string"},
        "note": {"type": "string"},
    },
}
_STANDARD: dict[str, Any] = {
    "type": "object",
    "description": "An event or an EPCISDocument of EPCIS 2.0 (ISO/IEC 19987:2024) in JSON",
    "required": ["type"],
    "properties": {"type": {"enum": [*EVENT_TYPES, "EPCISDocument"]}},
}
_LIST = {"type": "array", "maxItems": capturing.MAX_EVENTS, "items": {"anyOf": [_SHORT, _STANDARD]}}
_FORM = {"anyOf": [_SHORT, _STANDARD, _LIST]}
_KINDS = ("application/json", "application/ld+json")


class _Body(msgspec.Struct):
    events: list[msgspec.Raw] = msgspec.field(name="eventList")


class _Document(msgspec.Struct):
    """What of an EPCISDocument concerns us; its header's master data are not taken."""

    body: _Body = msgspec.field(name="epcisBody")
    context: Any = msgspec.field(name="@context", default=None)


class _Kind(msgspec.Struct):
    type: Any = None


_document = msgspec.json.Decoder(_Document)
_kind = msgspec.json.Decoder(_Kind)


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


def _one(recorded: list[Recorded]) -> tuple[int, bytes]:
    """(status, body) of a single event."""
    (only,) = recorded
    if only.error:
        return problems.status_of(only.error), problems.encoded(only.error)
    created = only.outcome in ("created", "withdrawn")
    body = {"eventId": only.event_id, "created": created, "outcome": only.outcome}
    return (201 if created else 200), orjson.dumps(body)


def _many(recorded: list[Recorded]) -> tuple[int, bytes]:
    counted = Counter(each.outcome for each in recorded)
    summary = {name: counted[name] for name in ("created", "unchanged", "withdrawn", "conflict", "rejected")}
    return 200, orjson.dumps({"summary": summary, "results": [_result(each) for each in recorded]})


def _result(recorded: Recorded) -> dict[str, Any]:
    shown: dict[str, Any] = {"row": recorded.row, "eventId": recorded.event_id or None, "outcome": recorded.outcome}
    if recorded.error:
        problem = problems.document(recorded.error, recorded.row)
        shown |= {name: problem[name] for name in ("status", "code", "detail", "errors") if name in problem}
    return shown


def _read(body: bytes) -> tuple[list[msgspec.Raw], Any, bool]:
    """(events, @context, whether they are many) of a body: one event, a list of them, or an EPCISDocument."""
    if body.lstrip()[:1] == b"[":
        return decode(body, raw_rows), None, True
    if body.lstrip()[:1] == b"{" and decode(body, _kind).type == "EPCISDocument":
        document = decode(body, _document)
        return document.body.events, document.context, True
    return [msgspec.Raw(body)], None, False


@router.post(
    "/events",
    status_code=201,
    openapi_extra={"requestBody": {"required": True, "content": {kind: {"schema": _FORM} for kind in _KINDS}}},
)
async def record_event(request: Request, identity: Enterprise) -> Response:
    """Record what happened to lots and items: one event (201 when new, 200 for the same again), or up to 5,000 as a
    list or an EPCISDocument, answered with one result for each, in order. Time, step, place and note are shown to the
    public on the handle's page (of drugs only time and step)."""
    require_scope(identity, "register")
    body = await read_json(request)
    rows, context, many = _read(body)
    node, render = node_of(request), _many if many else _one
    claim = claim_of(request, f"registrant:{identity.registrant_id}", body, render)
    async with batches(node).turn(identity.registrant_id) if many else nullcontext():
        recorded = await capturing.record(node, identity, rows, context, claim)
    if not many and recorded[0].error:
        return problems.response(recorded[0].error)
    status, answer = render(recorded)
    return json_response(answer, status)


@router.get("/events")
async def list_events(request: Request, identity: Enterprise, handle: str, format: str = "") -> Response:
    """Events of one of the caller's handles, in the order in which they happened, those declared wrong apart. With
    `?format=epcis` or `Accept: application/ld+json` the whole trace, of lot and packages too, as an EPCISDocument."""
    node = node_of(request)
    if format not in ("", "json", "epcis"):
        raise BadRequest.of(reason="format must be json or epcis", reason_zh="format 须为 json 或 epcis")
    if format == "epcis" or (not format and "application/ld+json" in request.headers.get("accept", "").lower()):
        document = await epcis_documents.trace_document(node, identity, handle)
        return Response(orjson.dumps(document), 200, {"Vary": "Accept"}, "application/ld+json")
    found = await tracing.of_handle(node, identity, handle)
    return json_response(
        {
            "events": [event_document(e) for e in found if not e.withdrawn],
            "withdrawn": [event_document(e) for e in found if e.withdrawn],
        },
        headers={"Vary": "Accept"},
    )
