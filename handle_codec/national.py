"""Chinese schemes and those of other issuing agencies. What domain.md calls uncertain is named in `unchecked`."""

from __future__ import annotations

import base64
import re

import base58
from stdnum.cn import uscc

from handle_codec.candidates import Candidate, Confidence
from handle_codec.errors import InvalidCode
from handle_codec.pure.handles import prefix_fault

_DID_CN = re.compile(r"[0-9]{2}\.[0-9]{3,5}\.[0-9]{1,128}")
_BASE58 = "[1-9A-HJ-NP-Za-km-z]"
_DID_BID = re.compile(r"(?:([a-z0-9]{4}):)?([ezs])([fst])([0-9A-Za-z+/=_-]{22,42})")
_DID_VAA = re.compile(f"{_BASE58}{{27,31}}")
_DID_VAA_HANDLE = re.compile(r"([0-9A-Za-z]{1,64}):([0-9]{2}\.[0-9]{3,5}\.[0-9]{1,128}/[!-~]{1,200})")
_BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"  # BIP 173
_BID_BYTES = 22
_BID_LENGTHS = {"f": range(22, 32), "s": range(32, 33), "t": range(42, 43)}
_CREDIT_CODE = re.compile(r"[0-9A-HJ-NP-RTUWXY]{2}[0-9]{6}[0-9A-HJ-NP-RTUWXY]{10}")
_MA = re.compile(r"MA\.[0-9]{3}(?:\.[0-9A-Z]+)+")
_VAA = re.compile(r"VAA[0-9A-Z]{1,47}")
# The longest right beginning of each: where it ends, something is wrong or missing.
_VAA_BEGINS = re.compile(r"V(?:A(?:A[0-9A-Z]{0,47})?)?")
_MA_BEGINS = re.compile(r"M(?:A(?:\.(?:[0-9]{3}(?:\.[0-9A-Z]+)*+\.?|[0-9]{0,2}))?)?")
_ECODE_BEGINS = re.compile(
    r"1[0-9]{0,24}|2[0-9]{0,32}|3(?:[0-9]{5}[0-9A-Za-z]{0,39}|[0-9]{0,4})|4(?:[0-9]{5}[^\s]{0,249}|[0-9]{0,4})"
)
_DIGITS = re.compile(r"[0-9]*")
_ECODE = re.compile(r"1[0-9]{5,24}|2[0-9]{5,32}|3[0-9]{5}[0-9A-Za-z]{1,39}|4[0-9]{5}[^\s]{1,249}")


def _furthest(begins: re.Pattern[str], text: str) -> int:
    match = begins.match(text)
    return match.end() if match else 0


def did(text: str) -> Candidate:
    """did:bid, did:cn and did:vaa; other methods are `unknown_scheme`."""
    _, _, rest = text.partition(":")
    method, _, body = rest.partition(":")
    at = len(text) - len(body)
    if not text.startswith("did:"):
        raise InvalidCode("did_form", 0)
    if method == "bid":
        return _did_bid(body, at)
    if method == "cn":
        if not _DID_CN.fullmatch(body) or len(body) > 64:
            raise InvalidCode("did_form", at + min(prefix_fault(body), 64))
        return Candidate("did", text, Confidence.CERTAIN, ("grammar",), (), {"method": "cn", "prefix": body})
    if method == "vaa":
        if handle := _DID_VAA_HANDLE.fullmatch(body):
            parts = {"method": "vaa", "contract": handle[1], "handle": handle[2]}
            return Candidate("did", text, Confidence.CERTAIN, ("grammar",), ("contract",), parts)
        if not _DID_VAA.fullmatch(body):
            raise InvalidCode("did_form", at)
        return Candidate("did", text, Confidence.CERTAIN, ("grammar",), ("registration",), {"method": "vaa"})
    raise InvalidCode("unknown_scheme", 4)


