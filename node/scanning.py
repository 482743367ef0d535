"""What a person who scans a code is told: the record in words, with its trace. Values for a page; no HTTP.

Always the public view, whoever asks: a page is shown to others and photographed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import Any

from node.application_forms import INDUSTRIES
from node.errors import Unavailable
from node.model import Event, Kind, Status
from node.records import Resolved, is_public
from node.revision import shards_of
from node.runtime import Node, reading
from node.shortening import cut_text, within_budget
from node.store import handles, prefixes
from node.tracing import BIZ_STEPS, trace

_LOCAL = timezone(timedelta(hours=8))  # China has one time zone and no summer time
# domain.md 4.6: of a drug's way consumers see step and time, not the firms and places.
_STEPS_ONLY = {"pharma"}
_HEADLINE = ("product_name", "brand")  # shown as title and maker
# Already said at the top of the page, or not a fact of the goods.
_NOT_FACTS = frozenset({*_HEADLINE, "manufacturer"})
_MAX_FACTS = 6
_MAX_STEPS = 40  # the newest; a page of hundreds is read by nobody
_MAX_PLACE = 40  # characters of a place or a note


@dataclass(slots=True, frozen=True)
class Verdict:
    """What the scan says first: in one word, what was found, what to do next. Tone: good, warn or bad."""

    tone: str
    zh: str
    en: str
    found: str
    found_en: str
    advice: str
    advice_en: str

    def about(self, name: str, day: str) -> Verdict:
        """With the registrant's name and the day of registration in place."""
        found, found_en = (text.format(name=name, day=day) for text in (self.found, self.found_en))
        return replace(self, found=found, found_en=found_en)


# A hit proves that a code was registered, never that the goods in hand are genuine: no page says 正品.
VERDICTS = {
    "active": Verdict(
        "good",
        "已登记的标识",
        "Registered code",
        "该标识由 {name} 于 {day} 注册。",
        "Registered by {name} on {day}.",
        "请核对以下信息与手中商品是否一致。码可被复印，仅凭扫码不能证明商品真伪。",
        "Compare what follows with the goods in your hand: a code can be copied, a scan alone is no proof.",
    ),
    "recalled": Verdict(
        "bad",
        "该产品已召回",
        "Recalled",
        "{name} 已召回该产品。",
        "{name} has recalled this product.",
        "请停止食用或使用，保留商品与包装，联系企业或销售者办理退换。",
        "Stop using it, keep goods and packing, and contact the enterprise or the seller.",
    ),
    "void": Verdict(
        "bad",
        "标识已作废",
        "Void code",
        "该标识已由 {name} 作废，不应出现在市场上。",
        "{name} has declared this code void; it should not be on the market.",
        "请勿购买；已购买的请保留商品并联系企业。",
        "Do not buy it; if you have, keep the goods and contact the enterprise.",
    ),
    "unshipped": Verdict(
        "bad",
        "该产品尚未出厂",
        "Not yet shipped",
        "该标识已由 {name} 印制，但尚未启用，不应出现在市场上。",
        "{name} has printed this code but not activated it; it should not be on the market.",
        "请勿购买；已购买的请保留商品与凭证并联系企业。",
        "Do not buy it; if you have, keep the goods and the receipt and contact the enterprise.",
    ),
    "suspended": Verdict(
        "warn",
        "标识服务已暂停",
        "Suspended",
        "{name} 的标识服务已暂停，以下信息可能不是最新。",
        "The identifiers of {name} are suspended; what follows may be out of date.",
        "购买或使用前请先联系企业核实。",
        "Ask the enterprise before you buy or use the goods.",
    ),
}


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
    """All that the page shows, in the order in which it shows it. `county` and `industry` are codes."""

    handle: str
    is_lot: bool
    status: str
    verdict: Verdict
    reason: str
    title: str
    brand: str
    facts: list[dict[str, Any]]
    groups: list[dict[str, Any]]
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


async def scan(node: Node, resolved: Resolved) -> ScanPage:
    """The page of a handle that exists; with PostgreSQL away it shows without its trace, and says so."""
    page = described(resolved)
    suffixes = [resolved.row.suffix, *([resolved.row.lot] if resolved.row.lot else [])]
    try:
        async with reading(node) as conn:
            events = await trace(conn, resolved.prefix, suffixes)
    except Unavailable:
        page.trace_away = True
    else:
        add_trace(page, resolved, events)
    return page


def described(resolved: Resolved) -> ScanPage:
    """The page without its trace; no I/O."""
    prefix, row, compiled = resolved.prefix, resolved.row, resolved.compiled
    day = local(_moment(row.created_at))[:10]
    attributes = compiled.view(resolved.attributes, "public") if compiled else {}
    groups = compiled.display(attributes, "public") if compiled else []
    shown, values, shortened = within_budget(groups, _texts(resolved))
    return ScanPage(
        handle=resolved.handle,
        is_lot=row.kind == Kind.LOT,
        status=resolved.status,
        verdict=VERDICTS[resolved.status].about(prefix.registrant_name, day),
        reason=resolved.reason,
        title=cut_text(str(attributes.get("product_name", "")))[0],
        brand=cut_text(str(attributes.get("brand", "")))[0],
        facts=_facts(shown, attributes),
        groups=shown,
        values=values,
        shortened=shortened,
        lot=f"{prefix.prefix}/{row.lot}" if row.lot else "",
        name=prefix.registrant_name,
        county=prefix.county,
        industry=prefix.industry,
        contact=str(attributes.get("contact", "")),
        updated=local(_moment(max(row.updated_at, resolved.lot.updated_at if resolved.lot else 0))),
    )


def add_trace(page: ScanPage, resolved: Resolved, events: list[Event]) -> None:
    """Put the newest steps on the page, in the order in which they happened."""
    compiled = resolved.compiled
    steps_only = compiled is not None and compiled.template.industry in _STEPS_ONLY
    page.earlier_steps = max(0, len(events) - _MAX_STEPS)
    page.steps = [_step(event, steps_only) for event in events[-_MAX_STEPS:]]


def _step(event: Event, steps_only: bool) -> Step:
    zh, en = BIZ_STEPS.get(event.biz_step, (event.biz_step, event.biz_step))
    place = "" if steps_only else event.read_point or event.biz_location
    note = "" if steps_only else str(event.body.get("note", ""))
    return Step(zh, en, local(event.event_time), cut_text(place, _MAX_PLACE)[0], cut_text(note, _MAX_PLACE)[0])


def _facts(groups: list[dict[str, Any]], attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What an industry marks as worth seeing first; the specification where it has room for it."""
    lines = [f for g in groups for f in g["fields"] if f["type"] != "T" and f["code"] not in _NOT_FACTS]
    marked = [f for f in lines if f["emphasis"]]
    spec = [f for f in lines if f["code"] == "spec" and not f["emphasis"]]
    return [*spec, *marked][:_MAX_FACTS]


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


async def samples(node: Node) -> list[dict[str, str]]:
    """A handle of each enterprise, for the landing page of `idnode dev`: its first item, else its first lot."""
    found = []
    async with reading(node) as conn:
        for prefix in await prefixes.every(conn, 20):
            rows = await handles.page(conn, shards_of(prefix), prefix.id, (-1, ""), 20)
            live = [row for _, row in rows if row.status == Status.ACTIVE]
            for row in sorted(live, key=lambda row: row.kind)[:1]:
                industry = INDUSTRIES.get(prefix.industry, prefix.industry)
                handle = f"{prefix.prefix}/{row.suffix}"
                found.append({"handle": handle, "name": prefix.registrant_name, "industry": industry})
    return found
