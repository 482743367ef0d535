"""Handles: parsing, and mending what people type.

Grammar of a handle as issued in China: did:cn ABNF (2DIGIT "." 3*5DIGIT "." 1*128DIGIT), CAICT's interfaces
(prefix up to 64, handle up to 255 characters), RFC 3651 (split at the first "/"). See README.md for the sources.
"""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import parse_qsl, unquote_to_bytes

from handle_codec.errors import InvalidHandle

MAX_HANDLE = 255  # characters, in every interface of a national node
MAX_PREFIX = 64
MAX_INPUT = 2048  # characters; nothing longer is looked at: MAX_HANDLE_LENGTH of the protocol

_PREFIX = re.compile(r"[0-9]{2}\.[0-9]{3,5}\.[0-9]{1,128}")
# Controls, %, ?, #, zero-width and bidirectional characters, separators, surrogates, non-characters.
_REFUSED = re.compile(
    "[\x00-\x1f\x7f-\x9f%?#\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ufffe\uffff\ud800-\udfff]"
)
_ISSUED = re.compile(r"[0-9A-Za-z._\-]{1,200}")
_NOT_ISSUED = re.compile(r"[^0-9A-Za-z._\-]")
_FAMILIES = ("meta_", "app_", "user_")
_SLASHES = "/／"
_SPACES = " \t\u00a0\u3000"
_BLANKS = " \t\r\n\u00a0\u3000\ufeff"
_AIM = ("]C0", "]A0", "]Q1", "]d1")  # ISO/IEC 15424: Code 128, Code 39, QR, Data Matrix with plain data
_ADDRESS = re.compile(r"(?i:https?)://([^/?#]*)/([^?#]*)(?:\?([^#]*))?")
_HANDLE_PATHS = ("hdl/", "api/handles/")  # before the handle in addresses of a node's own hosts
_HANDLE_PARAMETERS = ("handle", "id")


def is_prefix(text: str) -> bool:
    """Whether `text` is issuer.node.enterprise in ASCII digits, at most 64 characters."""
    return len(text) <= MAX_PREFIX and _PREFIX.fullmatch(text) is not None


def parse(text: str) -> tuple[str, str]:
    """(prefix, suffix), split at the first "/"; raises InvalidHandle. The suffix is exact: nothing is folded."""
    if len(text) > MAX_HANDLE:
        raise InvalidHandle("too_long", MAX_HANDLE)
    slash = text.find("/")
    if slash < 0:
        raise InvalidHandle("no_slash", len(text))
    prefix = text[:slash]
    if slash > MAX_PREFIX:
        raise InvalidHandle("prefix_length", MAX_PREFIX)
    if _PREFIX.fullmatch(prefix) is None:
        raise InvalidHandle("prefix_form", prefix_fault(prefix))
    suffix = text[slash + 1 :]
    if not suffix:
        raise InvalidHandle("empty_suffix", slash + 1)
    if found := _REFUSED.search(text, slash + 1):
        raise InvalidHandle("character", found.start())
    start = slash + 1
    for segment in suffix.split("/"):
        if segment in ("", ".", ".."):
            raise InvalidHandle("segment", start)
        start += len(segment) + 1
    return prefix, suffix


def prefix_fault(prefix: str) -> int:
    """Where the first character stands that no prefix could have there; its length where it stops too early."""
    at = 0
    for least, most in ((2, 2), (3, 5), (1, 128)):
        size = len(prefix[at : at + most]) - len(prefix[at : at + most].lstrip("0123456789"))
        at += size
        if size < least or most == 128 or prefix[at : at + 1] != ".":
            break
        at += 1
    return at


def parse_issued(text: str) -> tuple[str, str]:
    """As `parse`, for codes that this node issues: whitelisted characters, no reserved family (domain.md 1.1)."""
    prefix, suffix = parse(text)
    if found := _NOT_ISSUED.search(suffix):
        raise InvalidHandle("not_issued", len(prefix) + 1 + found.start())
    if len(suffix) > 200:
        raise InvalidHandle("suffix_length", len(prefix) + 201)
    if is_reserved(prefix, suffix):
        raise InvalidHandle("reserved", len(prefix) + 1)
    return prefix, suffix


def is_reserved(prefix: str, suffix: str) -> bool:
    """Whether the suffix belongs to META_*, App_*, User_*, ADMIN, 0.0 or repeats the prefix; ASCII case is folded."""
    folded = suffix[:6].lower()  # no longer word is reserved
    return folded.startswith(_FAMILIES) or folded in ("admin", "0.0") or suffix == prefix


def normalise(text: str, hosts: frozenset[str] = frozenset()) -> str:
    """Mend what people type and scanners send, then hold it against `parse`: blanks around it, a scanner's AIM
    identifier or `hdl:` in front, an address of one of our `hosts` (in lower case, with the port where there is one),
    full-width characters in the prefix, a space for the slash. The suffix stays as it is. What comes out stays as it is
    when mended again. Raises InvalidHandle, positions counted in the mended text."""
    if len(text) > MAX_INPUT:
        raise InvalidHandle("too_long", MAX_HANDLE)
    text = text.strip(_BLANKS)
    if text.startswith(_AIM):
        text = text[3:].lstrip(_BLANKS)
    if unicodedata.normalize("NFKC", text[:4]).lower() == "hdl:":
        text = text[4:].lstrip(_BLANKS)
    if address := _ADDRESS.match(text):
        text = _from_address(address, hosts).strip(_BLANKS)  # as if typed: what comes out is mended for good
    end = next((i for i, c in enumerate(text) if c in _SLASHES or c in _SPACES), len(text))
    prefix = unicodedata.normalize("NFKC", text[:end]).replace("。", ".")
    rest = text[end:].lstrip(_SPACES)
    if end < len(text) and text[end] in _SPACES and rest[:1] and rest[0] in _SLASHES:
        rest = rest[1:].lstrip(_SPACES)
    elif rest[:1] and rest[0] in _SLASHES:
        rest = rest[1:]
    mended = f"{prefix}/{rest}" if end < len(text) else prefix
    parse(mended)
    return mended


def _from_address(address: re.Match[str], hosts: frozenset[str]) -> str:
    """The handle in an address of our own: as path, behind /hdl/ or /api/handles/, or as ?handle= or ?id=."""
    host, path, query = address.groups("")
    if host.lower() not in hosts:
        raise InvalidHandle("foreign_host", 0)
    for lead in _HANDLE_PATHS:
        path = path.removeprefix(lead)
    pairs: list[tuple[str, str]] = []
    try:
        if query and not path[:1].isdigit():
            pairs = parse_qsl(query, encoding="utf-8", errors="strict", max_num_fields=100)
        plain = unquote_to_bytes(path).decode("utf-8")
    except ValueError:
        raise InvalidHandle("encoding", 0) from None
    for name in _HANDLE_PARAMETERS:
        if found := {value for key, value in pairs if key == name}:
            return _only(found)
    return plain


def _only(found: set[str]) -> str:
    """Of two handles in one address one program would read the first, another the last: neither is taken."""
    if len(found) > 1:
        raise InvalidHandle("two_handles", 0)
    return found.pop()
