"""An enterprise applies, an operator decides, a prefix is allotted (domain.md 2.2).

States: 4 待审核 -> 5 审核中 (approved here, the upper node has yet to answer) -> 1 启用, or 3 被驳回.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import orjson

import handle_codec
from node import audit
from node.access import issue_key, require_role
from node.application_forms import Decision, checked_reason, read_application, read_decision
from node.errors import AlreadyDecided, AlreadyExists, NotFound, UnknownPrefix
from node.fence import prefix_name
from node.model import SHARDS, Identity, PrefixStatus
from node.runtime import Node, reading
from node.store import access as keys
from node.store import applications as store
from node.store import prefixes
from node.writing import Change, Claim, change

_CONTACT = "contact"  # label of the sealed column


async def apply(node: Node, body: bytes, claim: Claim | None) -> dict[str, Any]:
    """Take an application; InvalidRow with one error per wrong field, AlreadyExists while one is open."""
    form, code = read_application(body)
    sealed = node.sealer.seal(_CONTACT, msgspec.json.encode(form.contact))

    async def work(doing: Change) -> dict[str, Any]:
        number = await store.insert(
            doing.conn, code, form.name.strip(), form.industry, county=form.county, contact=sealed
        )
        if number is None:
            raise AlreadyExists.of(what=f"待审核的申请 / an open application of {code}")
        await audit.record(doing.conn, "anonymous", "application.submit", str(number))
        return {"id": number, "status": PrefixStatus.PENDING.word, "status_zh": PrefixStatus.PENDING.zh}

    return await change(node, work, claim=claim)


async def decide(
    node: Node, operator: Identity, application_id: int, body: bytes, claim: Claim | None
) -> dict[str, Any]:
    """Approve or reject, with a reason. The prefix is allotted in the same transaction; the answer that
    enables it holds the key, which is shown this once."""
    require_role(operator, "reviewer")
    form = read_decision(body)

    async def work(doing: Change) -> dict[str, Any]:
        row = await store.lock(doing.conn, application_id)
        if row is None:
            raise NotFound.of(what=f"application {application_id}")
        status = PrefixStatus(row["status"])
        if status not in (PrefixStatus.PENDING, PrefixStatus.IN_REVIEW):
            raise AlreadyDecided.of(id=application_id, status=f"{status.zh} / {status.word}")
        if form.decision == "reject":
            return await _reject(doing, operator, row, form.reason)
        return await _approve(node, doing, operator, row, form)

    return await change(node, work, claim=claim)


async def _reject(doing: Change, operator: Identity, row: Any, reason: str) -> dict[str, Any]:
    """Ours, or the upper node's answer after ours was yes: then the prefix, never used, is rejected too."""
    if row["prefix"]:
        await _set(doing, row["prefix"], PrefixStatus.REJECTED)
    answer = await _decided(doing, operator, row, PrefixStatus.REJECTED, reason)
    await audit.record(
        doing.conn,
        operator.actor,
        "application.reject",
        str(row["id"]),
        {"reason": reason, "from": row["status"]},
    )
    return {**answer, "reason": reason}


async def _approve(node: Node, doing: Change, operator: Identity, row: Any, form: Decision) -> dict[str, Any]:
    """The first yes is ours and allots the prefix, the second is the upper node's and enables it; the setting
    "auto" gives both at once. Locks first, audit last: its chain is held to the end of the transaction."""
    automatic = node.settings.upper_approval == "auto"
    first = row["status"] == PrefixStatus.PENDING
    if first:
        registrant, text = await _allot(node, doing, row, form.spread)
        row = {**row, "registrant_id": registrant, "prefix": text}
    detail = {"reason": form.reason, "prefix": row["prefix"]}
    number = str(row["id"])
    if first and not automatic:
        answer = await _decided(doing, operator, row, PrefixStatus.IN_REVIEW, form.reason)
        await audit.record(doing.conn, operator.actor, "application.approve", number, detail)
        return answer
    await _set(doing, row["prefix"], PrefixStatus.ENABLED)
    answer = await _decided(doing, operator, row, PrefixStatus.ENABLED, form.reason)
    has_keys = await keys.live_keys(doing.conn, row["registrant_id"])  # held from here on
    if first:
        await audit.record(doing.conn, operator.actor, "application.approve", number, detail)
    by = "setting:UPPER_APPROVAL=auto" if first else operator.actor
    await audit.record(doing.conn, by, "application.upper_approve", number, detail)
    if has_keys:  # an enterprise with a second prefix goes on with the keys that it has
        return {**answer, "key_id": None, "api_key": None}
    key_id, key = await issue_key(doing.conn, node, row["registrant_id"], "first", actor=operator.actor)
    return {**answer, "key_id": key_id, "api_key": key}


