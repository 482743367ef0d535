"""The codec: every test on both twins, vectors pinned, Hypothesis holding the twins equal."""

from __future__ import annotations

import os
import pickle
from types import ModuleType
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import handle_codec
from handle_codec import InvalidHandle, pure

try:
    from handle_codec import _speed
except ImportError:
    _speed = None

needs_compiled = pytest.mark.skipif(_speed is None, reason="the compiled twin was not built (no C compiler?)")


@pytest.fixture(params=["pure", pytest.param("compiled", marks=needs_compiled)])
def codec(request: pytest.FixtureRequest) -> ModuleType:
    return pure if request.param == "pure" else _speed


@pytest.mark.skipif(not os.environ.get("DEMAND_COMPILED"), reason="only CI demands the compiled twin")
def test_the_compiled_twin_is_loaded() -> None:
    assert handle_codec.IMPLEMENTATION == "compiled"
    assert handle_codec.parse.__module__ == "handle_codec._speed"


XXH64 = [  # the first four are published with xxHash; the others pin what is stored for ever
    (b"", 0xEF46DB3751D8E999),
    (b"a", 0xD24EC4F1A98C6E5B),
    (b"abc", 0x44BC2CF5AD770999),
    (b"Nobody inspects the spammish repetition", 0xFBCEA83C8A378BF1),
    (b"LC-2026-HARVEST-00001", 0x35CFCC553E9C0957),
    ("砀山酥梨".encode(), 0x3D9707831E64F52F),
    (bytes(range(31)), 0xC346D2B59B4D8EE1),
    (bytes(range(32)), 0xCBF59C5116FF32B4),
    (bytes(range(33)), 0x0C535D1ACAFB8EAD),
    (bytes(range(100)), 0x6AC1E58032166597),
]


@pytest.mark.parametrize(("data", "digest"), XXH64, ids=[f"{len(d)} bytes {i}" for i, (d, _) in enumerate(XXH64)])
def test_hash_vectors(codec: Any, data: bytes, digest: int) -> None:
    assert codec.hash64(data) == digest


SHARDS = [("A", 0, 1, 0), ("LC-2026-HARVEST-00001", 7, 1, 7), ("LC-2026-HARVEST-00001", 1020, 16, 3)]


@pytest.mark.parametrize(("suffix", "home", "spread", "shard"), SHARDS)
def test_shard_vectors(codec: Any, suffix: str, home: int, spread: int, shard: int) -> None:
    assert codec.shard_of(suffix, home, spread) == shard
    assert codec.shards_of([suffix] * 2, home, spread) == [shard] * 2


def test_shards_stay_within_the_spread_and_use_all_of_it(codec: Any) -> None:
    shards = codec.shards_of([f"S-{n}" for n in range(4000)], 1000, 64)
    assert set(shards) == {(1000 + k) % 1024 for k in range(64)}


@pytest.mark.parametrize(("home", "spread"), [(-1, 1), (1024, 1), (0, 0), (0, 3), (0, 2048)])
def test_a_wrong_layout_is_refused(codec: Any, home: int, spread: int) -> None:
    with pytest.raises(ValueError, match="out of range"):
        codec.shard_of("A", home, spread)


SPECIMENS = [  # seen on real nodes (domain.md 1.1)
    ("88.118.8/JXDY2106023", "88.118.8", "JXDY2106023"),
    ("88.101.0042/A", "88.101.0042", "A"),
    ("86.122.2/SX-XYGS-009-26-QL-010-SBGC-008-TL-002-ZL4", "86.122.2", "SX-XYGS-009-26-QL-010-SBGC-008-TL-002-ZL4"),
    ("88.999.1/a/b", "88.999.1", "a/b"),
    ("88.999.1/酥梨", "88.999.1", "酥梨"),
]


@pytest.mark.parametrize(("text", "prefix", "suffix"), SPECIMENS)
def test_parse(codec: Any, text: str, prefix: str, suffix: str) -> None:
    assert codec.parse(text) == (prefix, suffix)
    assert codec.normalise(text) == text


BAD = [
    ("", "no_slash", 0),
    ("88.999.1", "no_slash", 8),
    ("88.999.1/", "empty_suffix", 9),
    ("8.999.1/a", "prefix_form", 0),
    ("88.99.1/a", "prefix_form", 0),
    ("88.999999.1/a", "prefix_form", 0),
    ("88.999./a", "prefix_form", 0),
    ("88.999.1.2/a", "prefix_form", 0),
    ("８８.999.1/a", "prefix_form", 0),
    ("88.999." + "1" * 58 + "/a", "prefix_length", 64),
    ("88.999.1/" + "a" * 247, "too_long", 255),
    ("88.999.1/a\x00", "character", 10),
    ("88.999.1/a\u009f", "character", 10),
    ("88.999.1/\u202eevil", "character", 9),
    ("88.999.1/a\u200bb", "character", 10),
    ("88.999.1/\ud800", "character", 9),
    ("88.999.1/a%20", "character", 10),
    ("88.999.1/a?b", "character", 10),
    ("88.999.1/a//b", "segment", 11),
    ("88.999.1/a/", "segment", 11),
    ("88.999.1/..", "segment", 9),
    ("88.999.1/a/./b", "segment", 11),
]


