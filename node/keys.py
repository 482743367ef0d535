"""An enterprise's own keys: what it may ask for, and the list of what it has."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Annotated, Any

import msgspec

from node import access
from node.drafts import decoded
from node.errors import InvalidRow, NodeError, NotFound, RowError
from node.model import Identity
from node.runtime import Node, reading
from node.store import access as store
from node.templates import plain_text
from node.writing import Change, Claim, change

_Word = Annotated[str, msgspec.Meta(max_length=64)]


class KeyForm(msgspec.Struct, forbid_unknown_fields=True):
    """What `POST /api/v1/keys` takes; no network means any address, no expiry means until it is revoked."""

    name: _Word = ""
    scopes: Annotated[list[_Word], msgspec.Meta(max_length=8)] | None = None
    networks: Annotated[list[_Word], msgspec.Meta(max_length=32)] = []
    expires_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


_form = msgspec.json.Decoder(KeyForm)
_LONGEST = timedelta(days=3653)
_TIMES = ("expires_at", "revoked_at", "last_used_at")


async def make(node: Node, identity: Identity, body: bytes, claim: Claim | None) -> dict[str, Any]:
    """Issue a key to the caller's enterprise: {"id", "api_key", ...}; InvalidRow, TooManyKeys."""
    access.require_scope(identity, "keys")
    form: KeyForm = decoded(_form, body)
    registrant = identity.registrant_id
    assert registrant is not None  # only an enterprise's key has the scope
    scopes = sorted(identity.scopes if form.scopes is None else set(form.scopes))
    if faults := _faults(identity, form, scopes):
        raise InvalidRow.of(*faults)

    async def work(doing: Change) -> tuple[str, str]:
        return await access.issue_key(
            doing.conn,
            node,
            registrant,
            form.name,
            actor=identity.actor,
            scopes=scopes,
            networks=form.networks,
            expires_at=form.expires_at,
        )

    key_id, key = await change(node, work, claim=claim)
    return {"id": key_id, "api_key": key, "name": form.name, "scopes": scopes, "networks": form.networks}


def _faults(identity: Identity, form: KeyForm, scopes: list[str]) -> list[RowError]:
    """What is wrong with the form; a key gives no right that its maker does not have."""
    faults = []
    if form.name:
        try:
            plain_text(form.name, "name", 64)
        except NodeError as error:
            faults += error.errors
    if not scopes or not set(scopes) <= identity.scopes:
        words = ", ".join(s for s in access.SCOPES if s in identity.scopes)
        faults.append(RowError("scopes", "not_in_enum", f"须取自：{words}", f"one or more of {words}"))
    for position, text in enumerate(form.networks):
        try:
            ip_network(text)
        except ValueError:
            field = f"networks[{position}]"
            faults.append(RowError(field, "not_a_network", "不是 CIDR 网段", "is not a network in CIDR form"))
    now = datetime.now(UTC)
    if form.expires_at and not now < form.expires_at < now + _LONGEST:
        faults.append(RowError("expires_at", "out_of_range", "须在今后十年之内", "must lie within the next ten years"))
    return faults


async def revoke(node: Node, identity: Identity, key_id: str) -> None:
    """Revoke one of the caller's keys, or as a reviewer any; it is dead when this returns."""
    if identity.role is None:
        access.require_scope(identity, "keys")
    else:
        access.require_role(identity, "reviewer")
    if not access.is_key_id(key_id):
        raise NotFound.of(what=f"key {key_id[:64]!r}")
    await change(node, lambda doing: access.revoke_key(doing.conn, identity, key_id))


async def listed(node: Node, identity: Identity) -> list[dict[str, Any]]:
    """The caller's keys without their secrets, revoked ones among them."""
    assert identity.registrant_id is not None
    async with reading(node) as conn:
        rows = await store.keys_of(conn, identity.registrant_id)
    return [
        {
            "id": row["id"],
            "name": row["name"],
            "scopes": row["scopes"],
            "networks": [str(network) for network in row["networks"]],
            "live": row["live"],
            "created_at": row["created_at"].isoformat(),
            **{name: row[name] and row[name].isoformat() for name in _TIMES},
        }
        for row in rows
    ]
