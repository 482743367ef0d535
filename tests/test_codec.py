"""The codec's handles, shards and batches: every test on both twins, vectors pinned, Hypothesis holding them equal."""

from __future__ import annotations

import doctest
import inspect
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from codec_twins import TWINS, needs_compiled, outcome, twin_named
from codec_twins import _speed as compiled
from hypothesis import example, given, settings
from hypothesis import strategies as st

import handle_codec
from handle_codec import NO_SHARD, NONE, InvalidHandle, pure


@pytest.fixture(params=TWINS)
def codec(request: pytest.FixtureRequest) -> Any:
    return twin_named(request.param)


@pytest.mark.skipif(not os.environ.get("DEMAND_COMPILED"), reason="only CI demands the compiled twin")
def test_the_compiled_twin_is_loaded() -> None:
    assert handle_codec.IMPLEMENTATION == "compiled"
    assert handle_codec.parse.__module__ == "handle_codec._speed"


def run_python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", *arguments], env=os.environ | environment, capture_output=True, text=True, check=False
    )


def test_ci_fails_on_the_pure_twin() -> None:
    """`.ci/run` sets DEMAND_COMPILED; the test above then fails where the extension was not built."""
    assert "export DEMAND_COMPILED=1" in (Path(__file__).parents[1] / ".ci" / "run").read_text()
    test = f"{__file__}::test_the_compiled_twin_is_loaded"
    done = run_python("-m", "pytest", "-q", "-p", "no:cacheprovider", test, DEMAND_COMPILED="1", HANDLE_CODEC_PURE="1")
    assert done.returncode == 1, done.stdout
    assert "'pure' == 'compiled'" in done.stdout


def test_without_the_extension_the_pure_twin_serves() -> None:
    """What an install without a C compiler leaves: `handle_codec._speed` cannot be imported."""
    ask = (
        "import handle_codec as c; print(c.IMPLEMENTATION, c.parse('88.999.1/A'), c.recognise('96385074')[0].canonical)"
    )
    blocked = run_python("-c", f"import sys; sys.modules['handle_codec._speed'] = None; {ask}")
    asked_for = run_python("-c", ask, HANDLE_CODEC_PURE="1")
    assert blocked.stdout == asked_for.stdout == "pure ('88.999.1', 'A') 00000096385074\n"


def test_the_readme_shows_what_happens() -> None:
    failed, tried = doctest.testfile("../handle_codec/README.md", encoding="utf-8")
    assert (failed, tried > 12) == (0, True)
    readme = str(Path(handle_codec.__file__).with_name("README.md"))
    ask = f"import doctest, sys; sys.exit(doctest.testfile({readme!r}, module_relative=False, encoding='utf-8').failed)"
    done = run_python("-c", ask, HANDLE_CODEC_PURE="1")
    assert done.returncode == 0, done.stdout


@needs_compiled
def test_the_twins_have_the_same_functions_with_the_same_words() -> None:
    assert compiled.__all__ == pure.__all__
    for name in pure.__all__:
        spoken, written = getattr(compiled, name), getattr(pure, name)
        assert list(inspect.signature(spoken).parameters) == list(inspect.signature(written).parameters), name
        assert spoken.__doc__ == written.__doc__, name
        assert spoken.__doc__


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
    ("8.999.1/a", "prefix_form", 1),
    ("88.99.1/a", "prefix_form", 5),
    ("88.999999.1/a", "prefix_form", 8),
    ("88.999./a", "prefix_form", 7),
    ("88.999.1.2/a", "prefix_form", 8),
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
    ("https://id.example.com/hdl/88.999.1/A", "88.999.1/A"),
    ("https://id.example.com/api/handles/88.999.1/A", "88.999.1/A"),
    ("https://id.example.com/?id=88.999.1%2FA", "88.999.1/A"),
    ("hdl：８８．９９９．１／A", "88.999.1/A"),
    ("]Q188.999.1/A\r\n", "88.999.1/A"),
    ("]d1https://id.example.com/88.999.1/A", "88.999.1/A"),
    ("https://id.example.com/88.999.1/A%20", "88.999.1/A"),
    ("https://id.example.com/?id=88.999.1/A+", "88.999.1/A"),
    ("https://id.example.com/?id=88.999.1/A&id=88.999.1/A", "88.999.1/A"),
    ("https://id.example.com/?id=7&handle=88.999.1/A", "88.999.1/A"),
    ("https://id.example.com/query.html?x=1&handle=88.999.1/%E9%85%A5#top", "88.999.1/酥"),
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
        ("https://id.example.com/?id=%ff", "encoding"),
        ("https://id.example.com/?" + "a&" * 200, "encoding"),
        ("https://evil.example/?id=88.999.1/A", "foreign_host"),
        ("https://user@id.example.com/88.999.1/A", "foreign_host"),
        ("https://id.example.com:8000/88.999.1/A", "foreign_host"),
        ("https://id.example.com/?id=88.999.1/A&id=88.999.1/B", "two_handles"),
        ("]E388.999.1/A", "prefix_form"),
    ],
)
def test_normalise_refuses(codec: Any, text: str, code: str) -> None:
    with pytest.raises(InvalidHandle) as caught:
        codec.normalise(text, frozenset({"id.example.com"}))
    assert caught.value.code == code


def test_errors_travel_between_processes() -> None:
    error = pickle.loads(pickle.dumps(InvalidHandle("segment", 3)))
    assert (error.code, error.position, str(error)) == ("segment", 3, str(InvalidHandle("segment", 3)))


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
        assert outcome(getattr(pure, name), text) == outcome(getattr(compiled, name), text), name


