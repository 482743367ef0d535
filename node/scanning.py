"""What a person who scans a code is told: the record in words, with its trace. Values for a page; no HTTP."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from node.errors import Unavailable
from node.model import Event
from node.onboarding import COUNTIES, INDUSTRIES
from node.records import Resolved
from node.runtime import Node, reading
from node.tracing import BIZ_STEPS, trace

_LOCAL = timezone(timedelta(hours=8))  # China has one time zone and no summer time
# domain.md 4.6: of a drug's way consumers see the status only, not the firms and places.
_STEPS_ONLY = {"pharma"}

# A hit proves that a code was registered, never that the goods in hand are genuine: no page says 正品.
VERDICTS = {
    "active": (
        "good",
        "标识有效",
        "This code is registered",
        "该标识由 {name} 在本节点注册，登记信息如下。请核对与手中商品是否一致。",
        "Registered by the enterprise named below. Compare what it says with the goods in your hand.",
    ),
    "recalled": (
        "bad",
        "该产品已召回",
        "Recalled",
        "{name} 已召回该产品，请停止使用并联系企业或销售者。",
        "The enterprise has recalled this product: stop using it and contact the enterprise or the seller.",
    ),
    "void": (
        "bad",
        "标识已作废",
        "Void",
        "该标识已作废，不应出现在市场上。请保留商品并联系企业。",
        "This code is void and should not be on the market: keep the goods and contact the enterprise.",
    ),
    "suspended": (
        "warn",
        "标识服务已暂停",
        "Suspended",
        "该企业的标识服务已暂停，以下信息可能不是最新。",
        "The enterprise's identifiers are suspended; what follows may be out of date.",
    ),
}


@dataclass(slots=True)
class ScanPage:
    """All that the page shows, in the order in which it shows it."""

    handle: str
    tone: str
    verdict: str
    verdict_en: str
    advice: str
    advice_en: str
    title: str
    groups: list[dict[str, Any]]
    values: list[dict[str, Any]]
    lot: str | None
    name: str
    county: str
    industry: str
    contact: str
    updated_at: str
    events: list[dict[str, str]] = field(default_factory=list)
    trace_away: bool = False


async def scan(node: Node, resolved: Resolved) -> ScanPage:
    """The page of a handle that exists; with PostgreSQL away it shows without its trace, and says so."""
    tone, verdict, verdict_en, advice, advice_en = VERDICTS[resolved.status]
    attributes, prefix, compiled = resolved.attributes, resolved.prefix, resolved.compiled
    page = ScanPage(
        handle=resolved.handle,
        tone=tone,
        verdict=verdict,
        verdict_en=verdict_en,
        advice=advice.format(name=prefix.registrant_name),
        advice_en=advice_en,
        title=str(attributes.get("product_name", resolved.handle)),
        groups=compiled.display(attributes, resolved.level) if compiled else [],
        values=[v for v in resolved.values if v["data"]["format"] == "string"],
        lot=f"{prefix.prefix}/{resolved.row.lot}" if resolved.row.lot else None,
        name=prefix.registrant_name,
        county=f"安徽省宿州市{COUNTIES.get(prefix.county, '')}",
        industry=INDUSTRIES.get(prefix.industry, prefix.industry),
        contact=str(attributes.get("contact", "")),
        updated_at=_local(datetime.fromtimestamp(resolved.row.updated_at, _LOCAL)),
    )
    suffixes = [resolved.row.suffix, *([resolved.row.lot] if resolved.row.lot else [])]
    steps_only = compiled is not None and compiled.template.industry in _STEPS_ONLY
    try:
        async with reading(node) as conn:
            found = await trace(conn, prefix, suffixes)
    except Unavailable:
        page.trace_away = True
    else:
        page.events = [_step(event, steps_only) for event in found]
    return page


def _step(event: Event, steps_only: bool) -> dict[str, str]:
    zh, en = BIZ_STEPS.get(event.biz_step, (event.biz_step, event.biz_step))
    place = "" if steps_only else event.read_point or event.biz_location
    note = "" if steps_only else str(event.body.get("note", ""))
    return {"zh": zh, "en": en, "when": _local(event.event_time), "place": place, "note": note}


def _local(when: datetime) -> str:
    return when.astimezone(_LOCAL).strftime("%Y-%m-%d %H:%M")
