"""Recognition: the form of each scheme, what is said to be unchecked, and no other exception on any input."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from codec_twins import TWINS, outcome, twin_named
from hypothesis import example, given, settings
from hypothesis import strategies as st
from stdnum.cn import uscc

from handle_codec import Candidate, InvalidCode, InvalidHandle, packages, recognise, schemes
from handle_codec.candidates import Confidence
from handle_codec.schemes import SCHEMES

HOSTS = frozenset({"id.example.com"})


@pytest.fixture(params=TWINS, autouse=True)
def twin(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    chosen = twin_named(request.param)
    monkeypatch.setattr(schemes, "twin", chosen)
    monkeypatch.setattr(packages, "twin", chosen)
    return chosen


LINK = "https://id.gs1.org/01/06901234567892"
RECOGNISED = [
    ("88.118.8/JXDY2106023", "handle", "88.118.8/JXDY2106023"),
    ("86.122.2 SX-XYGS-009-26", "handle", "86.122.2/SX-XYGS-009-26"),
    ("８８．９９９．１／Ａb", "handle", "88.999.1/Ａb"),
    ("hdl:88.999.1/A", "handle", "88.999.1/A"),
    ("https://ID.example.com/88.999.1/A", "handle", "88.999.1/A"),
    ("https://id.example.com/?handle=88.999.1/A", "handle", "88.999.1/A"),
    ("88.999.1/v8cqn3c64a5psS", "handle", "88.999.1/V8CQN3C64A5PSS"),
    ("0.na/88.118", "foreign_handle", "0.NA/88.118"),
    ("hdl:2381/AbC", "foreign_handle", "2381/AbC"),
    ("10.1000/182", "doi", "10.1000/182"),
    ("doi:10.1000/182", "doi", "10.1000/182"),
    ("https://doi.org/10.1000/182", "doi", "10.1000/182"),
    ("6901234567892", "gtin", "06901234567892"),
    ("６９０１２３４５６７８９２", "gtin", "06901234567892"),
    ("6 901234 567892", "gtin", "06901234567892"),
    ("96385074", "gtin", "00000096385074"),
    ("]E06901234567892", "gtin", "06901234567892"),
    ("]E496385074\r", "gtin", "00000096385074"),
    ("]I116901234567899", "gtin", "16901234567899"),
    ("]Q188.999.1/A", "handle", "88.999.1/A"),
    ("]d1https://id.example.com/88.999.1/A", "handle", "88.999.1/A"),
    ("]e00106901234567892", "gs1_elements", LINK),
    ("]J10106901234567892", "gs1_elements", LINK),
    ("https://id.example.com/88.999.1/A%20", "handle", "88.999.1/A"),
    ("106141412345678908", "sscc", "106141412345678908"),
    ("(01)06901234567892(21)1", "gs1_elements", LINK + "/21/1"),
    ("]C10106901234567892211", "gs1_elements", LINK + "/21/1"),
    ("\x1d01069012345678921726123110A/B\x1d211", "gs1_elements", LINK + "/10/A%2FB/21/1?17=261231"),
    ("(01)06901234567892(7003)2612311200", "gs1_elements", LINK + "?7003=2612311200"),
    ("(8003)06901234567892X1", "gs1_elements", "https://id.gs1.org/8003/06901234567892X1"),
    ("https://e.com/x/01/6901234567892/10/A?17=261231", "gs1_digital_link", LINK + "/10/A?17=261231"),
    ("https://id.example.com/01/06901234567892", "gs1_digital_link", LINK),
    ("https://e.com/01/06901234567892/235/T", "gs1_digital_link", LINK + "/235/T"),
    ("(01)06901234567892(235)T(10)A", "gs1_elements", LINK + "/235/T?10=A"),
    ("https://e.com/414/6901234567892/254/X", "gs1_digital_link", "https://id.gs1.org/414/6901234567892/254/X"),
    (
        "https://e.com/8018/069012345678901235/8019/1?7003=2612311200",
        "gs1_digital_link",
        "https://id.gs1.org/8018/069012345678901235/8019/1?7003=2612311200",
    ),
    ("1.2.156.10197", "oid", "1.2.156.10197"),
    ("URN:OID:2.16.156.1", "oid", "2.16.156.1"),
    ("MA.156.M0.100001.1ABCDEF1", "ma", "MA.156.M0.100001.1ABCDEF1"),
    ("VAA88100A1B2", "vaa", "VAA88100A1B2"),
    ("81234567890123456789", "drug_code", "81234567890123456789"),
    ("did:bid:efnVUgqQFfYeu97ABf6sGm3WFtVXHZB2", "did", "did:bid:efnVUgqQFfYeu97ABf6sGm3WFtVXHZB2"),
    ("did:bid:ab12:efnVUgqQFfYeu97ABf6sGm3WFtVXHZB2", "did", "did:bid:ab12:efnVUgqQFfYeu97ABf6sGm3WFtVXHZB2"),
    ("did:bid:zsAAECAwQFBgcICQoLDA0ODxAREhMUFQ==", "did", "did:bid:zsAAECAwQFBgcICQoLDA0ODxAREhMUFQ=="),
    ("did:bid:et" + "q" * 42, "did", "did:bid:et" + "q" * 42),
    ("did:cn:88.100.1", "did", "did:cn:88.100.1"),
    ("did:vaa:" + "2" * 27, "did", "did:vaa:" + "2" * 27),
    ("did:vaa:contract:86.100.1234/abcdfe.123", "did", "did:vaa:contract:86.100.1234/abcdfe.123"),
    ("91110108589104047H", "credit_code", "91110108589104047H"),
    ("91350100m000100y43", "credit_code", "91350100M000100Y43"),
]


@pytest.mark.parametrize(("text", "scheme", "canonical"), RECOGNISED, ids=[repr(r[0])[:40] for r in RECOGNISED])
def test_recognised(text: str, scheme: str, canonical: str) -> None:
    best = recognise(text, hosts=HOSTS)[0]
    assert (best.scheme, best.canonical) == (scheme, canonical)
    assert best.checked
    assert recognise(text, scheme=scheme, hosts=HOSTS)[0].canonical == canonical
    again = recognise(canonical, scheme=scheme if scheme != "gs1_elements" else "gs1_digital_link")[0]
    assert again.canonical == canonical


def test_bytes_of_a_scanner_are_read_like_text() -> None:
    assert recognise(b"]d20106901234567892\x1d") == recognise("]d20106901234567892\x1d")
    assert outcome(recognise, "酥".encode() + b"\xff") == (InvalidCode, "not_utf8", 1)  # characters, not bytes


def test_a_farmers_cooperative_has_a_credit_code_too() -> None:
    """N in front (农村集体经济组织) is not for python-stdnum's `validate`, which wants digits there."""
    body = "N2341321MA8N0A1B2"
    code = body + uscc.calc_check_digit(body)
    assert recognise(code)[0].parts == {"authority": "N", "region": "341321"}


