"""From the JSON of one event, in EPCIS 2.0 or in the node's short form, to a checked draft. No I/O.

The canonical form of an event has sorted members, handles as prefix/suffix in order and once each, CBV's words bare and
its time in UTC; without eventID, recordTime, @context and errorDeclaration. Two events are the same when these are.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import unquote

import msgspec
import orjson

import handle_codec
from node.drafts import fitted, issued_handle
from node.epcis_forms import FORMS
from node.epcis_rules import check_rules, check_texts, check_time, refusal, utc
from node.epcis_words import EVENT_TYPES, URI, bare_word, from_own_address
from node.errors import BrokenBody

_EXTENSION = re.compile(URI)
_DROPPED = ("@context", "eventID", "recordTime", "errorDeclaration")
# In these the standard allows no members of others.
_CLOSED_TEXT = (
    "quantityList childQuantityList inputQuantityList outputQuantityList bizTransactionList sourceList "
    "destinationList persistentDisposition ilmd"
)
_CLOSED = frozenset(_CLOSED_TEXT.split())
# Members that name handles, and how these take part; lists of codes first, lists of quantities after.
_CODES = {"epcList": "epc", "childEPCs": "child", "inputEPCList": "input", "outputEPCList": "output"}
_QUANTITIES = {
    "quantityList": "class",
    "childQuantityList": "quantity",
    "inputQuantityList": "input",
    "outputQuantityList": "output",
}


@dataclass(slots=True)
class Mention:
    """A handle that an event happened to. `field` says where it stands, `parent` what it went into or out of."""

    prefix: str
    suffix: str
    role: str
    field: str
    parent: str = ""

    @property
    def handle(self) -> str:
        return f"{self.prefix}/{self.suffix}"


@dataclass(slots=True)
class EventDraft:
    """An event as it will be stored. `digest` is of its canonical form, `declaration` (canonical JSON) says that the
    event of this content is wrong."""

    event_id: str
    event_type: str
    action: str
    biz_step: str
    disposition: str
    event_time: datetime
    read_point: str
    biz_location: str
    content: bytes
    digest: bytes
    mentions: list[Mention]
    declaration: bytes = b""
    corrects: str = ""
    body: dict[str, Any] = field(default_factory=dict)


def loaded(raw: bytes | msgspec.Raw) -> dict[str, Any]:
    """The members of one event; raises BrokenBody for what is no JSON, InvalidRow for what is no object."""
    try:
        event = orjson.loads(bytes(raw))
    except orjson.JSONDecodeError as error:
        raise BrokenBody.of(reason=str(error)) from None
    if not isinstance(event, dict):
        raise refusal("", "wrong_type", "须为对象", "must be an object")
    return event


def is_standard(event: dict[str, Any]) -> bool:
    """Whether it is meant as the standard has it: the short form has `handle`."""
    return "handle" not in event and event.get("type") in EVENT_TYPES


def read_event(event: dict[str, Any], base: str, context: Any = None) -> EventDraft:
    """The draft of an event in EPCIS 2.0. `base` is PUBLIC_URL; `context` the document's @context."""
    check_texts(event)
    words = _with_bare_words(event)
    form = fitted(_without_extensions(words), FORMS[event["type"]])
    check_time(form.eventTime, "eventTime")
    mentions, canonical = _mentions(words, base)
    check_rules(event["type"], form, canonical, len(mentions))
    kept = {k: v for k, v in canonical.items() if k not in _DROPPED}
    for name, kind in (("bizStep", "step"), ("disposition", "disposition")):
        if name in kept:
            kept[name] = from_own_address(base, kind, kept[name])
    kept["eventTime"] = utc(form.eventTime)
    digest = hashlib.sha256(_bytes(kept)).digest()
    if extra := _context(words.get("@context"), "@context") or _context(context, "@context"):
        kept["@context"] = extra
    return EventDraft(
        event_id=_event_id(base, form.eventID) or name_of(digest),
        event_type=event["type"],
        action=getattr(form, "action", ""),
        biz_step=kept.get("bizStep", ""),
        disposition=kept.get("disposition", ""),
        event_time=form.eventTime,
        read_point=_place(kept.get("readPoint"), base),
        biz_location=_place(kept.get("bizLocation"), base),
        content=_bytes(kept),
        digest=digest,
        mentions=mentions,
        declaration=_declaration(words, form),
    )


def name_of(digest: bytes) -> str:
    """The id of an event that has none: the RFC 6920 name of its canonical form. It is not CBV's event hash, which
    hashes another canonical form (and says `ver=CBV2.0`)."""
    return "ni:///sha-256;" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def handle_of(text: str, name: str, base: str) -> tuple[str, str]:
    """(prefix, suffix) of any code that names a handle: as it is, as an address of the node, with hdl: in front."""
    if text.startswith(f"{base}/"):
        text = unquote(text[len(base) + 1 :], errors="replace")
    elif ":" in text:
        host = base.partition("://")[2].partition("/")[0].lower()
        try:
            text = handle_codec.normalise(text, frozenset({host}))
        except handle_codec.InvalidHandle:
            raise refusal(name, "not_a_handle", "不是本节点的标识", "is no handle of this node") from None
    return issued_handle(text, name)


