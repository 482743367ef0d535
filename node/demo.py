"""What `idnode dev` shows: one invented enterprise for each of the seven industries, each with a lot, a hundred
coded items and a trace. Everything goes the way that an enterprise's own data would go; nothing is put in by SQL."""

from __future__ import annotations

import json
import re
import secrets
from datetime import date, datetime, timedelta
from importlib.resources import files
from typing import Any

import orjson
from stdnum import luhn
from stdnum.cn import uscc

from node import access, capturing, onboarding
from node.config import Settings
from node.model import Identity, Kind
from node.registration import register
from node.runtime import Node, close_node, open_node

ITEMS = 100
INDUSTRIES = ("pear", "green_food", "textile", "home", "shoes", "pharma", "machinery")
_COUNTIES = ("341321", "341322", "341302", "341302", "341302", "341324", "341323")
_LETTERS = "0123456789ABCDEFGHJKLMNPQRTUWXY"
# The examples' dates are of 2024 and after; a demo is of this season, so every year moves on by two.
_YEAR = re.compile(r"(?<!\d)20(2[3-9])(?=-?[01]\d)")
# What differs from item to item: these end in a number that counts up.
_COUNTED = ("carton_id", "device_sn", "pair_serial", "drug_trace_code", "rfid_epc")


async def seed(settings: Settings, demo: bool) -> dict[str, Any]:
    """Make the first operator and the enterprises; prefix and key of the first one, and what is worth opening."""
    node = await open_node(settings)
    try:
        password = secrets.token_urlsafe(15)
        await access.add_operator(node, "operator", password, "admin", actor="dev")
        operator = Identity("operator:operator", role="admin")
        first: dict[str, Any] = {}
        links: list[dict[str, str]] = []
        for number, industry in enumerate(INDUSTRIES if demo else INDUSTRIES[:1]):
            example = _example(industry)
            name = example["lot"]["manufacturer"] if demo else "宿州市示范企业有限公司"
            decided = await _enterprise(node, operator, number, industry, name)
            first = first or decided
            if demo:
                links += await _goods(node, decided, industry, example)
    finally:
        await close_node(node)
    return {
        "prefix": first["prefix"],
        "api_key": first["api_key"],
        "operator": {"login": "operator", "password": password},
        "links": links,
    }


def _example(industry: str) -> dict[str, dict[str, Any]]:
    text = (files("node.industries") / "examples" / f"{industry}.json").read_text("utf-8")
    text = _YEAR.sub(lambda year: f"20{int(year.group(1)) + 2}", text)
    loaded: dict[str, dict[str, Any]] = json.loads(text)
    return loaded


def credit_code(number: int) -> str:
    """A well-formed 统一社会信用代码 of nobody: registration district 3413, organisation numbers beginning 00000."""
    body = f"91341300MA00{number:05d}"
    body = f"{body[:17]}"
    return body + str(uscc.calc_check_digit(body))


async def _enterprise(node: Node, operator: Identity, number: int, industry: str, name: str) -> dict[str, Any]:
    form = {
        "credit_code": credit_code(number),
        "name": name,
        "industry": industry,
        "county": _COUNTIES[number],
        "contact": {"person": "张示范", "phone": "0557-8010000", "email": f"demo{number}@example.com"},
    }
    applied = await onboarding.apply(node, orjson.dumps(form), None)
    decision = orjson.dumps({"decision": "approve", "reason": "演示企业 / demo enterprise"})
    decided = await onboarding.decide(node, operator, applied["id"], decision, None)
    if decided["status"] == "in_review":  # UPPER_APPROVAL=manual: the demo gives the upper node's answer too
        decided = await onboarding.decide(node, operator, applied["id"], decision, None)
    return decided


async def _goods(
    node: Node, enterprise: dict[str, Any], industry: str, example: dict[str, dict[str, Any]]
) -> list[dict[str, str]]:
    """A lot, its items and its trace; links to what is worth opening."""
    prefix = enterprise["prefix"]
    owner = await access.enterprise(node, enterprise["api_key"], "127.0.0.1")
    lot = f"{prefix}/{example['lot']['batch_no']}"
    lot_row = {"handle": lot, "template": industry, "attributes": example["lot"]}
    items = [f"{lot}-{n:04d}" for n in range(1, ITEMS + 1)]
    item_rows = [
        {"handle": handle, "lot": lot, "attributes": _numbered(example["item"], n)} for n, handle in enumerate(items, 1)
    ]
    for kind, rows in ((Kind.LOT, [lot_row]), (Kind.ITEM, item_rows)):
        for outcome in await register(node, owner, [orjson.dumps(row) for row in rows], kind=kind):
            if outcome.error:
                raise RuntimeError(f"demo {outcome.handle}: {outcome.error}")
    await _trace(node, owner, industry, lot, items, example["lot"]["produced_at"])
    name = example["lot"]["product_name"]
    return [{"title": f"{name} · {enterprise['prefix']}", "handle": items[0]}]


def _numbered(attributes: dict[str, Any], number: int) -> dict[str, Any]:
    """The example item's attributes as those of item `number`."""
    own = dict(attributes)
    for code in _COUNTED:
        if code in own:
            own[code] = _counted(own[code], number)
    if "imei" in own:
        body = f"{int(own['imei'][:14]) + number:014d}"
        own["imei"] = body + luhn.calc_check_digit(body)
    return own


