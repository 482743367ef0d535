"""GS1 in the codec: both twins, GS1's own dictionary, and biip as the other reader."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import pytest
from biip import ParseError
from biip.gs1_digital_link_uris import GS1DigitalLinkURI
from biip.gs1_messages import GS1Message
from codec_twins import TWINS, needs_compiled, outcome, twin_named
from codec_twins import _speed as compiled
from hypothesis import example, given, settings
from hypothesis import strategies as st

from handle_codec import InvalidCode, packages, pure
from handle_codec.pure.gs1 import DL_KEYS, FORMATS, NO_ATTRIBUTE, PREDEFINED

_NAME = "shared/data/gs1-syntax-dictionary.txt"  # beside the project or above it, in whichever worktree
DICTIONARY = next((p / _NAME for p in Path(__file__).parents if (p / _NAME).exists()), Path(_NAME))


@pytest.fixture(params=TWINS)
def codec(request: pytest.FixtureRequest) -> Any:
    return twin_named(request.param)


def check_digit(body: str) -> str:
    return str(-sum(int(d) * (3 if i % 2 == 0 else 1) for i, d in enumerate(reversed(body))) % 10)


GTINS = [
    ("06901234567892", "06901234567892"),
    ("6901234567892", "06901234567892"),
    ("614141123452", "00614141123452"),
    ("96385074", "00000096385074"),
]


@pytest.mark.parametrize(("text", "canonical"), GTINS)
def test_gtin(codec: Any, text: str, canonical: str) -> None:
    assert codec.gtin14(text) == canonical


@pytest.mark.parametrize(
    ("text", "code", "position"),
    [
        ("6901234567893", "check_digit", 12),
        ("690123456789", "check_digit", 11),
        ("69012345678９2", "digits", 11),
        ("690123456789x", "digits", 12),
        ("690", "gtin_length", 3),
        ("", "gtin_length", 0),
        ("0" * 15, "gtin_length", 14),
    ],
)
def test_what_is_no_gtin(codec: Any, text: str, code: str, position: int) -> None:
    assert outcome(codec.gtin14, text) == (InvalidCode, code, position)


PAIRS = (("01", "06901234567892"), ("11", "141231"), ("17", "150707"), ("10", "A213B1"), ("21", "1234"))
MESSAGES = [
    ("(01)06901234567892(11)141231(17)150707(10)A213B1(21)1234", PAIRS),
    ("( 01 )0690", None),
    ("(01) 06901234567892 (11)141231 (17)150707 (10) A213B1 (21)1234 ", PAIRS),
    ("]C10106901234567892111412311715070710A213B1\x1d211234", PAIRS),
    ("]d2\x1d0106901234567892\x1d111412311715070710A213B1\x1d211234\x1d", PAIRS),
    ("0106901234567892", PAIRS[:1]),
    ("00106141412345678908", (("00", "106141412345678908"),)),
    ("8006069012345678920102\x1d10X", (("8006", "069012345678920102"), ("10", "X"))),
    ("3103000195", (("3103", "000195"),)),
    ("4146901234567892", (("414", "6901234567892"),)),
    ("(10)A(21)B)C", (("10", "A"), ("21", "B)C"))),
    ("10A\x1d10A", (("10", "A"),)),
    ("17260200", (("17", "260200"),)),
]


@pytest.mark.parametrize(("text", "pairs"), [m for m in MESSAGES if m[1]], ids=repr)
def test_element_strings(codec: Any, text: str, pairs: Any) -> None:
    assert codec.parse_elements(text) == pairs


BAD_MESSAGES = [
    ("", "empty", 0),
    ("]C1", "empty", 3),
    ("]E0" + "6901234567892", "digits", 0),
    ("(01)06901234567893", "check_digit", 17),
    ("(01)0690123456789", "value_length", 17),
    ("0106901234567893", "check_digit", 15),
    ("(10)", "value_length", 4),
    ("(10)AB CD", "gs1_character", 6),
    ("10" + "A" * 21, "value_length", 22),
    ("10A\x1d10B", "duplicate_ai", 6),
    ("17261301", "date", 2),
    ("17260230", "date", 2),
    ("17250229", "date", 2),
    ("(37)12A", "digits", 6),
    ("(3109)123456", "unknown_ai", 1),
    ("(91)X", "unknown_ai", 1),
    ("(1)X", "ai_form", 0),
    ("(10X", "ai_form", 0),
    ("(10)A(", "ai_form", 5),
    ("10酥", "gs1_character", 2),
    ("10\ud800", "gs1_character", 2),
    ("8006069012345678920201", "pieces", 18),
    ("8006069012345678930102", "check_digit", 17),
    ("1", "unknown_ai", 0),
    ("10" + "A" * 3000, "input_length", 2048),
]


@pytest.mark.parametrize(("text", "code", "position"), BAD_MESSAGES, ids=[repr(b[0])[:24] for b in BAD_MESSAGES])
def test_wrong_element_strings(codec: Any, text: str, code: str, position: int) -> None:
    assert outcome(codec.parse_elements, text) == (InvalidCode, code, position)


GTIN = ("01", "06901234567892")
LINKS = [
    ("https://id.example.com/01/06901234567892", (GTIN,)),
    ("http://id.example.com:8000/01/6901234567892/10/A/21/1", (GTIN, ("10", "A"), ("21", "1"))),
    ("HTTPS://id.example.com/a/b/01/06901234567892/22/2/10/A%2FB", (GTIN, ("22", "2"), ("10", "A/B"))),
    ("https://e.com/01/06901234567892?17=261231&utm=x&10x=&flag&3103=000195#s", (GTIN, ("17", "261231"), ("3103", "000195"))),
    ("https://e.com/01/06901234567892/10/01", (GTIN, ("10", "01"))),
    ("https://e.com/414/6901234567892/01/06901234567892", (GTIN,)),  # the last key counts, what is before is the site's
    ("https://e.com/00/106141412345678908?02=614141123452&37=25&10=A", (
        ("00", "106141412345678908"), ("02", "00614141123452"), ("37", "25"), ("10", "A"))),
    ("https://e.com/415/6901234567892/8020/X1", (("415", "6901234567892"), ("8020", "X1"))),
    ("https://e.com/8004/ABC", (("8004", "ABC"),)),
    ("https://e.com/01/96385074?01=96385074", (("01", "00000096385074"),)),
]  # fmt: skip


@pytest.mark.parametrize(("text", "pairs"), LINKS, ids=[link[0] for link in LINKS])
def test_digital_links(codec: Any, text: str, pairs: Any) -> None:
    assert codec.parse_digital_link(text) == pairs


BAD_LINKS = [
    ("", "not_uri", 0),
    ("ftp://e.com/01/06901234567892", "not_uri", 0),
    ("https:///01/06901234567892", "not_uri", 0),
    ("https://e.com", "not_uri", 0),
    ("https://user@e.com/01/06901234567892", "not_uri", 0),
    ("https://e.com/", "no_key", 13),
    ("https://e.com/a/b", "no_key", 14),
    ("https://e.com/01/06901234567892/", "no_key", 17),
    ("https://e.com/01/06901234567893", "check_digit", 30),
    ("https://e.com/01/123", "value_length", 20),
    ("https://e.com/01/", "value_length", 17),
    ("https://e.com/01/06901234567892/21/1/10/A", "qualifier", 40),
    ("https://e.com/01/06901234567892/10/A/10/A", "qualifier", 40),
    ("https://e.com/00/106141412345678908/21/1", "qualifier", 39),
    ("https://e.com/01/06901234567892/235/A", "unknown_ai", 32),
    ("https://e.com/01/06901234567892?21=1", "not_attribute", 32),
    ("https://e.com/01/06901234567892?10=1", "not_attribute", 32),
    ("https://e.com/01/06901234567892?17=261301", "date", 35),
    ("https://e.com/01/06901234567892?7003=1", "unknown_ai", 32),
    ("https://e.com/01/06901234567892?240=a+b", "gs1_character", 37),
    ("https://e.com/01/06901234567892/10/a%2", "encoding", 36),
    ("https://e.com/01/06901234567892/10/%E9%85%A5", "gs1_character", 35),
    ("https://e.com/01/06901234567892/10/酥", "encoding", 35),
    ("https://e.com/" + "a/" * 1024, "input_length", 2048),
]


@pytest.mark.parametrize(("text", "code", "position"), BAD_LINKS, ids=[b[0][:60] for b in BAD_LINKS])
def test_wrong_digital_links(codec: Any, text: str, code: str, position: int) -> None:
    assert outcome(codec.parse_digital_link, text) == (InvalidCode, code, position)


@pytest.mark.skipif(not DICTIONARY.exists(), reason="GS1's syntax dictionary is not beside the project")
def test_the_formats_are_those_of_gs1s_dictionary() -> None:
    entries = {}
    for line in DICTIONARY.read_text().splitlines():
        if line and not line.startswith("#"):
            ais, *rest = line.split("  #")[0].split()
            flags = rest.pop(0) if set(rest[0]) <= set("*?!") else ""
            first, _, last = ais.partition("-")
            for number in range(int(first), int(last or first) + 1):
                entries[str(number).zfill(len(first))] = (flags, rest)
    for ai, (least, most, digits, check) in FORMATS.items():
        flags, rest = entries[ai]
        components = [part.split(",") for part in rest if part[0] in "NXYZ["]
        sizes = [part[0][1:] for part in components]
        assert most == sum(int(size.removeprefix("..")) for size in sizes), ai
        assert least == (1 if sizes[-1].startswith("..") else most), ai
        assert digits == all(part[0][0] == "N" for part in components), ai
        linters = {linter for part in components for linter in part[1:]}
        assert (check == "check_digit") == (linters >= {"csum"} and "pieceoftotal" not in linters), ai
        assert (check == "date") == ("yymmd0" in linters), ai
        assert (ai in PREDEFINED) == ("*" in flags), ai
        assert (ai in NO_ATTRIBUTE) == ("?" not in flags), ai
        keys = [part for part in rest if part.startswith("dlpkey")]
        assert (ai in DL_KEYS) == bool(keys), ai
        if keys:
            ours = tuple(q for q in keys[0].partition("=")[2].split("|")[0].split(",") if q in FORMATS)
            assert DL_KEYS[ai] == ours, ai


@pytest.mark.skipif(not DICTIONARY.exists(), reason="GS1's syntax dictionary is not beside the project")
def test_the_keys_and_qualifiers_are_those_of_gs1s_dictionary() -> None:
    """Of every key, not the common ones alone: its qualifiers, those instead of them, and which may not be attributes."""
    keys, attributes = {}, set()
    for line in DICTIONARY.read_text().splitlines():
        if line and not line.startswith("#"):
            ai, *rest = line.split("  #")[0].split()
            attributes |= {ai} if "?" in rest[0] and set(rest[0]) <= set("*?!") else set()
            for part in rest:
                if part.startswith("dlpkey"):
                    given = part.partition("=")[2]
                    keys[ai] = [tuple(s.split(",")) for s in given.split("|")] if given else []
    assert set(keys) == set(packages._KEYS)
    for ai, sequences in keys.items():
        assert sequences == [s for s in (packages._KEYS[ai], *packages._INSTEAD.get(ai, ())) if s], ai
    assert {q for s in keys.values() for each in s for q in each} - attributes == packages._IN_PATH


# --- the other reader -------------------------------------------------------------------------------------------------

SET_82 = [c for c in string.printable[:94] if c not in "#$@[\\]^`{|}~"]
_text_82 = st.text(st.sampled_from(SET_82), min_size=1, max_size=22)
_day = st.builds("{:02}{:02}{:02}".format, st.integers(0, 99), st.integers(0, 13), st.integers(0, 32))


def _digits(size: int) -> st.SearchStrategy[str]:
    return st.text("0123456789", min_size=size, max_size=size)


def _checked(size: int) -> st.SearchStrategy[str]:
    return _digits(size - 1).map(lambda body: body + check_digit(body)) | _digits(size)


def _value(ai: str) -> st.SearchStrategy[str]:
    least, most, digits, check = FORMATS[ai]
    if check == "check_digit":
        return _checked(most)
    if check == "date":
        return _day
    if check == "pieces":
        right = _digits(13).map(lambda body: body + check_digit(body))  # biip does not check it
        return st.tuples(right, st.sampled_from(["0101", "0102", "0201", "0001", "9999"])).map("".join)
    return _digits(most) | _digits(least) if digits else _text_82


_element = st.sampled_from(sorted(FORMATS)).flatmap(lambda ai: st.tuples(st.just(ai), _value(ai)))
_elements = st.lists(_element, min_size=1, max_size=6)


def raw(elements: list[tuple[str, str]]) -> str:
    return "".join(ai + value + ("" if ai in PREDEFINED else "\x1d") for ai, value in elements)


def biip_reads(read: Any, text: str) -> Any:
    try:
        strings = read(text).element_strings
    except ParseError:
        return None
    if any(s.gtin_error or s.sscc_error or s.gln_error for s in strings):
        return None
    return [(s.ai.ai, s.value) for s in strings]


STRICTER = {"value_length", "pieces", "duplicate_ai"}  # what biip lets pass, and GS1's rules do not


@settings(max_examples=400, deadline=None)
@given(_elements, st.booleans())
@example([("8006", "069012345678920201")], False)
def test_element_strings_read_as_biip_reads_them(elements: list[tuple[str, str]], bracketed: bool) -> None:
    if bracketed:
        elements = [(ai, value) for ai, value in elements if "(" not in value]
    text = "".join(f"({ai}){value}" for ai, value in elements) if bracketed else raw(elements)
    theirs = biip_reads(GS1Message.parse_hri if bracketed else GS1Message.parse, text)
    ours = outcome(pure.parse_elements, text)
    if ours and ours[0] is InvalidCode:
        assert theirs is None or ours[1] in STRICTER, (text, ours, theirs)
    else:
        assert list(dict.fromkeys(theirs)) == list(ours), text


@pytest.mark.parametrize("ai", sorted(FORMATS))
def test_every_length_and_day_is_read_as_biip_reads_it(ai: str) -> None:
    """Each length up to two too many, of characters right and wrong, with right and wrong check digits; each day."""
    _, most, _, check = FORMATS[ai]
    values = {c * size for size in range(most + 3) for c in ("1", "9", "A", "_", "~", "é", " ")}
    values |= {v[:-1] + check_digit(v[:-1]) for v in values if v and v.isdigit()}
    if check == "date":
        days = [f"{m:02}{d:02}" for m in range(14) for d in range(33)]
        values = {f"{year}{day}" for year in ("00", "24", "26", "49", "51", "99") for day in days}
    for value in values:
        theirs, ours = biip_reads(GS1Message.parse, ai + value), outcome(pure.parse_elements, ai + value)
        if ours[0] is InvalidCode:
            assert theirs is None or ai == "8006", (value, ours, theirs)
        else:
            assert list(ours) == theirs, value


def escaped(value: str) -> str:
    return "".join(c if c.isalnum() else f"%{ord(c):02X}" for c in value)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(sorted(DL_KEYS)).flatmap(lambda ai: st.tuples(st.just(ai), _value(ai))), _elements, _elements)
def test_digital_links_read_as_biip_reads_them(
    key: tuple[str, str], qualifiers: list[tuple[str, str]], attributes: list[tuple[str, str]]
) -> None:
    path = [key] + [q for q in qualifiers if q[0] in DL_KEYS[key[0]]]
    query = {ai: value for ai, value in attributes if ai not in NO_ATTRIBUTE}
    text = "https://e.com" + "".join(f"/{ai}/{escaped(value)}" for ai, value in path)
    text += "?" + "&".join(f"{ai}={escaped(value)}" for ai, value in query.items()) if query else ""
    theirs = biip_reads(GS1DigitalLinkURI.parse, text)
    ours = outcome(pure.parse_digital_link, text)
    if ours[0] is InvalidCode:
        assert theirs is None or ours[1] in STRICTER | {"not_attribute"}, (text, ours, theirs)
    else:
        assert list(dict.fromkeys(theirs)) == list(ours), text


# --- the twins --------------------------------------------------------------------------------------------------------

_bits = st.sampled_from(
    ["01", "06901234567892", "10", "21", "(01)", "(10)", "\x1d", "]C1", "]d2", "https://e.com", "http://", "/", "?", "&",
     "=", "17", "261231", "%2F", "+", "#", "A", "00", "106141412345678908", "8006", "0102", "414", "6901234567892", " ",
     "96385074", "3103", "000195", "酥", "\ud800", "\x00", "(", ")", "utm=1", "8020", "415", "22", "235", "%", "37"]
)  # fmt: skip
_soup = st.lists(_bits, max_size=14).map("".join)
_any_text = st.text(st.characters(exclude_categories=()), max_size=80)


@needs_compiled
@settings(max_examples=1500, deadline=None)
@given(
    _soup
    | _any_text
    | _elements.map(raw)
    | _elements.map(lambda e: "".join(f"({ai}){value}" for ai, value in e))
    | st.tuples(_soup, _elements.map(lambda e: "".join(f"/{ai}/{v}" for ai, v in e)), _soup).map(
        lambda t: f"https://e.com{t[1]}?{t[2]}"
    )
)
@example("(01)06901234567892" * 20)
@example("https://e.com/" + "10/A/" * 20 + "01/06901234567892")
def test_the_twins_read_alike(text: str) -> None:
    for name in ("parse_elements", "parse_digital_link", "gtin14"):
        assert outcome(getattr(pure, name), text) == outcome(getattr(compiled, name), text), (name, text)
