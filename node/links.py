"""The policy of addresses that an enterprise gives: which of them may be a live link (reliability.md 6). No I/O."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from urllib.parse import quote

import idna

MAX_URL = 2048
_MAX_HOST = 253
# Names that never mean the same host to everybody (RFC 6761, 6762, 7686, 8375, 9476, and common inner ones).
_SPECIAL = frozenset(
    (
        *("alt", "arpa", "corp", "example", "home", "internal", "intranet", "invalid"),
        *("lan", "local", "localdomain", "localhost", "onion", "private", "test"),
    )
)
_URL = re.compile(r"https://([^/?#]*)((?:[/?#].*)?)", re.IGNORECASE | re.DOTALL)
_UNSAFE = frozenset('\\"<>^`{|}')  # a browser reads \ as /; the others end an attribute somewhere
# Controls, format characters (bidi and zero-width are among them), surrogates, private, unassigned, separators.
_UNSEEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zs", "Zl", "Zp"))
_ENCODED_CONTROL = re.compile(r"%(?:[01][0-9a-f]|7f)", re.IGNORECASE)


def normal_host(text: str) -> str | None:
    """The host in lower-case punycode; None for an IP literal, a wildcard, a single label or a special name."""
    text = text.removesuffix(".")
    if not text or len(text) > _MAX_HOST:
        return None
    try:
        host = idna.encode(text, uts46=True, std3_rules=True).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        return None
    labels = host.split(".")
    # A last label with a digit in front is how browsers tell an IPv4 address, 127.1 and 0x7f000001 among them.
    if len(labels) < 2 or labels[-1][0].isdigit() or labels[-1] in _SPECIAL or len(host) > _MAX_HOST:
        return None
    return host


def split_link(url: str) -> tuple[str, str] | None:
    """(host in punycode, rest from the first / ? or # on, percent-encoded) of an https address; None where the
    policy refuses it: other schemes, userinfo, ports but 443, invisible or bidi characters, over 2,048 characters."""
    if len(url) > MAX_URL or any(c in _UNSAFE or unicodedata.category(c) in _UNSEEN for c in url):
        return None
    found = _URL.fullmatch(url)
    if found is None or "@" in found[1] or _ENCODED_CONTROL.search(url):
        return None
    # Another port of the host may be another tenant's: what was proved is 443.
    host = normal_host(found[1].removesuffix(":443"))
    rest = quote(found[2], safe="!#$%&'()*+,-./:;=?@[]_~")
    if host is None or len(host) + len(rest) > MAX_URL:
        return None
    return host, rest


def safe_link(url: str, proved_hosts: Collection[str]) -> str | None:
    """What to put into `href` or `Location`: the same address in ASCII; None where it may not be a live link."""
    parts = split_link(url)
    return f"https://{parts[0]}{parts[1]}" if parts and parts[0] in proved_hosts else None


def link_ok(url: str, proved_hosts: Collection[str]) -> bool:
    """Whether an address may be a live link or the target of a redirect."""
    return safe_link(url, proved_hosts) is not None