def _counted(text: str, number: int) -> str:
    found = re.search(r"(\d{1,18})(\D*)$", text)
    if not found:
        return f"{text}{number:04d}"
    digits = found.group(1)
    return text[: found.start()] + f"{int(digits) + number:0{len(digits)}d}" + found.group(2)


async def _trace(node: Node, owner: Identity, industry: str, lot: str, items: list[str], produced_at: str) -> None:
    day = date.fromisoformat(produced_at[:10])
    told: list[dict[str, Any]] = []
    for number, (days, hour, step, place, note) in enumerate(_STEPS[industry]):
        when = datetime.fromisoformat(f"{day + timedelta(days=days)}T{hour:02d}:20:00+08:00")
        # The last two steps are of single items: what is shipped and received is a carton, not the lot.
        shared = number < len(_STEPS[industry]) - 2
        for handle in [lot] if shared else items[:5]:
            event = {
                "handle": handle,
                "eventId": f"demo-{number}-{handle.rpartition('/')[2]}",
                "eventTime": when.isoformat(),
                "bizStep": step,
                "readPoint": place,
                "note": note,
            }
            told.append(event)
    told += _standard(lot, items, day)
    for recorded in await capturing.record(node, owner, [orjson.dumps(event) for event in told]):
        if recorded.error:
            raise RuntimeError(f"demo event {recorded.row} of {lot}: {recorded.error}")


def _standard(lot: str, items: list[str], day: date) -> list[dict[str, Any]]:
    """The same as a partner's system would send it, in EPCIS 2.0: the lot was counted, with a reading of its store."""
    reading = {"type": "Temperature", "value": 4.0, "uom": "CEL"}
    return [
        {
            "type": "ObjectEvent",
            "action": "OBSERVE",
            "eventID": f"urn:example:demo:{lot.replace('/', ':')}",
            "eventTime": f"{day + timedelta(days=2)}T18:20:00+08:00",
            "eventTimeZoneOffset": "+08:00",
            "bizStep": "stock_taking",
            "quantityList": [{"epcClass": lot, "quantity": len(items)}],
            "sensorElementList": [{"sensorReport": [reading]}],
        }
    ]


_STEPS: dict[str, tuple[tuple[int, int, str, str, str], ...]] = {
    "pear": (
        (0, 8, "harvesting", "砀山县良梨镇 三号园", "人工采摘，去袋分级"),
        (0, 15, "inspecting", "合作社检测室", "农残快检合格"),
        (1, 9, "packing", "1 号光电分选线", "按等级装箱并赋码"),
        (1, 16, "storing", "良梨冷库 3 号间", "0±1 ℃ 入库"),
        (20, 7, "shipping", "良梨冷库 月台", "冷链发往合肥"),
        (21, 6, "receiving", "合肥 果品批发市场", "到货验收，箱体完好"),
    ),
    "green_food": (
        (0, 7, "receiving", "萧县 原料库", "原料验收合格"),
        (0, 10, "transforming", "一号加工线", "清洗、蒸煮、灌装"),
        (1, 9, "inspecting", "质检室", "出厂检验合格"),
        (1, 14, "packing", "包装车间", "装箱赋码"),
        (4, 8, "shipping", "成品库", "发往宿州市区门店"),
        (4, 15, "receiving", "埇桥区 门店", "上架"),
    ),
    "textile": (
        (0, 8, "receiving", "面料仓", "面料检验入库"),
        (2, 9, "transforming", "裁剪与缝制车间", "裁剪、缝制、整烫"),
        (5, 10, "inspecting", "成品检验台", "安全类别与尺寸检验合格"),
        (5, 16, "packing", "包装线", "吊牌赋码、装箱"),
        (8, 8, "shipping", "成品库", "发往华东仓"),
        (9, 11, "receiving", "华东仓", "入仓"),
    ),
    "home": (
        (0, 8, "receiving", "板材库", "基材批次核验"),
        (1, 9, "assembling", "数控开料与封边线", "开料、封边、钻孔"),
        (3, 10, "inspecting", "环保检测室", "甲醛释放量气候箱法检测"),
        (4, 9, "packing", "包装线", "分包赋码"),
        (10, 8, "shipping", "成品库", "发往客户"),
        (12, 10, "installing", "客户现场", "安装完成并验收"),
    ),
    "shoes": (
        (0, 8, "transforming", "成型车间", "帮底成型"),
        (1, 9, "inspecting", "理化检测室", "剥离强度与耐磨检测"),
        (2, 9, "packing", "包装线", "成双赋码装盒"),
        (2, 15, "storing", "成品库", "入库"),
        (6, 8, "shipping", "成品库", "发往经销商"),
        (7, 16, "receiving", "经销商仓", "到货"),
    ),
    "pharma": (
        (0, 8, "transforming", "固体制剂车间", "压片、包衣"),
        (2, 9, "packing", "包装线", "赋药品追溯码"),
        (5, 10, "inspecting", "QC 实验室", "全项检验合格"),
        (6, 9, "storing", "成品库", "放行入库"),
        (12, 8, "shipping", "成品库", "发货"),
        (13, 14, "receiving", "流通企业", "收货验收"),
    ),
    "machinery": (
        (0, 8, "assembling", "总装线", "整机装配"),
        (1, 10, "inspecting", "出厂试验台", "出厂试验合格"),
        (2, 9, "commissioning", "铭牌工位", "铭牌赋码"),
        (2, 15, "packing", "包装区", "木箱包装"),
        (7, 8, "shipping", "成品库", "发往用户现场"),
        (10, 10, "installing", "用户现场", "安装调试"),
    ),
}
