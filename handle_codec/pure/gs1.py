"""GS1: trade item numbers, element strings and Digital Link addresses, for the application identifiers (AI) that are
common on packages. Formats: GS1 General Specifications and its Barcode Syntax Dictionary; addresses: GS1 Digital Link
Standard, URI Syntax. The other identifiers are biip's work (schemes.py).
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from handle_codec.errors import InvalidCode

MAX_INPUT = 2048  # characters; nothing longer is looked at

Elements = tuple[tuple[str, str], ...]

# AI: shortest and longest value, digits only, what else is checked.
FORMATS: dict[str, tuple[int, int, bool, str]] = {
    "00": (18, 18, True, "check_digit"),
    "01": (14, 14, True, "check_digit"),
    "02": (14, 14, True, "check_digit"),
    "10": (1, 20, False, ""),
    "11": (6, 6, True, "date"),
    "13": (6, 6, True, "date"),
    "15": (6, 6, True, "date"),
    "17": (6, 6, True, "date"),
    "21": (1, 20, False, ""),
    "22": (1, 20, False, ""),
    "37": (1, 8, True, ""),
    "240": (1, 30, False, ""),
    **{f"310{n}": (6, 6, True, "") for n in range(6)},
    **{f"41{n}": (13, 13, True, "check_digit") for n in range(8)},
    "8004": (1, 30, False, ""),
    "8006": (18, 18, True, "pieces"),
    "8020": (1, 25, False, ""),
}
# Of predefined length: no separator follows. 8006 has one length too, but is not on that list of the standard.
PREDEFINED = frozenset(ai for ai in FORMATS if (ai[0] in "01" and ai != "10") or ai[:2] in ("31", "41"))
LONGER = {"24": 3, "31": 4, "41": 3, "80": 4}  # digits of the AI by its first two; the others have two
DL_KEYS: dict[str, tuple[str, ...]] = {  # identification keys, each with its qualifiers in their order
    "01": ("22", "10", "21"),
    "8006": ("22", "10", "21"),
    "00": (),
    "8004": (),
    "414": (),
    "417": (),
    "415": ("8020",),
}
NO_ATTRIBUTE = frozenset({"21", "22", "8020"})  # "?" is missing in the dictionary: not allowed in a query

SYMBOLOGIES = ("]C1", "]d2", "]Q3", "]e0", "]J1")  # AIM: GS1-128, DataMatrix, QR, DataBar, DotCode
_FNC1 = "\x1d"
_DIGITS = re.compile(r"[0-9]+")
NOT_SET_82 = re.compile(r'[^!"%-?A-Z_a-z]')
_BRACKETED = re.compile(r"\(([0-9]{2,4})\) *+([^(]*+)")
_ADDRESS = re.compile(r"(?i:https?)://([0-9A-Za-z.\-_~:\[\]]+)(/[^?#]*)(?:\?([^#]*))?(?:#.*)?")
NOT_URI = re.compile(r"[^!#-;=?-Z\[\]_a-z~]")  # RFC 3986: reserved, unreserved and %
_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def gtin14(text: str) -> str:
    """A GTIN-8, -12, -13 or -14 as 14 digits; raises InvalidCode, also where the check digit is wrong."""
    if len(text) not in (8, 12, 13, 14):
        raise InvalidCode("gtin_length", min(len(text), 14))
    _check_digits(text, 0)
    if not _mod10(text):
        raise InvalidCode("check_digit", len(text) - 1)
    return text.zfill(14)


def parse_elements(text: str) -> Elements:
    """(AI, value) pairs of an element string, in its order: raw with FNC1 as U+001D, after an AIM symbology
    identifier or not, or with the AIs in parentheses. Raises InvalidCode; `unknown_ai` for one that is not common.
    """
    if len(text) > MAX_INPUT:
        raise InvalidCode("input_length", MAX_INPUT)
    at = 3 if text.startswith(SYMBOLOGIES) else 0
    while text.startswith(_FNC1, at):
        at += 1
    if at == len(text):
        raise InvalidCode("empty", at)
    found: dict[str, str] = {}
    read = _read_bracketed if text[at] == "(" else _read_raw
    while at < len(text):
        at = read(text, at, found)
    return tuple(found.items())


def _read_raw(text: str, at: int, found: dict[str, str]) -> int:
    ai = text[at : at + LONGER.get(text[at : at + 2], 2)]
    _check_digits(ai, at)
    if ai not in FORMATS:
        raise InvalidCode("unknown_ai", at)
    start = at + len(ai)
    end = text.find(_FNC1, start)
    end = len(text) if end < 0 else end
    if ai in PREDEFINED:
        end = min(end, start + FORMATS[ai][1])
    _add(ai, text[start:end], start, found)
    while text.startswith(_FNC1, end):
        end += 1
    return end


def _read_bracketed(text: str, at: int, found: dict[str, str]) -> int:
    match = _BRACKETED.match(text, at)
    if match is None:
        raise InvalidCode("ai_form", at)
    if match[1] not in FORMATS:
        raise InvalidCode("unknown_ai", at + 1)
    _add(match[1], match[2].rstrip(" "), match.start(2), found)
    return match.end()


def _add(ai: str, value: str, at: int, found: dict[str, str]) -> None:
    """Check a value that begins at `at`; the same AI twice must carry the same value (two symbols of one label)."""
    least, most, digits, check = FORMATS[ai]
    if digits:
        _check_digits(value, at)
    elif wrong := NOT_SET_82.search(value):
        raise InvalidCode("gs1_character", at + wrong.start())
    if not least <= len(value) <= most:
        raise InvalidCode("value_length", at + min(len(value), most))
    if check == "check_digit" and not _mod10(value):
        raise InvalidCode("check_digit", at + most - 1)
    if check == "date" and not _is_date(value):
        raise InvalidCode("date", at)
    if check == "pieces":
        if not _mod10(value[:14]):
            raise InvalidCode("check_digit", at + 13)
        if not "00" < value[14:16] <= value[16:]:
            raise InvalidCode("pieces", at + 14)
    if found.setdefault(ai, value) != value:
        raise InvalidCode("duplicate_ai", at)


def _check_digits(text: str, at: int) -> None:
    match = _DIGITS.match(text)
    end = match.end() if match else 0
    if end < len(text):
        raise InvalidCode("digits", at + end)


def _mod10(digits: str) -> bool:
    """GS1 General Specifications 7.9: weights 3 and 1 from the right, before the check digit."""
    return (sum(map(int, digits[-2::-2])) * 3 + sum(map(int, digits[-1::-2]))) % 10 == 0


def _is_date(value: str) -> bool:
    """YYMMDD; day 00 means the end of the month. Of the years 00, 2000 is a leap year: right until 2050."""
    year, month, day = int(value[:2]), int(value[2:4]), int(value[4:])
    if not 1 <= month <= 12 or day > _DAYS[month - 1]:
        return False
    return not (month == 2 and day == 29 and year % 4)


def parse_digital_link(text: str) -> Elements:
    """(AI, value) pairs of a GS1 Digital Link address: its key, the qualifiers, then the query's attributes.

    The key is the last one in the path, as in GS1's own parser; what stands before it is the site's. A GTIN may have
    8, 12 or 13 digits and is given with 14. Other parameters and the fragment are left out. Raises InvalidCode.
    """
    if len(text) > MAX_INPUT:
        raise InvalidCode("input_length", MAX_INPUT)
    address = _ADDRESS.fullmatch(text)
    if address is None:
        raise InvalidCode("not_uri", 0)
    if wrong := NOT_URI.search(text) or _ESCAPE.search(text):
        raise InvalidCode("encoding", wrong.start())
    found: dict[str, str] = {}
    pairs = _path_pairs(address[2], address.start(2))
    key = pairs[0][0]
    allowed = DL_KEYS[key]
    for ai, value, at in pairs:
        if ai != key:
            if ai not in allowed:
                raise InvalidCode("qualifier", at)
            allowed = allowed[allowed.index(ai) + 1 :]
        _add(ai, _padded(ai, unquote(value, "latin-1")), at, found)
    if address[3]:
        _read_query(address[3], address.start(3), key, found)
    return tuple(found.items())


def _path_pairs(path: str, at: int) -> list[tuple[str, str, int]]:
    """(AI, value, position) from the key on; looked for from the end, pair by pair."""
    segments = path.split("/")
    end = at + len(path)
    pairs: list[tuple[str, str, int]] = []
    while len(segments) > 2:
        value, ai = segments.pop(), segments.pop()
        position = end - len(value)
        end = position - len(ai) - 2
        if ai not in FORMATS:
            known_form = ai.isascii() and ai.isdigit() and 2 <= len(ai) <= 4
            raise InvalidCode("unknown_ai" if known_form else "no_key", position - len(ai) - 1)
        pairs.append((ai, value, position))
        if ai in DL_KEYS:
            return pairs[::-1]
    raise InvalidCode("no_key", at)


def _read_query(query: str, at: int, key: str, found: dict[str, str]) -> None:
    for parameter in query.split("&"):
        ai, equals, value = parameter.partition("=")
        if equals and _DIGITS.fullmatch(ai):
            if ai not in FORMATS:
                raise InvalidCode("unknown_ai", at)
            if ai in NO_ATTRIBUTE or ai in DL_KEYS[key]:
                raise InvalidCode("not_attribute", at)
            # In a query "+" is a blank, which no value holds; a plus sign arrives as %2B.
            plain = unquote(value.replace("+", " "), "latin-1")
            _add(ai, _padded(ai, plain), at + len(ai) + 1, found)
        at += len(parameter) + 1


def _padded(ai: str, value: str) -> str:
    return value.zfill(14) if ai in ("01", "02") and len(value) in (8, 12, 13) else value
