"""A trace as an EPCIS 2.0 document in JSON-LD, valid by GS1's published schema.

Handles become addresses of the node, and what the short form says in plain words becomes addresses of its own with the
words beside them (`idnode:name`). A withdrawn event stands there once, with the errorDeclaration that withdrew it.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import orjson

from node.containment import events_around
from node.drafts import issued_handle
from node.epcis_rules import utc
from node.epcis_words import CBV_STEPS, CONTEXT, DISPOSITIONS, URI, own_address
from node.errors import HandleNotFound
from node.items import find
from node.model import Event, Identity
from node.revision import visible_prefix
from node.runtime import Node, reading
from node.store import events as store

_IS_URI = re.compile(URI)


async def trace_document(node: Node, identity: Identity, handle: str) -> dict[str, Any]:
    """The EPCISDocument of one of the caller's handles: its events, its lot's, and those of what they were in."""
    prefix_text, suffix = issued_handle(handle)
    async with reading(node) as conn:
        prefix = await visible_prefix(conn, identity, prefix_text)
        row = (await find(node, conn, prefix, suffix)).row
        if row is None:
            raise HandleNotFound.of(handle=handle)
        found = await events_around(conn, prefix, [suffix, *([row.lot] if row.lot else [])])
        ids = sorted({event.event_id for event in found} | {event.corrects for event in found} - {""})
        stored = await store.documents(conn, prefix.registrant_id, [store.shard_of(i) for i in ids], ids)
    names = {prefix.id: prefix.prefix}
    base = node.settings.public_url
    return {
        "@context": [CONTEXT, {"idnode": f"{base}/vocabulary/"}],
        "type": "EPCISDocument",
        "schemaVersion": "2.0",
        "creationDate": utc(datetime.now(UTC).replace(microsecond=0)),
        "epcisBody": {"eventList": [_event(event, stored, names, base) for event in found]},
    }


def _event(event: Event, stored: dict[tuple[str, bool], Any], names: dict[int, str], base: str) -> dict[str, Any]:
    document = stored.get((event.event_id, False))
    content = orjson.loads(document["content"]) if document else _old(event, names)
    shown = _of_short(content, base) if "handle" in content else _of_standard(content, base)
    shown["eventID"] = event.event_id if _IS_URI.match(event.event_id) else own_address(base, "event", event.event_id)
    shown["recordTime"] = utc(event.recorded_at)
    if event.withdrawn:
        declared = stored.get((event.event_id, True))
        shown["errorDeclaration"] = (
            orjson.loads(declared["content"]) if declared else {"declarationTime": utc(event.recorded_at)}
        )
    return shown


def _of_standard(content: dict[str, Any], base: str) -> dict[str, Any]:
    shown = dict(content)
    for name in ("epcList", "childEPCs", "inputEPCList", "outputEPCList"):
        if name in shown:
            shown[name] = [_address(handle, base) for handle in shown[name]]
    for name in ("quantityList", "childQuantityList", "inputQuantityList", "outputQuantityList"):
        if name in shown:
            shown[name] = [{**entry, "epcClass": _address(entry["epcClass"], base)} for entry in shown[name]]
    if "parentID" in shown:
        shown["parentID"] = _address(shown["parentID"], base)
    return shown | _words(content, base)


def _of_short(content: dict[str, Any], base: str) -> dict[str, Any]:
    """An ObjectEvent: the short form names one handle, whatever type it is labelled with."""
    shown: dict[str, Any] = {
        "type": "ObjectEvent",
        "action": content["action"],
        "eventTime": content["eventTime"],
        "eventTimeZoneOffset": content["eventTimeZoneOffset"],
        "epcList": [_address(content["handle"], base)],
        **_words(content, base),
    }
    for name in ("readPoint", "bizLocation"):
        if content[name]:
            shown[name] = {"id": own_address(base, "place", content[name]), "idnode:name": content[name]}
    for name, value in (("note", content["note"]), ("corrects", content["corrects"])):
        if value:
            shown[f"idnode:{name}"] = value
    if content["type"] != "ObjectEvent":
        shown["idnode:type"] = content["type"]
    return shown


def _words(content: dict[str, Any], base: str) -> dict[str, str]:
    """bizStep and disposition, as words of CBV or as addresses."""
    shown = {}
    for name, kind, known in (("bizStep", "step", CBV_STEPS), ("disposition", "disposition", DISPOSITIONS)):
        if word := content.get(name):
            shown[name] = word if word in known or _IS_URI.match(word) else own_address(base, kind, word)
    return shown


def _old(event: Event, names: dict[int, str]) -> dict[str, Any]:
    """The short form of an event from before there were documents (migration 0020)."""
    return {
        "handle": f"{names.get(event.prefix_id, '')}/{event.suffix}",
        "type": event.event_type,
        "action": event.action,
        "bizStep": event.biz_step,
        "eventTime": utc(event.event_time),
        "eventTimeZoneOffset": "+08:00",
        "disposition": event.disposition,
        "readPoint": event.read_point,
        "bizLocation": event.biz_location,
        "corrects": event.corrects,
        "note": event.body.get("note", ""),
    }


def _address(handle: str, base: str) -> str:
    return f"{base}/{quote(handle, safe='/')}"
