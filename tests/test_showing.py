"""What readers of each level see, as values and as lines of the scan page."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import orjson
import pytest

from node import showing
from node.templates import Compiled, compile_template, load_industries

INDUSTRIES = {template.code: compile_template(template) for template in load_industries()}


def example(industry: str) -> dict[str, dict[str, Any]]:
    return orjson.loads((files("node.industries") / "examples" / f"{industry}.json").read_bytes())


def row(industry: str, **changes: Any) -> dict[str, Any]:
    """Lot and item of the example in one, changed; None takes a field away."""
    whole = {**example(industry)["lot"], **example(industry)["item"], **changes}
    return {code: value for code, value in whole.items() if value is not None}


def test_who_sees_what():
    pear = INDUSTRIES["pear"]
    whole = row("pear", grower="张三丰")
    public, partner = pear.view(whole, "public"), pear.view(whole, "partner")
    assert public["grower"] == "张*"
    assert public["orchard_geo"] == "34.51,116.45"
    assert set(public["pesticide_records"][0]) == {"agent", "date", "interval_days"}
    assert not {"harvest_team", "dest_party", "parent_id", "temp_c"} & public.keys()
    assert partner["temp_c"] == 0.5
    assert partner["orchard_geo"] == "34.51,116.45"
    assert "dest_party" not in partner
    assert pear.view(whole, "private") == whole
    assert list(public) == [f.code for f in pear.template.fields if f.code in public]


@pytest.mark.parametrize("industry", INDUSTRIES)
@pytest.mark.parametrize("level", ["public", "partner", "private"])
def test_viewing_twice_is_viewing_once(industry: str, level: str):
    seen = INDUSTRIES[industry].view(row(industry), level)
    assert INDUSTRIES[industry].view(seen, level) == seen


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("张三丰", "张*"),
        ("欧阳修", "欧*"),
        ("王社", "王*"),
        ("张*", "张*"),
        ("李四（合作社社长）", "李*"),
        ("砀山县梨晨果蔬专业合作社", "砀山县梨晨果蔬专业合作社"),
        ("宿州梨晨有限公司（砀山）", "宿州梨晨有限公司（砀山）"),
        ("良梨家庭农场", "良梨家庭农场"),
    ],
)
def test_people_are_masked_and_organisations_are_not(name: str, shown: str):
    assert INDUSTRIES["pear"].view({"grower": name}, "public") == {"grower": shown}


def test_lines_of_the_scan_page():
    pear = INDUSTRIES["pear"].display(row("pear"), "public")
    assert [g["code"] for g in pear][:2] == ["product", "orchard"]
    lines = {line["code"]: line for group in pear for line in group["fields"]}
    assert lines["net_weight_kg"]["value"] == "5.02 kg"
    assert lines["ssc_pct"]["value"] == "12.6%"
    assert lines["in_at"]["value"] == "2024-09-13 18:20"
    assert lines["grade"]["value_en"] == "superior"
    assert lines["grade"]["emphasis"] is True
    assert lines["pesticide_records"]["rows"][1] == ["吡虫啉可湿性粉剂", "2024-08-10", "20 天"]
    assert "harvest_team" not in lines
    dry = {"emission_value": 0.3, "test_method": "干燥器"}
    home = INDUSTRIES["home"].display(dry, "public")[0]["fields"]
    assert home[0]["value"] == "0.3 mg/L"
    shoe = INDUSTRIES["shoes"].display({"child_flag": True}, "public")[0]["fields"][0]
    assert (shoe["value"], shoe["raw"]) == ("是", True)


def test_lines_are_kept_for_just_the_same_value() -> None:
    """Pages share lines: of the same field of the same template, and a value of the same type."""
    machinery, home = INDUSTRIES["machinery"], INDUSTRIES["home"]
    assert _line(machinery, active_carrier=True) is _line(machinery, active_carrier=True)
    assert _line(machinery, active_carrier=True) == _line(compile_template(machinery.template), active_carrier=True)
    values = [_line(machinery, active_carrier=raw)["value"] for raw in (True, 1, 1.0)]
    assert values == ["是", "1", "1.0"]
    by_method = [
        home.display({"emission_value": 0.3, "test_method": method})[0]["fields"][0] for method in ("干燥器", "气候箱")
    ]
    assert by_method[0]["value"] != by_method[1]["value"]  # its unit is the other field's to say


def _line(compiled: Compiled, **values: Any) -> dict[str, Any]:
    template = compiled.template
    (group,) = showing.display(template.groups, template.fields, values)
    (line,) = group["fields"]
    return line
