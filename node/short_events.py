"""The short form of an event: EPCIS 2.0 words, one handle that it happened to, places and a note in plain words."""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from typing import Annotated, Any

import msgspec
import orjson

from node.drafts import fitted, issued_handle
from node.epcis import EventDraft, Mention, name_of
from node.epcis_rules import check_time, utc
from node.epcis_words import ACTIONS, BIZ_STEPS, EVENT_TYPES
from node.errors import InvalidRow, NodeError, RowError
from node.templates import plain_text

_EVENT_ID = re.compile(r"[0-9A-Za-z._:\-]{1,100}")
_Text = Annotated[str, msgspec.Meta(max_length=255)]


class ShortEvent(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """One event in its short form. An item is in nothing by it: `type` is a label only."""

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


def read_short(event: dict[str, Any]) -> EventDraft:
    """The draft of a short event; raises InvalidRow with one error per field."""
    form: ShortEvent = fitted(event, ShortEvent)
    prefix, suffix = issued_handle(form.handle)
    _check(form)
    kept = {
        "handle": f"{prefix}/{suffix}",
        "type": form.type,
        "action": form.action,
        "bizStep": form.biz_step,
        "eventTime": utc(form.event_time),
        "disposition": form.disposition,
        "readPoint": form.read_point,
        "bizLocation": form.biz_location,
        "corrects": form.corrects,
        "note": form.note,
        "eventTimeZoneOffset": form.event_time.strftime("%z")[:3] + ":" + form.event_time.strftime("%z")[3:5],
    }
    content = orjson.dumps(kept, option=orjson.OPT_SORT_KEYS)
    digest = hashlib.sha256(content).digest()
    return EventDraft(
        event_id=form.event_id or name_of(digest),
        event_type=form.type,
        action=form.action,
        biz_step=form.biz_step,
        disposition=form.disposition,
        event_time=form.event_time,
        read_point=form.read_point,
        biz_location=form.biz_location,
        content=content,
        digest=digest,
        mentions=[Mention(prefix, suffix, "epc", "handle")],
        corrects=form.corrects,
        body={"note": form.note} if form.note else {},
    )


def _check(form: ShortEvent) -> None:
    errors: list[RowError] = []
    if form.event_id and not _EVENT_ID.fullmatch(form.event_id):
        zh, en = "仅限字母、数字与 . _ : -，至多 100", "letters, digits and . _ : - only"
        errors.append(RowError("eventId", "pattern", zh, en))
    for field, value, allowed in (
        ("type", form.type, EVENT_TYPES),
        ("action", form.action, ACTIONS),
        ("bizStep", form.biz_step, tuple(BIZ_STEPS)),
    ):
        if value not in allowed:
            zh, en = f"须为 {'、'.join(allowed)}", f"must be one of {', '.join(allowed)}"
            errors.append(RowError(field, "not_in_enum", zh, en))
    try:
        _check_zone(form.event_time)
    except NodeError as error:
        errors.extend(error.errors)
    for field, value in (
        ("disposition", form.disposition),
        ("readPoint", form.read_point),
        ("bizLocation", form.biz_location),
        ("corrects", form.corrects),
        ("note", form.note),
    ):
        try:
            if value:
                plain_text(value, field, 255)
        except NodeError as error:
            errors.extend(error.errors)
    if errors:
        raise InvalidRow.of(*errors)


def _check_zone(when: datetime) -> None:
    if when.tzinfo is None:
        raise InvalidRow.of(RowError("eventTime", "bad_date", "须含时区，如 +08:00", "needs an offset such as +08:00"))
    check_time(when, "eventTime")
