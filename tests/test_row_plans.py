"""What a template's rules and a lot's values make certain of an item: which rows are sure, and that they are right."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from near_rows import EXAMPLES, INDUSTRIES, PREFIX, slow_way

from handle_codec.rows import decode_rows
from node.row_plans import plan_of

DEVICE = {"article_kind": "医疗器械", "udi_di": "06901234567892", "udi_issuer": "GS1", "reg_no": "皖械注准20249990001"}
DRUG_ONLY = ("drug_trace_code", "generic_name", "dosage_form", "strength", "approval_no")
UDI = {"udi_pi": "(17)260430(10)240510"}
PACK = {"pack_level": "最小包装"}
PUMP = {"device_sn": "VF7240418000127"}
TABLE_9 = {"imei": "869999070000123", "network_serial_no": "000127"}
CARTON = {"carton_id": "88.999.1001/LC240912A0001", "net_weight_kg": 5}


def pharma(**changes: Any) -> dict[str, Any]:
    return {k: v for k, v in EXAMPLES["pharma"]["lot"].items() if k not in DRUG_ONLY} | DEVICE | changes


def pear(*without: str) -> dict[str, Any]:
    return {k: v for k, v in EXAMPLES["pear"]["lot"].items() if k not in without}


CASES: list[tuple[str, dict[str, Any], dict[str, Any], bool]] = [
    # a waiver of the lot, and a demand of the same lot
    ("pharma", pharma(), PACK | UDI, True),
    ("pharma", pharma(), UDI, False),
    ("pharma", pharma(), PACK, False),
    ("pharma", pharma(), PACK | UDI | {"article_kind": "药品"}, False),
    ("pharma", pharma(**UDI), PACK, True),
    # a demand that the lot makes, one that the item would make
    ("machinery", EXAMPLES["machinery"]["lot"], PUMP | TABLE_9, True),
    ("machinery", EXAMPLES["machinery"]["lot"], PUMP, False),
    ("machinery", {**EXAMPLES["machinery"]["lot"], "active_carrier": False}, PUMP, True),
    ("machinery", {**EXAMPLES["machinery"]["lot"], "active_carrier": False}, PUMP | {"active_carrier": True}, False),
    # orders: against a day of the lot, against a time of the lot, both of the item
    ("pear", pear(), CARTON | {"sort_time": "2024-09-12T00:00:00+08:00"}, True),
    ("pear", pear(), CARTON | {"sort_time": "2024-09-11T23:59:59+08:00"}, False),
    ("pear", pear(), CARTON | {"out_at": "2024-09-16"}, True),
    ("pear", pear(), CARTON | {"out_at": "2024-09-13T18:19:59+08:00"}, False),
    ("pear", pear(), CARTON | {"in_at": "2024-09-14T01:00:00+08:00", "out_at": "2024-09-14T02:00:00+08:00"}, True),
    ("pear", pear(), CARTON | {"in_at": "2024-09-14T02:00:00+08:00", "out_at": "2024-09-14T01:00:00+08:00"}, False),
    ("pear", pear(), CARTON | {"in_at": "2024-09-14T01:00:00-08:00", "out_at": "2024-09-14T02:00:00+08:00"}, False),
    ("pear", pear(), CARTON | {"in_at": "2024-09-14", "out_at": "2024-09-14T02:00:00+08:00"}, True),
    # a gap from the lot's last spraying, and the lot's later dates
    ("pear", pear("harvest_date"), CARTON | {"harvest_date": "2024-08-30"}, True),
    ("pear", pear("harvest_date"), CARTON | {"harvest_date": "2024-08-29"}, False),
    ("pear", pear("harvest_date", "in_at"), CARTON | {"harvest_date": "2024-12-01"}, True),
    ("pear", pear("harvest_date"), CARTON | {"harvest_date": "2024-09-14"}, False),
    ("pear", pear("last_spray_date"), CARTON | {"last_spray_date": "2024-08-23"}, True),
    ("pear", pear("last_spray_date"), CARTON | {"last_spray_date": "2024-08-24"}, False),
    ("pear", pear("last_spray_date"), CARTON | {"last_spray_date": "2024-08-09"}, False),
    # the other kinds of rule are left to themselves
    ("textile", EXAMPLES["textile"]["lot"], {"size": "170", "fiber_content": "棉 100%"}, False),
    ("textile", EXAMPLES["textile"]["lot"], {"size": "170", "ph": 6.5}, False),
    ("home", EXAMPLES["home"]["lot"], {"emission_grade": "E1"}, False),
]


@pytest.mark.parametrize(("industry", "lot", "item", "certain"), CASES)
def test_items_of_a_lot(industry: str, lot: dict[str, Any], item: dict[str, Any], certain: bool) -> None:
    compiled, lots = INDUSTRIES[industry], {"L": lot}
    line = orjson.dumps({"handle": f"{PREFIX.prefix}/C", "lot": "L", "attributes": item})
    batch = decode_rows(plan_of(compiled, PREFIX, lots), line)
    assert (len(batch), len(batch.unsure)) == (certain, not certain)
    if certain:
        assert slow_way(line, compiled, lots) == ("C", "L", batch.content(0))


def test_items_without_a_lot_have_to_name_their_template() -> None:
    compiled = INDUSTRIES["home"]
    whole = {**EXAMPLES["home"]["lot"], **EXAMPLES["home"]["item"]}
    plain = {
        k: v for k, v in whole.items() if not isinstance(v, list) and k not in ("emission_grade", "emission_value")
    }
    row = {"handle": f"{PREFIX.prefix}/C", "template": "home", "attributes": plain}
    lines = [orjson.dumps(row), orjson.dumps({**row, "template": ""})]
    plan = plan_of(compiled, PREFIX, {}, ["home"])
    needed = plan.lots[0].needs - plain.keys()
    assert needed, "a list is required of a board, so that without its lot none is sure"
    assert len(decode_rows(plan, b"\n".join(lines))) == 0


def test_plain_handles_without_a_template() -> None:
    plan = plan_of(None, PREFIX, {"L": {}})
    lines = [b'{"handle":"88.999.1001/%d"%s}' % (n, rest) for n, rest in enumerate(
        (b"", b',"attributes":{}', b',"lot":"L"', b',"attributes":{ }', b',"attributes":{"a":1}', b',"template":"x"')
    )]  # fmt: skip
    batch = decode_rows(plan, b"\n".join(lines))
    assert [(batch.suffix(i), batch.lot(i), batch.content(i)) for i in range(len(batch))] == [
        ("0", "", b""), ("1", "", b""), ("2", "L", b""),
    ]  # fmt: skip


def test_a_lot_of_the_form_of_a_serial_is_left_out() -> None:
    assert [lot.suffix for lot in plan_of(None, PREFIX, {"V8CQN3C64A5PS5": {}}, without_lot=False).lots] == []
