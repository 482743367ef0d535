"""The QR code of a handle: the shortest address that resolves, drawn for print or for a screen."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

import segno
from starlette.responses import Response

import handle_codec
from node.config import Settings
from node.errors import BadRequest

_SECONDS = 86_400
_UPPER = re.compile(r"[0-9A-Z $%*+\-./:]+")  # the alphanumeric set of ISO/IEC 18004: 5.5 bits a character, not 8
_SIZE = re.compile(r"([0-9]{1,5})(mm|px)")
_LEVELS = ("l", "m", "q", "h")
_QUIET = (4, 20)  # modules; ISO/IEC 18004 asks for 4 at least
_MIN_MODULE_MM = 0.25  # below it phones fail on ordinary print; unmeasured here, so a floor and no promise
_MIN_MODULE_PX = 2
_MAX_MM, _MAX_PX = 300, 4000  # a poster's code is scaled from the SVG
_DPI = 300  # of a PNG whose size is given in mm
_DEFAULT_MODULE_PX = 8
_MM_PER_INCH = 25.4
_KINDS = {"svg": "image/svg+xml", "png": "image/png"}


@dataclass(slots=True, frozen=True)
class Drawing:
    """How a code is drawn. `size`: the whole side with its quiet zone, 0 for as large as 8 pixels a module make it;
    `unit`: mm or px; `error`: the least level; `quiet`: modules around the code."""

    kind: str
    size: int = 0
    unit: str = "px"
    error: str = "m"
    quiet: int = _QUIET[0]


def read_drawing(query: dict[str, list[str]]) -> Drawing:
    """`?qr=svg|png&size=30mm|600px&ec=l|m|q|h&quiet=4`; BadRequest naming the parameter."""
    kind = query["qr"][-1].lower()
    if kind not in _KINDS:
        raise BadRequest.of(reason="qr must be svg or png", reason_zh="qr 须为 svg 或 png")
    error = query.get("ec", ["m"])[-1].lower()
    if error not in _LEVELS:
        raise BadRequest.of(reason="ec must be l, m, q or h", reason_zh="ec 须为 l、m、q 或 h")
    low, high = _QUIET
    quiet = query.get("quiet", [str(low)])[-1]
    if not (quiet.isascii() and quiet.isdigit() and len(quiet) < 3 and low <= int(quiet) <= high):
        raise BadRequest.of(
            reason=f"quiet must be {low} to {high} modules", reason_zh=f"quiet（静区）须为 {low} 至 {high} 个模块"
        )
    size, unit = _read_size(query["size"][-1]) if "size" in query else (0, "px")
    return Drawing(kind, size, unit, error, int(quiet))


def _read_size(text: str) -> tuple[int, str]:
    found = _SIZE.fullmatch(text.lower())
    if found and 0 < int(found[1]) <= (_MAX_MM if found[2] == "mm" else _MAX_PX):
        return int(found[1]), found[2]
    raise BadRequest.of(
        reason=f"size must be such as 30mm (at most {_MAX_MM}) or 600px (at most {_MAX_PX})",
        reason_zh=f"size 须形如 30mm（至多 {_MAX_MM}）或 600px（至多 {_MAX_PX}）",
    )


def shortest_address(settings: Settings, handle: str) -> str:
    """The address under PUBLIC_URL that makes the smallest code and still resolves.

    Scheme and host know no case, a suffix does: in capitals only where suffix and PUBLIC_URL's own path have no small
    letters, or the suffix is a minted serial, which folds. Bytes that a URL must escape are escaped with capitals, so
    they fit as well. `$ * + :` need no escape in a path (RFC 3986) and are in the set; the others stay escaped there.
    """
    prefix, _, suffix = handle.partition("/")
    suffix = handle_codec.fold_serial(suffix)
    parts = urlsplit(settings.public_url)
    path = f"{parts.path}/{prefix}/{quote(suffix, safe='/$*+:')}"
    capitals = f"{parts.scheme}://{parts.netloc}".upper() + path
    if _UPPER.fullmatch(capitals):
        return capitals
    return f"{settings.public_url}/{prefix}/{quote(suffix, safe=_PATH_SAFE)}"


_PATH_SAFE = "/$*+:!&'()=@~"  # not , and ; which some scanners take for the end of an address


def response(settings: Settings, handle: str, drawing: Drawing) -> Response:
    """The picture; BadRequest where the modules would be too small to be read."""
    code = segno.make(shortest_address(settings, handle), error=drawing.error, micro=False)
    side = int(code.symbol_size(border=drawing.quiet)[0])
    _must_be_readable(drawing, side)
    output = io.BytesIO()
    if drawing.kind == "svg":
        _save_svg(code, output, drawing, side)
    else:
        _save_png(code, output, drawing, side)
    return Response(output.getvalue(), 200, {"Cache-Control": f"public, max-age={_SECONDS}"}, _KINDS[drawing.kind])


def _must_be_readable(drawing: Drawing, side: int) -> None:
    least = _MIN_MODULE_MM if drawing.unit == "mm" else _MIN_MODULE_PX
    if drawing.size and drawing.size / side < least:
        needed = -int(-side * least // 1)
        size, enough = f"{drawing.size}{drawing.unit}", f"{needed}{drawing.unit}"
        raise BadRequest.of(
            reason=f"size {size} is too small for {side} modules: at least {enough}",
            reason_zh=f"size {size} 容不下 {side} 个模块，至少 {enough}",
        )


def _save_svg(code: segno.QRCode, output: io.BytesIO, drawing: Drawing, side: int) -> None:
    if not drawing.size:
        code.save(output, kind="svg", border=drawing.quiet, xmldecl=False, omitsize=True)
        return
    unit = None if drawing.unit == "px" else drawing.unit
    code.save(output, kind="svg", border=drawing.quiet, xmldecl=False, scale=drawing.size / side, unit=unit)


def _save_png(code: segno.QRCode, output: io.BytesIO, drawing: Drawing, side: int) -> None:
    """Whole pixels a module: half ones would blur. In mm, the resolution makes the print as large as asked."""
    if not drawing.size:
        code.save(output, kind="png", border=drawing.quiet, scale=_DEFAULT_MODULE_PX)
    elif drawing.unit == "px":
        code.save(output, kind="png", border=drawing.quiet, scale=drawing.size // side)
    else:
        scale = max(1, round(drawing.size / _MM_PER_INCH * _DPI / side))
        dpi = round(side * scale / (drawing.size / _MM_PER_INCH))
        code.save(output, kind="png", border=drawing.quiet, scale=scale, dpi=dpi)