def test_digits_alone_are_ambiguous() -> None:
    both = next(
        text for number in itertools.count(913413210000000000) if (text := str(number)) and len(schemes_of(text)) == 2
    )
    candidates = recognise(both)
    assert {c.scheme for c in candidates} == {"sscc", "credit_code"}
    assert all(c.confidence > Confidence.CERTAIN for c in candidates)
    assert [c.scheme for c in recognise(both, scheme="sscc")] == ["sscc"]


def schemes_of(text: str) -> list[str]:
    try:
        return [candidate.scheme for candidate in recognise(text)]
    except InvalidCode:
        return []


def test_ecode_needs_a_system_identifier_that_is_known() -> None:
    assert schemes_of("1010012345679") == []
    candidates = recognise("1010012345679", nsi=frozenset({"0100"}))
    assert [c.scheme for c in candidates] == ["ecode"]
    assert candidates[0].parts == {"version": "1", "nsi": "0100", "data": "12345679"}
    assert "lengths" in candidates[0].unchecked
    assert recognise("1010012345679", scheme="ecode")[0].confidence == Confidence.POSSIBLE
    assert recognise("400001酥梨", nsi=frozenset({"00001"}))[0].parts["data"] == "酥梨"
    both = recognise("6901234567892", nsi=frozenset({"9012"}))
    assert [c.scheme for c in both] == ["gtin"]  # version 6 does not exist


UNCHECKED = [
    ("drug_code", "71234567890123456789", "check_digits"),
    ("ma", "MA.156.M0.100001.1ABCDEF1", "check_character"),
    ("vaa", "VAA1", "segments"),
    ("did", "did:bid:et" + "q" * 42, "bech32_checksum"),
    ("gtin", "96385074", "company_prefix"),
    ("doi", "10.1000/182", "registration"),
    ("handle", "88.999.1/V8CQN3C64A5PS5", "serial"),
]


@pytest.mark.parametrize(("scheme", "text", "what"), UNCHECKED)
def test_what_is_uncertain_is_said_to_be_unchecked(scheme: str, text: str, what: str) -> None:
    assert what in recognise(text, scheme=scheme)[0].unchecked


def test_the_national_enumeration() -> None:
    names = {recognise(text, hosts=HOSTS)[0].national for text, _, _ in RECOGNISED}
    assert names == {"Handle", "OID", "DID:BID", "VAA", "GS1", ""}
    assert recognise("1010012345679", scheme="ecode")[0].national == "Ecode"


def test_a_dspace_handle_has_the_same_form_and_is_offered_too() -> None:
    assert [c.scheme for c in recognise("20.500.12345/xx")] == ["handle", "foreign_handle"]
    assert [c.scheme for c in recognise("88.500.12345/xx")] == ["handle"]


