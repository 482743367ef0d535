"""Rows of NDJSON near the right form, for tests of decode_rows, and what the node's own slow way says of each."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import orjson
from hypothesis import strategies as st

import handle_codec
from node.drafts import draft_of
from node.errors import NodeError
from node.model import Kind, Prefix, PrefixStatus, Row, Status
from node.records import pack
from node.registration import checked_attributes
from node.templates import Compiled, compile_template, load_industries

PREFIX = Prefix(1, "88.999.1001", 1, 7, 16, PrefixStatus.ENABLED, True, "砀山县示范果蔬专业合作社", "pear", "341321")
INDUSTRIES = {template.code: compile_template(template) for template in load_industries()}
EXAMPLES: dict[str, Any] = {
    code: orjson.loads((files("node.industries") / "examples" / f"{code}.json").read_bytes()) for code in INDUSTRIES
}
# Values as they stand in a line, right for some field and wrong for most.
ODD = [
    *(b"0", b"-0", b"-0.0", b"0.0", b"5.0", b"5.00", b"-3", b"-3.50", b"1e3", b"1E-2", b"0.001", b"0.0010", b"0.0001"),
    *(b"0.000001", b"0.1234567", b"12345678901234567890", b"999999999999999", b"9999999999999999", b"123456789.123456"),
    *(b"1234567890.123456", b"01", b"1.", b".5", b"+1", b"NaN", b"12.30", b"null", b"true", b"false", b"True", b"tru"),
    *(b"[]", b"{}", b'["a"]', b'{"a":1}', b'""', b'" "', b'"x"', b'"a\\/b"', b'"\\u4e2d"', b'"a\tb"', b'"a\x7fb"'),
    *(b'"2024-02-29"', b'"2023-02-29"', b'"1900-02-29"', b'"1899-12-31"', b'"2199-12-31"', b'"2200-01-01"'),
    *(b'"2024-9-10"', b'"20240910"', b'"2024-00-10"', b'"2024-13-01"', b'"2024-04-31"', b'"2024-W10-1"'),
    *(b'"2024-09-13T09:41:05+08:00"', b'"2024-09-13T09:41:05Z"', b'"2024-09-13T09:41:05"', b'"2024-09-13T24:00:00Z"'),
    *(b'"2024-09-13T09:60:05Z"', b'"2024-09-13T09:41:60Z"', b'"2024-09-13T09:41:05.5Z"', b'"2024-09-13T09:41:05.Z"'),
    *(b'"2024-09-13T09:41:05.1234567Z"', b'"2024-09-13T09:41:05+24:00"', b'"2024-09-13T09:41:05+08:60"'),
    *(b'"2026-12-31T00:00:00-11:30"', b'"2020-01-01"', b'"2024-09-13t09:41:05Z"', b'"2024-09-13T09:41:05+0800"'),
    *('"无"'.encode(), '"中文"'.encode(), '"a\u3000b"'.encode(), '"a\u00a0b"'.encode(), '"a\u2028b"'.encode()),
    *('"\ufeffx"'.encode(), '"\u202ex"'.encode(), '"\u2067x"'.encode(), '"\u200bx"'.encode(), '"\ufffe"'.encode()),
    *(
        '"\u0085"'.encode(),
        '"\u00e9\u1680"'.encode(),
        '"𠮷😀"'.encode(),
        '"\U0010ffff"'.encode(),
        '"ſha256:x"'.encode(),
    ),
    *(b'"\xff"', b'"\xed\xa0\x80"', b'"\xc0\xaf"', b'"\xe4\xb8"', b'"\xf4\x90\x80\x80"', b'"\xe0\x80\x80"', b'"\xc2"'),
    *(b'"did:bid:x"', b'"88.999.1001/A/B"', b'"88.999/x"', b'"88.999.1001"', b'"10.1000/182"', b'"88.999.1001/a b"'),
    *(b'"88.99x"', b'"88.999.1001/.."', b'"https://a.example/b?c=d"', b'"https://a b"', b'"javascript:x"', b'"a:b"'),
    *(b'"sha256:00"', b'"HTTPS://x"', b'"a\'b"', b'"a<b"', b'"06901234567892"', b'"6901234567893"', b'"96385074"'),
    *(b'"869999070000123"', b'"869999070000124"', b'"89999990000001271234"', b'"8999999000000127123"', b'"88"'),
    *(b'"' + b"x" * n + b'"' for n in (31, 32, 33, 64, 65, 128, 255, 256, 512, 513, 1000, 1001)),
    *('"{}"'.format("梨" * n).encode() for n in (32, 33, 64, 65, 255, 256)),
]
HANDLES = [
    *(b"88.999.1001/C-0000001", b"88.999.1001/C-0000002", b"88.999.1001/x", b"88.999.1002/C-1", b"88.999.1001/"),
    *(b"88.999.1001/META_1", b"88.999.1001/a/b", b"88.999.1001/V8CQN3C64A5PS5", b"88.999.1001/v8cqn3c64a5pso"),
    *(b"88.999.1001/W8CQN3C64A5PS5", b"88.999.1001/V8CQN3C64A5PSU", b"88.999.1001/" + b"y" * 200, b"88.999.1001"),
    *(b"88.999.1001/" + b"y" * 201, "88.999.1001/梨".encode(), "８８.999.1001/x".encode(), b"88.999.1001/88.999.1001"),
    *(b"88.999.1001/0.0", b"88.999.1001/admin", b"88.999.1001/..", b"hdl:88.999.1001/x", b" 88.999.1001/x", b""),
]
LOTS = [b"88.999.1001/LOT-1", b"LOT-1", b"LOT-2", b"", b"88.999.1001/", b"88.999.1002/LOT-1", b"lot-1", b"\xff"]
BLANKS = st.sampled_from([b"", b"", b"", b"", b" ", b"\t", b"\r", b"  ", b"\x0b", b"\xc2\xa0"])


@st.composite
def near_row(draw: st.DrawFn, industry: str, lot: dict[str, Any]) -> bytes:
    """One line: attributes of the industry's example, some of them odd, in a form that is usual or nearly so."""
    compiled, example = INDUSTRIES[industry], EXAMPLES[industry]
    usual = example["item"] if draw(st.integers(0, 2)) else {**example["lot"], **example["item"]}
    codes = list(usual)
    if draw(st.booleans()):
        codes = draw(st.lists(st.sampled_from(codes), max_size=8))  # some twice
    others = st.sampled_from([*(field.code for field in compiled.template.fields), "nothing", "nam\\u0065", ""])
    if draw(st.integers(0, 3)) == 3:
        codes += draw(st.lists(others, max_size=2))
    tidy = draw(st.integers(0, 3)) < 3
    blank = st.just(b"") if tidy else BLANKS

    def value(code: str) -> bytes:
        if code in usual and draw(st.integers(0, 9)) < 9:
            return orjson.dumps(usual[code])
        return draw(st.sampled_from(ODD))

    def joined(members: list[tuple[bytes, bytes]]) -> bytes:
        parts = [draw(blank) + b'"' + k + b'"' + draw(blank) + b":" + draw(blank) + v + draw(blank) for k, v in members]
        return b"{" + b",".join(parts) + b"}"

    def name(choices: list[bytes]) -> bytes:
        return b'"' + (choices[0] if draw(st.integers(0, 9)) < 9 else draw(st.sampled_from(choices))) + b'"'

    members = [(b"handle", name(HANDLES)), (b"attributes", joined([(c.encode(), value(c)) for c in codes]))]
    if draw(st.integers(0, 5)) < 5:
        members.append((b"lot", name(LOTS)))
    if draw(st.integers(0, 2)) == 2:
        members.append((b"template", name([compiled.template.name.encode(), industry.encode(), b"", b"shoes@9"])))
    if draw(st.integers(0, 20)) == 20:
        members.append(
            draw(st.sampled_from([(b"values", b"[]"), (b"handle", b'"x"'), (b"more", b"1"), (b"lot", b"null")]))
        )
    line = draw(blank) + joined(draw(st.permutations(members))) + draw(blank)
    if draw(st.integers(0, 9)) == 9 and line:
        at = draw(st.integers(0, len(line) - 1))
        line = (
            line[:at]
            + draw(st.sampled_from([b"", b'"', b"\\", b",", b"}", b"\x00", b"\xe4", b"9", b"\n"]))
            + line[at + 1 :]
        )
    return line


