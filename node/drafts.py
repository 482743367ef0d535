"""From the JSON of one registration to a checked draft: envelope, handle, handle values. No I/O."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec

import handle_codec
from node.errors import BrokenBody, InvalidHandleError, InvalidRow, NodeError, ReservedSuffix, RowError
from node.records import DEFAULT_PERMISSIONS, DEFAULT_TTL

_ATTRIBUTE_INDEXES = range(2000, 3000)  # an attribute is a handle value from index 2000 on
_TEMPLATE_INDEX = 1001  # reserved by the national interface for the template itself
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_FIELD = re.compile(r" - at `\$\.?(.*)`$")

_Text = Annotated[str, msgspec.Meta(max_length=1000)]


class ValueData(msgspec.Struct, forbid_unknown_fields=True):
    """Data of a handle value: text, or bytes as base64 or hexadecimal digits."""

    format: str
    value: str


class Value(msgspec.Struct, forbid_unknown_fields=True):
    """One handle value beside the attributes (RFC 3651 section 3.1)."""

    index: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
    type: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    data: str | ValueData
    ttl: Annotated[int, msgspec.Meta(ge=0, le=2 * 86_400)] = DEFAULT_TTL
    permissions: Annotated[str, msgspec.Meta(pattern="^[01]{4}$")] = DEFAULT_PERMISSIONS


class Envelope(msgspec.Struct, forbid_unknown_fields=True):
    """What `POST /api/v1/handles` takes; attributes stay raw for the template's own decoder."""

    handle: _Text
    template: _Text = ""
    lot: _Text = ""
    attributes: msgspec.Raw = msgspec.Raw(b"{}")
    values: Annotated[list[Value], msgspec.Meta(max_length=2048)] = []


class Replacement(msgspec.Struct, forbid_unknown_fields=True):
    """What PUT and PATCH take; in a PATCH an absent member is left as it is."""

    handle: _Text = ""
    template: _Text | None = None
    lot: _Text | None = None
    attributes: msgspec.Raw = msgspec.Raw(b"")  # empty: not given; msgspec takes no `Raw | None`
    values: Annotated[list[Value], msgspec.Meta(max_length=2048)] | None = None


_envelope = msgspec.json.Decoder(Envelope)
_replacement = msgspec.json.Decoder(Replacement)
raw_rows = msgspec.json.Decoder(list[msgspec.Raw])


class Draft(msgspec.Struct, gc=False):
    """A row with its handle read; its attributes wait for the template. Nothing in it refers back to it, so the
    collector need not look at the 50,000 of a chunk."""

    prefix: str
    suffix: str
    template: str
    lot: str  # suffix, "" for none
    attributes: msgspec.Raw
    values: Sequence[dict[str, Any]]

    @property
    def handle(self) -> str:
        return f"{self.prefix}/{self.suffix}"


def draft_of(raw: bytes | msgspec.Raw) -> Draft:
    """Read one registration; raises a NodeError that names the field."""
    envelope = decoded(_envelope, raw)
    prefix, suffix = issued_handle(envelope.handle)
    return Draft(
        prefix,
        suffix,
        envelope.template,
        lot_suffix(envelope.lot, prefix),
        envelope.attributes,
        checked_values(envelope.values) or (),  # the one empty tuple: no list of its own for each row
    )


def replacement_of(raw: bytes) -> Replacement:
    given: Replacement = decoded(_replacement, raw)
    return given


def issued_handle(text: str, field: str = "handle") -> tuple[str, str]:
    """(prefix, suffix) of a handle as issued here; full-width and other slips in the prefix are mended first, and a
    suffix of the minted family is folded (upper case, O, I, L as 0, 1, 1)."""
    try:
        prefix, suffix = handle_codec.parse_issued(text)
    except handle_codec.InvalidHandle:
        try:
            prefix, suffix = handle_codec.parse_issued(handle_codec.normalise(text))
        except handle_codec.InvalidHandle as error:
            raise invalid_handle(error, field, text) from None
    return prefix, handle_codec.fold_serial(suffix)


