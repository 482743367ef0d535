"""Templates as data: what comes back from storage, what is refused, and each check by itself."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import orjson
import pytest

from node.checks import CHECKS
from node.errors import InvalidRow, TemplateError
from node.template_files import read_template
from node.templates import Template, compile_template, load_industries, plain_text, template_document

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


@pytest.mark.parametrize("code", INDUSTRIES)
def test_a_body_gives_the_template_back(code: str):
    template = INDUSTRIES[code].template
    again = Template.from_body(template.body)
    assert again == template
    assert again.body == template.body
    assert again.digest == template.digest
    assert len(template.digest) == 32
    assert orjson.dumps(orjson.loads(template.body), option=orjson.OPT_SORT_KEYS) == template.body


def test_the_document_tells_index_label_type_and_rights():
    document = template_document(PEAR.template)
    field = next(f for f in document["fields"] if f["code"] == "grade")
    order = [f.code for f in PEAR.template.fields].index("grade")
    assert field["index"] == 2000 + order
    assert field["enum"] == ("优等品", "一等品", "二等品")
    assert (field["required"], field["visibility"], field["searchable"]) == (True, "public", True)
    assert {r["kind"] for r in document["rules"]} == {"gap", "order"}
    assert orjson.loads(orjson.dumps(document))["name"] == "pear@1"


@pytest.mark.parametrize(
    ("fields", "rules", "named", "reason"),
    [
        ([{"code": "a", "type": "X"}], [], "a", "Invalid enum value 'X'"),
        ([{"code": "a", "type": "S"}, {"code": "a", "type": "N"}], [], "a", "duplicate code"),
        ([{"code": "a", "type": "E"}], [], "a", "enum"),
        ([{"code": "a", "type": "E", "enum": ["甲", "甲"]}], [], "a", "bad enum"),
        ([{"code": "a", "type": "E", "enum": ["甲"], "enum_en": ["a", "b"]}], [], "a", "bad enum"),
        ([{"code": "hs_admin", "type": "S"}], [], "hs_admin", "reserved code"),
        ([{"code": "lot", "type": "S"}], [], "lot", "reserved code"),
        ([{"code": "A", "type": "S"}], [], "A", "lower snake"),
        ([{"code": "a", "type": "S", "group": "x"}], [], "a", "unknown group"),
        ([{"code": "a", "type": "S", "visibility": "secret"}], [], "a", "secret"),
        ([{"code": "a", "type": "S", "colour": 1}], [], "a", "colour"),
        ([{"code": "a", "type": "S", "pattern": "("}], [], "a", "regular expression"),
        ([{"code": "a", "type": "S", "check": "luck"}], [], "a", "check"),
        ([{"code": "a", "type": "S", "unit": "g"}], [], "a", "unit"),
        ([{"code": "a", "type": "N", "min": 2, "max_value": 1}], [], "a", "larger"),
        ([{"code": "a", "type": "T"}], [], "a", "columns"),
        ([{"code": "a", "type": "DT", "also": ["0"]}], [], "a", "like a date"),
        ([{"code": "a", "type": "S", "public_as": "coarse_geo"}], [], "a", "geo"),
        ([{"code": "a", "type": "D"}], [{"kind": "luck", "code": "r"}], "r", "luck"),
        (
            [{"code": "a", "type": "D"}],
            [{"kind": "order", "code": "r", "earlier": "a", "later": "b"}],
            "r",
            "'b'",
        ),
        (
            [{"code": "a", "type": "S"}],
            [{"kind": "order", "code": "r", "earlier": "a", "later": "a"}],
            "r",
            "type D",
        ),
        (
            [{"code": "a", "type": "B"}],
            [{"kind": "required_when", "code": "r", "when": {"a": ["是"]}, "fields": ["a"]}],
            "r",
            "no value",
        ),
        (
            [{"code": "n", "type": "N"}, {"code": "e", "type": "E", "enum": ["x"]}],
            [{"kind": "limit", "code": "r", "field": "n", "by": "e", "limits": {"y": {"max": 1}}}],
            "r",
            "'y'",
        ),
    ],
)
def test_a_bad_template_names_file_field_and_reason(
    fields: list[dict[str, Any]], rules: list[dict[str, Any]], named: str, reason: str
):
    with pytest.raises(TemplateError) as caught:
        small(fields, rules)
    assert caught.value.datum["file"] == "small.toml"
    assert caught.value.datum["field"] == named
    assert reason in caught.value.datum["reason"]


def test_a_bad_head_is_refused():
    for head in ({"version": 0}, {"code": "A B"}, {"version": "1"}, {"colour": 1}, {"basis": 7}):
        with pytest.raises(TemplateError):
            small([{"code": "a", "type": "S"}], **head)
    for body in (b"", b"[]", b"{}", b'{"fields":'):
        with pytest.raises(TemplateError):
            Template.from_body(body)


@pytest.mark.parametrize(
    ("check", "right", "wrong"),
    [
        (
            "gtin",
            "06901234567892 6901234567892 012345678905 96385074",
            "06901234567893 690123456789２ 1234567",
        ),
        ("sscc", "106141412345678908", "106141412345678909 10614141234567890"),
        ("uscc", "91110108589104047H 91350100M000100Y43", "91110108589104047J 91110108589104047h 9111"),
        ("imei", "490154203237518", "490154203237519 49015420323751"),
        ("drug20", "81234567890123456789", "8123456789012345678 8123456789012345678X"),
        ("handle", "88.999.1001/A 88.999.0042/a/b", "88.999/A 88.999.1001/ 88.99.1/A 88.999.1001"),
        (
            "reference",
            "88.999.1/A LOT-7 106141412345678908 did:bid:efn",
            "88.999.1 88.999.1001 did:bid: a\u3000b",
        ),
        ("geo", "34.42561,116.35128 -3,0", "34.4 91,0 0,181 a,b"),
        (
            "file",
            "a.pdf https://example.com/a sha256:00ff //x",
            'javascript:x data:,x JAVASCRIPT:x a"b ftp://x',
        ),
        ("day", "2024-02-29", "2023-02-29 20240910 2024-W37-2 2024-9-1 0204-09-10 ２024-01-01"),
        (
            "moment",
            "2024-09-10 2024-09-10T08:30:00Z 2024-09-10T08:30:00.5+08:00",
            "2024-09-10T08:30 2024-09-10T25:00:00Z",
        ),
    ],
)
def test_checks(check: str, right: str, wrong: str):
    passes = CHECKS[check].passes
    assert [text for text in right.split(" ") if not passes(text)] == []
    assert [text for text in wrong.split(" ") if passes(text)] == []


@pytest.mark.parametrize("check", CHECKS)
def test_a_check_in_a_template_is_told_by_its_code(check: str):
    compiled = compile_template(small([{"code": "a", "type": "S", "check": check}]))
    with pytest.raises(InvalidRow) as caught:
        compiled.decode(b'{"a": "javascript: \xe7\x94\xb2"}')
    assert codes(caught.value) == {"attributes.a": CHECKS[check].code}


def test_plain_text():
    assert plain_text("到期", "reason", 10) == "到期"
    for text, code in (
        ("", "empty"),
        ("x" * 11, "too_long"),
        ("a\x00", "control_character"),
        ("\ud800", "control_character"),
    ):
        with pytest.raises(InvalidRow) as caught:
            plain_text(text, "reason", 10)
        assert codes(caught.value) == {"reason": code}
