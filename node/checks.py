"""Checks of one text against its coding scheme: check digits and grammars (domain.md 1.1 and 1.2). Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime

from stdnum import luhn

import handle_codec

_LOOKS_NATIVE = re.compile(r"(?!10\.)[0-9]{2}\.[0-9]{3,5}(?:[./ ]|$)")  # 10.x/ is a DOI
_BLANK = re.compile(r"\s")
_DID = re.compile(r"did:[a-z0-9]+:\S+")
_GEO = re.compile(r"-?[0-9]{1,2}(?:\.[0-9]{1,10})?, ?-?[0-9]{1,3}(?:\.[0-9]{1,10})?")
_MOMENT = re.compile(r"[0-9-]{10}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?(?:Z|[+-][0-9]{2}:[0-9]{2})")
_OTHER_SCHEME = re.compile(r"(?!https?://|sha256:)[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_UNSAFE_IN_LINK = re.compile(r"[\s\"'<>\\`]")
_DAY_LENGTH = len("2024-09-10")
_YEARS = range(1900, 2200)  # a year outside is a slip of the pen (0204, 20244), not a date of a product


def _digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _is(read: Callable[[str], object], text: str) -> bool:
    """Whether the codec takes the text."""
    try:
        read(text)
    except handle_codec.InvalidCode:
        return False
    return True


def is_gtin(text: str) -> bool:
    """GTIN-8, -12, -13 or -14 with its check digit."""
    return _is(handle_codec.gtin14, text)


def is_sscc(text: str) -> bool:
    """The 18 digits of a GS1 SSCC."""
    return _digits(text) and _is(handle_codec.parse_elements, f"(00){text}")


def is_drug20(text: str) -> bool:
    """药品追溯码: 20 digits. Its last four are the issuer's cipher, so no more can be tested here."""
    return _digits(text) and len(text) == 20


def is_imei(text: str) -> bool:
    return bool(_digits(text) and len(text) == 15 and luhn.is_valid(text))


def is_handle(text: str) -> bool:
    """prefix "/" suffix as the codec reads it, and without blanks."""
    return _BLANK.search(text) is None and _is(handle_codec.parse, text)


def is_reference(text: str) -> bool:
    """An identifier of any scheme or an enterprise's own code: no blanks, and what begins like a handle or
    a DID is a whole one. Digits alone may be GTIN, SSCC or an internal code (domain.md 1.3), so no mod-10."""
    if _BLANK.search(text):
        return False
    if _LOOKS_NATIVE.match(text):
        return is_handle(text)
    return not text.startswith("did:") or _DID.fullmatch(text) is not None


def is_geo(text: str) -> bool:
    """ "latitude,longitude" in degrees."""
    if not _GEO.fullmatch(text):
        return False
    latitude, longitude = (abs(float(part)) for part in text.split(","))
    return latitude <= 90 and longitude <= 180


def is_file(text: str) -> bool:
    """An http(s) address, `sha256:...`, or a file's name. Other schemes (javascript:, data:) and quotes are
    refused because pages make links of these."""
    return _OTHER_SCHEME.match(text) is None and _UNSAFE_IN_LINK.search(text) is None


def is_day(text: str) -> bool:
    """YYYY-MM-DD, a day of the calendar. Shape first: fromisoformat also takes 20240910 and weeks."""
    if len(text) != _DAY_LENGTH or text[4] != "-" or text[7] != "-":
        return False
    try:
        return date.fromisoformat(text).year in _YEARS
    except ValueError:
        return False


def is_moment(text: str) -> bool:
    """A day, or an RFC 3339 date-time with its offset."""
    if len(text) == _DAY_LENGTH:
        return is_day(text)
    if not _MOMENT.fullmatch(text):
        return False
    try:
        return datetime.fromisoformat(text).year in _YEARS
    except ValueError:
        return False


@dataclass(slots=True, frozen=True)
class Check:
    """A named test of a text; `code` and the texts are what a wrong row is told."""

    passes: Callable[[str], bool]
    code: str
    zh: str
    en: str


CHECKS = {
    "gtin": Check(
        is_gtin,
        "check_digit",
        "须为 8、12、13 或 14 位商品条码且校验位正确",
        "must be a GTIN of 8, 12, 13 or 14 digits with a right check digit",
    ),
    "sscc": Check(
        is_sscc,
        "check_digit",
        "须为 18 位 SSCC 且校验位正确",
        "must be an SSCC of 18 digits with a right check digit",
    ),
    "uscc": Check(
        handle_codec.is_credit_code,
        "check_digit",
        "须为 18 位统一社会信用代码且校验位正确",
        "must be a unified social credit code of 18 characters with a right check character",
    ),
    "imei": Check(
        is_imei,
        "check_digit",
        "须为 15 位 IMEI 且校验位正确",
        "must be an IMEI of 15 digits with a right check digit",
    ),
    "drug20": Check(is_drug20, "pattern", "须为 20 位数字药品追溯码", "must be a drug code of 20 digits"),
    "handle": Check(
        is_handle,
        "pattern",
        "须为完整标识，如 88.999.1001/ABC",
        "must be a whole handle such as 88.999.1001/ABC",
    ),
    "reference": Check(
        is_reference,
        "pattern",
        "须为标识（如 88.999.1001/ABC）或企业编码，不含空白",
        "must be an identifier (such as 88.999.1001/ABC) or an enterprise's code, without blanks",
    ),
    "geo": Check(
        is_geo,
        "pattern",
        "须为“纬度,经度”，如 34.42561,116.35128",
        'must be "latitude,longitude" such as 34.42561,116.35128',
    ),
    "file": Check(
        is_file,
        "pattern",
        "须为 http(s) 地址、sha256: 摘要或文件名，不含空白和引号",
        "must be an http(s) address, a sha256: digest or a file's name, without blanks or quotes",
    ),
    "day": Check(
        is_day,
        "bad_date",
        "须为日期 YYYY-MM-DD，如 2024-09-10",
        "must be a date YYYY-MM-DD such as 2024-09-10",
    ),
    "moment": Check(
        is_moment,
        "bad_date",
        "须为日期或带时区的时间，如 2024-09-10 或 2024-09-10T08:30:00+08:00",
        "must be a date or a time with offset, such as 2024-09-10 or 2024-09-10T08:30:00+08:00",
    ),
}
