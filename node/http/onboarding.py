"""Routes of applications, operators, prefixes, keys and audit."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from node import access, audit, keys, onboarding, serials
from node.access import require_role, require_scope
from node.http.requests import (
    Enterprise,
    Operator,
    bearer,
    claim_of,
    client_address,
    decode,
    json_response,
    node_of,
    read_json,
)
from node.model import Identity, Prefix, PrefixStatus
from node.runtime import reading
from node.store import prefixes

router = APIRouter(prefix="/api/v1")

_Text = Annotated[str, msgspec.Meta(max_length=1000)]
_MAX_PAGE = 500
# Numbers of the database's own width: a longer one is refused here, not by an error of the driver.
_Id = Annotated[int, Path(ge=1, le=2**63 - 1)]
_After = Annotated[int, Query(ge=0, le=2**63 - 1)]
_Status = Annotated[int | None, Query(ge=0, le=5)]


class Login(msgspec.Struct, forbid_unknown_fields=True):
    login: _Text
    password: _Text


class NewOperator(msgspec.Struct, forbid_unknown_fields=True):
    login: _Text
    password: _Text
    role: _Text


class Reason(msgspec.Struct, forbid_unknown_fields=True):
    reason: _Text


_login = msgspec.json.Decoder(Login)
_new_operator = msgspec.json.Decoder(NewOperator)
_reason = msgspec.json.Decoder(Reason)


def _rendered(status: int) -> Any:
    """How an answer is kept under its Idempotency-Key: one that holds a secret is not."""

    def render(result: dict[str, Any]) -> tuple[int, bytes | None]:
        return status, None if result.get("api_key") else msgspec.json.encode(result)

    return render


_JSON = {"requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}}


@router.post("/applications", status_code=201, tags=["applications"], openapi_extra=_JSON)
async def apply(request: Request) -> Response:
    """An enterprise applies for a prefix: credit_code, name, industry, county, contact {person, phone, email}."""
    node = node_of(request)
    body = await read_json(request)
    claim = claim_of(request, "anonymous", body, _rendered(201))
    applied = await onboarding.apply(node, body, claim)
    location = f"{node.settings.public_url}/api/v1/applications/{applied['id']}"
    return json_response(applied, 201, {"Location": location})


@router.get("/applications", tags=["applications"])
async def list_applications(
    request: Request, operator: Operator, after: _After = 0, limit: int = 100, status: _Status = None
) -> Response:
    """Applications in order of arrival, contacts masked; `status` by the national enumeration 1, 3, 4, 5."""
    limit = max(1, min(limit, _MAX_PAGE))
    found = await onboarding.listed(node_of(request), operator, after, status, limit)
    following = found[-1]["id"] if len(found) == limit else None
    return json_response({"applications": found, "next": following})


@router.get("/applications/{application_id}", tags=["applications"])
async def read_application(request: Request, operator: Operator, application_id: _Id) -> Response:
    """One application with its contact in clear; that it was read goes into the audit trail."""
    return json_response(await onboarding.opened(node_of(request), operator, application_id))


@router.post("/applications/{application_id}:decide", tags=["applications"], openapi_extra=_JSON)
async def decide(request: Request, operator: Operator, application_id: _Id) -> Response:
    """Approve or reject with a reason; the answer that enables the prefix shows its key, once."""
    body = await read_json(request)
    claim = claim_of(request, operator.actor, body, _rendered(200))
    decided = await onboarding.decide(node_of(request), operator, application_id, body, claim)
    return json_response(decided, 200, {"Cache-Control": "no-store"})


@router.post("/operators:login", tags=["operators"], openapi_extra=_JSON)
async def login(request: Request) -> Response:
    """A session of eight hours: use the token as Bearer."""
    form = decode(await read_json(request), _login)
    token, ends = await access.login(node_of(request), form.login, form.password)
    return json_response({"token": token, "expires_at": ends.isoformat()}, 200, {"Cache-Control": "no-store"})


@router.post("/operators:logout", tags=["operators"])
async def logout(request: Request, operator: Operator) -> Response:
    """End this session."""
    await access.logout(node_of(request), operator, bearer(request))
    return Response(status_code=204)


@router.post("/operators", status_code=201, tags=["operators"], openapi_extra=_JSON)
async def add_operator(request: Request, operator: Operator) -> Response:
    """Add an operator: login, password of at least 12 characters, role reviewer, auditor or admin."""
    require_role(operator)
    form = decode(await read_json(request), _new_operator)
    await access.add_operator(node_of(request), form.login, form.password, form.role, actor=operator.actor)
    return json_response({"login": form.login, "role": form.role}, 201)


async def _anyone(request: Request) -> Identity:
    """An operator's session or an enterprise's key, told apart by the token's form."""
    node, token = node_of(request), bearer(request)
    if token.startswith("ops_"):
        return await access.operator(node, token)
    return await access.enterprise(node, token, client_address(request.scope, node.settings))


