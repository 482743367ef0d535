"""An enterprise applies, an operator decides, a prefix is allotted (domain.md 2.2).

States: 4 待审核 -> 5 审核中 (approved here, the upper node has yet to answer) -> 1 启用, or 3 被驳回.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
import orjson
from stdnum.cn import uscc
from stdnum.exceptions import ValidationError

import handle_codec
from node import audit
from node.access import issue_key, require_role
from node.drafts import decoded
from node.errors import AlreadyDecided, AlreadyExists, InvalidRow, NodeError, NotFound, RowError, UnknownPrefix
from node.model import SHARDS, Identity, PrefixStatus
from node.runtime import Connection, Node, reading
from node.store import access as keys
from node.store import applications as store
from node.store import prefixes
from node.templates import plain_text
from node.writing import Change, Claim, change

INDUSTRIES = {
    "pear": "砀山梨",
    "green_food": "绿色食品",
    "textile": "纺织服装",
    "home": "绿色家居",
    "shoes": "制鞋",
    "pharma": "生物医药",
    "machinery": "机械电子",
}
COUNTIES = {"341302": "埇桥区", "341321": "砀山县", "341322": "萧县", "341323": "灵璧县", "341324": "泗县"}
_CONTACT = "contact"  # label of the sealed column
_PHONE = re.compile(r"\+?[0-9][0-9 \-]{4,30}")
_EMAIL = re.compile(r"[^\s@\x00-\x1f]{1,64}@[^\s@\x00-\x1f]{1,190}")

_Text = Annotated[str, msgspec.Meta(max_length=1000)]


class Contact(msgspec.Struct, forbid_unknown_fields=True):
    person: _Text
    phone: _Text
    email: _Text = ""


class Application(msgspec.Struct, forbid_unknown_fields=True):
    credit_code: _Text
    name: _Text
    industry: _Text
    county: _Text
    contact: Contact


class Decision(msgspec.Struct, forbid_unknown_fields=True):
    decision: str
    reason: _Text
    spread: int = 1  # shards of the prefix; 2^n for a giant


_application = msgspec.json.Decoder(Application)
_decision = msgspec.json.Decoder(Decision)


async def apply(node: Node, body: bytes, claim: Claim | None) -> dict[str, Any]:
    """Take an application; raises InvalidRow with one error per wrong field, AlreadyExists while one is open."""
    form = decoded(_application, body)
    code = _checked(form)
    sealed = node.sealer.seal(_CONTACT, msgspec.json.encode(form.contact))

    async def work(doing: Change) -> dict[str, Any]:
        number = await store.insert(doing.conn, code, form.name.strip(), form.industry, form.county, sealed)
        if number is None:
            raise AlreadyExists.of(what=f"待审核的申请 / an open application of {code}")
        await audit.record(doing.conn, "anonymous", "application.submit", str(number))
        return {"id": number, "status": PrefixStatus.PENDING.word, "status_zh": PrefixStatus.PENDING.zh}

    return await change(node, work, claim=claim)


def _checked(form: Application) -> str:
    """The compact credit code of a form that is right; raises InvalidRow otherwise."""
    errors: list[RowError] = []

    def refuse(field: str, code: str, zh: str, en: str) -> None:
        errors.append(RowError(field, code, zh, en))

    try:
        credit_code = uscc.validate(form.credit_code)
    except ValidationError:
        credit_code = ""
        refuse(
            "credit_code", "check_digit", "统一社会信用代码有误（GB 32100，18 位）", "is not a unified social credit code"
        )
    for field, text, limit in (("name", form.name.strip(), 128), ("contact.person", form.contact.person, 64)):
        try:
            plain_text(text, field, limit)
        except NodeError as error:
            errors.extend(error.errors)
    for field, text, known in (("industry", form.industry, INDUSTRIES), ("county", form.county, COUNTIES)):
        if text not in known:
            names = "、".join(f"{k} {v}" for k, v in known.items())
            refuse(field, "not_in_enum", f"须为 {names}", f"must be one of {', '.join(known)}")
    if not _PHONE.fullmatch(form.contact.phone):
        refuse("contact.phone", "pattern", "电话格式有误", "is not a phone number")
    if form.contact.email and not _EMAIL.fullmatch(form.contact.email):
        refuse("contact.email", "pattern", "邮箱格式有误", "is not an e-mail address")
    if errors:
        raise InvalidRow.of(*errors)
    return credit_code


async def decide(
    node: Node, operator: Identity, application_id: int, body: bytes, claim: Claim | None
) -> dict[str, Any]:
    """Approve or reject, with a reason. The prefix is allotted in the same transaction; the answer that enables
    it holds the key, which is shown this once."""
    require_role(operator, "reviewer")
    form = decoded(_decision, body)
    _check_decision(form)

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


def _check_decision(form: Decision) -> None:
    errors = []
    if form.decision not in ("approve", "reject"):
        errors.append(RowError("decision", "not_in_enum", "须为 approve 或 reject", "must be approve or reject"))
    if not form.reason.strip():
        errors.append(RowError("reason", "required", "须说明理由", "a reason is required"))
    if not 1 <= form.spread <= SHARDS or form.spread & (form.spread - 1):
        errors.append(RowError("spread", "out_of_range", "须为 1 至 1024 的 2 的幂", "must be a power of two"))
    if errors:
        raise InvalidRow.of(*errors)


async def _reject(doing: Change, operator: Identity, row: Any, reason: str) -> dict[str, Any]:
    rejected = PrefixStatus.REJECTED
    if row["prefix"]:
        prefix = await prefixes.hold(doing.conn, row["prefix"], alone=True)
        assert prefix is not None
        doing.prefixes.append(prefix.prefix)
        await prefixes.set_status(doing.conn, prefix.id, rejected)
    await store.decide(
        doing.conn, row["id"], rejected, reason, operator.actor, row["registrant_id"], row["prefix"]
    )
    await audit.record(
        doing.conn, operator.actor, "application.reject", str(row["id"]), {"reason": reason}
    )
    return {"id": row["id"], "status": rejected.word, "status_zh": rejected.zh, "reason": reason}


async def _approve(
    node: Node, doing: Change, operator: Identity, row: Any, form: Decision
) -> dict[str, Any]:
    conn, manual = doing.conn, node.settings.upper_approval == "manual"
    registrant, text = row["registrant_id"], row["prefix"]
    if row["status"] == PrefixStatus.PENDING:
        registrant, text = await _allot(node, conn, row, form.spread)
        await audit.record(
            conn, operator.actor, "application.approve", str(row["id"]), {"reason": form.reason, "prefix": text}
        )
        if manual:
            await store.decide(
                conn, row["id"], PrefixStatus.IN_REVIEW, form.reason, operator.actor, registrant, text
            )
            waiting = PrefixStatus.IN_REVIEW
            return {"id": row["id"], "status": waiting.word, "status_zh": waiting.zh, "prefix": text}
    enabled = PrefixStatus.ENABLED
    prefix = await prefixes.hold(conn, text, alone=True)
    assert prefix is not None
    doing.prefixes.append(text)
    await prefixes.set_status(conn, prefix.id, enabled)
    await store.decide(conn, row["id"], enabled, form.reason, operator.actor, registrant, text)
    by = operator.actor if manual else "setting:UPPER_APPROVAL=auto"
    await audit.record(conn, by, "application.upper_approve", str(row["id"]), {"prefix": text})
    key_id, key = await _first_key(node, conn, registrant, operator)
    answer = {"id": row["id"], "status": enabled.word, "status_zh": enabled.zh, "prefix": text}
    return {**answer, "key_id": key_id, "api_key": key}


async def _first_key(
    node: Node, conn: Connection, registrant: int, operator: Identity
) -> tuple[str | None, str | None]:
    """A key for an enterprise that has none; one with a second prefix goes on with the keys it has."""
    if await keys.live_keys(conn, registrant):
        return None, None
    return await issue_key(conn, node, registrant, "first", actor=operator.actor)


async def _allot(node: Node, conn: Connection, row: Mapping[str, Any], spread: int) -> tuple[int, str]:
    """(registrant id, prefix) of a new prefix: in review until the upper node has answered."""
    registrant = await prefixes.upsert_registrant(
        conn, row["credit_code"], row["name"], row["industry"], row["county"]
    )
    number = await prefixes.next_number(conn, node.settings.node_prefix)
    text = f"{node.settings.node_prefix}.{number}"
    # The home shard spreads enterprises over the shards; any choice is right, for it is stored with the prefix.
    home = handle_codec.hash64(text.encode()) % SHARDS
    await prefixes.insert(conn, text, registrant, home, spread, PrefixStatus.IN_REVIEW)
    return registrant, text


async def set_prefix_status(
    node: Node, operator: Identity, text: str, status: PrefixStatus, reason: str
) -> dict[str, Any]:
    """Suspend (STOPPED) or resume (ENABLED) a prefix; nothing is registered under it after this is acknowledged."""
    require_role(operator, "reviewer")
    plain_text(reason, "reason", 500)

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

    return await change(node, work, dependents=[text])


async def listed(
    node: Node, operator: Identity, after: int, status: int | None, limit: int
) -> list[dict[str, Any]]:
    """Applications in order of arrival, their contacts masked."""
    require_role(operator, "reviewer", "auditor")
    async with reading(node) as conn:
        rows = await store.page(conn, after, status, limit)
    return [_document(row, _masked(_opened(node, row))) for row in rows]


async def opened(node: Node, operator: Identity, application_id: int) -> dict[str, Any]:
    """One application with its contact in clear, for a reviewer; that it was read goes into the audit trail."""
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
        "phone": contact["phone"][:3] + "****" + contact["phone"][-2:],
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
