"""What is on packages: GS1 element strings and Digital Link addresses as candidates, rare identifiers by biip."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from biip import ParseError
from biip.gs1_digital_link_uris import GS1DigitalLinkURI
from biip.gs1_element_strings import GS1ElementStrings
from biip.gs1_messages import GS1Message

from handle_codec import twin
from handle_codec.candidates import Candidate, Confidence
from handle_codec.errors import InvalidCode
from handle_codec.pure.gs1 import DL_KEYS, NO_ATTRIBUTE, SYMBOLOGIES, Elements

_CANONICAL = "https://id.gs1.org"  # GS1 Digital Link, URI Syntax 4.12
_MOST_ELEMENTS = 40  # no label has as many; what biip may be asked to read stays small
_RARE_KEYS = {"253": (), "255": (), "401": (), "402": (), "8003": (), "8010": ("8011",), "8013": ()}
_RARE_KEYS |= {"8017": ("8019",), "8018": ("8019",)}
_KEYS: dict[str, tuple[str, ...]] = DL_KEYS | _RARE_KEYS
# Instead of a key's qualifiers ("|" in the dictionary), and all that it does not allow in a query.
_INSTEAD = {"01": (("235",),), "414": (("254",), ("7040",)), "417": (("7040",),), "8004": (("7040",),)}
_IN_PATH = NO_ATTRIBUTE | {"235", "254", "7040", "8011", "8019"}


def elements(text: str) -> Candidate:
    """The candidate for an element string; raises InvalidCode."""
    try:
        found, library = twin.parse_elements(text), False
    except InvalidCode as error:
        if error.code != "unknown_ai":
            raise
        found, library = _rare_elements(text, error), True
    certain = text.startswith(("]", "(", "\x1d"))
    return _candidate("gs1_elements", found, Confidence.CERTAIN if certain else Confidence.POSSIBLE, library)


def digital_link(text: str) -> Candidate:
    """The candidate for a Digital Link address of any host; raises InvalidCode."""
    try:
        found, library = twin.parse_digital_link(text), False
    except InvalidCode as error:
        if error.code != "unknown_ai":
            raise
        found, library = _rare_link(text, error), True
    return _candidate("gs1_digital_link", found, Confidence.CERTAIN, library)


def _candidate(scheme: str, found: Elements, confidence: Confidence, library: bool) -> Candidate:
    parts = dict(found)
    checked = ("lengths", "characters", "check_digit", "dates", *(("biip",) if library else ()))
    return Candidate(scheme, canonical(parts), confidence, checked, ("company_prefix", "pairs"), parts)


def canonical(parts: Mapping[str, str]) -> str:
    """The canonical Digital Link of elements: key, qualifiers in order, the rest sorted; InvalidCode if none is."""
    key = next((key for key in _KEYS if key in parts), None)
    if key is None:
        raise InvalidCode("no_key", 0)
    sequence = next((s for s in _INSTEAD.get(key, ()) if not parts.keys().isdisjoint(s)), _KEYS[key])
    path = [key, *(ai for ai in sequence if ai in parts)]
    rest = sorted(ai for ai in parts if ai not in path)
    if not _IN_PATH.isdisjoint(rest):  # a serial without its GTIN, for one
        raise InvalidCode("unpaired", 0)
    address = _CANONICAL + "".join(f"/{ai}/{quote(parts[ai], safe='')}" for ai in path)
    query = "&".join(f"{ai}={quote(parts[ai], safe='')}" for ai in rest)
    return f"{address}?{query}" if query else address


def _rare_elements(text: str, refusal: InvalidCode) -> Elements:
    body = text[3:] if text.startswith(SYMBOLOGIES) else text
    body = body.lstrip("\x1d")
    if body.count("(") > _MOST_ELEMENTS or body.count("\x1d") > _MOST_ELEMENTS:
        raise refusal
    try:
        message = GS1Message.parse_hri(body) if body.startswith("(") else GS1Message.parse(body)
    except (ParseError, ValueError, ArithmeticError):
        raise refusal from None
    found = _from_biip(message.element_strings, refusal)
    if not body.startswith("("):
        _check_separators(body, message.element_strings, len(text) - len(body))
    return found


def _check_separators(body: str, strings: GS1ElementStrings, offset: int) -> None:
    """biip cuts a value that is too long and reads on; by the standard a separator ends each that has no set length."""
    at = 0
    for string in strings:
        at += len(string.ai.ai) + len(string.value)
        separated = body.startswith("\x1d", at)
        if string.ai.separator_required and at < len(body) and not separated:
            raise InvalidCode("value_length", offset + at)
        while body.startswith("\x1d", at):
            at += 1


def _rare_link(text: str, refusal: InvalidCode) -> Elements:
    try:
        link = GS1DigitalLinkURI.parse(text)
    except (ParseError, ValueError, ArithmeticError):
        raise refusal from None
    _check_places(text)
    return _from_biip(link.element_strings, refusal)


def _check_places(text: str) -> None:
    """biip takes qualifiers that exclude one another, and in the query what belongs in the path."""
    path, _, query = text.partition("#")[0].partition("?")
    segments = path.split("/")
    at = len(segments) - 2
    while at > 2 and segments[at] not in _KEYS:
        at -= 2
    key = segments[at]
    if at < 3 or key not in _KEYS:
        raise InvalidCode("no_key", 0)
    found = segments[at + 2 :: 2]
    sequence = next((s for s in (_KEYS[key], *_INSTEAD.get(key, ())) if _in_order(found, s)), None)
    if sequence is None:
        raise InvalidCode("qualifier", len("/".join(segments[: at + 2])) + 1)
    place = len(path) + 1
    for parameter in query.split("&"):
        ai = parameter.partition("=")[0]
        if ai in _IN_PATH or ai in sequence:
            raise InvalidCode("not_attribute", place)
        place += len(parameter) + 1


def _in_order(found: list[str], sequence: tuple[str, ...]) -> bool:
    rest = iter(sequence)
    return all(ai in rest for ai in found)


def _from_biip(strings: GS1ElementStrings, refusal: InvalidCode) -> Elements:
    """biip notes a wrong check digit beside the element; here it is wrong like any other."""
    found: dict[str, str] = {}
    for string in strings:
        wrong = string.gtin_error or string.sscc_error or string.gln_error
        if wrong or not string.value or not string.value.isascii() or len(found) >= _MOST_ELEMENTS:
            raise refusal
        if found.setdefault(string.ai.ai, string.value) != string.value:
            raise InvalidCode("duplicate_ai", 0)
    return tuple(found.items())
