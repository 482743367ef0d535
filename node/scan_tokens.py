# cython: annotation_typing=False
"""What the node signs for scans: the claim in a page's image, and the token of a device. No state, no I/O.

A claim is worth one scan of one handle for ten minutes. A device token is a random number in a first-party cookie that
only the claim image's own path is sent: it says "the same phone as before" and nothing else. It is stored nowhere; what
is stored is a keyed digest of (device, item), which tells that this device scanned this item and cannot be joined
with what it scanned elsewhere.
"""

from __future__ import annotations

import hmac
import secrets
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from node.sealing import Sealer

_T = TypeVar("_T")

CLAIM_SECONDS = 600
_AHEAD_SECONDS = 60  # clocks of two workers' machines may differ by this
DEVICE_SECONDS = 365 * 86_400
_DEVICE_LASTS = DEVICE_SECONDS + 35 * 86_400  # browsers keep a cookie up to 400 days
SCANNER_SECONDS = 3600  # to open a scanner's address on the device
_ID_BYTES = 12
_MAC_BYTES = 12  # 96 bits: not guessed, and two marks of 10 million are alike with probability 1e-15
_URLSAFE, _TO_URLSAFE = bytes.maketrans(b"-_", b"+/"), bytes.maketrans(b"+/", b"-_")
_GENERATIONS = [bytes((n,)) for n in range(256)]
_FIVE_BYTES, _START = 2**31, 20  # a number that msgpack writes in five bytes as it does today's; nonce ends at _START
_MAX_TOKEN = 1400  # characters; a handle has at most 255, of four bytes each
_CLAIM, _DEVICE, _MARK, _SCANNER = "scan-claim", "scan-device", "scan-mark", "scan-scanner"

# What a handle's page said when it was made, as far as a scan can tell something by it.
SHIPPED, UNSHIPPED, VOID, LOT = "", "u", "v", "l"


