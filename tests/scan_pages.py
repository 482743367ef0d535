"""Scan pages made without a server: a resolved handle as a cache or the database would give it, and its HTML."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from node import scanning
from node.http import pages
from node.http.negotiation import CHINESE, Reader
from node.model import Event, Kind, Prefix, PrefixStatus, Row, Status
from node.records import Resolved, pack
from node.runtime import Node
from node.shown_links import LinkOk, nobody
from node.templates import Compiled, compile_template, load_industries

PICTURE = "https://img.lichen.example.cn/box.jpg"
COMPILED = {t.code: compile_template(t) for t in load_industries()}


def _row(kind: Kind, attributes: dict[str, Any], values: list[dict[str, Any]], **changes: Any) -> Row:
    row = Row(
        suffix="LC-1", kind=kind, status=Status.ACTIVE, lot="", template_id=1, content=pack(attributes, values),
        reason="", successor="", version=1, created_at=1_788_998_400.0, updated_at=1_788_998_400.0,
    )  # fmt: skip
    return row.changed(**changes)


def resolved_of(
    compiled: Compiled, attributes: dict[str, Any], values: list[dict[str, Any]] | None = None, **changes: Any
) -> Resolved:
    """An item with these attributes, as a cache or the database would give it."""
    industry = compiled.template.industry
    prefix = Prefix(1, "88.999.1001", 1, 0, 1, PrefixStatus.ENABLED, True, "示范合作社", industry, "341321")
    row = _row(Kind.ITEM, attributes, values or [], suffix="LC-1-0001", **changes)
    return Resolved(f"{prefix.prefix}/{row.suffix}", prefix, row, None, compiled, "private")


ENGLISH = Reader("en")


def example_of(examples: dict[str, Any], code: str) -> dict[str, Any]:
    return COMPILED[code].check({**examples[code]["lot"], **examples[code]["item"]})


def html_of(
    node: Node,
    resolved: Resolved,
    events: list[Event] | None = None,
    reader: Reader = CHINESE,
    scans: scanning.Scans = scanning.NOT_COUNTED,
    claim: str = "",
    link_ok: LinkOk = nobody,
) -> str:
    answer = pages.scan_page(node, resolved, events or [], reader, scans, claim, link_ok)
    return bytes(answer.body).decode()


def event(number: int, place: str = "良梨冷库", note: str = "入库") -> Event:
    when = datetime(2026, 9, 12, 20, 30 + number % 30, tzinfo=UTC)
    return Event(f"e{number}", "ObjectEvent", "OBSERVE", "storing", "", when, when, place, "", {"note": note}, "")