@needs_compiled
@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 1023), st.integers(0, 10), st.text(max_size=40))
def test_the_twins_are_equal_on_bytes(data: bytes, home: int, power: int, suffix: str) -> None:
    assert pure.hash64(data) == compiled.hash64(data)
    assert pure.shard_of(suffix, home, 2**power) == compiled.shard_of(suffix, home, 2**power)


@settings(max_examples=300, deadline=None)
@given(_near)
def test_what_parses_joins_and_normalises_to_itself(text: str) -> None:
    for codec in (c for c in (pure, compiled) if c is not None):
        try:
            prefix, suffix = codec.parse(text)
        except InvalidHandle:
            continue
        assert f"{prefix}/{suffix}" == text
        mended = codec.normalise(text)
        assert codec.normalise(mended) == mended


LINES = "88.999.1/A\n88.118.8/JXDY2106023\r\n\n88.999.1/酥梨\n99/x\n88.999.1/META_1\n88.999.1/end".encode()


def test_a_batch_gives_offsets_and_names_the_wrong_rows(codec: Any) -> None:
    columns = codec.parse_batch(LINES)
    assert [columns.handle(row) for row in range(len(columns))] == LINES.decode().replace("\r", "").split("\n")
    assert [columns.prefix(row) for row in (0, 1, 3, 6)] == ["88.999.1", "88.118.8", "88.999.1", "88.999.1"]
    assert [columns.suffix(row) for row in (0, 1, 3, 6)] == ["A", "JXDY2106023", "酥梨", "end"]
    assert [(row, error.code) for row, error in columns.errors] == [(2, "no_slash"), (4, "prefix_form")]
    assert [row for row, slash in enumerate(columns.slashes) if slash == NONE] == [2, 4]
    with pytest.raises(InvalidHandle, match="prefix is 2 digits"):
        columns.suffix(4)


def test_a_batch_of_issued_handles_is_stricter(codec: Any) -> None:
    errors = codec.parse_batch(LINES, True).errors
    assert [(row, error.code) for row, error in errors] == [
        (2, "no_slash"), (3, "not_issued"), (4, "prefix_form"), (5, "reserved")
    ]  # fmt: skip


def test_bytes_that_are_no_text_are_an_error_of_their_row(codec: Any) -> None:
    columns = codec.parse_batch("88.999.1/酥".encode() + b"\xff\n88.999.1/A")
    assert [(row, error.code, error.position) for row, error in columns.errors] == [(0, "not_utf8", 10)]
    assert columns.suffix(1) == "A"
    assert columns.handle(0).endswith("\ufffd")


def test_an_empty_batch_has_no_rows(codec: Any) -> None:
    assert len(codec.parse_batch(b"")) == 0
    assert len(codec.parse_batch(b"\n")) == 1
    assert list(codec.shard_batch(codec.parse_batch(b""), 0, 1)) == []


def test_a_batch_is_mended_into_a_buffer_of_its_own(codec: Any) -> None:
    given = "  hdl:88.999.1/A \n８８.999.1／B\nhttps://id.example.com/88.999.1/C\nbad\n".encode()
    columns = codec.normalise_batch(given, frozenset({"id.example.com"}))
    assert columns.buffer == b"88.999.1/A\n88.999.1/B\n88.999.1/C\n\n"
    assert [(row, error.code) for row, error in columns.errors] == [(3, "no_slash")]
    assert columns.suffix(1) == "B"


def test_shards_of_a_batch_are_those_of_each_suffix(codec: Any) -> None:
    columns = codec.parse_batch(LINES)
    shards = codec.shard_batch(columns, 1000, 64)
    right = [row for row in range(len(columns)) if columns.slashes[row] != NONE]
    assert [shards[row] for row in right] == codec.shards_of([columns.suffix(row) for row in right], 1000, 64)
    assert shards[2] == shards[4] == NO_SHARD
    assert set(codec.shard_batch(columns, 7, 1)) == {7, NO_SHARD}
    with pytest.raises(ValueError, match="out of range"):
        codec.shard_batch(columns, 0, 3)


def columns_of(columns: Any) -> Any:
    errors = [(row, error.code, error.position) for row, error in columns.errors]
    return columns.buffer, list(columns.starts), list(columns.slashes), list(columns.ends), errors


_line = _near.map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary(max_size=60)


@needs_compiled
@settings(max_examples=300, deadline=None)
@given(st.lists(_line, max_size=8).map(b"\n".join), st.booleans())
@example(b"88.999.1/A \n", False)
@example(b"\r\n\r", True)
def test_the_twins_are_equal_on_batches(buffer: bytes, issued: bool) -> None:
    ours, theirs = compiled.parse_batch(buffer, issued), pure.parse_batch(buffer, issued)
    assert columns_of(ours) == columns_of(theirs)
    assert list(compiled.shard_batch(ours, 3, 8)) == list(pure.shard_batch(theirs, 3, 8))
    assert columns_of(compiled.normalise_batch(buffer)) == columns_of(pure.normalise_batch(buffer))


@settings(max_examples=200, deadline=None)
@given(_near | _any_text)
def test_a_batch_of_one_is_the_single_form(text: str) -> None:
    line = text.encode("utf-8", "surrogatepass")
    if b"\n" in line or line.endswith(b"\r") or not line:
        return
    for codec in (c for c in (pure, compiled) if c is not None):
        columns = codec.parse_batch(line)
        single = outcome(codec.parse, text)
        if isinstance(single[0], str):
            assert (columns.prefix(0), columns.suffix(0)) == single
        elif not any(0xD800 <= ord(c) < 0xE000 for c in text):
            assert (columns.errors[0][1].code, columns.errors[0][1].position) == single[1:]