def _prefix_document(prefix: Prefix, operator: bool) -> dict[str, Any]:
    document: dict[str, Any] = {
        "prefix": prefix.prefix,
        "status": prefix.status.word,
        "status_zh": prefix.status.zh,
        "registrant": prefix.registrant_name,
        "industry": prefix.industry,
        "county": prefix.county,
    }
    return document | ({"home": prefix.home, "spread": prefix.spread} if operator else {})


@router.get("/prefixes", tags=["prefixes"])
async def list_prefixes(request: Request) -> Response:
    """An enterprise's own prefixes; an operator sees all."""
    identity = await _anyone(request)
    async with reading(node_of(request)) as conn:
        if identity.registrant_id is None:
            found = await prefixes.every(conn)
        else:
            found = await prefixes.of_registrant(conn, identity.registrant_id)
    return json_response({"prefixes": [_prefix_document(p, identity.role is not None) for p in found]})


async def _set_status(request: Request, operator: Identity, prefix: str, status: PrefixStatus) -> Response:
    form = decode(await read_json(request), _reason)
    return json_response(await onboarding.set_prefix_status(node_of(request), operator, prefix, status, form.reason))


@router.get("/prefixes/{prefix}/serial-keys", tags=["prefixes"])
async def list_serial_keys(request: Request, operator: Operator, prefix: str) -> Response:
    """The keys that a prefix's serials were minted with, without their secrets; the current one last."""
    return json_response({"keys": await serials.listed(node_of(request), operator, prefix)})


@router.post("/prefixes/{prefix}/serial-keys", tags=["prefixes"], status_code=201)
async def rotate_serial_key(request: Request, operator: Operator, prefix: str) -> Response:
    """Retire a prefix's key that was stolen: printed serials stay right, new ones are minted with the next key."""
    return json_response(await serials.rotate(node_of(request), operator, prefix), 201)


@router.post("/prefixes/{prefix}:suspend", tags=["prefixes"], openapi_extra=_JSON)
async def suspend(request: Request, operator: Operator, prefix: str) -> Response:
    """Stop a prefix: nothing is registered under it, its handles answer as suspended."""
    return await _set_status(request, operator, prefix, PrefixStatus.STOPPED)


@router.post("/prefixes/{prefix}:resume", tags=["prefixes"], openapi_extra=_JSON)
async def resume(request: Request, operator: Operator, prefix: str) -> Response:
    """Take the suspension back."""
    return await _set_status(request, operator, prefix, PrefixStatus.ENABLED)


@router.get("/keys", tags=["keys"])
async def list_keys(request: Request, identity: Enterprise) -> Response:
    """The enterprise's keys, without their secrets."""
    require_scope(identity, "keys")
    return json_response({"keys": await keys.listed(node_of(request), identity)})


@router.post("/keys", status_code=201, tags=["keys"], openapi_extra=_JSON)
async def issue_key(request: Request, identity: Enterprise) -> Response:
    """A second key, to change keys without a gap; it is shown this once. Name, scopes, networks, expires_at."""
    body = await read_json(request)
    # An answer that holds a secret is never stored: the same request again is told that it was done.
    claim = claim_of(request, f"registrant:{identity.registrant_id}", body, lambda made: (201, None))
    made = await keys.make(node_of(request), identity, body, claim)
    return json_response(made, 201, {"Cache-Control": "no-store"})


@router.delete("/keys/{key_id}", tags=["keys"])
async def revoke_key(request: Request, key_id: str) -> Response:
    """Revoke a key: dead at once. An enterprise its own, an operator any."""
    await keys.revoke(node_of(request), await _anyone(request), key_id)
    return Response(status_code=204)


@router.get("/audit", tags=["operators"])
async def read_audit(request: Request, operator: Operator, after: _After = 0, limit: int = 100) -> Response:
    """Entries of the audit trail after `after`, for auditors."""
    require_role(operator, "auditor")
    async with reading(node_of(request)) as conn:
        found = await audit.entries(conn, after, max(1, min(limit, _MAX_PAGE)))
    return json_response({"entries": found})
