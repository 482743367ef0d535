"""Content and its stored form, right and near it, for tests of shorten_content and restore_content."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from handle_codec import pure
from handle_codec.names import NAMES
from node.records import pack

_codes = st.sampled_from(NAMES) | st.from_regex(r"[a-z][a-z0-9_]{0,30}", fullmatch=True) | st.text(max_size=5)
_texts = st.text(max_size=20) | st.sampled_from(
    ["", '"', "\\", "\0", "梨" * 42, "x" * 127, "x" * 128, "}}", ',"a":1', "\x7f"]
)
_numbers = st.integers(-(2**53), 2**53) | st.sampled_from([0, 255, 256, 65535, 65536, 2**24, 2**32 - 1, 2**32]) | st.decimals(
    -10_000, 10_000, places=6, allow_nan=False
).map(float)  # fmt: skip
_scalars = _texts | _numbers | st.booleans() | st.none()
_nested = st.lists(_scalars, max_size=4) | st.dictionaries(_texts, _scalars, max_size=3)
_attributes = st.dictionaries(_codes, _scalars | _nested, max_size=6)
_values: Any = st.lists(st.fixed_dictionaries({"index": st.integers(1, 9), "type": _texts, "data": _texts}), max_size=2)

canonical = st.builds(pack, _attributes, _values)

_PIECES = [
    *(b'{"attributes":{', b'"grade":', b'"no_name":', b'"":', b'"' + b"k" * 256 + b'":', b'"a\\"":', b",", b"}", b"}}", b"{"),
    *(b"[", b"]", b'"x"', b'"\\""', b'"\\', b'"', b"\\", b"0", b"00", b"0.0", b"5.17", b"4294967295", b"4294967296", b"1.23456789"),
    *(b"0.0000000", b"42949672.95", b"1.", b".5", b"-1", b"1e3", b"true", b"null", b" ", b'{"a":[1,"]"]}', b'"' + b"y" * 127 + b'"'),
    *(b'"' + b"y" * 128 + b'"', b"9" * 63, b"9" * 64, b"[" * 70000, b"1" * 65535, b"1" * 65536, b"\xff", b"\x00", b'},"values":[]}'),
]  # fmt: skip
near = st.lists(st.sampled_from(_PIECES) | st.binary(max_size=3), max_size=12).map(
    lambda parts: b'{"attributes":{' + b"".join(parts)
)
content = canonical | near | st.binary(max_size=40)


@st.composite
def _changed(draw: Any) -> bytes:
    """A stored form after a cut or a byte of it was changed."""
    stored = bytearray(pure.shorten_content(draw(canonical)))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(stored)))
        if at < len(stored):
            stored[at] = draw(st.integers(0, 255))
        else:
            del stored[draw(st.integers(0, len(stored))) :]
    return bytes(stored)


stored = _changed() | st.binary(max_size=40).map(lambda b: b"\x01" + b) | st.binary(max_size=9)
