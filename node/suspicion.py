"""Copies show themselves: how suspicious what was counted is, and why, in words. Pure; `node.suspicions` stores it.

Each sign has a weight below 1, the chance that it alone means a copy; the score is 100 (1 - product of the rest), so
that signs add up and none alone is a proof. A copied static code is the same code: only where, when and how often
it is scanned can tell (domain.md 5, point 5).
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import log2, prod
from typing import Any

from node.config import Settings

KEPT_SCORE = 20  # weaker is not kept
_ALARM_AGAIN = 20  # points above the last alarm
_SURE = 0.95  # no sign alone is a proof

RUN = 5  # neighbours that make a run of guesses: typing slips do not come in order
_SPAN = 2 * RUN  # neighbours are less than so far apart
_RUN_SECONDS = 600
_RING = 64  # misses remembered of a prefix
_MAX_PREFIXES = 2_000  # with their misses about 40 MB at most
_TAIL = re.compile(r"(.*?)([0-9]{1,15})([^0-9]{0,8})", re.ASCII | re.DOTALL)


@dataclass(slots=True, frozen=True)
class Reason:
    """One sign, for a person to read."""

    code: str
    weight: float
    zh: str
    en: str

    def document(self) -> dict[str, Any]:
        return {"code": self.code, "weight": round(self.weight, 2), "zh": self.zh, "en": self.en}


@dataclass(slots=True, frozen=True)
class Evidence:
    """What was counted of one item; `before_shipping`: hours that its first scan lies before it was shipped."""

    devices: int = 0
    scans: int = 0
    travels: int = 0
    early: int = 0
    before_shipping: float = 0.0


def of_item(found: Evidence, limits: Settings) -> list[Reason]:
    """The signs that one item gives."""
    reasons = []
    if found.devices >= limits.suspect_devices:
        # Each doubling makes it likelier: 12 phones 0.45, 24 0.6, 48 0.75.
        weight = min(_SURE, 0.45 + 0.15 * log2(found.devices / max(1, limits.suspect_devices)))
        zh = f"约 {found.devices} 部不同的手机扫过这一件商品（通常不超过 {limits.suspect_devices - 1} 部）"
        en = f"about {found.devices} different phones scanned this one item (usually below {limits.suspect_devices})"
        reasons.append(Reason("many_devices", weight, zh, en))
    if found.travels:
        # Low: a phone's address is often its network's gateway, hundreds of kilometres away.
        weight = min(0.35, 0.15 + 0.05 * (found.travels - 1))
        zh = f"{found.travels} 次在相距很远的两地被扫，货物来不及运到（手机网络出口可能不在本地，仅供参考）"
        en = f"{found.travels} times scanned in two places too far apart for goods to travel (gateways may mislead)"
        reasons.append(Reason("impossible_travel", weight, zh, en))
    if found.early:
        # One may be a worker who tries the print with a phone of his own.
        weight = 0.4 if found.early == 1 else min(0.85, 0.6 + 0.05 * found.early)
        zh = f"在出厂启用之前或作废期间被扫 {found.early} 次"
        en = f"scanned {found.early} times while not shipped, or void"
        reasons.append(Reason("before_activation", weight, zh, en))
    if found.before_shipping > 24:
        # Events are often recorded late or by wrong clocks (domain.md 5, point 8): a day's grace, and a low weight.
        zh = f"首次扫码早于发货记录约 {found.before_shipping:.0f} 小时"
        en = f"first scanned about {found.before_shipping:.0f} hours before it was shipped"
        reasons.append(Reason("before_shipping", 0.3, zh, en))
    return reasons


def of_lot(scores: Sequence[int]) -> list[Reason]:
    """The sign that a lot's suspicious items give: a printed roll copied shows on several."""
    if not scores:
        return []
    weight = min(_SURE, 1 - prod(1 - 0.4 * score / 100 for score in scores))
    zh = f"该批次有 {len(scores)} 件商品可疑，最高 {max(scores)} 分"
    en = f"{len(scores)} items of this lot are suspicious, the highest at {max(scores)}"
    return [Reason("items", weight, zh, en)]


def of_prefix(forged: int, guessed: int, limits: Settings) -> list[Reason]:
    """The signs that one day's look-ups of a prefix give."""
    least = max(1, limits.suspect_forged)
    reasons = []
    if forged >= least:
        weight = min(_SURE, 0.6 + 0.1 * log2(forged / least))
        zh = f"一天内 {forged} 次查询从未签发的序列号：市场上可能有伪造的码"
        en = f"{forged} look-ups in a day of serials that were never issued: forged codes may be on the market"
        reasons.append(Reason("never_issued", weight, zh, en))
    if guessed >= least:
        weight = min(_SURE, 0.6 + 0.1 * log2(guessed / least))
        zh = f"一天内 {guessed} 次查询属于连号试探：有人在猜测标识"
        en = f"{guessed} look-ups in a day were runs of neighbouring guesses: somebody is trying codes"
        reasons.append(Reason("guessing", weight, zh, en))
    return reasons


def score(reasons: Sequence[Reason]) -> int:
    """0..100; no order, and no sign lowers it."""
    return round(100 * (1 - prod(1 - reason.weight for reason in reasons)))


def alarms(points: int, alarmed: int, limits: Settings) -> bool:
    """Whether a score is worth an alarm: at the limit, and again when it has clearly risen since."""
    return points >= limits.suspect_score and (alarmed == 0 or points >= alarmed + _ALARM_AGAIN)


_Miss = tuple[float, tuple[str, int], int]  # when, its stem and neighbourhood, its number


@dataclass(slots=True)
class Misses:
    """The last misses of a prefix, oldest first, and by stem and neighbourhood: looking through all of them took a
    tenth of a refusal's time."""

    order: deque[_Miss] = field(default_factory=deque)
    near: dict[tuple[str, int], list[_Miss]] = field(default_factory=dict)

    def neighbours(self, stem: str, number: int, since: float) -> set[int]:
        """Numbers less than `_SPAN` away that were asked for after `since`."""
        hood, found = number // _SPAN, set[int]()
        for place in ((stem, hood - 1), (stem, hood), (stem, hood + 1)):
            known = self.near.get(place)
            if known is not None:
                found.update(n for at, _, n in known if abs(n - number) < _SPAN and at > since)
        return found

    def add(self, stem: str, number: int, now: float) -> None:
        if len(self.order) >= _RING:
            place = self.order.popleft()[1]
            hood = self.near[place]
            del hood[0]  # the oldest of all is the oldest there
            if not hood:
                del self.near[place]
        miss = (now, (stem, number // _SPAN), number)
        self.order.append(miss)
        self.near.setdefault(miss[1], []).append(miss)


Rings = dict[int, Misses]


def guesses(rings: Rings, prefix_id: int, suffix: str, now: float) -> int:
    """1 where a miss completes or continues a run of RUN neighbours, else 0.

    Of each prefix the last 64 misses of ten minutes are remembered as (stem, number): `LC-0007` after four neighbours
    such as `LC-0003` is a run. A worker sees its own requests only; what it finds is added up by the settlement.
    """
    found = _TAIL.fullmatch(suffix[:200])
    if found is None:
        return 0
    stem, number = f"{found[1]}\0{found[3]}", int(found[2])
    misses = rings.get(prefix_id)
    if misses is None:
        if len(rings) >= _MAX_PREFIXES:
            del rings[next(iter(rings))]
        misses = rings[prefix_id] = Misses()
    near = misses.neighbours(stem, number, now - _RUN_SECONDS)
    if number in near:
        return 0  # the same again is no guess
    misses.add(stem, number, now)
    return int(len(near) >= RUN - 1)
