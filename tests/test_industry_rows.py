"""Rows of the seven industries, each wrong in one way: what is told, by field and code."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import orjson
import pytest

from node.errors import InvalidRow, RowError
from node.templates import Compiled, compile_template, load_industries

INDUSTRIES = {template.code: compile_template(template) for template in load_industries()}

DEVICE = {
    "article_kind": "医疗器械",
    "udi_di": "06901234567892",
    "udi_pi": "(17)260430(10)240510",
    "udi_issuer": "GS1",
    "reg_no": "皖械注准20249990001",
}
UDI = ("udi_di", "udi_pi", "udi_issuer", "reg_no")
DRUG_ONLY = ("drug_trace_code", "generic_name", "dosage_form", "strength", "approval_no")


def example(industry: str) -> dict[str, dict[str, Any]]:
    return orjson.loads((files("node.industries") / "examples" / f"{industry}.json").read_bytes())


def row(industry: str, **changes: Any) -> dict[str, Any]:
    """Lot and item of the example in one, changed; None takes a field away."""
    whole = {**example(industry)["lot"], **example(industry)["item"], **changes}
    return {code: value for code, value in whole.items() if value is not None}


def faults(compiled: Compiled, attributes: dict[str, Any], **how: Any) -> dict[str, str]:
    """Field and code of each error; {} for a row that is taken. Quick and slow way are asked."""
    raw = orjson.dumps(attributes)
    answers = []
    for ask, given in ((compiled.decode, raw), (compiled.check, attributes)):
        found: list[RowError] = []
        try:
            ask(given, **how)  # type: ignore[operator]
        except InvalidRow as error:
            found = error.errors
        answers.append({e.field.removeprefix("attributes."): e.code for e in found})
        assert len(answers[-1]) == len(found), "one error per field"
        assert all(e.zh and e.en for e in found)
    assert answers[0] == answers[1]
    return answers[0]


RECORD = {"agent": "吡虫啉", "date": "2024-08-10", "interval_days": 20}

WRONG: list[tuple[str, dict[str, Any], dict[str, str]]] = [
    # core
    ("pear", {"gtin": "06901234567891"}, {"gtin": "check_digit"}),
    ("pear", {"gtin": "0690123456789a"}, {"gtin": "check_digit"}),
    ("pear", {"product_category": "水果"}, {"product_category": "pattern"}),
    ("pear", {"produced_at": "2024-02-30"}, {"produced_at": "bad_date"}),
    ("pear", {"produced_at": "2024-09-12T08:30:00"}, {"produced_at": "bad_date"}),
    ("pear", {"produced_at": "2024-W37-2"}, {"produced_at": "bad_date"}),
    ("pear", {"expires_at": "2024-09-11"}, {"expires_at": "date_order_expires"}),
    ("pear", {"expires_at": "永久"}, {"expires_at": "bad_date"}),
    ("pear", {"parent_id": "88.999.1001"}, {"parent_id": "pattern"}),
    ("pear", {"source_ids": ["88.999.1001/A", "a b"]}, {"source_ids[1]": "pattern"}),
    ("pear", {"source_ids": []}, {"source_ids": "empty"}),
    ("pear", {"source_ids": "88.999.1001/A"}, {"source_ids": "wrong_type"}),
    ("pear", {"report_file": "javascript:alert(1)"}, {"report_file": "pattern"}),
    ("pear", {"contact": "张三"}, {"contact": "pattern"}),
    ("pear", {"brand": ""}, {"brand": "empty"}),
    ("pear", {"brand": "梨" * 65}, {"brand": "too_long"}),
    ("pear", {"brand": 7}, {"brand": "wrong_type"}),
    ("pear", {"brand": "梨\u202e晨"}, {"brand": "control_character"}),
    ("pear", {"brand": "梨\n晨"}, {"brand": "control_character"}),
    ("pear", {"colour": "黄"}, {"colour": "unknown_field"}),
    # pear
    ("pear", {"last_spray_date": "2024-08-30"}, {"harvest_date": "spray_interval"}),
    ("pear", {"last_spray_date": "2024-08-09"}, {"last_spray_date": "last_spray_too_early"}),
    (
        "pear",
        {"pesticide_records": [{**RECORD, "interval_days": 34}]},
        {"harvest_date": "spray_interval"},
    ),
    ("pear", {"pesticide_records": []}, {"pesticide_records": "empty"}),
    (
        "pear",
        {"pesticide_records": [RECORD, {"agent": "", "date": "2024-8-1", "dose": 1}]},
        {
            "pesticide_records[1].agent": "empty",
            "pesticide_records[1].date": "bad_date",
            "pesticide_records[1].dose": "unknown_field",
            "pesticide_records[1].interval_days": "required",
        },
    ),
    (
        "pear",
        {"pesticide_records": [{**RECORD, "registration_no": "农药1"}]},
        {"pesticide_records[0].registration_no": "pattern"},
    ),
    ("pear", {"pesticide_records": ["吡虫啉"]}, {"pesticide_records[0]": "wrong_type"}),
    ("pear", {"pesticide_records": [RECORD] * 201}, {"pesticide_records": "too_long"}),
    ("pear", {"grade": "特等品"}, {"grade": "not_in_enum"}),
    ("pear", {"ssc_pct": 120}, {"ssc_pct": "out_of_range"}),
    ("pear", {"ssc_pct": "12.6"}, {"ssc_pct": "wrong_type"}),
    ("pear", {"tree_age": 62.5}, {"tree_age": "wrong_type"}),
    ("pear", {"net_weight_kg": 0}, {"net_weight_kg": "out_of_range"}),
    ("pear", {"net_weight_kg": True}, {"net_weight_kg": "wrong_type"}),
    ("pear", {"orchard_geo": "134.5,116.3"}, {"orchard_geo": "pattern"}),
    ("pear", {"orchard_area_code": "34132"}, {"orchard_area_code": "pattern"}),
    ("pear", {"bagging_date": "2024-09-13"}, {"harvest_date": "date_order_harvest"}),
    ("pear", {"bagging_date": "2024-04-01"}, {"bagging_date": "date_order_bagging"}),
    (
        "pear",
        {"harvest_date": "2024-09-14"},
        {"sort_time": "date_order_sorting", "in_at": "date_order_store_in"},
    ),
    ("pear", {"out_at": "2024-09-13T18:30:00+09:00"}, {"out_at": "date_order_store_out"}),
    ("pear", {"out_at": "2024-09-13T10:19:59Z"}, {"out_at": "date_order_store_out"}),
    # green food
    ("green_food", {"green_mark_no": "LB15-24031200001A"}, {"green_mark_no": "pattern"}),
    ("green_food", {"gf_code": "GF34132124000"}, {"gf_code": "pattern"}),
    ("green_food", {"sc_no": "QS10634132100017"}, {"sc_no": "pattern"}),
    ("green_food", {"recall_flag": "没有"}, {"recall_flag": "not_in_enum"}),
    (
        "green_food",
        {"process_ccp": [{"step": "熬制", "result": "好"}]},
        {"process_ccp[0].result": "not_in_enum"},
    ),
    # textile
    ("textile", {"fiber_content": "棉 65% 聚酯纤维 30%"}, {"fiber_content": "fibre_sum"}),
    ("textile", {"fiber_content": "面料：棉 100%；里料：聚酯纤维 90%"}, {"fiber_content": "fibre_sum"}),
    ("textile", {"fiber_content": "纯棉"}, {"fiber_content": "fibre_sum"}),
    ("textile", {"formaldehyde_mgkg": 76}, {"formaldehyde_mgkg": "formaldehyde_limit"}),
    ("textile", {"safety_class": "A", "ph": 7.5}, {"formaldehyde_mgkg": "formaldehyde_limit"}),
    ("textile", {"safety_class": "C", "formaldehyde_mgkg": 301}, {"formaldehyde_mgkg": "formaldehyde_limit"}),
    ("textile", {"ph": 3.9}, {"ph": "ph_range"}),
    ("textile", {"ph": 8.6}, {"ph": "ph_range"}),
    ("textile", {"colour_fastness": 2.5}, {"colour_fastness": "out_of_range"}),
    ("textile", {"rfid_epc": "30340BE4"}, {"rfid_epc": "pattern"}),
    # home
    ("home", {"emission_value": 0.026}, {"emission_value": "emission_limit"}),
    ("home", {"emission_grade": "E0", "emission_value": 0.051}, {"emission_value": "emission_limit"}),
    ("home", {"emission_grade": "E1", "emission_value": 0.125}, {"emission_value": "emission_limit"}),
    ("home", {"test_method": "干燥器"}, {"test_method": "grade_needs_chamber"}),
    # shoes: a children's shoe
    ("shoes", {"phthalate": None}, {"phthalate": "required"}),
    ("shoes", {"phthalate": None, "child_flag": None}, {"phthalate": "required", "child_flag": "required"}),
    ("shoes", {"age_group": "成人"}, {"age_group": "child_age"}),
    ("shoes", {"shoe_size": "42"}, {"shoe_size": "pattern"}),
    ("shoes", {"child_flag": "是"}, {"child_flag": "wrong_type"}),
    # pharma
    ("pharma", {"drug_trace_code": "8999999000000127123"}, {"drug_trace_code": "pattern"}),
    ("pharma", {"approval_no": "国药准字X20249999"}, {"approval_no": "pattern"}),
    (
        "pharma",
        {"article_kind": "医疗器械"},
        dict.fromkeys(UDI, "required"),
    ),
    ("pharma", {**DEVICE, "udi_issuer": "XX"}, {"udi_issuer": "not_in_enum"}),
    # machinery: carries an active identifier
    ("machinery", {"imei": "869999070000121"}, {"imei": "check_digit"}),
    ("machinery", {"imei": None, "terminal_type": None}, {"imei": "required", "terminal_type": "required"}),
    ("machinery", {"warranty_until": "2024-04-17"}, {"warranty_until": "date_order_warranty"}),
    ("machinery", {"installed_at": "2024-04-17T23:59:59Z"}, {"installed_at": "date_order_installed"}),
]

RIGHT: list[tuple[str, dict[str, Any]]] = [
    ("pear", {"expires_at": "无"}),
    ("pear", {"expires_at": "2024-09-12"}),
    ("pear", {"last_spray_date": "2024-08-23"}),  # 20 days to the day
    ("pear", {"out_at": "2024-09-13T10:20:00Z"}),  # the moment of in_at, told in another zone
    ("pear", {"thinning": "第一行", "fertiliser_records": "一\n二\t三"}),
    ("pear", {"parent_id": "10.1234/ABC", "source_ids": ["00340123450000000017", "did:bid:efnVUgqQFf"]}),
    ("textile", {"formaldehyde_mgkg": 75, "ph": 8.5}),
    ("textile", {"formaldehyde_mgkg": None, "ph": None}),
    ("home", {"emission_value": 0.025}),
    ("home", {"emission_grade": "F★★★★", "test_method": "干燥器", "emission_value": 0.3}),
    ("shoes", {"child_flag": False, "age_group": "成人", "phthalate": None, "azo": None}),
    ("pharma", {**DEVICE, **dict.fromkeys(DRUG_ONLY)}),
    ("pharma", {"article_kind": None}),
    ("machinery", {"active_carrier": False, "imei": None, "terminal_type": None}),
]


@pytest.mark.parametrize(("industry", "changes", "expected"), WRONG)
def test_wrong_rows_are_told_field_by_field(industry: str, changes: dict[str, Any], expected: dict[str, str]):
    assert faults(INDUSTRIES[industry], row(industry, **changes)) == expected


@pytest.mark.parametrize(("industry", "changes"), RIGHT)
def test_right_rows_are_taken(industry: str, changes: dict[str, Any]):
    assert faults(INDUSTRIES[industry], row(industry, **changes)) == {}


def test_every_rule_of_every_industry_is_broken_in_a_test():
    named = {code for _, _, expected in WRONG for code in expected.values()}
    rules = {r.code for c in INDUSTRIES.values() for r in c.template.rules}
    by_presence = {
        "child_tests",
        "child_age_tests",
        "device_udi",
        "device_is_no_drug",
        "active_carrier_table9",
    }
    assert rules - by_presence <= named


def test_an_item_is_held_against_its_lot():
    compiled, given = INDUSTRIES["pear"], example("pear")
    late = {**given["item"], "harvest_date": "2024-08-20"}
    with pytest.raises(InvalidRow) as caught:
        compiled.decode(orjson.dumps(late), given["lot"])
    error = caught.value.errors[0]
    assert (error.field, error.code) == ("attributes.harvest_date", "spray_interval")
    assert "20 天" in error.zh
    assert "at least 20 days" in error.en


def test_texts_name_what_is_expected():
    compiled = INDUSTRIES["textile"]
    wrong = row("textile", safety_class="D", formaldehyde_mgkg=-1, 颜色="红", color=None, **{"styleNo": "1"})
    with pytest.raises(InvalidRow) as caught:
        compiled.check(wrong)
    texts = {e.field: f"{e.zh} / {e.en}" for e in caught.value.errors}
    assert "A（婴幼儿）、B（直接接触皮肤）" in texts["attributes.safety_class"]
    assert "0 至 100000 mg/kg" in texts["attributes.formaldehyde_mgkg"]
    assert "did you mean color?" in texts["attributes.颜色"]
    assert "是否为 style_no？" in texts["attributes.styleNo"]
    with pytest.raises(InvalidRow) as caught:
        INDUSTRIES["pear"].check({"品种": "秋月"}, partial=True)
    assert "did you mean variety?" in caught.value.errors[0].en
