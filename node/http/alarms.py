"""Routes of alarms, and of the webhook that they are pushed to."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from node import alarms, webhooks
from node.http.requests import Enterprise, decode, json_response, node_of, read_json

router = APIRouter(prefix="/api/v1")

_MAX_PAGE = 500
_Number = Annotated[int, Path(ge=1, le=2**63 - 1)]
_After = Annotated[int, Query(ge=0, le=2**63 - 1)]
_Open = Annotated[bool | None, Query(alias="open")]


class WebhookForm(msgspec.Struct, forbid_unknown_fields=True):
    url: Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]
    rotate: bool = False


_form = msgspec.json.Decoder(WebhookForm)
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["url"],
    "properties": {"url": {"type": "string"}, "rotate": {"type": "boolean"}},
}
_NO_STORE = {"Cache-Control": "no-store"}


@router.get("/alarms", tags=["alarms"])
async def list_alarms(
    request: Request, identity: Enterprise, after: _After = 0, open_: _Open = None, limit: int = 100
) -> Response:
    """Alarms in the order in which there was something new to tell; ask again with `after` = `next`. An alarm that
    rises or comes again moves to the end. `open=true` leaves out what was acknowledged."""
    limit = max(1, min(limit, _MAX_PAGE))
    found = await alarms.listed(node_of(request), identity, after, open_, limit)
    return json_response({"alarms": found, "next": found[-1]["seq"] if found else after})


@router.post("/alarms/{alarm_id}:acknowledge", tags=["alarms"])
async def acknowledge(request: Request, identity: Enterprise, alarm_id: _Number) -> Response:
    """Somebody has seen to it. It is quiet for a day, unless its score rises."""
    return json_response(await alarms.acknowledge(node_of(request), identity, alarm_id))


@router.put(
    "/webhook",
    tags=["webhook"],
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": _SCHEMA}}}},
)
async def put_webhook(request: Request, identity: Enterprise) -> Response:
    """Where alarms are pushed to: https, under a proved host. The answer shows the secret once, when the address is
    new or `rotate` is true. Messages carry `Idnode-Message` (the same id at every try) and `Idnode-Signature:
    t=<unix seconds>,v1=<hex HMAC-SHA256 with the secret over "<t>." and the body>`; a 2xx within 10 s is receipt."""
    form = decode(await read_json(request), _form)
    document, _ = await webhooks.put(node_of(request), identity, form.url, form.rotate)
    return json_response(document, 200, _NO_STORE)


@router.get("/webhook", tags=["webhook"])
async def show_webhook(request: Request, identity: Enterprise) -> Response:
    """The webhook, its last success and failure, messages on their way, and those parked after a day of tries."""
    return json_response(await webhooks.shown(node_of(request), identity), 200, _NO_STORE)


@router.delete("/webhook", status_code=204, tags=["webhook"])
async def delete_webhook(request: Request, identity: Enterprise) -> Response:
    """Delete it with what was still to be delivered."""
    await webhooks.remove(node_of(request), identity)
    return Response(status_code=204)


@router.post("/webhook:test", tags=["webhook"])
async def test_webhook(request: Request, identity: Enterprise) -> Response:
    """Send a signed message of type "test" now and tell how it went."""
    return json_response(await webhooks.test(node_of(request), identity))


@router.post("/webhook:redeliver", tags=["webhook"])
async def redeliver(request: Request, identity: Enterprise) -> Response:
    """Queue again what was parked, under the same ids."""
    return json_response({"queued": await webhooks.redeliver(node_of(request), identity)})