async def _set(doing: Change, text: str, status: PrefixStatus) -> None:
    prefix = await prefixes.hold(doing.conn, text, alone=True)
    assert prefix is not None  # written by the transaction that wrote it into the application
    doing.dependents.append(prefix_name(text))
    await prefixes.set_status(doing.conn, prefix.id, status)


async def _decided(
    doing: Change, operator: Identity, row: Mapping[str, Any], status: PrefixStatus, reason: str
) -> dict[str, Any]:
    await store.decide(
        doing.conn,
        row["id"],
        status=status,
        reason=reason,
        actor=operator.actor,
        registrant_id=row["registrant_id"],
        prefix=row["prefix"],
    )
    return {"id": row["id"], "status": status.word, "status_zh": status.zh, "prefix": row["prefix"]}


async def _allot(node: Node, doing: Change, row: Mapping[str, Any], spread: int) -> tuple[int, str]:
    """(registrant id, prefix) of a new prefix: in review until the upper node has answered."""
    conn = doing.conn
    registrant = await prefixes.upsert_registrant(conn, row["credit_code"], row["name"], row["industry"], row["county"])
    # Its earlier prefixes show its name and county too, which this application may have changed.
    doing.dependents += [prefix_name(prefix.prefix) for prefix in await prefixes.of_registrant(conn, registrant)]
    number = await prefixes.next_number(conn, node.settings.node_prefix)
    text = f"{node.settings.node_prefix}.{number}"
    # Spreads enterprises over the shards; any choice is right, for it is stored with the prefix.
    home = handle_codec.hash64(text.encode()) % SHARDS
    await prefixes.insert(conn, text, registrant, home, spread, PrefixStatus.IN_REVIEW)
    doing.dependents.append(prefix_name(text))  # workers refuse what they do not know: they must learn of it first
    return registrant, text


async def set_prefix_status(
    node: Node, operator: Identity, text: str, status: PrefixStatus, reason: str
) -> dict[str, Any]:
    """Suspend (STOPPED) or resume (ENABLED) a prefix; nothing is registered under it once this returned."""
    require_role(operator, "reviewer")
    checked_reason(reason)
    if not handle_codec.is_prefix(text):
        raise UnknownPrefix.of(prefix=text[:64])

    async def work(doing: Change) -> dict[str, Any]:
        prefix = await prefixes.hold(doing.conn, text, alone=True)
        if prefix is None:
            raise UnknownPrefix.of(prefix=text)
        if prefix.status not in (PrefixStatus.ENABLED, PrefixStatus.STOPPED):
            raise AlreadyDecided.of(id=text, status=f"{prefix.status.zh} / {prefix.status.word}")
        if prefix.status != status:
            await prefixes.set_status(doing.conn, prefix.id, status)
            action = "prefix.resume" if status == PrefixStatus.ENABLED else "prefix.suspend"
            await audit.record(doing.conn, operator.actor, action, text, {"reason": reason})
        return {"prefix": text, "status": status.word, "status_zh": status.zh}

    return await change(node, work, dependents=[prefix_name(text)])


async def listed(node: Node, operator: Identity, after: int, status: int | None, limit: int) -> list[dict[str, Any]]:
    """Applications in order of arrival, their contacts masked."""
    require_role(operator, "reviewer", "auditor")
    async with reading(node) as conn:
        rows = await store.page(conn, after, status, limit)
    return [_document(row, _masked(_opened(node, row))) for row in rows]


async def opened(node: Node, operator: Identity, application_id: int) -> dict[str, Any]:
    """One application with its contact in clear, for a reviewer; that it was read is audited."""
    require_role(operator, "reviewer")

    async def work(doing: Change) -> Any:
        row = await store.fetch(doing.conn, application_id)
        if row is None:
            raise NotFound.of(what=f"application {application_id}")
        await audit.record(doing.conn, operator.actor, "application.read", str(application_id))
        return row

    row = await change(node, work)
    return _document(row, _opened(node, row))


def _opened(node: Node, row: Any) -> dict[str, str]:
    contact: dict[str, str] = orjson.loads(node.sealer.open(_CONTACT, row["contact"]))
    return contact


def _masked(contact: dict[str, str]) -> dict[str, str]:
    name, _, host = contact["email"].partition("@")
    return {
        "person": contact["person"][:1] + "*",
        "phone": "****" + contact["phone"][-2:],
        "email": f"{name[:1]}***@{host}" if host else "",
    }


def _document(row: Any, contact: dict[str, str]) -> dict[str, Any]:
    status = PrefixStatus(row["status"])
    return {
        "id": row["id"],
        "credit_code": row["credit_code"],
        "name": row["name"],
        "industry": row["industry"],
        "county": row["county"],
        "contact": contact,
        "status": status.word,
        "status_zh": status.zh,
        "reason": row["reason"],
        "prefix": row["prefix"],
        "created_at": row["created_at"].isoformat(),
        "decided_at": row["decided_at"].isoformat() if row["decided_at"] else None,
    }
