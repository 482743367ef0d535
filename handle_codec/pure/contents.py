"""The stored form of a row's content: shorter than its JSON by names and punctuation, and the JSON byte for byte again.

    stored := "" | JSON, which begins with "{" | 0x01 member* [0x00 rest]
    member := name value
    name   := 0x01..0xDF, its place in NAMES from 1 | 0xFF size(1 byte) the name itself
    value  := 0x00..0x7F a text of so many bytes, without its quotes
            | 0x80..0xBF JSON of so many bytes from 0x80 | 0xFE size(2 bytes) JSON
            | 0xC0..0xDF a number: places << 2 | bytes - 1, then its digits without the point as a big-endian number

The members are those of {"attributes":{...}}; `rest` is what stands behind them. The first byte decides: JSON stored
before this form was there is read as ever, and what has no shorter form stays JSON. Other bytes are free for later.
"""

from __future__ import annotations

import re

from handle_codec.errors import UnreadableContent
from handle_codec.names import NAMES

_HEAD = b'{"attributes":{'
_TOKENS = {name.encode(): bytes((number,)) for number, name in enumerate(NAMES, 1)}
_KEYS = [b'"%s":' % name.encode() for name in NAMES]
_KEY = re.compile(rb'"([^"\\\x00-\x1f]{0,255})":')
_TEXT = re.compile(rb'"([^"\\\x00-\x1f]{0,127})"')
_NUMBER = re.compile(rb"(0|[1-9][0-9]{0,9})(?:\.([0-9]{1,7}))?")
_STEP = re.compile(rb'"(?:[^"\\]|\\.)*"|["{}\[\],]', re.DOTALL)


def shorten_content(content: bytes) -> bytes:
    """Canonical content (`model.Row`) as it is stored; the content itself where that is not shorter."""
    if not content.startswith(_HEAD):
        return content
    found = _members(content, len(_HEAD))
    if found is None:
        return content
    parts, at = found
    rest = content[at + 1 :]
    stored = b"\x01" + b"".join(parts) + (b"" if rest == b"}" else b"\x00" + rest)
    return stored if len(stored) < len(content) else content


def _members(content: bytes, at: int) -> tuple[list[bytes], int] | None:
    """(members in their short form, where the object's closing brace is); None: there is no such form."""
    parts: list[bytes] = []
    if content[at : at + 1] == b"}":
        return parts, at
    while True:
        key = _KEY.match(content, at)
        if key is None:
            return None
        value, at = _value(content, key.end())
        parts += (_TOKENS.get(key[1]) or b"\xff%c%s" % (len(key[1]), key[1]), value)
        if at < 0 or content[at : at + 1] not in (b",", b"}"):
            return None
        if content[at] == ord("}"):
            return parts, at
        at += 1


def _value(content: bytes, at: int) -> tuple[bytes, int]:
    """(the value's short form, where it ends in the JSON, -1: nowhere)."""
    if text := _TEXT.match(content, at):
        return bytes((len(text[1]),)) + text[1], text.end()
    number = _NUMBER.match(content, at)
    if number and content[number.end() : number.end() + 1] in (b",", b"}"):
        places = len(number[2] or b"")
        units = int(number[1] + (number[2] or b""))
        if units < 2**32:
            size = max(1, (units.bit_length() + 7) // 8)
            return bytes((0xC0 | places << 2 | size - 1,)) + units.to_bytes(size, "big"), number.end()
    end = _json_end(content, at)
    size = end - at
    if end < 0 or size > 0xFFFF:
        return b"", -1
    return (bytes((0x80 + size,)) if size < 64 else b"\xfe" + size.to_bytes(2, "big")) + content[at:end], end


def _json_end(content: bytes, at: int) -> int:
    """Where any JSON value that begins at `at` ends; -1: nowhere."""
    depth = 0
    for step in _STEP.finditer(content, at):
        sign = step[0]
        if sign == b'"':
            break
        if sign in (b"{", b"["):
            depth += 1
        elif sign in (b"}", b"]"):
            if depth <= 1:
                return step.end() if depth else step.start()
            depth -= 1
        elif depth == 0:
            return step.start() if sign == b"," else step.end()
    return -1


def restore_content(stored: bytes) -> bytes:
    """Canonical content from its stored form; raises UnreadableContent where it is none."""
    if not stored or stored[0] == ord("{"):
        return stored
    if stored[0] != 1:
        raise UnreadableContent("form", 0)
    parts: list[bytes] = []
    at, rest = 1, b"}"
    while at < len(stored):
        if stored[at] == 0:
            rest = stored[at + 1 :]
            break
        key, at = _restored_key(stored, at)
        value, at = _restored_value(stored, at)
        parts.append(key + value)
    return _HEAD + b",".join(parts) + b"}" + rest


def _restored_key(stored: bytes, at: int) -> tuple[bytes, int]:
    number = stored[at]
    if number <= len(_KEYS):
        return _KEYS[number - 1], at + 1
    if number != 0xFF:
        raise UnreadableContent("name", at)
    name, end = _taken(stored, at + 2, _taken(stored, at + 1, 1)[0][0])
    return b'"%s":' % name, end


def _restored_value(stored: bytes, at: int) -> tuple[bytes, int]:
    head = _taken(stored, at, 1)[0][0]
    if head < 0x80:
        text, end = _taken(stored, at + 1, head)
        return b'"%s"' % text, end
    if head < 0xC0:
        return _taken(stored, at + 1, head - 0x80)
    if head < 0xE0:
        number, end = _taken(stored, at + 1, (head & 3) + 1)
        places = head >> 2 & 7
        digits = b"%d" % int.from_bytes(number, "big")
        if not places:
            return digits, end
        digits = digits.rjust(places + 1, b"0")
        return b"%s.%s" % (digits[:-places], digits[-places:]), end
    if head != 0xFE:
        raise UnreadableContent("value", at)
    return _taken(stored, at + 3, int.from_bytes(_taken(stored, at + 1, 2)[0], "big"))


def _taken(stored: bytes, at: int, size: int) -> tuple[bytes, int]:
    """(the next `size` bytes, what follows)."""
    if at + size > len(stored):
        raise UnreadableContent("cut", len(stored))
    return stored[at : at + size], at + size