def invalid_handle(error: handle_codec.InvalidHandle, field: str = "handle", text: str = "") -> NodeError:
    """The codec's refusal in the node's words."""
    named = RowError(field, error.code, error.reason_zh, error.reason)
    if error.code == "reserved":
        return ReservedSuffix.of(named, suffix=text.partition("/")[2][:64])
    return InvalidHandleError.of(named, reason=error.reason, reason_zh=error.reason_zh, position=error.position)


def lot_suffix(text: str, prefix: str) -> str:
    """The lot's suffix; given as a handle under the same prefix or as the suffix alone."""
    if not text:
        return ""
    own, suffix = issued_handle(text if "/" in text else f"{prefix}/{text}", "lot")
    if own != prefix:
        raise InvalidRow.of(
            RowError("lot", "foreign_lot", f"批次须在前缀 {prefix} 之下", f"the lot must be under {prefix}")
        )
    return suffix


def checked_values(values: list[Value]) -> list[dict[str, Any]]:
    """Handle values in canonical form: by index, defaults left out; raises InvalidRow, one error per value."""
    errors: list[RowError] = []
    kept: dict[int, dict[str, Any]] = {}
    for position, value in enumerate(values):
        fault = _fault(value, kept)
        if fault:
            errors.append(RowError(f"values[{position}]", *fault))
        else:
            kept[value.index] = _canonical(value)
    if errors:
        raise InvalidRow.of(*errors)
    return [kept[index] for index in sorted(kept)]


def _fault(value: Value, kept: Mapping[int, Any]) -> tuple[str, str, str] | None:
    if value.index == _TEMPLATE_INDEX or value.index in _ATTRIBUTE_INDEXES:
        return "reserved_index", "索引 1001 与 2000–2999 保留", "indexes 1001 and 2000-2999 are reserved"
    if value.type.upper().startswith("HS_"):
        return "reserved_type", "类型 HS_* 保留", "types HS_* are reserved"
    if value.index in kept:
        return "duplicate_index", f"索引 {value.index} 重复", f"index {value.index} stands twice"
    data = value.data if isinstance(value.data, ValueData) else ValueData("string", value.data)
    if CONTROL.search(value.type) or (data.format == "string" and CONTROL.search(data.value)):
        return "control_character", "含控制字符", "holds a control character"
    try:
        if data.format == "base64":
            base64.b64decode(data.value, validate=True)
        elif data.format == "hex":
            bytes.fromhex(data.value)
        elif data.format != "string":
            return "unknown_format", "format 须为 string、base64 或 hex", "format must be string, base64 or hex"
    except (binascii.Error, ValueError):
        return "broken_data", f"不是有效的 {data.format}", f"is not valid {data.format}"
    return None


def _canonical(value: Value) -> dict[str, Any]:
    data = value.data if isinstance(value.data, ValueData) else ValueData("string", value.data)
    kept: dict[str, Any] = {
        "index": value.index,
        "type": value.type,
        "data": {"format": data.format, "value": data.value},
    }
    if value.ttl != DEFAULT_TTL:
        kept["ttl"] = value.ttl
    if value.permissions != DEFAULT_PERMISSIONS:
        kept["permissions"] = value.permissions
    return kept


def decoded(decoder: msgspec.json.Decoder[Any], raw: bytes | msgspec.Raw) -> Any:
    """Decode one row; InvalidRow with the field where it does not fit, BrokenBody where it is not JSON."""
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise _misfit(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BrokenBody.of(reason=str(error)) from None


def fitted(value: Any, form: type[Any]) -> Any:
    """What was decoded already, as a `form`; InvalidRow with the field where it does not fit."""
    try:
        return msgspec.convert(value, form)
    except msgspec.ValidationError as error:
        raise _misfit(error) from None


def _misfit(error: msgspec.ValidationError) -> InvalidRow:
    text = str(error)
    found = _FIELD.search(text)
    reason = _FIELD.sub("", text)
    code = "unknown_field" if "unknown field" in reason else "wrong_type"
    return InvalidRow.of(RowError(found.group(1) if found else "", code, f"不符合要求：{reason}", reason))
