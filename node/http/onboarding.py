"""Routes of applications, operators, prefixes, keys, audit and statistics."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from node import access, audit, onboarding
from node.access import require_role, require_scope
from node.errors import BadRequest, InvalidRow, NotFound, RowError
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
from node.store import access as key_store
from node.store import prefixes
from node.templates import plain_text
from node.writing import Change, change

router = APIRouter(prefix="/api/v1")

_Text = Annotated[str, msgspec.Meta(max_length=1000)]
_MAX_PAGE = 500


class Login(msgspec.Struct, forbid_unknown_fields=True):
    login: _Text
    password: _Text


class NewOperator(msgspec.Struct, forbid_unknown_fields=True):
    login: _Text
    password: _Text
    role: _Text


class Reason(msgspec.Struct, forbid_unknown_fields=True):
    reason: _Text


class NewKey(msgspec.Struct, forbid_unknown_fields=True):
    name: Annotated[str, msgspec.Meta(max_length=64)] = ""
    scopes: list[str] = msgspec.field(default_factory=lambda: list(access.SCOPES))
    networks: Annotated[list[str], msgspec.Meta(max_length=32)] = []
    expires_at: datetime | None = None


_login = msgspec.json.Decoder(Login)
_new_operator = msgspec.json.Decoder(NewOperator)
_reason = msgspec.json.Decoder(Reason)
_new_key = msgspec.json.Decoder(NewKey)


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
    request: Request, operator: Operator, after: int = 0, limit: int = 100, status: int | None = None
) -> Response:
    """Applications in order of arrival, contacts masked; `status` by the national enumeration 1, 3, 4, 5."""
    limit = max(1, min(limit, _MAX_PAGE))
    found = await onboarding.listed(node_of(request), operator, after, status, limit)
    following = found[-1]["id"] if len(found) == limit else None
    return json_response({"applications": found, "next": following})


@router.get("/applications/{application_id}", tags=["applications"])
async def read_application(request: Request, operator: Operator, application_id: int) -> Response:
    """One application with its contact in clear; that it was read goes into the audit trail."""
    return json_response(await onboarding.opened(node_of(request), operator, application_id))


@router.post("/applications/{application_id}:decide", tags=["applications"], openapi_extra=_JSON)
async def decide(request: Request, operator: Operator, application_id: int) -> Response:
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
    return json_response(
        {"token": token, "expires_at": ends.isoformat()}, 200, {"Cache-Control": "no-store"}
    )


@router.post("/operators:logout", tags=["operators"])
async def logout(request: Request, operator: Operator) -> Response:
    """End this session."""
    await access.logout(node_of(request), bearer(request))
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
    return json_response(
        await onboarding.set_prefix_status(node_of(request), operator, prefix, status, form.reason)
    )


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
    assert identity.registrant_id is not None
    async with reading(node_of(request)) as conn:
        rows = await key_store.keys_of(conn, identity.registrant_id)
    return json_response({"keys": [_key_document(row) for row in rows]})


def _key_document(row: Any) -> dict[str, Any]:
    times = ("created_at", "expires_at", "revoked_at", "last_used_at")
    return {
        "id": row["id"],
        "name": row["name"],
        "scopes": row["scopes"],
        "networks": [str(network) for network in row["networks"]],
        **{name: row[name].isoformat() if row[name] else None for name in times},
    }


@router.post("/keys", status_code=201, tags=["keys"], openapi_extra=_JSON)
async def issue_key(request: Request, identity: Enterprise) -> Response:
    """A second key, to change keys without a gap; it is shown this once. Name, scopes, networks, expires_at."""
    require_scope(identity, "keys")
    node = node_of(request)
    body = await read_json(request)
    form = _checked_key(decode(body, _new_key), identity)

    async def work(doing: Change) -> dict[str, Any]:
        assert identity.registrant_id is not None
        key_id, key = await access.issue_key(
            doing.conn,
            node,
            identity.registrant_id,
            form.name,
            actor=identity.actor,
            scopes=form.scopes,
            networks=form.networks,
            expires_at=form.expires_at,
        )
        return {"key_id": key_id, "api_key": key}

    claim = claim_of(request, f"registrant:{identity.registrant_id}", body, _rendered(201))
    return json_response(await change(node, work, claim=claim), 201, {"Cache-Control": "no-store"})


def _checked_key(form: NewKey, identity: Identity) -> NewKey:
    access.check_networks(form.networks)
    if form.name:
        plain_text(form.name, "name", 64)
    if not form.scopes or not set(form.scopes) <= identity.scopes:
        known = ", ".join(sorted(identity.scopes))
        raise InvalidRow.of(RowError("scopes", "not_in_enum", f"须取自 {known}", f"must be among {known}"))
    if form.expires_at and (form.expires_at.tzinfo is None or form.expires_at <= datetime.now(UTC)):
        raise InvalidRow.of(
            RowError("expires_at", "bad_date", "须为将来的时间并带时区", "must be in the future, with an offset")
        )
    return form


@router.delete("/keys/{key_id}", tags=["keys"])
async def revoke_key(request: Request, key_id: str) -> Response:
    """Revoke a key: dead at once. An enterprise its own, an operator any."""
    identity = await _anyone(request)
    if identity.role is None:
        require_scope(identity, "keys")
    else:
        require_role(identity, "reviewer")
    if not (key_id.isascii() and key_id.isalnum()):
        raise NotFound.of(what="key")

    async def work(doing: Change) -> None:
        await access.revoke_key(doing.conn, identity, key_id)

    await change(node_of(request), work)
    return Response(status_code=204)


@router.get("/audit", tags=["operators"])
async def read_audit(request: Request, operator: Operator, after: int = 0, limit: int = 100) -> Response:
    """Entries of the audit trail after `after`, for auditors."""
    require_role(operator, "auditor")
    async with reading(node_of(request)) as conn:
        found = await audit.entries(conn, after, max(1, min(limit, _MAX_PAGE)))
    return json_response({"entries": found})


@router.get("/statistics", tags=["operators"])
async def statistics(request: Request, operator: Operator, prefix: str = "") -> Response:
    """Both meanings of 注册量 (domain.md 2.3): prefixes allotted, and identifiers created, deleted and registered."""
    require_role(operator, "reviewer", "auditor")
    async with reading(node_of(request)) as conn:
        found = await prefixes.fetch(conn, prefix) if prefix else None
        if prefix and found is None:
            raise BadRequest.of(reason="no such prefix", reason_zh="没有此前缀")
        created, deleted = await prefixes.totals(conn, found.id if found else None)
        registrants, allotted = await prefixes.numbers(conn)
    return json_response(
        {
            "registrants": registrants,
            "prefixes": allotted,
            "created": created,
            "deleted": deleted,
            "registered": created - deleted,
        }
    )
