"""What a person who scans a code is told: the record in words, with its trace. Values for a page; no HTTP.

Always the public view, whoever asks: a page is shown to others and photographed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import Any

import msgspec

from node.epcis_words import BIZ_STEPS
from node.errors import Unavailable
from node.model import Event, Kind, Status
from node.records import Resolved, is_public
from node.revision import shards_of
from node.runtime import Node, reading
from node.shortening import cut_text, within_budget
from node.showing import display
from node.shown_links import Link, LinkOk, nobody, read_link
from node.store import handles, prefixes
from node.tracing import trace
from node.trades import Trade, Trades
from node.verdicts import VERDICTS, Verdict

_LOCAL = timezone(timedelta(hours=8))  # China has one time zone and no summer time
# domain.md 4.6: of a drug's way consumers see step and time, not the firms and places.
_STEPS_ONLY = {"pharma"}
_SAID = frozenset({"product_name", "brand", "contact"})  # as title, above it, and with the enterprise
_MAX_FACTS = 6
_MAX_STEPS = 40  # the newest; a page of hundreds is read by nobody
_MAX_PLACE = 40  # characters of a place or a note


class Scans(msgspec.Struct, frozen=True, gc=False):
    """The scans of an item before this one. None: not counted, or not known just now. `first_at` in seconds since
    the epoch; `place` is a city at the most."""

    before: int | None = None
    first_at: float | None = None
    place: str = ""

    @property
    def first(self) -> str:
        """Local time of the first to the minute, "" where it is not known."""
        return _minute(int(self.first_at // 60)) if self.first_at is not None else ""


NOT_COUNTED = Scans()


@dataclass(slots=True, frozen=True)
class Step:
    """One step of the trace, in words; local time to the minute."""

    zh: str
    en: str
    when: str
    place: str
    note: str


@dataclass(slots=True)
class ScanPage:
    """All that the page shows, in the order in which it shows it. `county` and `industry` are codes; a line of a
    group is as node/shortening.py leaves it, with `link` (a Link or None) and `result` (True: a pass, None: no test)
    besides. `product`, `way` and `tests` are groups."""

    handle: str
    is_lot: bool
    status: str
    verdict: Verdict
    reason: str
    trade: Trade
    title: str
    brand: str
    badge: dict[str, Any] | None
    picture: Link | None
    facts: list[dict[str, Any]]
    product: list[dict[str, Any]]
    way: list[dict[str, Any]]
    tests: list[dict[str, Any]]
    values: list[dict[str, str]]
    shortened: bool
    lot: str
    name: str
    county: str
    industry: str
    contact: str
    updated: str
    steps: list[Step] = field(default_factory=list)
    earlier_steps: int = 0  # steps before those shown
    trace_away: bool = False


async def events_of(node: Node, resolved: Resolved) -> list[Event] | None:
    """The trace of a handle and its lot; None with PostgreSQL away: the page shows without it, and says so."""
    suffixes = [resolved.row.suffix, *([resolved.row.lot] if resolved.row.lot else [])]
    try:
        async with reading(node) as conn:
            return await trace(conn, resolved.prefix, suffixes)
    except Unavailable:
        return None


def described(resolved: Resolved, trades: Trades, link_ok: LinkOk = nobody) -> ScanPage:
    """The page without scans and trace; no I/O."""
    prefix, row, compiled = resolved.prefix, resolved.row, resolved.compiled
    day = _minute(int(row.created_at // 60))[:10]
    attributes = compiled.view(resolved.attributes, "public") if compiled else {}
    trade = trades.of_template(compiled.template if compiled else None)
    groups, values, shortened = within_budget(
        display(compiled.template.groups, compiled.template.fields, attributes) if compiled else [], _texts(resolved)
    )
    lines = {line["code"]: _judged(line, trade, link_ok) for group in groups for line in group["fields"]}
    facts = _facts(lines, trade)
    sections = _sections(groups, trade, {*_SAID, trade.badge, *(fact["code"] for fact in facts)})
    return ScanPage(
        handle=resolved.handle,
        is_lot=row.kind == Kind.LOT,
        status=resolved.status,
        verdict=VERDICTS[resolved.status].about(prefix.registrant_name, day),
        reason=cut_text(resolved.reason)[0],
        trade=trade,
        title=cut_text(str(attributes.get("product_name", "")))[0],
        brand=cut_text(str(attributes.get("brand", "")))[0],
        badge=lines.get(trade.badge),
        picture=next((line["link"] for line in lines.values() if line["type"] == "I" and _live(line)), None),
        facts=facts,
        product=sections["product"],
        way=sections["way"],
        tests=sections["tests"],
        values=values,
        shortened=shortened,
        lot=f"{prefix.prefix}/{row.lot}" if row.lot else "",
        name=prefix.registrant_name,
        county=prefix.county,
        industry=prefix.industry,
        contact=cut_text(str(attributes.get("contact", "")))[0],
        updated=_minute(int(max(row.updated_at, resolved.lot.updated_at if resolved.lot else 0) // 60)),
    )


def _judged(line: dict[str, Any], trade: Trade, link_ok: LinkOk) -> dict[str, Any]:
    """The line, with what its address and its result are."""
    line["link"] = read_link(line["raw"], link_ok) if line["type"] in ("F", "I") else None
    passes = trade.results.get(line["code"])
    line["result"] = None if passes is None else line["raw"] in passes
    return line


def _live(line: dict[str, Any]) -> bool:
    return bool(line["link"] and line["link"].live)


def _facts(lines: Mapping[str, dict[str, Any]], trade: Trade) -> list[dict[str, Any]]:
    """What the trade shows first; where it names nothing, what the template marks."""
    marked = [code for code, line in lines.items() if line["emphasis"]]
    codes = [code for code in trade.facts or marked if code in lines and code not in (*_SAID, trade.badge)]
    return [lines[code] for code in codes if lines[code]["type"] != "T"][:_MAX_FACTS]


def _sections(groups: list[dict[str, Any]], trade: Trade, said: set[str]) -> dict[str, list[dict[str, Any]]]:
    """The groups by where they stand, without the lines that were said; tests keep theirs, being looked for there."""
    found: dict[str, list[dict[str, Any]]] = {"product": [], "way": [], "tests": []}
    for group in groups:
        where = "tests" if group["code"] in trade.tests else "way" if group["code"] in trade.way else "product"
        lines = [line for line in group["fields"] if where == "tests" or line["code"] not in said]
        if lines:
            found[where].append({**group, "fields": lines})
    return found


def add_trace(page: ScanPage, resolved: Resolved, events: list[Event] | None) -> None:
    """Put the newest steps on the page, in the order in which they happened; None: they could not be read."""
    if events is None:
        page.trace_away = True
        return
    compiled = resolved.compiled
    steps_only = compiled is not None and compiled.template.industry in _STEPS_ONLY
    page.earlier_steps = max(0, len(events) - _MAX_STEPS)
    page.steps = [_step(event, steps_only) for event in events[-_MAX_STEPS:]]


def _step(event: Event, steps_only: bool) -> Step:
    zh, en = BIZ_STEPS.get(event.biz_step) or BIZ_STEPS["other"]  # no step, or the address of somebody's own
    place = "" if steps_only else event.read_point or event.biz_location
    note = "" if steps_only else str(event.body.get("note", ""))
    return Step(zh, en, local(event.event_time), cut_text(place, _MAX_PLACE)[0], cut_text(note, _MAX_PLACE)[0])


def _texts(resolved: Resolved) -> list[dict[str, str]]:
    """Public handle values that are texts; the system's own (HS_*) say nothing to a consumer."""
    return [
        {"type": v["type"], "text": str(v["data"]["value"])}
        for v in resolved.values
        if is_public(v) and v["data"].get("format") == "string" and not v["type"].upper().startswith("HS_")
    ]


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, _LOCAL)


def local(when: datetime) -> str:
    """Local time to the minute, as people here read it."""
    return when.astimezone(_LOCAL).strftime("%Y-%m-%d %H:%M")


@lru_cache(4096)
def _minute(number: int) -> str:
    return local(_moment(60.0 * number))


async def samples(node: Node) -> list[dict[str, str]]:
    """A handle of each enterprise, for the landing page of `idnode dev`: its first item, else its first lot."""
    found = []
    async with reading(node) as conn:
        for prefix in await prefixes.every(conn, 20):
            rows = await handles.page(conn, shards_of(prefix), prefix.id, (-1, ""), 20)
            live = [row for _, row in rows if row.status == Status.ACTIVE]
            for row in sorted(live, key=lambda row: row.kind)[:1]:
                handle = f"{prefix.prefix}/{row.suffix}"
                found.append({"handle": handle, "name": prefix.registrant_name, "industry": prefix.industry})
    return found
