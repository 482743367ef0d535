"""The attributes that stored content names by one byte. Each row that was ever stored is read by this list: a name
keeps its place for ever, new ones are appended (tests pin the beginning). A release that appends brings a migration,
for workers of the release before cannot read rows that use the new ones. What is not here is stored in full.
"""

MOST_NAMES = 223  # a byte from 0x01 to 0xDF each

NAMES = tuple(  # one word a name: a list of literals of this length hides what was appended
    """
product_category brand product_name manufacturer produced_at expires_at batch_no spec exec_standard gtin report_no
report_file parent_id source_ids dest_party contact variety gi_mark_no orchard_name orchard_id orchard_area_code
orchard_geo orchard_area_mu tree_age grower pollination_date thinning bagging_date bag_type pesticide_records
last_spray_date fertiliser_records harvest_date harvest_team fruit_weight_g ssc_pct firmness grade sort_line sort_time
residue_result residue_report cert_commitment cold_store_id in_at out_at temp_c rh_pct pack_spec net_weight_kg
carton_id logistics_no carrier transit_temp article_kind drug_trace_code generic_name dosage_form strength approval_no
mah producer pack_level storage_temp cold_chain_log flow_events udi_di udi_pi udi_issuer reg_no green_mark_no gf_code
sc_no ingredients allergens nutrition net_content net_content_unit shelf_life_d storage_cond raw_material_ids
process_ccp line shift operator factory_check recall_flag device_sn model rated_params nameplate_image ccc_no
production_licence_no energy_label rohs_epup fw_version core_parts assembly_line torque_records factory_test_report
installed_at customer_site maintenance_events warranty_until spare_part_ids active_carrier terminal_type carrier_owner
carrier_purpose imei network_licence_no network_id_code network_serial_no product_kind board_type emission_grade
emission_value test_method carb_tpc_no tvoc glue_type heavy_metal wood_species wood_source fsc_no supplier_board_ids
size_mm weight_kg fire_class bom install_video warranty_m cnc_program cost style_no color size fiber_content
safety_class formaldehyde_mgkg ph colour_fastness azo_dye care_symbols maker_addr fabric_batch dye_lot cut_bed
sew_line qc rfid_epc order_no channel_area shoe_size upper_material lining_material insole_material outsole_material
process child_flag age_group free_formaldehyde azo hexavalent_chromium phthalate peel_strength abrasion flex
inspector_no last_no mould_no pair_serial
""".split()  # noqa: SIM905
)
