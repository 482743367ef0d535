"""The trace: events that happened to a lot or an item. Append-only; a wrong one is corrected by a later one."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec
import orjson

import handle_codec
from node import items
from node.drafts import decoded, issued_handle
from node.errors import AlreadyExists, HandleNotFound, InvalidRow, NodeError, RowError
from node.model import Event, Identity, Prefix, Status
from node.records import gone
from node.registration import owned_prefix
from node.revision import visible_prefix
from node.runtime import Node, ReadConnection, reading
from node.store import events
from node.templates import plain_text
from node.writing import Change, Claim, change

EVENT_TYPES = (
    "ObjectEvent",
    "AggregationEvent",
    "TransactionEvent",
    "TransformationEvent",
    "AssociationEvent",
)
ACTIONS = ("ADD", "OBSERVE", "DELETE")
# CBV business steps that the seven industries use (names recalled in domain.md 4: unchecked against the CBV itself).
BIZ_STEPS = {
    "commissioning": ("赋码", "Commissioning"),
    "harvesting": ("采收", "Harvesting"),
    "inspecting": ("检验", "Inspecting"),
    "transforming": ("加工", "Transforming"),
    "assembling": ("装配", "Assembling"),
    "packing": ("包装", "Packing"),
    "storing": ("入库", "Storing"),
    "shipping": ("发货", "Shipping"),
    "receiving": ("收货", "Receiving"),
    "retail_selling": ("销售", "Selling"),
    "installing": ("安装", "Installing"),
    "repairing": ("维修", "Repairing"),
    "decommissioning": ("停用", "Decommissioning"),
    "holding": ("封存", "Holding"),
    "other": ("其他", "Other"),
}
_EVENT_ID = re.compile(r"[0-9A-Za-z._:\-]{1,100}")
_AHEAD = timedelta(days=1)  # clocks of offline lines are wrong; further ahead than this is a slip of the pen

_Text = Annotated[str, msgspec.Meta(max_length=255)]


class EventForm(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """One event in its plain form: EPCIS 2.0 words, one handle that it happened to."""

    handle: _Text
    event_time: datetime
    biz_step: _Text
    event_id: _Text = ""
    type: _Text = "ObjectEvent"
    action: _Text = "OBSERVE"
    disposition: _Text = ""
    read_point: _Text = ""
    biz_location: _Text = ""
    corrects: _Text = ""
    note: _Text = ""


_form = msgspec.json.Decoder(EventForm)


async def record(node: Node, identity: Identity, raw: bytes, claim: Claim | None = None) -> tuple[str, bool]:
    """Store an event; (id, True) when it is new, (id, False) when the same one was there already.

    Offline lines send late and twice: the id is theirs to choose, and one id is one event.
    """
    form = decoded(_form, raw)
    prefix_text, suffix = issued_handle(form.handle)
    fields = _checked(form)
    event_id = fields[0]
    body = orjson.dumps({"note": form.note} if form.note else {})

    async def work(doing: Change) -> tuple[str, bool]:
        prefix = await owned_prefix(doing.conn, identity, prefix_text)
        shard = handle_codec.shard_of(suffix, prefix.home, prefix.spread)
        item = await items.lock(node, doing.conn, prefix, suffix)
        row = item.row
        if row is None or not items.is_registered(item):
            raise HandleNotFound.of(handle=form.handle)
        if row.status == Status.TOMBSTONE:
            raise gone(form.handle, row)
        if form.corrects and await events.fetch(doing.conn, shard, prefix.id, suffix, form.corrects) is None:
            raise InvalidRow.of(RowError("corrects", "unknown_event", "没有此事件", "there is no such event"))
        if await events.insert(doing.conn, shard, prefix.id, suffix, fields, identity.actor, body):
            return event_id, True
        stored = await events.fetch(doing.conn, shard, prefix.id, suffix, event_id)
        if stored is None or _fields_of(stored) != fields or orjson.dumps(stored.body) != body:
            raise AlreadyExists.of(what=f"event {event_id}")
        return event_id, False

    return await change(node, work, claim=claim)


def _checked(form: EventForm) -> list[Any]:
    """The stored fields, in the order of `store.events.insert`; raises InvalidRow with one error per field."""
    errors: list[RowError] = []

    def refuse(field: str, code: str, zh: str, en: str) -> None:
        errors.append(RowError(field, code, zh, en))

    if form.event_id and not _EVENT_ID.fullmatch(form.event_id):
        refuse("eventId", "pattern", "仅限字母、数字与 . _ : -，至多 100", "letters, digits and . _ : - only")
    for field, value, allowed in (
        ("type", form.type, EVENT_TYPES),
        ("action", form.action, ACTIONS),
        ("bizStep", form.biz_step, tuple(BIZ_STEPS)),
    ):
        if value not in allowed:
            refuse(field, "not_in_enum", f"须为 {'、'.join(allowed)}", f"must be one of {', '.join(allowed)}")
    if form.event_time.tzinfo is None:
        refuse("eventTime", "bad_date", "须含时区，如 +08:00", "needs an offset such as +08:00")
    elif form.event_time > datetime.now(UTC) + _AHEAD:
        refuse("eventTime", "out_of_range", "晚于现在一天以上", "is more than a day ahead")
    for field, value in (
        ("disposition", form.disposition),
        ("readPoint", form.read_point),
        ("bizLocation", form.biz_location),
        ("note", form.note),
    ):
        try:
            if value:
                plain_text(value, field, 255)
        except NodeError as error:
            errors.extend(error.errors)
    if errors:
        raise InvalidRow.of(*errors)
    event_id = form.event_id or f"urn:uuid:{uuid.uuid4()}"
    return [
        event_id, form.type, form.action, form.biz_step, form.disposition,
        form.event_time, form.read_point, form.biz_location, form.corrects,
    ]  # fmt: skip


def _fields_of(event: Event) -> list[Any]:
    return [
        event.event_id, event.event_type, event.action, event.biz_step, event.disposition,
        event.event_time, event.read_point, event.biz_location, event.corrects,
    ]  # fmt: skip


async def trace(conn: ReadConnection, prefix: Prefix, suffixes: Sequence[str]) -> list[Event]:
    """What happened to an item and to its lot, in the order in which it happened, without what was declared wrong."""
    found: list[Event] = []
    for suffix in suffixes:
        shard = handle_codec.shard_of(suffix, prefix.home, prefix.spread)
        found += await events.of_handle(conn, shard, prefix.id, suffix)
    wrong = {event.corrects for event in found if event.corrects}
    return sorted((e for e in found if e.event_id not in wrong), key=lambda e: (e.event_time, e.recorded_at))


async def of_handle(node: Node, identity: Identity, handle: str) -> list[Event]:
    """All events of one of the caller's handles, the corrected ones among them."""
    prefix_text, suffix = issued_handle(handle)
    async with reading(node) as conn:
        prefix = await visible_prefix(conn, identity, prefix_text)
        shard = handle_codec.shard_of(suffix, prefix.home, prefix.spread)
        return await events.of_handle(conn, shard, prefix.id, suffix)
