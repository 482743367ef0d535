"""Bodies that are put together from frames are byte for byte those that `Resolved.record` makes."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.bodies import _GAP, Bodies
from node.kept import Form
from node.model import Kind, Prefix, PrefixStatus, Row, Status
from node.records import Resolved, pack, unpack
from tests.near_rows import EXAMPLES, INDUSTRIES

PREFIX = Prefix(1, "88.999.1001", 1, 7, 16, PrefixStatus.ENABLED, True, "砀山县%s示范合作社", "pear", "341321")


def row_of(kind: Kind, suffix: str, content: bytes, lot: str = "") -> Row:
    return Row(suffix, kind, Status.ACTIVE, lot, 1, content, "", "", 1, 1.0, 1_790_000_000.0)


def item_of(
    code: str, number: int, own: dict[str, Any], lot: Row | None, prefix: Prefix = PREFIX, **row: Any
) -> Resolved:
    suffix = f"LC-1-{number}%d"
    item = row_of(Kind.ITEM, suffix, pack(own, []), lot.suffix if lot else "").changed(**{"version": number + 1, **row})
    parts = unpack(lot.content) if lot else None
    return Resolved(f"{prefix.prefix}/{suffix}", prefix, item, lot, INDUSTRIES[code], "public", None, parts)


def lot_of(code: str) -> Row:
    return row_of(Kind.LOT, "LC-1", pack(EXAMPLES[code]["lot"], []))


def assert_same(bodies: Bodies, resolved: Resolved) -> None:
    assert bodies.view(resolved).body == orjson.dumps(resolved.record())


@pytest.mark.parametrize("code", sorted(INDUSTRIES))
def test_items_of_each_industry_after_one_another(code: str) -> None:
    bodies, lot = Bodies(), lot_of(code)
    own = INDUSTRIES[code].check(EXAMPLES[code]["item"], EXAMPLES[code]["lot"])
    for number in range(3):
        assert_same(bodies, item_of(code, number, own, lot))
        assert_same(bodies, item_of(code, number, {**own, **EXAMPLES[code]["lot"]}, None))
    assert len(bodies._frames) == 2  # the second and third of each were filled in


@given(
    st.lists(st.dictionaries(st.sampled_from(["carton_id", "grower", "net_weight_kg", "spec"]), st.text()), max_size=6)
)
def test_any_values_in_any_order(owns: list[dict[str, str]]) -> None:
    bodies, lot = Bodies(), lot_of("pear")
    for number, own in enumerate(owns):
        assert_same(bodies, item_of("pear", number, own, lot))


def test_what_a_mask_hides_of_one_item_is_shown_of_the_next() -> None:
    bodies, lot = Bodies(), lot_of("pear")
    masked = next(code for code, mask in INDUSTRIES["pear"].public_plan if mask is not None and mask("nowhere") is None)
    for value in ("nowhere", "34.42561,116.35128", "nowhere", "34.1,116.1"):
        assert_same(bodies, item_of("pear", 1, {masked: value}, lot))


def test_a_frame_is_good_for_what_it_was_cut_from_alone() -> None:
    bodies, own = Bodies(), {"carton_id": "C1"}
    for lot in (lot_of("pear"), lot_of("pear").changed(content=pack({"spec": "12"}, []))):
        for number in range(2):
            assert_same(bodies, item_of("pear", number, own, lot))
    for status in (PrefixStatus.STOPPED, PrefixStatus.ENABLED):
        prefix = Prefix(1, "88.999.1001", 1, 7, 16, status, True, "改名合作社", "pear", "341321")
        for number in range(2):
            assert_same(bodies, item_of("pear", number, own, lot_of("pear"), prefix))


def test_what_is_not_usual_goes_the_long_way() -> None:
    bodies, own, lot = Bodies(), {"carton_id": "C1"}, lot_of("pear")
    values = [{"index": 1, "type": "URL", "data": {"format": "string", "value": "https://a.example.com"}}]
    for number in range(2):
        assert_same(bodies, item_of("pear", number, own, lot, status=Status.RECALLED, reason="霉变"))
        assert_same(bodies, item_of("pear", number, own, lot.changed(status=Status.RECALLED)))
        assert_same(bodies, item_of("pear", number, own, lot, content=pack(own, values)))
        assert_same(bodies, item_of("pear", number, own, lot.changed(content=pack({}, values))))
        assert_same(bodies, item_of("pear", number, {"carton_id": _GAP}, lot))
    assert all(frame.text.count(b"%b") == 3 for frame in bodies._frames.values())


def test_a_tombstone_is_no_record() -> None:
    view = Bodies().view(item_of("pear", 1, {}, None, status=Status.TOMBSTONE, reason="sold", content=b""))
    assert view.form is Form.GONE
    assert view.document()["reason"] == "sold"


def test_what_is_long_or_for_its_owner_is_not_kept() -> None:
    bodies, lot = Bodies(), lot_of("pear").changed(content=pack({"spec": "%" * 20_000}, []))
    private = item_of("pear", 1, {"carton_id": "C1"}, lot_of("pear"))
    private.level = "private"
    for _ in range(2):
        assert_same(bodies, item_of("pear", 1, {"carton_id": "C1"}, lot))
        assert_same(bodies, private)
    assert not bodies._frames
