"""Which scheme is this code? Candidates, ranked, each with its canonical form, what was checked and what was not.

Digits alone belong to several schemes: then there are several candidates, not a guess. Nothing is looked up or fetched.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator

from handle_codec import twin
from handle_codec.candidates import Candidate, Confidence
from handle_codec.errors import InvalidCode, InvalidHandle
from handle_codec.national import credit_code, did, drug_code, ecode, ma, vaa
from handle_codec.packages import digital_link, elements
from handle_codec.pure.gs1 import MAX_INPUT

__all__ = ["SCHEMES", "Candidate", "Confidence", "recognise"]

_BLANKS = " \t\r\n\u00a0\u3000\ufeff"  # not U+001D: that is GS1's separator
_NATIVE = re.compile(r"[0-9]{2}\.[0-9]{3,5}\.[0-9]+[/ ]")
_FOREIGN = re.compile(r"(0\.[Nn][Aa]|[0-9]+(?:\.[0-9]+)*)/(.+)", re.DOTALL)
_DOI = re.compile(r"10\.[0-9]{4,9}(?:\.[0-9]+)*")
_OID = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))+")
_SPACED_DIGITS = re.compile(r"[0-9]+(?:[ -][0-9]+)+")
_AIM = re.compile(r"\][A-Za-z][0-9A-Za-z]")
# ISO/IEC 15424: EAN-13 and UPC-A, EAN-8, Code 128, Code 39, ITF, QR and Data Matrix, with data that are not GS1's. An
# EAN with an add-on ("]E3") is not among them: its 18 digits are no SSCC.
_PLAIN_AIM = ("]E0", "]E4", "]C0", "]A0", "]I0", "]I1", "]Q1", "]d1")
_CONTROL = re.compile("[\x00-\x1c\x1e-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff]")

_CHINA_ARCS = ("1.2.156.", "2.16.156.")
_NOT_AT_HOME = frozenset({"foreign_host", "no_key", "no_slash", "not_uri", "prefix_form", "unknown_ai", "unknown_url"})
_ISSUERS = ("86.", "88.")  # of the national system; 20.500.… is a foreign handle of the same form

Hosts = frozenset[str]
Reader = Callable[[str, Hosts], Candidate]


def recognise(
    text: str | bytes, *, scheme: str | None = None, hosts: Hosts = frozenset(), nsi: Hosts = frozenset()
) -> list[Candidate]:
    """The candidates for a code, the likeliest first; never empty.

    `scheme` (one of SCHEMES) asks for one alone and tells why it is not that. `hosts` are the node's own, in lower
    case: only their addresses are read as handles. `nsi` are the Ecode system identifiers that the node knows: without
    them no bare digits are taken for Ecode. Raises InvalidCode (InvalidHandle for a handle) with position and reason;
    positions are those in the text without blanks and AIM identifier, where they are taken off.
    """
    plain = _plain(text)
    if scheme is not None:
        if scheme not in _READERS:
            raise ValueError(f"scheme {scheme!r} is none of {', '.join(SCHEMES)}")
        return [_READERS[scheme](plain, hosts)]
    found: list[Candidate] = []
    refusals: list[InvalidCode] = []
    for name in _likely(plain, nsi):
        try:
            found.append(_READERS[name](plain, hosts))
        except InvalidCode as error:
            refusals.append(error)
    if not found:
        raise _best(refusals, plain)
    return sorted(found, key=lambda candidate: candidate.confidence)


def _best(refusals: list[InvalidCode], text: str) -> InvalidCode:
    """The refusal of the scheme that came furthest; an address in which no scheme was at home is just unknown."""
    if not refusals:
        return InvalidCode("unknown_scheme", 0)
    best = max(refusals, key=lambda error: error.position)
    return InvalidCode("unknown_url", 0) if "://" in text[:8] and best.code in _NOT_AT_HOME else best


def _plain(text: str | bytes) -> str:
    """Text without the blanks around it. Full-width letters and digits become half-width, blanks and hyphens between
    digits go; not so in a handle or an address: there `normalise` mends the prefix and the suffix is exact."""
    if len(text) > MAX_INPUT:
        raise InvalidCode("input_length", MAX_INPUT)
    plain = (_decoded(text) if isinstance(text, bytes) else text).strip(_BLANKS)
    if plain.startswith(_PLAIN_AIM):
        plain = plain[3:].strip(_BLANKS)
    if not plain:
        raise InvalidCode("empty", 0)
    if wrong := _CONTROL.search(plain):
        raise InvalidCode("character", wrong.start())
    folded = unicodedata.normalize("NFKC", plain)
    if folded.isascii() and not any(character in folded for character in "/ "):
        plain = folded
    return re.sub("[ -]", "", plain) if _SPACED_DIGITS.fullmatch(plain) else plain


def _decoded(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidCode("not_utf8", len(data[: error.start].decode())) from None


def _likely(text: str, nsi: Hosts) -> Iterator[str]:
    """The schemes worth trying, in the order of domain.md 1.3; a mark that is beyond doubt leaves one alone."""
    lower = text[:8].lower()
    if lower.startswith(("http://", "https://")):
        yield from ("handle", "gs1_digital_link", "doi")
    elif lower.startswith("did:"):
        yield "did"
    elif lower.startswith("hdl:"):
        yield from ("handle", "foreign_handle")
    elif _NATIVE.match(text) or not text.isascii():
        if ecode_nsi(text) in nsi:
            yield "ecode"  # version 4 may hold any character
        yield from ("handle",) if text.startswith(_ISSUERS) else ("handle", "foreign_handle")
    elif lower.startswith("urn:oid:"):
        yield "oid"
    elif lower.startswith("doi:"):
        yield "doi"
    elif _AIM.match(text) or text[0] in "(\x1d":
        yield "gs1_elements"
    elif text.isascii() and text.isdigit():
        yield from _digits(text, nsi)
    else:
        yield from _others(text, nsi)


def _digits(text: str, nsi: Hosts) -> Iterator[str]:
    size = len(text)
    if size in (8, 12, 13, 14):
        yield "gtin"
    if size == 18:
        yield from ("sscc", "credit_code")
    if size == 20:
        yield "drug_code"
    if ecode_nsi(text) in nsi:
        yield "ecode"
    if size >= 16 and text[:2] in ("00", "01", "02"):
        yield "gs1_elements"


def _others(text: str, nsi: Hosts) -> Iterator[str]:
    if "/" in text:
        yield from ("doi", "foreign_handle") if text.startswith("10.") else ("foreign_handle",)
    elif _OID.fullmatch(text):
        yield "oid"
    if text.startswith("MA."):
        yield "ma"
    if text.startswith("VAA"):
        yield "vaa"
    if len(text) == 18:
        yield "credit_code"
    if "\x1d" in text or text[:2] in ("00", "01", "02"):
        yield "gs1_elements"
    if ecode_nsi(text) in nsi:
        yield "ecode"


def ecode_nsi(text: str) -> str:
    """The system identifier of what may be an Ecode: 4 digits behind version 1 or 2, 5 behind 3 or 4."""
    return text[1:5] if text[:1] in ("1", "2") else text[1:6] if text[:1] in ("3", "4") else ""


def _handle(text: str, hosts: Hosts) -> Candidate:
    handle = twin.normalise(text, hosts)
    prefix, suffix = twin.parse(handle)
    parts = {"prefix": prefix, "suffix": twin.fold_serial(suffix)}
    level = Confidence.CERTAIN if prefix.startswith(_ISSUERS) else Confidence.LIKELY
    unchecked = ("registration", "serial") if twin.is_serial(suffix) else ("registration",)
    return Candidate("handle", f"{prefix}/{parts['suffix']}", level, ("grammar",), unchecked, parts)


def _foreign_handle(text: str, _: Hosts) -> Candidate:
    """A handle of another naming authority. 0.NA/ is folded whole; other prefixes are digits."""
    body = text[4:].lstrip(_BLANKS) if text[:4].lower() == "hdl:" else text
    match = _FOREIGN.fullmatch(body)
    if match is None or len(body) > 255:
        raise InvalidHandle("prefix_form" if match is None else "too_long", 0 if match is None else 255)
    prefix, suffix = match.groups()
    if prefix.upper() == "0.NA":
        prefix, suffix = "0.NA", re.sub("[a-z]+", lambda found: found[0].upper(), suffix)
    level = Confidence.LIKELY if "." in prefix else Confidence.POSSIBLE
    return Candidate("foreign_handle", f"{prefix}/{suffix}", level, ("grammar",), ("registration",), {"prefix": prefix})


def _doi(text: str, _: Hosts) -> Candidate:
    """ISO 26324. A DOI compares without case; it is left as written."""
    body = re.sub(r"\A(?i:doi:\s*|https?://(?:dx\.)?doi\.org/)", "", text)
    prefix, slash, suffix = body.partition("/")
    if not _DOI.fullmatch(prefix) or not slash or not suffix or len(body) > 255:
        raise InvalidCode("unknown_url" if "://" in text else "code_form", len(text) - len(body))
    return Candidate("doi", body, Confidence.CERTAIN, ("grammar",), ("registration",), {"prefix": prefix})


def _oid(text: str, _: Hosts) -> Candidate:
    """ITU-T X.660: the root arc is 0, 1 or 2; below 0 and 1 the second is under 40."""
    dotted = text[8:] if text[:8].lower() == "urn:oid:" else text
    arcs = dotted.split(".")
    if len(dotted) > 255 or not _OID.fullmatch(dotted) or arcs[0] not in ("0", "1", "2"):
        right = _OID.match(dotted) if arcs[0] in ("0", "1", "2") else None
        raise InvalidCode("oid_form", len(text) - len(dotted) + min(right.end() if right else 0, 255))
    if arcs[0] != "2" and (len(arcs[1]) > 2 or int(arcs[1]) > 39):
        raise InvalidCode("oid_form", len(text) - len(dotted) + 2)
    level = Confidence.LIKELY if dotted.startswith(_CHINA_ARCS) or len(arcs) > 3 else Confidence.POSSIBLE
    level = level if dotted == text else Confidence.CERTAIN
    return Candidate("oid", dotted, level, ("grammar",), ("registration",), {})


def _gtin(text: str, _: Hosts) -> Candidate:
    number = twin.gtin14(text)
    return Candidate("gtin", number, Confidence.LIKELY, ("check_digit",), ("company_prefix",), {"01": number})


def _sscc(text: str, _: Hosts) -> Candidate:
    try:
        number = twin.parse_elements(f"(00){text}")[0][1]
    except InvalidCode as error:
        raise InvalidCode(error.code, max(error.position - 4, 0)) from None
    return Candidate("sscc", number, Confidence.LIKELY, ("check_digit",), ("company_prefix",), {"00": number})


_READERS: dict[str, Reader] = {
    "handle": _handle,
    "gs1_digital_link": lambda text, _: digital_link(text),
    "gs1_elements": lambda text, _: elements(text),
    "gtin": _gtin,
    "sscc": _sscc,
    "oid": _oid,
    "ecode": lambda text, _: ecode(text),
    "vaa": lambda text, _: vaa(text),
    "ma": lambda text, _: ma(text),
    "did": lambda text, _: did(text),
    "drug_code": lambda text, _: drug_code(text),
    "doi": _doi,
    "foreign_handle": _foreign_handle,
    "credit_code": lambda text, _: credit_code(text),
}
SCHEMES = tuple(_READERS)
