"""The seven industries: the fields of domain.md 4, and full examples, whole and without a required field."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import orjson
import pytest

from node.errors import InvalidRow
from node.templates import compile_template, load_industries

INDUSTRIES = {template.code: compile_template(template) for template in load_industries()}

# domain.md 4.0 to 4.7: ● required, P public, G partner, I private.
CORE = {
    "●P": "product_category brand product_name manufacturer produced_at batch_no exec_standard",
    "P": "expires_at spec gtin report_no report_file contact",
    "G": "parent_id source_ids",
    "I": "dest_party",
}
TABLES: dict[str, dict[str, str]] = {
    "pear": {
        "●P": "variety orchard_name orchard_id orchard_area_code grower pesticide_records last_spray_date "
        "harvest_date grade residue_result residue_report cert_commitment pack_spec net_weight_kg "
        "carton_id",
        "●I": "harvest_team",
        "P": "gi_mark_no orchard_geo orchard_area_mu tree_age pollination_date thinning bagging_date "
        "bag_type "
        "fruit_weight_g ssc_pct firmness cold_store_id in_at out_at",
        "G": "fertiliser_records sort_line sort_time temp_c rh_pct logistics_no carrier transit_temp",
    },
    "green_food": {
        "●P": "green_mark_no gf_code sc_no ingredients allergens nutrition net_content shelf_life_d "
        "storage_cond factory_check recall_flag",
        "●G": "raw_material_ids",
        "G": "process_ccp",
        "I": "line shift operator",
    },
    "textile": {
        "●P": "style_no color size fiber_content safety_class care_symbols maker_addr",
        "P": "formaldehyde_mgkg ph colour_fastness azo_dye",
        "G": "fabric_batch dye_lot rfid_epc",
        "I": "cut_bed sew_line qc carton_id order_no channel_area",
    },
    "home": {
        "●P": "product_kind board_type emission_grade emission_value test_method",
        "●G": "supplier_board_ids",
        "P": "carb_tpc_no tvoc glue_type heavy_metal wood_species wood_source fsc_no size_mm weight_kg "
        "fire_class bom install_video warranty_m",
        "I": "cnc_program cost",
    },
    "shoes": {
        "●P": "style_no shoe_size upper_material lining_material insole_material outsole_material grade pair_serial",
        "P": "process child_flag age_group free_formaldehyde azo hexavalent_chromium phthalate",
        "G": "peel_strength abrasion flex",
        "I": "inspector_no last_no mould_no channel_area",
    },
    "pharma": {
        "●P": "drug_trace_code generic_name dosage_form strength pack_spec approval_no mah producer "
        "pack_level expires_at",
        "P": "storage_temp udi_di udi_pi udi_issuer reg_no",
        "G": "cold_chain_log",
        "I": "flow_events",
    },
    "machinery": {
        "●P": "device_sn model",
        "P": "rated_params nameplate_image ccc_no production_licence_no energy_label rohs_epup "
        "warranty_until "
        "spare_part_ids",
        "G": "fw_version core_parts factory_test_report maintenance_events",
        "I": "assembly_line torque_records installed_at customer_site imei network_licence_no "
        "network_id_code "
        "network_serial_no",
    },
}
LEVEL = {"P": "public", "G": "partner", "I": "private"}


def example(industry: str) -> dict[str, dict[str, Any]]:
    return orjson.loads((files("node.industries") / "examples" / f"{industry}.json").read_bytes())


def row(industry: str, **changes: Any) -> dict[str, Any]:
    """Lot and item of the example in one, changed; None takes a field away."""
    whole = {**example(industry)["lot"], **example(industry)["item"], **changes}
    return {code: value for code, value in whole.items() if value is not None}


def test_all_seven_industries_load():
    assert set(INDUSTRIES) == set(TABLES)
    assert all(c.template.name == f"{code}@1" for code, c in INDUSTRIES.items())


@pytest.mark.parametrize("industry", TABLES)
def test_fields_are_those_of_the_domain(industry: str):
    fields = {f.code: f for f in INDUSTRIES[industry].template.fields}
    for marks, codes in [*CORE.items(), *TABLES[industry].items()]:
        for code in codes.split():
            field = fields[code]
            assert field.visibility == LEVEL[marks[-1]], code
            tightened = industry == "pharma" and code == "expires_at"
            assert field.required == (marks[0] == "●" or tightened), code


@pytest.mark.parametrize("industry", TABLES)
def test_the_core_block_comes_first(industry: str):
    codes = [f.code for f in INDUSTRIES[industry].template.fields]
    core = [c for marks in CORE.values() for c in marks.split()]
    assert set(codes[: len(core)]) == set(core)
    assert codes[0] == "product_category"
    assert INDUSTRIES[industry].indexed({"brand": "甲", "product_category": "0151 梨"}) == [
        {"index": 2000, "type": "product_category", "data": "0151 梨"},
        {"index": 2001, "type": "brand", "data": "甲"},
    ]


@pytest.mark.parametrize("industry", TABLES)
def test_examples_pass_as_lot_and_item_and_whole(industry: str):
    compiled, given = INDUSTRIES[industry], example(industry)
    lot = compiled.decode(orjson.dumps(given["lot"]), partial=True)
    assert lot == given["lot"]
    assert compiled.decode(orjson.dumps(given["item"]), lot) == given["item"]
    assert compiled.check(row(industry)) == row(industry)


@pytest.mark.parametrize("industry", TABLES)
def test_every_required_field_is_missed(industry: str):
    compiled = INDUSTRIES[industry]
    whole = row(industry)
    for field in compiled.template.fields:
        if field.required:
            without = {k: v for k, v in whole.items() if k != field.code}
            with pytest.raises(InvalidRow) as caught:
                compiled.decode(orjson.dumps(without))
            found = [(e.field, e.code) for e in caught.value.errors]
            assert found == [(f"attributes.{field.code}", "required")]
            assert compiled.check(without, {field.code: whole[field.code]}) == without
            assert compiled.check(without, partial=True) == without
