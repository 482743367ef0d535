"""Addresses that enterprises write into values: what of one may be shown, and whether it may be a live link."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import quote, urlsplit

LinkOk = Callable[[str], bool]

_MAX = 2048  # characters
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_\-]{0,61}[a-z0-9_])?")
_UNSAFE = re.compile(
    r"[\x00-\x20\x7f-\x9f\"<>\\^`{|}]|[\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]"
)
_SAFE = "/:?#[]@!$&'()*+,;=%-._~"


@dataclass(slots=True, frozen=True)
class Link:
    """An address taken apart. `host` is in ASCII, so that a letter of another script cannot pass for a Latin one;
    `url` is the whole of it in ASCII; `live` says that its host is proved to be the enterprise's."""

    host: str
    url: str
    live: bool


def nobody(url: str) -> bool:
    """The link_ok of a caller that knows of no proved host."""
    return False


def read_link(text: object, link_ok: LinkOk = nobody) -> Link | None:
    """The link in a value; None for anything but an http(s) address without a user's name, without characters that
    hide or turn, and with a host that has an ASCII form. Only https is ever live."""
    if not isinstance(text, str) or len(text) > _MAX or not text[:8].lower().startswith(("http://", "https://")):
        return None
    if _UNSAFE.search(text):
        return None
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return None
    if parts.username is not None or parts.password is not None or not (host := ascii_host(parts.hostname or "")):
        return None
    shown = f"[{host}]" if ":" in host else host
    address = parts._replace(netloc=f"{shown}:{port}" if port else shown, scheme=parts.scheme.lower())
    url = quote(address.geturl(), safe=_SAFE)
    return Link(shown, url, parts.scheme.lower() == "https" and link_ok(url))


def ascii_host(host: str) -> str:
    """The host in lower-case ASCII, punycode for other scripts; "" where it has no such form."""
    try:
        return str(ip_address(host))
    except ValueError:
        pass
    try:
        ascii_form = host.encode("idna").decode("ascii").lower().rstrip(".")
    except UnicodeError:
        return ""
    labels = ascii_form.split(".")
    return ascii_form if len(ascii_form) <= 253 and all(map(_LABEL.fullmatch, labels)) else ""
