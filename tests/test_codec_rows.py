"""decode_rows: the twins are equal, a sure row is what the slow way makes of it, and COPY stores it so."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import orjson
import pytest
from codec_twins import TWINS, needs_compiled, twin_named
from codec_twins import _speed as compiled_twin
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from near_rows import EXAMPLES, INDUSTRIES, ODD, PREFIX, near_row, part_of_lot, slow_way

from handle_codec import pure, rows
from handle_codec.rows import Bound, FieldPlan, LotPlan, Pair, RowDecoder, RowPlan, Unsure
from node.row_plans import plan_of

PLAN = RowPlan(
    "88.999.1001",
    7,
    16,
    frozenset({"t@1"}),
    (FieldPlan("b", "text", most=4), FieldPlan("a", "number", low=0, high=100), FieldPlan("d", "day", most=10)),
    (LotPlan("", named=True), LotPlan("L-1", needs=frozenset({"a"}), bounds=(Bound("d", "2026-01-02", "2026-01-04"),))),
)
USUAL = b'{"handle":"88.999.1001/C-1","lot":"88.999.1001/L-1","attributes":{"b":"x","a":5.50}}'


@pytest.fixture(params=TWINS)
def codec(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    twin = twin_named(request.param)
    monkeypatch.setattr(rows, "decode_rows", twin.decode_rows)  # the twin that RowDecoder stands on
    return twin


def sure(batch: rows.RowBatch) -> list[tuple[int, int, int, str, str, bytes]]:
    return [
        (batch.rows[i], batch.lines[i], batch.shards[i], batch.suffix(i), batch.lot(i), batch.content(i))
        for i in range(len(batch))
    ]


def item_line(industry: str, suffix: str = "C-1", **changes: Any) -> bytes:
    attributes = {**EXAMPLES[industry]["item"], **changes}
    row = {"handle": f"{PREFIX.prefix}/{suffix}", "lot": f"{PREFIX.prefix}/LOT-1", "attributes": attributes}
    return orjson.dumps(row) + b"\n"


def test_a_usual_row(codec: Any) -> None:
    batch = codec.decode_rows(PLAN, USUAL, 3, 4)
    shard = pure.shard_of("C-1", 7, 16)
    assert sure(batch) == [(3, 4, shard, "C-1", "L-1", b'{"attributes":{"a":5.5,"b":"x"}}')]
    assert (batch.unsure, batch.row_count, batch.line_count) == ([], 1, 1)


@pytest.mark.parametrize("industry", ["green_food", "home", "pear", "pharma", "shoes", "textile"])
def test_the_items_of_industries_are_sure(codec: Any, industry: str) -> None:
    plan = plan_of(INDUSTRIES[industry], PREFIX, {"LOT-1": EXAMPLES[industry]["lot"]})
    assert len(codec.decode_rows(plan, item_line(industry))) == 1


def test_nothing_but_the_table_or_list_of_a_machine_is_for_the_slow_way(codec: Any) -> None:
    plan = plan_of(INDUSTRIES["machinery"], PREFIX, {"LOT-1": EXAMPLES["machinery"]["lot"]})
    plain = {k: v for k, v in EXAMPLES["machinery"]["item"].items() if not isinstance(v, list)}
    row = {"handle": f"{PREFIX.prefix}/C-1", "lot": "LOT-1", "attributes": plain}
    assert len(codec.decode_rows(plan, orjson.dumps(row))) == 1
    assert len(codec.decode_rows(plan, item_line("machinery"))) == 0


@pytest.mark.parametrize(
    "line",
    [
        USUAL.replace(b'"x"', b'"\\u0078"'),
        USUAL.replace(b'"x"', b'"xxxxx"'),
        USUAL.replace(b'"b"', b'"a"').replace(b'"x"', b"1"),
        USUAL.replace(b'"b"', b'"c"'),
        USUAL.replace(b'"a":5.50', b'"d":"2026-01-03"'),
        USUAL.replace(b"5.50", b"500"),
        USUAL.replace(b"5.50", b"1e1"),
        USUAL.replace(b"L-1", b"L-2"),
        USUAL.replace(b"C-1", b"V8CQN3C64A5PS5"),
        USUAL.replace(b"C-1", b"Meta_1"),
        USUAL.replace(b"1001/C", b"1002/C"),
        USUAL.replace(b'"lot"', b'"values":[],"lot"'),
        USUAL.replace(b'"lot":"88.999.1001/L-1",', b""),
        USUAL.replace(b'"lot":"88.999.1001/L-1"', b'"template":"t@2"'),
        USUAL.replace(b'5.50}', b'5.50,"d":"2026-01-05"}'),
        USUAL + b"}",
        USUAL[:-1],
        b"\xef\xbb\xbf" + USUAL,
        b"{}",
        b"7",
    ],
)  # fmt: skip
def test_what_is_for_the_slow_way(codec: Any, line: bytes) -> None:
    batch = codec.decode_rows(PLAN, line)
    assert (len(batch), batch.unsure) == (0, [Unsure(0, 0, line)])


def test_lots_and_templates_by_name(codec: Any) -> None:
    lines = [
        USUAL.replace(b"88.999.1001/L-1", b"L-1"),
        USUAL.replace(b'"lot":"88.999.1001/L-1"', b'"template":"t@1"'),
        USUAL.replace(b'"lot"', b'"template":"t@1","lot"'),
        b'{"attributes":{}, "template" : "t@1","handle":"88.999.1001/C-4"}',
    ]
    assert [row[3:] for row in sure(codec.decode_rows(PLAN, b"\n".join(lines)))] == [
        ("C-1", "L-1", b'{"attributes":{"a":5.5,"b":"x"}}'),
        ("C-1", "", b'{"attributes":{"a":5.5,"b":"x"}}'),
        ("C-1", "L-1", b'{"attributes":{"a":5.5,"b":"x"}}'),
        ("C-4", "", b""),
    ]


def test_blank_lines_count_as_lines_and_long_ones_as_rows(codec: Any) -> None:
    long = b"x" * 101
    data = b"\n".join([b"", USUAL + b"\r", b" \t\r", long, b"x" * 100 + b"\r", USUAL, b""])
    batch = codec.decode_rows(PLAN, data, 0, 0, 100)
    assert [(row, line) for row, line, *_ in sure(batch)] == [(0, 1), (3, 5)]
    assert batch.unsure == [Unsure(1, 3, None), Unsure(2, 4, b"x" * 100)]
    assert (batch.row_count, batch.line_count) == (4, 6)


def test_a_feed_may_be_cut_anywhere(codec: Any) -> None:
    data = USUAL + b"\r\n\n" + b"y" * 130 + b"\n" + b"z" * 100 + b"\r\n" + USUAL + b"\r\nrubbish\n \n" + USUAL
    whole = codec.decode_rows(PLAN, data, 0, 0, 100)
    assert (len(whole), len(whole.unsure), whole.line_count) == (3, 3, 8)
    for first in range(len(data) + 1):
        second = (first * 7) % (len(data) + 1)
        cuts = [0, min(first, second), max(first, second), len(data)]
        decoder = RowDecoder(PLAN, limit=100)
        batches = [decoder.feed(data[a:b]) for a, b in pairwise(cuts)] + [decoder.finish()]
        assert [row for batch in batches for row in sure(batch)] == sure(whole)
        assert [row for batch in batches for row in batch.unsure] == whole.unsure
        assert (decoder.rows, decoder.lines) == (whole.row_count, whole.line_count)
    decoder = RowDecoder(PLAN, limit=100)
    singly = [decoder.feed(bytes([byte])) for byte in data] + [decoder.finish()]
    assert [row for batch in singly for row in sure(batch)] == sure(whole)


def test_an_endless_line_is_not_kept(codec: Any) -> None:
    decoder = RowDecoder(PLAN, limit=1000)
    assert all(decoder.feed(b"x" * 999).row_count == 0 for _ in range(50))
    assert sum(map(len, decoder._tail)) <= 1001
    assert decoder.finish().unsure == [Unsure(0, 0, None)]


@pytest.mark.parametrize("spread", [1, 16, 1024])
@given(suffixes=st.lists(st.text("ABab01.-", min_size=1, max_size=12), max_size=40))
@settings(max_examples=40, deadline=None)
def test_rows_are_sorted_by_shard_and_suffix(spread: int, suffixes: list[str]) -> None:
    plan = replace(PLAN, spread=spread)
    lines = [b'{"handle":"88.999.1001/C%s","template":"t@1"}\n' % s.encode() for s in suffixes]
    batch = pure.decode_rows(plan, b"".join(lines))
    order, doubles = pure.sort_rows(batch)
    assert sorted(order) == list(range(len(suffixes)))
    keys = [(batch.shards[i], batch.suffix(i).encode(), i) for i in order]
    assert keys == sorted(keys)
    assert sorted(doubles) == [i for i, s in enumerate(suffixes) if s in suffixes[:i]]
    if compiled_twin is not None:
        assert compiled_twin.sort_rows(batch) == (order, doubles)
        assert compiled_twin.copy_rows(batch, order, 5, 6, 7) == pure.copy_rows(batch, order, 5, 6, 7)


def test_a_plan_that_makes_no_sense() -> None:
    for wrong in (
        {"spread": 3},
        {"home": 1024},
        {"fields": (FieldPlan("a", "day"), FieldPlan("a", "day"))},
        {"fields": (FieldPlan("a", "date"),)},
        {"lots": (LotPlan("L", needs=frozenset({"q"})),)},
        {"lots": (LotPlan("L", pairs=(Pair("a", "q"),)),)},
    ):
        with pytest.raises(ValueError, match=r"."):
            replace(PLAN, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("industry", sorted(INDUSTRIES))
def test_every_field_with_every_odd_value(codec: Any, industry: str) -> None:
    """Each alone, under a lot that has all the rest: what is sure is what the slow way says, and some of it is sure."""
    compiled, example = INDUSTRIES[industry], EXAMPLES[industry]
    lots = {"LOT-1": {**example["lot"], **example["item"]}}
    plan = plan_of(compiled, PREFIX, lots, without_lot=False)
    lines = [
        b'{"handle":"88.999.1001/C","lot":"LOT-1","attributes":{"%s":%s}}' % (field.code.encode(), value)
        for field in compiled.template.fields
        for value in ODD
    ]
    batch = codec.decode_rows(plan, b"\n".join(lines))
    assert len(batch) > 100
    for _, line, _, suffix, lot, content in sure(batch):
        assert slow_way(lines[line], compiled, lots) == (suffix, lot, content)


SLOW_TO_MAKE = [HealthCheck.too_slow, HealthCheck.data_too_large]


@needs_compiled
@pytest.mark.parametrize("industry", sorted(INDUSTRIES))
@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=SLOW_TO_MAKE)
def test_twins_are_equal_and_what_is_sure_is_what_the_slow_way_says(industry: str, data: st.DataObject) -> None:
    compiled = INDUSTRIES[industry]
    lots = {"": {}, "LOT-1": EXAMPLES[industry]["lot"], "LOT-2": data.draw(part_of_lot(industry))}
    plan = plan_of(compiled, PREFIX, lots)
    drawn = data.draw(st.lists(near_row(industry, lots["LOT-2"]), min_size=1, max_size=6))
    given_ = b"\n".join(drawn)
    batch, same = pure.decode_rows(plan, given_), compiled_twin.decode_rows(plan, given_)
    assert same == batch
    lines = given_.split(b"\n")
    for _, line, shard, suffix, lot, content in sure(batch):
        assert slow_way(lines[line], compiled, lots) == (suffix, lot, content)
        assert shard == pure.shard_of(suffix, PREFIX.home, PREFIX.spread)


def test_fields_whose_bits_are_the_same_are_told_apart(codec: Any) -> None:
    """A row's fields are found by a word of 64 bits; the 1st and the 65th share one."""
    fields = tuple(FieldPlan(f"f{n:02d}", "text", most=9) for n in range(70))
    lots = (LotPlan("", named=True), LotPlan("N", needs=frozenset({"f64"})), LotPlan("B", bounds=(Bound("f64", "m"),)))
    plan = RowPlan("88.999.1001", 7, 16, frozenset(), fields, lots)

    def lines(lot: str, code: str) -> bytes:
        return b'{"handle":"88.999.1001/C","lot":"%s","attributes":{"%s":"a"}}' % (lot.encode(), code.encode())

    found = [
        len(codec.decode_rows(plan, lines(*case))) for case in (("N", "f00"), ("N", "f64"), ("B", "f00"), ("B", "f64"))
    ]
    assert found == [0, 1, 1, 0]


@needs_compiled
@pytest.mark.parametrize(
    "odd", [b"\x00", b"\x1f", b'"', b"\\", b"\\n", b"\x7f", b"\x80", "é".encode(), "\u3000".encode(), b" "]
)
def test_texts_are_read_alike_wherever_something_odd_stands(odd: bytes) -> None:
    """Texts are read by eights: each place within two of them, and behind them."""
    plan = replace(
        PLAN, fields=(FieldPlan("b", "text", most=18), FieldPlan("a", "number"), FieldPlan("d", "day", most=10))
    )
    plan = replace(plan, lots=(LotPlan("L-1"),))
    for place in range(19):
        text = b"abcdefghijklmnopqrs"[:place] + odd + b"tuvwxyzABCDEFGHIJKL"[place:]
        for size in range(len(odd), len(text) + 1):
            for name in (b'"b":"%s"' % text[:size], b'"%s":"b"' % text[:size]):
                line = b'{"handle":"88.999.1001/C","lot":"L-1","attributes":{%s}}' % name
                assert sure(compiled_twin.decode_rows(plan, line)) == sure(pure.decode_rows(plan, line)), line