def _did_bid(body: str, at: int) -> Candidate:
    """BID: chain, key type and encoding in front, then 22 bytes. Its bech32 form has a checksum over a part that no
    document we could read names, so that is said to be unchecked; the others have none."""
    match = _DID_BID.fullmatch(body)
    if match is None:
        raise InvalidCode("did_form", at)
    chain, key, form, suffix = match.groups("")
    start = at + match.start(4)
    if len(suffix) not in _BID_LENGTHS[form]:
        raise InvalidCode("did_length", start)
    if len(_bid_bytes(form, suffix, start)) != _BID_BYTES:
        raise InvalidCode("did_length", start)
    parts = {"method": "bid", "key": {"e": "Ed25519", "z": "SM2", "s": "secp256k1"}[key]}
    if chain:
        parts["chain"] = chain
    unchecked = ("registration", "bech32_checksum") if form == "t" else ("registration",)
    return Candidate("did", f"did:bid:{body}", Confidence.CERTAIN, ("grammar", "decoded_length"), unchecked, parts)


def _bid_bytes(form: str, suffix: str, at: int) -> bytes:
    try:
        if form == "f":
            return base58.b58decode(suffix)
        if form == "s":
            plain = base64.b64decode(suffix, validate=True)
            if base64.b64encode(plain).decode() != suffix:  # spare bits set: another spelling of the same bytes
                raise InvalidCode("did_form", at)
            return plain
        digits = [_BECH32.index(character) for character in suffix[:-6]]
    except ValueError:  # binascii.Error and InvalidCode are among them
        raise InvalidCode("did_form", at) from None
    number = 0
    for digit in digits:
        number = number << 5 | digit
    spare = len(digits) * 5 % 8  # the last bits that fill no byte
    if number & ((1 << spare) - 1) or any(character not in _BECH32 for character in suffix[-6:]):
        raise InvalidCode("did_form", at)
    return (number >> spare).to_bytes(len(digits) * 5 // 8, "big")


def is_credit_code(text: str) -> bool:
    """Whether it is a 统一社会信用代码 (GB 32100) as printed: 18 characters, the last a check, weights 3^i mod 31.

    The first two may be letters (N for 农村集体经济组织): python-stdnum's own `validate` wants eight digits there.
    """
    return _CREDIT_CODE.fullmatch(text) is not None and uscc.calc_check_digit(text[:17]) == text[17]


def credit_code(text: str) -> Candidate:
    """统一社会信用代码, in either case."""
    code = text.upper()
    if not is_credit_code(code):
        raise InvalidCode("credit_code", 17 if _CREDIT_CODE.fullmatch(code) else 0)
    parts = {"authority": code[0], "region": code[2:8]}
    return Candidate("credit_code", code, Confidence.LIKELY, ("check_character",), ("registration",), parts)


def drug_code(text: str) -> Candidate:
    """药品追溯码: 20 digits, of which 7 name the drug (NMPAB/T 1002), 9 are serial, 4 only the issuer can check."""
    if len(text) != 20 or not (text.isascii() and text.isdigit()):
        raise InvalidCode("code_form", min(_furthest(_DIGITS, text), 20))
    level = Confidence.LIKELY if text[0] == "8" else Confidence.POSSIBLE  # codes of 电子监管码 begin with 8
    parts = {"drug": text[:7], "serial": text[7:16]}
    return Candidate("drug_code", text, level, ("length",), ("check_digits", "registration"), parts)


def vaa(text: str) -> Candidate:
    """ISO/IEC 15459 with issuing agency code VAA: capitals and digits, 50 in all. Its segments were not to be found."""
    if not _VAA.fullmatch(text):
        raise InvalidCode("code_form", _furthest(_VAA_BEGINS, text))
    return Candidate("vaa", text, Confidence.LIKELY, ("characters", "length"), ("segments", "registration"), {})


def ma(text: str) -> Candidate:
    """MA (IDcode), ISO/IEC 15459: segments with dots. The algorithm of its check character was not to be found."""
    if len(text) > 255 or not _MA.fullmatch(text):
        raise InvalidCode("code_form", min(_furthest(_MA_BEGINS, text), 255))
    parts = {"country": text[3:6]}
    return Candidate("ma", text, Confidence.CERTAIN, ("grammar",), ("check_character", "registration"), parts)


def ecode(text: str) -> Candidate:
    """Ecode, GB/T 31866: version, system identifier (NSI), master data. Lengths are those recalled of the 2015 text."""
    if not _ECODE.fullmatch(text):
        raise InvalidCode("code_form", _furthest(_ECODE_BEGINS, text))
    size = 5 if text[0] in "12" else 6
    parts = {"version": text[0], "nsi": text[1:size], "data": text[size:]}
    return Candidate("ecode", text, Confidence.POSSIBLE, ("characters",), ("lengths", "registration"), parts)
