"""Routes of hosts that an enterprise proves."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from node import hosts
from node.http.requests import Enterprise, claim_of, decode, json_response, node_of, read_json

router = APIRouter(prefix="/api/v1/hosts", tags=["hosts"])


class HostForm(msgspec.Struct, forbid_unknown_fields=True):
    host: Annotated[str, msgspec.Meta(min_length=1, max_length=253)]


_form = msgspec.json.Decoder(HostForm)
_SCHEMA: dict[str, Any] = {"type": "object", "required": ["host"], "properties": {"host": {"type": "string"}}}


def _render(made: tuple[dict[str, Any], bool]) -> tuple[int, bytes]:
    return (201 if made[1] else 200), msgspec.json.encode(made[0])


@router.post("", status_code=201, openapi_extra={"requestBody": {"content": {"application/json": {"schema": _SCHEMA}}}})
async def claim_host(request: Request, identity: Enterprise) -> Response:
    """Claim a host, exactly this one: the answer says what to publish in DNS, or in a file under it. 200 for one
    that was claimed before, with the same token."""
    body = await read_json(request)
    claim = claim_of(request, f"registrant:{identity.registrant_id}", body, _render)
    status, answer = _render(await hosts.claim(node_of(request), identity, decode(body, _form).host, claim))
    return json_response(answer, status)


@router.get("")
async def list_hosts(request: Request, identity: Enterprise) -> Response:
    """The enterprise's hosts: pending, proved or lapsed, when they were checked and what was wrong."""
    return json_response({"hosts": await hosts.listed(node_of(request), identity)})


@router.post("/{host}:verify")
async def verify_host(request: Request, identity: Enterprise, host: str) -> Response:
    """Look for the proof now, in both places; 409 says what was found there instead. At most 60 an hour."""
    return json_response(await hosts.verify(node_of(request), identity, host))


@router.delete("/{host}", status_code=204)
async def release_host(request: Request, identity: Enterprise, host: str) -> Response:
    """Give a host up."""
    await hosts.release(node_of(request), identity, host)
    return Response(status_code=204)
