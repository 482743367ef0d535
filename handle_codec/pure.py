"""The codec's specification, in Python. `_speed.pyx` is the same, compiled; tests hold the two equal.

Grammar of a handle as issued in China: did:cn ABNF (2DIGIT "." 3*5DIGIT "." 1*128DIGIT), CAICT's interfaces
(prefix up to 64, handle up to 255 characters), RFC 3651 (split at the first "/"). See README.md for the sources.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from urllib.parse import unquote_to_bytes

MAX_HANDLE = 255  # characters, in every interface of a national node
MAX_PREFIX = 64
MAX_INPUT = 2048  # nothing longer is looked at: MAX_HANDLE_LENGTH of the protocol
SHARDS = 1024

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
_ADDRESS = re.compile(r"(?i:https?)://([^/?#]*)/([^?#]*)")

_REASONS = {
    "no_slash": ("there is no / between prefix and suffix", "前缀与后缀之间没有 /"),
    "prefix_form": ("a prefix is 2 digits, 3 to 5 digits and digits, with dots", "前缀须为 2 位.3–5 位.数字"),
    "prefix_length": (f"a prefix has at most {MAX_PREFIX} characters", f"前缀至多 {MAX_PREFIX} 个字符"),
    "empty_suffix": ("the suffix is empty", "后缀为空"),
    "too_long": (f"a handle has at most {MAX_HANDLE} characters", f"标识至多 {MAX_HANDLE} 个字符"),
    "suffix_length": ("an issued suffix has at most 200 characters", "签发的后缀至多 200 个字符"),
    "character": ("a character that no handle may hold", "含有标识不允许的字符"),
    "segment": ("empty, . and .. segments are refused", "不允许空段、. 与 .. 段"),
    "not_issued": ("issued suffixes use 0-9 A-Z a-z . _ - only", "签发的后缀仅限 0-9 A-Z a-z . _ -"),
    "reserved": ("the suffix belongs to a reserved family", "后缀属于保留系列"),
    "foreign_host": ("an address of another host", "其他主机的地址"),
    "encoding": ("the address is not percent-encoded UTF-8", "地址不是百分号编码的 UTF-8"),
}


class InvalidHandle(ValueError):
    """Not a handle: `code` is a stable word, `position` the 0-based character where it goes wrong."""

    def __init__(self, code: str, position: int) -> None:
        self.code = code
        self.position = position
        self.reason, self.reason_zh = _REASONS[code]
        super().__init__(f"{self.reason} (at position {position})")

    def __reduce__(self) -> tuple[type[InvalidHandle], tuple[str, int]]:
        return InvalidHandle, (self.code, self.position)


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
        raise InvalidHandle("prefix_form", 0)
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
    folded = suffix.lower()
    return folded.startswith(_FAMILIES) or folded in ("admin", "0.0") or suffix == prefix


def normalise(text: str, hosts: frozenset[str] = frozenset()) -> str:
    """Mend what people type and scanners send, then hold it against `parse`: blanks around it, `hdl:` in front,
    an address of one of our `hosts`, full-width characters in the prefix, a space for the slash. The suffix stays
    as it is. Raises InvalidHandle, positions counted in the mended text."""
    if len(text) > MAX_INPUT:
        raise InvalidHandle("too_long", MAX_HANDLE)
    text = text.strip(_BLANKS)
    if text[:4].lower() == "hdl:":
        text = text[4:].lstrip(_BLANKS)
    if address := _ADDRESS.match(text):
        text = _from_address(address.group(1).lower(), address.group(2), hosts)
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


def _from_address(host: str, path: str, hosts: frozenset[str]) -> str:
    if host not in hosts:
        raise InvalidHandle("foreign_host", 0)
    try:
        return unquote_to_bytes(path).decode("utf-8")
    except UnicodeError:
        raise InvalidHandle("encoding", 0) from None


_P1, _P2, _P3, _P4, _P5 = (
    0x9E3779B185EBCA87,
    0xC2B2AE3D27D4EB4F,
    0x165667B19E3779F9,
    0x85EBCA77C2B2AE63,
    0x27D4EB2F165667C5,
)
_MASK = 0xFFFFFFFFFFFFFFFF


def hash64(data: bytes) -> int:
    """XXH64 with seed 0 (xxHash specification 0.1.1). Pinned for ever: it says in which shard a handle lies."""
    size, at = len(data), 0
    if size >= 32:
        lanes = [(_P1 + _P2) & _MASK, _P2, 0, -_P1 & _MASK]
        while at <= size - 32:
            for lane in range(4):
                word = int.from_bytes(data[at : at + 8], "little")
                lanes[lane] = _round(lanes[lane], word)
                at += 8
        mixed = sum(_rotate(v, r) for v, r in zip(lanes, (1, 7, 12, 18), strict=True)) & _MASK
        for lane in lanes:
            mixed = ((mixed ^ _round(0, lane)) * _P1 + _P4) & _MASK
    else:
        mixed = _P5
    mixed = (mixed + size) & _MASK
    while at <= size - 8:
        mixed ^= _round(0, int.from_bytes(data[at : at + 8], "little"))
        mixed = (_rotate(mixed, 27) * _P1 + _P4) & _MASK
        at += 8
    if at <= size - 4:
        mixed ^= int.from_bytes(data[at : at + 4], "little") * _P1 & _MASK
        mixed = (_rotate(mixed, 23) * _P2 + _P3) & _MASK
        at += 4
    for byte in data[at:]:
        mixed = _rotate(mixed ^ (byte * _P5 & _MASK), 11) * _P1 & _MASK
    mixed = (mixed ^ mixed >> 33) * _P2 & _MASK
    mixed = (mixed ^ mixed >> 29) * _P3 & _MASK
    return mixed ^ mixed >> 32


def _rotate(value: int, bits: int) -> int:
    return (value << bits | value >> (64 - bits)) & _MASK


def _round(lane: int, word: int) -> int:
    return _rotate((lane + word * _P2) & _MASK, 31) * _P1 & _MASK


def shard_of(suffix: str, home: int, spread: int) -> int:
    """The virtual shard of a suffix: (home + hash64(suffix) mod spread) mod 1024 (architecture.md 5).

    `home` is 0..1023, `spread` a power of two up to 1024; ValueError otherwise, also for a lone surrogate.
    """
    if not 0 <= home < SHARDS or not 1 <= spread <= SHARDS or spread & (spread - 1):
        raise ValueError(f"home {home} or spread {spread} is out of range")
    if spread == 1:
        return home
    return (home + hash64(suffix.encode()) % spread) % SHARDS


def shards_of(suffixes: Sequence[str], home: int, spread: int) -> list[int]:
    """`shard_of` for each of them."""
    return [shard_of(suffix, home, spread) for suffix in suffixes]
