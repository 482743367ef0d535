"""Pages: rendered here in one language at a time, no scripts, every file from the node itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any
from urllib.parse import quote, urlsplit

from markupsafe import escape
from starlette.responses import Response

from node.application_forms import COUNTIES
from node.http import qr as qr_codes
from node.http.answers import Answer
from node.http.assets import Assets
from node.http.frames import HOLES, Asked, Frame, Frames, key_of
from node.http.negotiation import CHINESE, Reader
from node.http.scan_forms import Forms
from node.http.templating import render
from node.http.words import COUNTIES_EN
from node.model import Event, Kind
from node.records import Resolved
from node.runtime import Node
from node.scanning import NOT_COUNTED, ScanPage, Scans, add_trace, described
from node.shown_links import LinkOk, nobody
from node.trades import Trades

_POLICY = (
    "default-src 'none'; img-src 'self'{images}; style-src 'self'; form-action {forms}; base-uri 'none'; "
    "frame-ancestors 'none'"
)

SEVERAL = 2  # scans before this one, from which on the words are the same
_MANY, _FIRST = str(10**15 + 37), "0000-00-00 00:00"  # no number of scans, no time, and in the name of no city


class Look:
    """The trades, the static files that go with them, and the pages made of both."""

    def __init__(self, trades: Trades) -> None:
        self.trades = trades
        self.assets = Assets(trades)
        self.frames, self.forms = Frames(), Forms()


LOOK = Look(Trades())


def address_of(node: Node, handle: str, query: str = "") -> str:
    """The public address of a handle: from PUBLIC_URL alone, never from a request's Host."""
    return f"{node.settings.public_url}/{quote(handle, safe='/')}{query}"


def page(
    node: Node,
    name: str,
    values: dict[str, Any],
    status: int = 200,
    *,
    reader: Reader = CHINESE,
    form: bool = False,
    images: str = "",
) -> Response:
    """A rendered page with the headers that every page has; only one with a form may send one, and only one with a
    picture from `images` (an origin) may fetch it."""
    text = render(name, reader.lang == "zh", {**_shared(node, reader), **values})
    return _response(node, text, reader, status, form=form, images=images)


def _response(
    node: Node, text: str, reader: Reader, status: int = 200, *, form: bool = False, images: str = ""
) -> Response:
    public = urlsplit(node.settings.public_url)
    # Browsers hold the target of a redirect after a form against form-action too, and ours is under PUBLIC_URL.
    forms = f"'self' {public.scheme}://{public.netloc}" if form else "'none'"
    headers = {
        "Content-Security-Policy": _POLICY.format(forms=forms, images=f" {images}" if images else ""),
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "private, no-store",
        "Content-Language": "zh-CN" if reader.lang == "zh" else "en",
        "Vary": "Accept, Accept-Language",
    }
    return Response(text, status, headers, "text/html; charset=utf-8")


def _shared(node: Node, reader: Reader) -> dict[str, Any]:
    """What every page's template reads."""
    chinese = reader.lang == "zh"
    return {
        "node": node.settings.node_name,
        "base": urlsplit(node.settings.public_url).path,
        "asset": LOOK.assets.address,
        "lang": "zh-CN" if chinese else "en",
        "switch": f"?lang={'en' if chinese else 'zh'}",
        "keep": reader.query,
        "link": partial(address_of, node, query=reader.query),
        "trade": LOOK.trades.plain,
    }


def as_answer(response: Response) -> Answer:
    """A response of a page for the short way."""
    headers = [h for h in response.raw_headers if h[0] != b"content-length"]
    return Answer(response.status_code, headers, bytes(response.body))


def scan_page(
    node: Node,
    resolved: Resolved,
    events: list[Event] | None,
    reader: Reader = CHINESE,
    scans: Scans = NOT_COUNTED,
    claim: str = "",
    link_ok: LinkOk = nobody,
) -> Response:
    """The scan page of a handle that exists; no I/O. `claim` is the same-origin address of the image that claims this
    scan; `link_ok` says of an address whether its host is proved to be the enterprise's. Rendered only where a page of
    the same is not kept."""
    key = frame_key(node, resolved.handle, reader)
    frame = LOOK.frames.get(key, resolved, events, link_ok)
    if frame is None:
        asked = Asked(link_ok)
        shown = described(resolved, LOOK.trades, asked)
        add_trace(shown, resolved, events)
        frame = Frame.of(_rendered(node, shown, reader))
        LOOK.frames.put(key, resolved, events, asked, frame)
    around = around_number(resolved.row.kind == Kind.LOT, reader.lang, scans)
    return frame.filled(str(scans.before).encode().join(around), _claim(claim))


def frame_key(node: Node, handle: str, reader: Reader) -> tuple[str, ...]:
    """Under which a page's frame is kept."""
    return key_of(node.settings.public_url, node.settings.node_name, handle, reader)


@lru_cache(1)
def around_claim(base: str) -> tuple[bytes, bytes]:
    """The image's markup before and behind its token; `base` is the path of PUBLIC_URL."""
    before, _, after = _claim(f"{base}/s/\0.gif").partition("\0")
    return before.encode(), after.encode()


def _rendered(node: Node, shown: ScanPage, reader: Reader) -> Response:
    county, industry = COUNTIES.get(shown.county, ""), LOOK.trades.of(shown.industry, shown.industry)
    place = f"安徽省宿州市{county}"
    if reader.lang == "en":
        place = ", ".join(part for part in (COUNTIES_EN.get(shown.county, ""), "Suzhou, Anhui") if part)
    name = (industry.zh if reader.lang == "zh" else industry.en) or shown.industry
    public, images = node.settings.public_url, ""
    if shown.picture:
        images = f"https://{urlsplit(shown.picture.url).netloc}"

    def make(values: Mapping[str, Any]) -> str:
        own = {"trade": shown.trade, "county": place, "industry": name, "holes": HOLES, "public": public}
        return render("scan", reader.lang == "zh", {**_shared(node, reader), **own, **values})

    where = (public, node.settings.node_name, reader.query, place, name)
    return _response(node, LOOK.forms.text(shown, reader.lang == "zh", where, make), reader, images=images)


def around_number(is_lot: bool, lang: str, scans: Scans) -> list[bytes]:
    """What is said of the scans before this one, in the pieces between which their number goes: the same for any number
    from SEVERAL on."""
    if scans.before is None:
        return [b""]
    text = _said(is_lot, lang, min(scans.before, SEVERAL), scans.first_at is not None, scans.place)
    return text.replace(_FIRST, scans.first).encode().split(_MANY.encode())


@dataclass(slots=True, frozen=True)
class _Said:
    """Stands for the scans of any item."""

    before: int
    first: str
    place: str


@lru_cache(1024)  # Jinja takes 40 us, and each item has its own number and time
def _said(is_lot: bool, lang: str, before: int, timed: bool, place: str) -> str:
    """What is said of none, one or SEVERAL scans, with the number and the first one's time to be put in."""
    scans = _Said(int(_MANY) if before > 1 else before, _FIRST if timed else "", place)
    return render("scans", lang == "zh", {"scans": scans, "is_lot": is_lot})


def _claim(address: str) -> str:
    return f'<img class="claim" src="{escape(address)}" width="1" height="1" alt="">' if address else ""


def qr(node: Node, handle: str, query: dict[str, list[str]]) -> Response:
    """The QR code that `?qr=` asks for (node/http/qr.py)."""
    return qr_codes.response(node.settings, handle, qr_codes.read_drawing(query))