REFUSED = [
    ("", "empty", 0),
    ("]Q1 ", "empty", 0),
    ("]E3106141412345678908", "digits", 0),  # an EAN and its add-on: their 18 digits are no SSCC
    (" \t\r\n\u3000", "empty", 0),
    ("hello", "unknown_scheme", 0),
    ("123", "unknown_scheme", 0),
    ("690123456789", "check_digit", 11),
    ("88.999.1/a%20", "character", 10),
    ("88.999.1/\u202eA", "character", 9),
    ("A\x00", "character", 1),
    ("(01)06901234567893", "check_digit", 17),
    ("(91)X#", "unknown_ai", 1),
    ("]C10106901234567892" + "91" + "A" * 90 + "21X", "value_length", 111),  # 91 has at most 90
    ("]C1011191111213126030", "unknown_ai", 19),  # 30 without a value
    ("(10)A", "no_key", 0),
    ("(00)106141412345678908(21)1", "unpaired", 0),
    ("https://evil.example/88.999.1/A", "unknown_url", 0),
    ("https://e.com/01/06901234567893", "check_digit", 30),
    ("https://e.com/01/06901234567892/21/1/10/A", "qualifier", 40),
    ("https://e.com/01/06901234567892/10/A/235/T", "qualifier", 32),  # either these or those
    ("https://e.com/414/6901234567892/254/X/7040/1ABC", "qualifier", 32),
    ("https://e.com/01/06901234567892?235=T", "not_attribute", 32),
    ("https://e.com/01/06901234567892?7003=2612311200&235=T", "not_attribute", 48),
    ("https://doi.org/nothing", "unknown_url", 0),
    ("3.1", "oid_form", 0),
    ("1.40", "oid_form", 2),
    ("1.2.01", "unknown_scheme", 0),
    ("urn:oid:1.2.01", "oid_form", 13),
    ("did:web:example.com", "unknown_scheme", 4),
    ("DID:cn:88.100.1", "did_form", 0),
    ("did:cn:8.100.1", "did_form", 8),
    ("did:cn:88.100.x", "did_form", 14),
    ("did:bid:ef0nVUgqQFfYeu97ABf6sGm3WFtVXHZB", "did_form", 10),
    ("did:bid:ef" + "z" * 31, "did_length", 10),
    ("did:bid:zsAAEC", "did_form", 8),
    ("did:bid:zsAAECAwQFBgcICQoLDA0ODxAREhMUFR==", "did_form", 10),
    ("did:bid:et" + "q" * 41, "did_length", 10),
    ("did:bid:et" + "q" * 35 + "l" + "q" * 6, "did_form", 10),
    ("did:vaa:0", "did_form", 8),
    ("91110108589104047A", "credit_code", 17),
    ("VAA" + "1" * 48, "code_form", 50),
    ("VAA12a", "code_form", 5),
    ("MA.156.M0.a", "code_form", 10),
    ("MA.15", "code_form", 5),
    ("x" * 3000, "input_length", 2048),
]


@pytest.mark.parametrize(("text", "code", "position"), REFUSED, ids=[repr(r[0])[:40] for r in REFUSED])
def test_refused(text: str, code: str, position: int) -> None:
    with pytest.raises(InvalidCode) as caught:
        recognise(text, hosts=HOSTS)
    assert (caught.value.code, caught.value.position) == (code, position)
    assert caught.value.reason
    assert caught.value.reason_zh


def test_asking_for_a_scheme_tells_why_it_is_not_that() -> None:
    assert outcome(lambda: recognise("88.999/A", scheme="handle"))[:2] == (InvalidHandle, "prefix_form")
    assert outcome(lambda: recognise("6901234567892", scheme="sscc")) == (InvalidCode, "value_length", 13)
    with pytest.raises(ValueError, match="none of handle"):
        recognise("x", scheme="ean")


_bits = st.sampled_from(
    ["88.999.1/", "10.1000/", "0.NA/", "hdl:", "doi:", "did:", "bid:", "cn:", "vaa:", "efnVUgqQFfYeu97ABf6sGm3WFtVXHZB2",
     "urn:oid:", "1.2.156", "MA.156.", "VAA", "(01)", "(7003)", "(8003)", "06901234567892", "]C1", "]d2", "\x1d", "01",
     "https://", "e.com", "id.example.com", "/", "?id=", "?7003=", "91110108589104047H", "８", "／", " ", "-", "酥", "\ud800",
     "\x00", "81234567890123456789", "106141412345678908", "1", "q", "%2F", "%", "(", ")"]
)  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(
    st.lists(_bits, max_size=9).map("".join) | st.text(st.characters(exclude_categories=()), max_size=60) | st.binary()
)
@example("(390" + "2)" * 900)
@example("(3100)" + "1" * 1500 + "(7003)")
@example("https://e.com/01/06901234567892?7003=" + "%41" * 600)
@example("１" * 2048)
@example("ﷺ" * 2048)
def test_nothing_but_candidates_or_a_refusal(text: str | bytes) -> None:
    for scheme in (None, *SCHEMES):
        found = outcome(lambda scheme=scheme: recognise(text, scheme=scheme, hosts=HOSTS, nsi=frozenset({"0100"})))
        if isinstance(found, list):
            assert found
            assert all(isinstance(candidate, Candidate) for candidate in found)
            assert [c.confidence for c in found] == sorted(c.confidence for c in found)
