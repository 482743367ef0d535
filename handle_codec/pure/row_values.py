"""Single values of rows: what is certainly right, and the bytes of it that are its canonical form."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date

from handle_codec.errors import InvalidCode
from handle_codec.plans import FieldPlan
from handle_codec.pure.gs1 import gtin14
from handle_codec.pure.handles import parse

# C0, DEL, C1, what turns or breaks a line on a page, BOM, non-characters, surrogates: as node/values.py refuses them.
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff]")
_STRING = re.compile(rb'"([^"\\\x00-\x1f]*)"')
_WORD = re.compile(rb"true|false")
_NUMBER = re.compile(rb"-?(0|[1-9][0-9]*)(?:\.([0-9]+))?")
_DIGITS = 15  # a decimal of so many digits is the shortest that gives its double, so it is printed as it was written
_PLACES = 6
_MOMENT = re.compile(r"(.{10})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.[0-9]{1,6})?(?:Z|[+-]([0-9]{2}):([0-9]{2}))", re.S)
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_NATIVE = re.compile(r"[0-9]{2}\.")  # begins like a handle: then it has to be a whole one
# Blanks, and the rows of characters among which Unicode's blanks are: more than there are.
_BLANK = re.compile("[ \u0080-\u00bf\u1000-\u2fff\u3000-\u303f]")
_UNSAFE_IN_LINK = re.compile("['<>`]")
_WITH_SCHEME = ("https://", "http://", "sha256:")


class NotSure(Exception):
    """For the slow way."""


def value_at(field: FieldPlan, line: bytes, at: int) -> tuple[bytes, int]:
    """(canonical form, where the value ends) of the value at `at`; raises NotSure."""
    if field.kind == "other":
        raise NotSure
    if field.kind == "bool":
        return _matched(_WORD, line, at)
    if field.kind in ("number", "integer"):
        return _number(field, line, at)
    whole, end = _matched(_STRING, line, at)
    text = text_of(whole[1:-1])
    if field.kind == "enum":
        right = text in field.words
    else:
        right = field.least <= len(text) <= field.most and not _FORBIDDEN.search(text)
        right = right and (text in field.words or (_RIGHT[field.kind](text) and _accepts(field.automaton, whole[1:])))
    if not right:
        raise NotSure
    return whole, end


def _accepts(automaton: bytes, ended: bytes) -> bool:
    """Whether the automaton, if there is one, takes the text; the quote behind it asks whether it may end there."""
    state = 1
    for byte in ended if automaton else b"":
        state = automaton[state * 256 + byte]
    return state != 0


def text_of(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise NotSure from None


def string_at(line: bytes, at: int) -> tuple[bytes, int]:
    """(content, end) of the string without escapes at `at`; raises NotSure."""
    whole, end = _matched(_STRING, line, at)
    return whole[1:-1], end


def _matched(pattern: re.Pattern[bytes], line: bytes, at: int) -> tuple[bytes, int]:
    match = pattern.match(line, at)
    if match is None:
        raise NotSure
    return match[0], match.end()


def _number(field: FieldPlan, line: bytes, at: int) -> tuple[bytes, int]:
    match = _NUMBER.match(line, at)
    if match is None:
        raise NotSure
    whole, places = match[1], match[2] or b""
    if len(places) > _PLACES or len(whole) + len(places) > _DIGITS:
        raise NotSure
    units, negative = int(whole + places), match[0][:1] == b"-"
    kept = places.rstrip(b"0")
    value = (-units if negative else units) / 10 ** len(places)  # both exact, so rounded once: the nearest double
    tiny = whole == b"0" and kept.startswith(b"000")  # from 0.000001 on orjson would print an exponent
    minus_zero = negative and not units
    if minus_zero or tiny or (kept and field.kind == "integer") or not field.low <= value <= field.high:
        raise NotSure
    return b"-" * negative + whole + (b"." + kept if kept else b""), match.end()


def _is_day(text: str) -> bool:
    if not _DAY.fullmatch(text):
        return False
    try:
        return 1900 <= date.fromisoformat(text).year < 2200
    except ValueError:
        return False


def _is_moment(text: str) -> bool:
    if len(text) == 10:
        return _is_day(text)
    match = _MOMENT.fullmatch(text)
    if match is None or not text.isascii() or not _is_day(match[1]):
        return False
    hour, minute, second, off_hour, off_minute = (int(part or 0) for part in match.groups()[1:])
    return hour < 24 and minute < 60 and second < 60 and off_hour < 24 and off_minute < 60


def _is_file(text: str) -> bool:
    if _BLANK.search(text) or _UNSAFE_IN_LINK.search(text):
        return False
    return ":" not in text or text.startswith(_WITH_SCHEME)


def _is_reference(text: str) -> bool:
    if _BLANK.search(text) or text.startswith("did:"):
        return False
    if not _NATIVE.match(text):
        return True
    try:
        parse(text)
    except InvalidCode:
        return False
    return text.isascii()


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _is_imei(text: str) -> bool:
    if len(text) != 15 or not _is_digits(text):
        return False
    doubled = sum(sum(divmod(2 * int(digit), 10)) for digit in text[1::2])
    return (doubled + sum(map(int, text[::2]))) % 10 == 0


def _is_gtin(text: str) -> bool:
    try:
        gtin14(text)
    except InvalidCode:
        return False
    return True


_RIGHT: dict[str, Callable[[str], bool]] = {
    "text": lambda _: True,
    "day": _is_day,
    "moment": _is_moment,
    "file": _is_file,
    "reference": _is_reference,
    "drug20": lambda text: len(text) == 20 and _is_digits(text),
    "imei": _is_imei,
    "gtin": _is_gtin,
}
