"""What an application and a decision may say; checked without a look-up."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec
from stdnum.cn import uscc

import handle_codec
from node.drafts import decoded
from node.errors import InvalidRow, NodeError, RowError
from node.model import SHARDS
from node.templates import load_industries, plain_text

INDUSTRIES = {template.industry: template.zh for template in load_industries()}  # one data file each
COUNTIES = {"341302": "埇桥区", "341321": "砀山县", "341322": "萧县", "341323": "灵璧县", "341324": "泗县"}
_WRONG_CODE = ("check_digit", "统一社会信用代码有误（GB 32100，18 位）", "is not a unified social credit code")
_REASON = 500  # characters
_PHONE = re.compile(r"\+?[0-9][0-9 \-]{4,30}")
_EMAIL = re.compile(r"[^\s@\x00-\x1f]{1,64}@[^\s@\x00-\x1f]{1,190}")

_Text = Annotated[str, msgspec.Meta(max_length=1000)]


class Contact(msgspec.Struct, forbid_unknown_fields=True):
    person: _Text = ""
    phone: _Text = ""
    email: _Text = ""


# What is missing reads as empty, so that each missing field gets an error of its own.
class Application(msgspec.Struct, forbid_unknown_fields=True):
    credit_code: _Text = ""
    name: _Text = ""
    industry: _Text = ""
    county: _Text = ""
    contact: Contact = msgspec.field(default_factory=Contact)


class Decision(msgspec.Struct, forbid_unknown_fields=True):
    decision: _Text = ""
    reason: _Text = ""
    spread: int = 1  # shards of the prefix; 2^n for a giant


_application = msgspec.json.Decoder(Application)
_decision = msgspec.json.Decoder(Decision)


def read_application(body: bytes) -> tuple[Application, str]:
    """The form and its credit code in upper case; InvalidRow with one error for each wrong field."""
    form: Application = decoded(_application, body)
    errors: list[RowError] = []

    def refuse(field: str, given: str, fault: tuple[str, str, str]) -> None:
        errors.append(RowError(field, *(fault if given else ("required", "必填", "is required"))))

    credit_code = uscc.compact(form.credit_code)
    if not handle_codec.is_credit_code(credit_code):
        refuse("credit_code", form.credit_code, _WRONG_CODE)
    for field, text, limit in (("name", form.name.strip(), 128), ("contact.person", form.contact.person, 64)):
        try:
            plain_text(text, field, limit)
        except NodeError as error:
            errors.extend(error.errors)
    for field, text, known in (("industry", form.industry, INDUSTRIES), ("county", form.county, COUNTIES)):
        if text not in known:
            names = "、".join(f"{k} {v}" for k, v in known.items())
            refuse(field, text, ("not_in_enum", f"须为 {names}", f"must be one of {', '.join(known)}"))
    if not _PHONE.fullmatch(form.contact.phone):
        refuse("contact.phone", form.contact.phone, ("pattern", "电话格式有误", "is not a phone number"))
    if form.contact.email and not _EMAIL.fullmatch(form.contact.email):
        errors.append(RowError("contact.email", "pattern", "邮箱格式有误", "is not an e-mail address"))
    if errors:
        raise InvalidRow.of(*errors)
    return form, credit_code


def checked_reason(text: str) -> str:
    """A reason worth recording; InvalidRow where it is empty, too long or holds control characters."""
    return plain_text(text.strip(), "reason", _REASON)


def read_decision(body: bytes) -> Decision:
    """The decision; InvalidRow with one error for each wrong field."""
    form: Decision = decoded(_decision, body)
    errors = []
    if form.decision not in ("approve", "reject"):
        errors.append(RowError("decision", "not_in_enum", "须为 approve 或 reject", "must be approve or reject"))
    try:
        checked_reason(form.reason)
    except NodeError as error:
        errors += error.errors
    if not 1 <= form.spread <= SHARDS or form.spread & (form.spread - 1):
        errors.append(RowError("spread", "out_of_range", "须为 1 至 1024 的 2 的幂", "must be a power of two"))
    if errors:
        raise InvalidRow.of(*errors)
    return form