@pytest.mark.parametrize(("text", "code", "position"), BAD, ids=[repr(b[0])[:30] for b in BAD])
def test_what_is_no_handle_says_where_and_why(codec: Any, text: str, code: str, position: int) -> None:
    with pytest.raises(InvalidHandle) as caught:
        codec.parse(text)
    assert (caught.value.code, caught.value.position) == (code, position)
    assert caught.value.reason
    assert caught.value.reason_zh


NOT_ISSUED = [
    ("88.999.1/a/b", "not_issued", 10),
    ("88.999.1/酥", "not_issued", 9),
    ("88.999.1/ＡＢＣ", "not_issued", 9),
    ("88.999.1/a b", "not_issued", 10),
    ("88.999.1/" + "a" * 201, "suffix_length", 209),
    ("88.999.1/META_1", "reserved", 9),
    ("88.999.1/aPp_x", "reserved", 9),
    ("88.999.1/user_", "reserved", 9),
    ("88.999.1/Admin", "reserved", 9),
    ("88.999.1/0.0", "reserved", 9),
    ("88.999.1/88.999.1", "reserved", 9),
]


@pytest.mark.parametrize(("text", "code", "position"), NOT_ISSUED, ids=[n[0][:24] for n in NOT_ISSUED])
def test_what_is_not_issued_here(codec: Any, text: str, code: str, position: int) -> None:
    with pytest.raises(InvalidHandle) as caught:
        codec.parse_issued(text)
    assert (caught.value.code, caught.value.position) == (code, position)


@pytest.mark.parametrize("suffix", ["ADMIN1", "metal_1", "0.01", "apple", "u", "88.999.11"])
def test_neighbours_of_reserved_suffixes_are_issued(codec: Any, suffix: str) -> None:
    assert codec.parse_issued(f"88.999.1/{suffix}") == ("88.999.1", suffix)


MENDED = [
    ("  88.999.1/A  ", "88.999.1/A"),
    ("hdl:88.999.1/A", "88.999.1/A"),
    ("HDL: 88.999.1/A", "88.999.1/A"),
    ("８８．９９９．１／A", "88.999.1/A"),
    ("88。999。1/A", "88.999.1/A"),
    ("88.999.1 A", "88.999.1/A"),
    ("88.999.1  /  A", "88.999.1/A"),
    ("https://id.example.com/88.999.1/A%2DB?x=1#y", "88.999.1/A-B"),
    ("HTTP://ID.EXAMPLE.COM/88.999.1/%E9%85%A5", "88.999.1/酥"),
]


@pytest.mark.parametrize(("text", "mended"), MENDED)
def test_normalise_mends_what_people_type(codec: Any, text: str, mended: str) -> None:
    assert codec.normalise(text, frozenset({"id.example.com"})) == mended


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("https://evil.example/88.999.1/A", "foreign_host"),
        ("https://id.example.com/88.999.1/%ff", "encoding"),
        ("x" * 5000, "too_long"),
        ("https://id.example.com/", "no_slash"),
    ],
)
def test_normalise_refuses(codec: Any, text: str, code: str) -> None:
    with pytest.raises(InvalidHandle) as caught:
        codec.normalise(text, frozenset({"id.example.com"}))
    assert caught.value.code == code


def test_errors_travel_between_processes() -> None:
    error = pickle.loads(pickle.dumps(InvalidHandle("segment", 3)))
    assert (error.code, error.position, str(error)) == ("segment", 3, str(InvalidHandle("segment", 3)))


def outcome(function: Any, *arguments: Any) -> Any:
    """What a twin gives, its refusals by code and position; any other exception is let through."""
    try:
        return function(*arguments)
    except InvalidHandle as error:
        return error.code, error.position


_digits = st.text("0123456789", max_size=7)
_near = st.builds(
    "{}.{}.{}{}{}".format,
    _digits,
    _digits,
    st.text("0123456789.", max_size=70),
    st.sampled_from(["/", "", "//", " ", "／"]),
    st.text(
        st.sampled_from("aAmMuU_.-/0189%?#\x00\x7f\u200b\u202e\ufeffadinmetpsr\ud800酥") | st.characters(), max_size=260
    ),
)
_any_text = st.text(st.characters(exclude_categories=()), max_size=300)


@needs_compiled
@settings(max_examples=600, deadline=None)
@given(_near | _any_text)
@example("88.999.1/" + "a" * 246)
@example("88.999.1/a\U0010ffff")
def test_the_twins_are_equal_on_text(text: str) -> None:
    for name in ("parse", "parse_issued", "normalise", "is_prefix"):
        assert outcome(getattr(pure, name), text) == outcome(getattr(_speed, name), text), name


@needs_compiled
@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 1023), st.integers(0, 10), st.text(max_size=40))
def test_the_twins_are_equal_on_bytes(data: bytes, home: int, power: int, suffix: str) -> None:
    assert pure.hash64(data) == _speed.hash64(data)
    assert pure.shard_of(suffix, home, 2**power) == _speed.shard_of(suffix, home, 2**power)


@settings(max_examples=300, deadline=None)
@given(_near)
def test_what_parses_joins_and_normalises_to_itself(text: str) -> None:
    for codec in (c for c in (pure, _speed) if c is not None):
        try:
            prefix, suffix = codec.parse(text)
        except InvalidHandle:
            continue
        assert f"{prefix}/{suffix}" == text
        mended = codec.normalise(text)
        assert codec.normalise(mended) == mended