def _bytes(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _with_bare_words(event: dict[str, Any]) -> dict[str, Any]:
    """The event with CBV's own words bare; a copy where something changes."""
    changed: dict[str, Any] = {
        k: bare_word(event[k]) for k in ("bizStep", "disposition") if isinstance(event.get(k), str)
    }
    declared = event.get("errorDeclaration")
    if isinstance(declared, dict) and isinstance(declared.get("reason"), str):
        changed["errorDeclaration"] = {**declared, "reason": bare_word(declared["reason"])}
    lasting = event.get("persistentDisposition")
    if isinstance(lasting, dict):
        changed["persistentDisposition"] = {
            key: sorted({bare_word(w) for w in words}) if _all_texts(words) else words for key, words in lasting.items()
        }
    return {**event, **changed}


def _all_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(w, str) for w in value)


def _without_extensions(value: Any) -> Any:
    """The members of the standard alone, where it allows others beside them."""
    if isinstance(value, dict):
        return {
            key: inner if key in _CLOSED else _without_extensions(inner)
            for key, inner in value.items()
            if key != "@context" and not (":" in key and _EXTENSION.match(key))
        }
    if isinstance(value, list):
        return [_without_extensions(inner) for inner in value]
    return value


def _mentions(event: dict[str, Any], base: str) -> tuple[list[Mention], dict[str, Any]]:
    """Every handle once, and the event with handles in canonical form. The first role that names a handle stands."""
    canonical, found = dict(event), dict[str, Mention]()
    parent = ""
    if "parentID" in event:
        prefix, suffix = handle_of(event["parentID"], "parentID", base)
        parent = canonical["parentID"] = f"{prefix}/{suffix}"
        found[parent] = Mention(prefix, suffix, "parent", "parentID")
    held = parent if event["type"] == "AggregationEvent" else ""
    for name, role in _CODES.items():
        if name in event:
            listed = [
                Mention(*handle_of(code, f"{name}[{n}]", base), role, f"{name}[{n}]", held if role == "child" else "")
                for n, code in enumerate(event[name])
            ]
            canonical[name] = sorted({mention.handle for mention in listed})
            _add(found, listed, parent)
    for name, role in _QUANTITIES.items():
        if name in event:
            fields = [f"{name}[{n}].epcClass" for n in range(len(event[name]))]
            listed = [
                Mention(*handle_of(entry["epcClass"], field, base), role, field)
                for field, entry in zip(fields, event[name], strict=True)
            ]
            canonical[name] = [
                {**entry, "epcClass": mention.handle} for entry, mention in zip(event[name], listed, strict=True)
            ]
            _add(found, listed, parent)
    children = event.get("childEPCs") or event.get("childQuantityList")
    if held and not children and event.get("action") == "DELETE":
        found[parent].role, found[parent].parent = "emptied", parent
    return list(found.values()), canonical


def _add(found: dict[str, Mention], listed: list[Mention], parent: str) -> None:
    for mention in listed:
        if mention.handle == parent:
            raise refusal(mention.field, "own_parent", "不能是自身的上级", "cannot be its own parent")
        found.setdefault(mention.handle, mention)


def _context(value: Any, name: str) -> list[Any]:
    """The parts of an @context beside EPCIS' own, without which names of extensions say nothing."""
    parts = value if isinstance(value, list) else [] if value is None else [value]
    kept: list[Any] = []
    for part in parts:
        if not isinstance(part, dict) and not (isinstance(part, str) and _EXTENSION.match(part)):
            raise refusal(name, "wrong_type", "须为地址或对象", "must be addresses or objects")
        if not (isinstance(part, str) and "epcis-context" in part) and part not in kept:
            kept.append(part)
    return kept


def _declaration(event: dict[str, Any], form: Any) -> bytes:
    if form.errorDeclaration is msgspec.UNSET:
        return b""
    check_time(form.errorDeclaration.declarationTime, "errorDeclaration.declarationTime")
    given = dict(event["errorDeclaration"])
    given["declarationTime"] = utc(form.errorDeclaration.declarationTime)
    return _bytes(given)


def _event_id(base: str, text: str) -> str:
    """The id in an address of our own, unless it holds a blank: behind one a withdrawal has its row (capturing.py)."""
    inner = from_own_address(base, "event", text)
    return text if " " in inner else inner


def _place(given: Any, base: str) -> str:
    """What people call a place: a name beside its id (any extension's `name`), else the id."""
    if not given:
        return ""
    for key, value in given.items():
        if ":" in key and re.split("[:/#]", key)[-1] == "name" and isinstance(value, str) and value:
            return value
    return from_own_address(base, "place", given["id"])