@st.composite
def part_of_lot(draw: st.DrawFn, industry: str) -> dict[str, Any]:
    """Attributes that a stored lot may have: some of the example's, or of item and lot together."""
    example = EXAMPLES[industry]
    whole = {**example["lot"], **example["item"]} if draw(st.booleans()) else example["lot"]
    left_out = draw(st.sets(st.sampled_from(sorted(whole)), max_size=4))
    if draw(st.booleans()):
        return {code: value for code, value in whole.items() if code not in left_out}
    return {code: whole[code] for code in left_out}


def slow_way(raw: bytes, compiled: Compiled, lots: dict[str, dict[str, Any]]) -> tuple[str, str, bytes] | None:
    """(suffix, lot, content) as node/registration.py would store them; None where it refuses the row or would not
    take it for one of this template."""
    try:
        draft = draft_of(raw)
        if draft.prefix != PREFIX.prefix or handle_codec.is_serial(draft.suffix):
            return None
        if draft.lot not in lots or draft.template not in ("" if draft.lot else "-", compiled.template.name):
            return None
        content = pack(lots[draft.lot], [])
        lot = Row(draft.lot, Kind.LOT, Status.ACTIVE, "", 1, content, "", "", 1, 0.0, 0.0) if draft.lot else None
        attributes = checked_attributes(compiled, draft.attributes, lot, Kind.ITEM)
    except NodeError:
        return None
    return draft.suffix, draft.lot, pack(attributes, draft.values)
