"""Decoding rows: broken input, canonical values, and that only InvalidRow is ever raised."""

from __future__ import annotations

import contextlib
import json
import math
import time
from importlib.resources import files
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.errors import InvalidRow
from node.template_files import read_template
from node.templates import Template, compile_template, load_industries

INDUSTRIES = {template.code: compile_template(template) for template in load_industries()}
PEAR = INDUSTRIES["pear"]
EXAMPLES = {
    code: orjson.loads((files("node.industries") / "examples" / f"{code}.json").read_bytes()) for code in INDUSTRIES
}


def small(fields: list[dict[str, Any]], rules: list[dict[str, Any]] | None = None, **head: Any) -> Template:
    whole = {
        "code": "small",
        "version": 1,
        "zh": "小",
        "en": "small",
        "industry": "pear",
        "gb4754": "A0151",
        "basis": [],
        "groups": [{"code": "g", "zh": "组", "en": "group"}],
        "fields": [{"zh": "甲", "en": "a", "visibility": "public", "group": "g", **f} for f in fields],
        "rules": rules or [],
    }
    return read_template({**whole, **head}, "small.toml")


def codes(error: InvalidRow) -> dict[str, str]:
    return {e.field: e.code for e in error.errors}


def refusal(raw: bytes | msgspec.Raw) -> dict[str, str]:
    with pytest.raises(InvalidRow) as caught:
        PEAR.decode(raw, partial=True)
    assert all(e.zh and e.en and e.as_dict(0) for e in caught.value.errors)
    orjson.dumps([e.as_dict(1) for e in caught.value.errors])  # an answer must be able to carry it
    return codes(caught.value)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", {"attributes": "broken_json"}),
        (b"{", {"attributes": "broken_json"}),
        (b"{} {}", {"attributes": "broken_json"}),
        (b"\xef\xbb\xbf{}", {"attributes": "broken_json"}),
        (b'{"brand": "\xff"}', {"attributes": "broken_json"}),
        (b'{"brand": "\xed\xa0\x80"}', {"attributes": "broken_json"}),
        (b'{"brand": "\x01"}', {"attributes": "broken_json"}),
        (b"[]", {"attributes": "wrong_type"}),
        (b"null", {"attributes": "wrong_type"}),
        (b'"brand"', {"attributes": "wrong_type"}),
        (b"7", {"attributes": "wrong_type"}),
        (b'{"brand": "\\ud800"}', {"attributes.brand": "control_character"}),
        (b'{"brand": "\\u0000"}', {"attributes.brand": "control_character"}),
        (b'{"brand": "\x7f"}', {"attributes.brand": "control_character"}),
        (b'{"brand": "\xc2\x85"}', {"attributes.brand": "control_character"}),
        (b'{"brand": null}', {"attributes.brand": "wrong_type"}),
        (b'{"brand": {"a": 1}}', {"attributes.brand": "wrong_type"}),
        (b'{"\\ud800": 1}', {"attributes.\\ud800": "unknown_field"}),
        (b'{"ssc_pct": NaN}', {"attributes.ssc_pct": "out_of_range"}),
        (b'{"ssc_pct": 1e999}', {"attributes.ssc_pct": "out_of_range"}),
        (b'{"orchard_area_mu": 9007199254740993}', {"attributes.orchard_area_mu": "out_of_range"}),
        (b'{"ssc_pct": ' + b"9" * 5000 + b"}", {"attributes.ssc_pct": "out_of_range"}),
        (b'{"brand": ' + b"[" * 100_000, {"attributes": "too_deep"}),
        (b"[" * 100_000, {"attributes": "too_deep"}),
    ],
)
def test_broken_input_has_its_own_code(raw: bytes, expected: dict[str, str]):
    assert refusal(raw) == expected
    assert refusal(msgspec.Raw(raw)) == expected


