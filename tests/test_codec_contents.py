"""The stored form of content: the JSON again byte for byte, the same on both twins and for ever."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from codec_twins import TWINS, twin_named
from hypothesis import given, settings
from stored_pieces import canonical, content, near

from handle_codec.errors import UnreadableContent
from handle_codec.names import MOST_NAMES, NAMES
from handle_codec.twin import shorten_content
from node.records import pack
from node.templates import load_industries

HEAD = b'{"attributes":{'
# What was once written has to be read for ever: (JSON, its stored form).
PINNED = [
    (b"", b""),
    (HEAD + b"}}", b"\x01"),
    (
        HEAD + b'"carton_id":"C000000005","fruit_weight_g":323,"net_weight_kg":5.17,"ssc_pct":10.8}}',
        b"\x013\x0aC000000005#\xc1\x01C2\xc9\x02\x05$\xc4l",
    ),
    (HEAD + b'"grade":"","variety":"\xe9\x85\xa5"}}', b"\x01\x26\x00\x11\x03\xe9\x85\xa5"),
    (HEAD + b'"a":true,"temp_c":-1.5}}', b"\x01\xff\x01a\x84true\x2f\x84-1.5"),
    (HEAD + b'"ph":0,"temp_c":0.05,"x":4294967295}}', b"\x01\x8d\xc0\x00\x2f\xc8\x05\xff\x01x\xc3\xff\xff\xff\xff"),
    (HEAD + b'"ph":4294967296}}', b"\x01\x8d\x8a4294967296"),
    (HEAD + b'"qc":"a\\"b"},"values":[]}', b'\x01\x96\x86"a\\"b"\x00,"values":[]}'),
    (HEAD + b'"qc":"' + b"x" * 128 + b'"}}', b"\x01\x96\xfe\x00\x82" + b'"' + b"x" * 128 + b'"'),
    (b'{"values":[{"index":1}]}', b'{"values":[{"index":1}]}'),
]


@pytest.fixture(params=TWINS)
def codec(request: pytest.FixtureRequest) -> Any:
    return twin_named(request.param)


def test_names_keep_their_places() -> None:
    assert len(set(NAMES)) == len(NAMES) <= MOST_NAMES
    first = hashlib.sha256(" ".join(NAMES[:172]).encode()).hexdigest()
    assert first == "ba99b973fbbe721e5840cadd2b74eea10ed2c89482eee758df3e4df932257a7f", (
        "rows are stored with these numbers: append, never insert, rename or drop"
    )


def test_every_attribute_of_the_industries_has_its_byte() -> None:
    codes = {field.code for template in load_industries() for field in template.fields}
    assert codes - set(NAMES) == set(), "append them to handle_codec/names.py, with a migration"


@pytest.mark.parametrize(("plain", "stored"), PINNED)
def test_the_form_is_pinned(codec: Any, plain: bytes, stored: bytes) -> None:
    assert codec.shorten_content(plain) == stored
    assert codec.restore_content(stored) == plain


@pytest.mark.parametrize(
    ("stored", "what", "position"),
    [
        (b"\x02", "form", 0),
        (b"x", "form", 0),
        (b"\x01\xad\x00", "name", 1),  # the first number without a name
        (b"\x01\xfe\x00", "name", 1),
        (b"\x01\x01\xe0", "value", 2),
        (b"\x01\x01\xff", "value", 2),
        (b"\x01\x01", "cut", 2),
        (b"\x01\x01\x05abcd", "cut", 7),
        (b"\x01\x01\x00\xff", "cut", 4),
        (b"\x01\x01\x00\xff\x05abcd", "cut", 9),
        (b"\x01\x01\xc3\xff\xff\xff", "cut", 6),
        (b"\x01\x01\xfe\x00", "cut", 4),
        (b"\x01\x01\xfe\xff\xff1", "cut", 6),
    ],
)
def test_what_cannot_be_read_is_said(codec: Any, stored: bytes, what: str, position: int) -> None:
    with pytest.raises(UnreadableContent, match=f"at byte {position}") as caught:
        codec.restore_content(stored)
    assert (caught.value.what, caught.value.position) == (what, position)


def test_content_comes_back_as_it_was(codec: Any) -> None:
    @settings(max_examples=400, deadline=None)
    @given(canonical | near)
    def check(plain: bytes) -> None:
        stored = codec.shorten_content(plain)
        assert len(stored) <= len(plain)
        assert codec.restore_content(stored) == plain

    check()


def test_only_what_begins_as_content_is_shortened(codec: Any) -> None:
    @settings(max_examples=200, deadline=None)
    @given(content)
    def check(plain: bytes) -> None:
        assert codec.shorten_content(plain) == plain or plain.startswith(HEAD)

    check()


def test_the_examples_of_industries_are_shorter_by_a_third(examples: Any) -> None:
    for example in examples.values():
        for attributes in (example["lot"], example["item"]):
            plain = pack(attributes, [])
            assert len(shorten_content(plain)) < 0.8 * len(plain), plain