class ClaimToken(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What a claim says; `lot` is the suffix of the item's lot."""

    issued: int
    nonce: bytes
    handle: str
    lot: str = ""
    state: str = SHIPPED


class DeviceToken(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What a device's cookie says; an enterprise's own scanner has the registrant and the scanner's number."""

    issued: int
    device: bytes
    registrant: int = 0
    scanner: int = 0


class Refused(Exception):
    """A token that was not signed here, is altered, or over."""


@dataclass(slots=True, frozen=True)
class Expired:
    """A device's token that was right once: the device gets a new one."""


_encode = msgspec.msgpack.Encoder().encode
_claim_decoder = msgspec.msgpack.Decoder(ClaimToken)
_device_decoder = msgspec.msgpack.Decoder(DeviceToken)


def _signed(sealer: Sealer, label: str, body: bytes) -> bytes:
    generation = sealer.current
    mac = sealer.mac(label, generation, _MAC_BYTES, body)
    # Characters deleted by `translate` cost three times as much, and mostly there is no padding.
    return (
        b2a_base64(b"".join((_GENERATIONS[generation], mac, body)), newline=False).translate(_TO_URLSAFE).rstrip(b"=")
    )


def _body(sealer: Sealer, label: str, token: bytes) -> bytes:
    """The signed body; raises Refused."""
    if len(token) > _MAX_TOKEN:
        raise Refused
    try:
        raw = a2b_base64(token.translate(_URLSAFE) + b"==")
    except Base64Error:
        raise Refused from None
    body = raw[1 + _MAC_BYTES :]
    if not body or (generation := raw[0]) not in sealer.secrets:
        raise Refused
    if not hmac.compare_digest(sealer.mac(label, generation, _MAC_BYTES, body), raw[1 : 1 + _MAC_BYTES]):
        raise Refused
    return body


def _ascii(token: str) -> bytes:
    try:
        return token.encode("ascii")
    except UnicodeEncodeError:
        raise Refused from None


def _read(sealer: Sealer, label: str, token: bytes, decoder: msgspec.msgpack.Decoder[_T]) -> _T:
    try:
        return decoder.decode(_body(sealer, label, token))
    except msgspec.MsgspecError:  # signed here, by an older or newer release
        raise Refused from None


def claim_token(sealer: Sealer, handle: str, now: float, lot: str = "", state: str = SHIPPED) -> str:
    """A claim of one scan of this handle."""
    body = _encode(ClaimToken(int(now), secrets.token_bytes(_ID_BYTES), handle, lot, state))
    return _signed(sealer, _CLAIM, body).decode()


class Claims:
    """Signs claims of one handle, whose page is shown often: `claim_token` with all done before that is the same each
    time. A token's length is always the same."""

    __slots__ = ("_end", "_sealer")
    _spare: list[bytes] = []  # noqa: RUF012  # random numbers of the process, read by the thousand

    def __init__(self, sealer: Sealer, handle: str, lot: str, state: str) -> None:
        self._sealer = sealer
        self._end = _encode(ClaimToken(_FIVE_BYTES, bytes(_ID_BYTES), handle, lot, state))[_START:]

    def sign(self, second: int) -> tuple[bytes, bytes]:
        """(nonce, token) of a claim made now."""
        spare = Claims._spare
        if not spare:
            drawn = secrets.token_bytes(_ID_BYTES * 1024)
            spare.extend([drawn[start : start + _ID_BYTES] for start in range(0, len(drawn), _ID_BYTES)])
        nonce = spare.pop()
        stamp = _stamp
        if stamp.second != second:
            stamp.second, stamp.begins = second, _begins(second)
        return nonce, _signed(self._sealer, _CLAIM, b"".join((stamp.begins, nonce, self._end)))


def _begins(second: int) -> bytes:
    """What a claim of this second begins with, as msgpack has it: an array of five, a 32-bit number, 12 bytes."""
    return b"\x95\xce" + second.to_bytes(4, "big") + b"\xc4\x0c"


class _Stamp:
    """The same of the second in which claims were signed last."""

    def __init__(self, second: int) -> None:
        self.second, self.begins = second, _begins(second)


_stamp = _Stamp(0)  # of the process


def read_claim(sealer: Sealer, token: str, now: float) -> ClaimToken:
    """Raises Refused where it was not signed here or is over."""
    claim = _read(sealer, _CLAIM, _ascii(token), _claim_decoder)
    if not now - CLAIM_SECONDS <= claim.issued <= now + _AHEAD_SECONDS:
        raise Refused
    return claim


def fresh_device(nonce: bytes, now: float) -> DeviceToken:
    """The device that a claim without one makes: of the number that is the claim's random nonce, so the same claim
    again, without a cookie, is the same device and not another scan. Who reads the nonce in the page cannot sign it."""
    return DeviceToken(int(now), nonce)


def scanner_device(registrant: int, scanner: int, now: float) -> DeviceToken:
    """A device that an enterprise registers as its own."""
    return DeviceToken(int(now), secrets.token_bytes(_ID_BYTES), registrant, scanner)


def device_token(sealer: Sealer, device: DeviceToken) -> str:
    return _signed(sealer, _DEVICE, _encode(device)).decode()


def read_device(sealer: Sealer, token: bytes, now: float) -> DeviceToken | Expired:
    """Raises Refused where it was not signed here."""
    device = _read(sealer, _DEVICE, token, _device_decoder)
    issued = device.issued  # declared a C number: compared as one of Python's it took 0.3 % of a scan
    return device if issued > now - _DEVICE_LASTS else Expired()


def scanner_token(sealer: Sealer, device: DeviceToken) -> str:
    """What is opened on a device to make it an enterprise's own; good for an hour."""
    return _signed(sealer, _SCANNER, _encode(device)).decode()


def read_scanner(sealer: Sealer, token: str, now: float) -> DeviceToken:
    """Raises Refused where it was not signed here or is over."""
    device = _read(sealer, _SCANNER, _ascii(token), _device_decoder)
    if not now - SCANNER_SECONDS <= device.issued <= now + _AHEAD_SECONDS:
        raise Refused
    return device


def mark(sealer: Sealer, device: bytes, handle: bytes) -> bytes:
    """What is stored of a device on an item, whose handle is in UTF-8."""
    return sealer.mac(_MARK, sealer.oldest, _MAC_BYTES, device + handle)