def test_numbers_beyond_the_safe_integers_are_refused_even_without_bounds():
    compiled = compile_template(small([{"code": "n", "type": "N"}]))
    assert compiled.decode(b'{"n": -9007199254740991}') == {"n": -(2**53) + 1}
    for text in (b"9007199254740992", b"9007199254740993.0", b"-1e300"):
        with pytest.raises(InvalidRow) as caught:
            compiled.decode(b'{"n": ' + text + b"}")
        assert codes(caught.value) == {"attributes.n": "out_of_range"}
    for number in (math.nan, math.inf, 10**400):
        with pytest.raises(InvalidRow) as caught:
            compiled.check({"n": number})
        assert codes(caught.value) == {"attributes.n": "out_of_range"}


def test_only_what_is_given_comes_back_canonical():
    raw = b'{"tree_age": 62.0, "brand": " \xe6\xa2\xa8 ", "ssc_pct": 12.60, "net_weight_kg": 5.0}'
    own = PEAR.decode(raw, partial=True)
    assert orjson.dumps(own) == b'{"brand":" \xe6\xa2\xa8 ","tree_age":62,"ssc_pct":12.6,"net_weight_kg":5}'


def test_a_python_keyword_may_be_a_code():
    compiled = compile_template(small([{"code": "from", "type": "S", "required": True}]))
    assert compiled.decode(b'{"from": "x"}') == {"from": "x"}


def test_a_row_of_very_many_errors_is_answered_shortly():
    wrong = orjson.dumps({f"unknown_{i}": 1 for i in range(20_000)})
    with pytest.raises(InvalidRow) as caught:
        PEAR.decode(wrong)
    assert len(caught.value.errors) == 100


texts = st.text(alphabet=st.characters(codec=None), max_size=20)  # with surrogates
odd = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | texts
    | st.sampled_from(["2024-09-10", "无", "88.999.1/A"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


# json.dumps writes NaN, lone surrogates and huge numbers, as a careless or a hostile sender would.
keyed = st.dictionaries(st.sampled_from([f.code for f in PEAR.template.fields]) | texts, odd, max_size=4)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | (odd | keyed).map(lambda value: json.dumps(value).encode()))
def test_arbitrary_bytes_raise_nothing_but_invalid_row(raw: bytes):
    with contextlib.suppress(InvalidRow):
        assert isinstance(PEAR.decode(raw, partial=True), dict)
        return
    assert refusal(raw)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_quick_and_slow_way_agree_on_mutated_rows(data: st.DataObject):
    code = data.draw(st.sampled_from(sorted(INDUSTRIES)))
    compiled = INDUSTRIES[code]
    row = {**EXAMPLES[code]["lot"], **EXAMPLES[code]["item"]}
    for name in data.draw(st.lists(st.sampled_from(sorted(row)), min_size=1, max_size=3, unique=True)):
        shuffled = row[name][::-1] if isinstance(row[name], str | list) else row[name]
        other = data.draw(odd | st.sampled_from(sorted(map(str, row.values()))) | st.just(shuffled))
        row[name] = data.draw(st.sampled_from([other, [other], [{"date": other}], row[name]]))
    slow = {e.field: e.code for e in compiled._refusal(row, {}, False).errors}
    if slow != {"attributes": "invalid"}:  # the slow way sees faults: both quick ways must refuse, and say the same
        with pytest.raises(InvalidRow) as caught:
            compiled.check(row)
        assert codes(caught.value) == slow
        assert "invalid" not in slow.values()
        orjson.dumps([e.as_dict(0) for e in caught.value.errors])
        return
    taken = compiled.check(row)
    assert compiled.decode(orjson.dumps(row)) == taken
    for level in ("public", "partner", "private"):
        compiled.display(taken, level)
    assert compiled.check(taken) == taken


def test_decoding_costs_microseconds():
    """About 6 µs for a carton of six attributes; many times that would be another design."""
    item = {
        k: EXAMPLES["pear"]["item"][k] for k in ("carton_id", "net_weight_kg", "fruit_weight_g", "ssc_pct", "out_at")
    }
    raw, lot = orjson.dumps(item), EXAMPLES["pear"]["lot"]
    best = math.inf
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(500):
            PEAR.decode(raw, lot)
        best = min(best, (time.perf_counter() - began) / 500)
    assert best < 100e-6
