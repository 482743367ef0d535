"""What a scan says first: what was found, what it means to the reader, what to do next. In both languages.

A hit proves that a code was registered, never that the goods in hand are genuine: no page says 正品.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache


@dataclass(slots=True, frozen=True)
class Verdict:
    """In one word, what was found, what to do next. Tone: good, warn or bad."""

    tone: str
    zh: str
    en: str
    found: str
    found_en: str
    advice: str
    advice_en: str

    def about(self, name: str, day: str) -> Verdict:
        """With the registrant's name and the day of registration in place."""
        return _about(self, name, day)


@lru_cache(1024)  # all of an enterprise's codes of a day have it in common
def _about(verdict: Verdict, name: str, day: str) -> Verdict:
    found, found_en = (text.format(name=name, day=day) for text in (verdict.found, verdict.found_en))
    return replace(verdict, found=found, found_en=found_en)


VERDICTS = {
    "active": Verdict(
        "good",
        "已登记的标识",
        "Registered code",
        "该标识由 {name} 于 {day} 注册。",
        "Registered by {name} on {day}.",
        "码可被复印，仅凭扫码不能证明商品真伪，请与手中商品核对。",
        "A code can be copied, so a scan alone is no proof: compare what follows with the goods in your hand.",
    ),
    "recalled": Verdict(
        "bad",
        "该产品已召回",
        "Recalled",
        "{name} 已召回该产品。",
        "{name} has recalled this product.",
        "请停止食用或使用，保留商品与包装，联系企业或销售者办理退换。",
        "Stop using it, keep goods and packing, and contact the enterprise or the seller to return it.",
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
