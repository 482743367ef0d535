"""The image that claims a scan, and the devices that an enterprise registers as its own scanners.

`answer` takes and gives plain values, so that it can be called from the front door without FastAPI.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from node import access, scanners, scans
from node.access import require_scope
from node.errors import NodeError, NotFound, Unavailable
from node.http import answers
from node.http.requests import Enterprise, client_address, decode, json_response, node_of, read_json
from node.runtime import Node
from node.scan_tokens import DEVICE_SECONDS

router = APIRouter()

IMAGE = (  # one transparent pixel: GIF89a, 1 x 1
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,"
    b"\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
)
_COOKIE = "scan_device"
_HEADERS = [
    (b"content-type", b"image/gif"),
    (b"content-length", str(len(IMAGE)).encode()),
    (b"cache-control", b"no-store"),  # what a browser keeps it does not ask for again
    (b"cross-origin-resource-policy", b"same-origin"),
]
PIXEL = answers.Answer(200, [h for h in _HEADERS if h[0] != b"content-length"], IMAGE)
_PREFETCH = (b"purpose", b"sec-purpose", b"x-moz")

Answer = tuple[int, list[tuple[bytes, bytes]], bytes]


async def answer(node: Node, token: str, headers: Mapping[bytes, bytes], address: str, now: float) -> Answer:
    """(status, headers, body) of the image. Whether the scan was counted, refused or a repetition cannot be told from
    the answer; only where its first scan could not be committed is it 503.

    `headers` have lower-case names; `address` is the client's, looked up for a city and not kept.
    """
    registrant = 0
    if (authorization := headers.get(b"authorization")) and seen(headers):
        try:
            registrant = await _registrant(node, authorization, address)
        except Unavailable:
            return _unavailable()
        except NodeError:
            return 200, _HEADERS, IMAGE
    accepted = taken(node, token, headers, address, now, registrant)
    if accepted.committed is not None:
        await asyncio.wait([accepted.committed])
    return said(node, accepted)


def taken(
    node: Node, token: str, headers: Mapping[bytes, bytes], address: str, now: float, registrant: int = 0
) -> scans.Accepted:
    """Take a claim without waiting; nothing to wait for and no cookie where nothing was counted."""
    if not seen(headers):
        return scans.NOTHING
    return scans.accept(node, token, cookie_of(headers), now, node.places.of(address), registrant) or scans.NOTHING


def taken_cookie(node: Node, token: str, cookie: bytes, address: str, now: float) -> scans.Accepted:
    """The same of a head that is known to be of a page that somebody sees."""
    return scans.accept(node, token, cookie.decode(), now, node.places.of(address)) or scans.NOTHING


def said(node: Node, accepted: scans.Accepted) -> Answer:
    """The answer, once there is nothing to wait for any more."""
    cookies = [(b"set-cookie", _set_cookie(node, accepted.cookie))] if accepted.cookie else []
    committed = accepted.committed
    if committed is not None and (committed.cancelled() or committed.exception() is not None):
        # It may have been committed all the same: with its cookie the phone that asks again is the same one.
        return _unavailable(cookies)
    return 200, [*_HEADERS, *cookies] if cookies else _HEADERS, IMAGE


def bare(node: Node, accepted: scans.Accepted) -> answers.Answer:
    """The same for the short way, which adds the length."""
    status, headers, body = said(node, accepted)
    if headers is _HEADERS:
        return PIXEL
    return answers.Answer(status, [h for h in headers if h[0] != b"content-length"], body)


def seen(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a person sees the page now: not fetched ahead of time, nor shown inside another site's."""
    for name in _PREFETCH:
        if name in headers and b"prefetch" in headers[name]:
            return False
    return headers.get(b"sec-fetch-site", b"same-origin") in (b"same-origin", b"none")


async def _registrant(node: Node, authorization: bytes, address: str) -> int:
    scheme, _, token = authorization.decode("latin-1").partition(" ")
    key = token.strip() if scheme.lower() == "bearer" else ""
    return (await access.enterprise(node, key, address)).registrant_id or 0


def _unavailable(cookies: Sequence[tuple[bytes, bytes]] = ()) -> Answer:
    return 503, [(b"content-length", b"0"), (b"cache-control", b"no-store"), (b"retry-after", b"2"), *cookies], b""


def cookie_of(headers: Mapping[bytes, bytes]) -> str:
    """The phone's token, "" for none."""
    for part in headers.get(b"cookie", b"").split(b";"):
        name, _, value = part.strip().partition(b"=")
        if name == _COOKIE.encode():
            return value.decode("latin-1")
    return ""


def _set_cookie(node: Node, value: str) -> bytes:
    """First-party, unreadable for scripts, and sent to the images' path only: a page's request has none, so pages
    stay the same for everybody. Secure wherever the node is reached by https."""
    public = urlsplit(node.settings.public_url)
    secure = "; Secure" if public.scheme == "https" else ""
    return (
        f"{_COOKIE}={value}; Max-Age={DEVICE_SECONDS}; Path={public.path}/s/; HttpOnly; SameSite=Lax{secure}"
    ).encode()


def _response(found: Answer) -> Response:
    response = Response(found[2], found[0])
    response.raw_headers = list(found[1])
    return response


# For keys, HEAD and whatever else node/http/scan_protocol.py leaves to the ordinary way.
@router.api_route("/s/{token}.gif", methods=["GET", "HEAD"], include_in_schema=False)
async def claim_image(request: Request, token: str) -> Response:
    if request.method == "HEAD":  # looks, and shows nobody anything
        return _response((200, _HEADERS, b""))
    node = node_of(request)
    address = client_address(request.scope, node.settings)
    return _response(await answer(node, token, dict(request.headers.raw), address, time.time()))


class NewScanner(msgspec.Struct, forbid_unknown_fields=True):
    name: Annotated[str, msgspec.Meta(max_length=1000)]


_new_scanner = msgspec.json.Decoder(NewScanner)
_JSON: dict[str, Any] = {"requestBody": {"required": True, "content": {"application/json": {"schema": {
    "type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}}}}}  # fmt: skip
_Id = Annotated[int, Path(ge=1, le=2**63 - 1)]


@router.post("/api/v1/scanners", status_code=201, tags=["scans"], openapi_extra=_JSON)
async def register_scanner(request: Request, identity: Enterprise) -> Response:
    """Register a device of the enterprise's own, whose scans are counted apart: open `address` on it within an hour."""
    require_scope(identity, "register")
    form = decode(await read_json(request), _new_scanner)
    made = await scanners.register(node_of(request), identity, form.name, time.time())
    return json_response(made, 201, {"Cache-Control": "no-store"})


@router.get("/api/v1/scanners", tags=["scans"])
async def list_scanners(request: Request, identity: Enterprise) -> Response:
    """The enterprise's own devices."""
    return json_response({"scanners": await scanners.listed(node_of(request), identity)})


@router.delete("/api/v1/scanners/{scanner_id}", tags=["scans"])
async def revoke_scanner(request: Request, identity: Enterprise, scanner_id: _Id) -> Response:
    """From now on the device's scans count as anybody's."""
    require_scope(identity, "register")
    await scanners.revoke(node_of(request), identity, scanner_id)
    return Response(status_code=204)


@router.get("/s/scanner/{token}", include_in_schema=False)
async def open_scanner(request: Request, token: str) -> Response:
    """Make the device that opens this one of the enterprise's own."""
    node = node_of(request)
    cookie = scanners.opened(node, token, time.time())
    if cookie is None:
        raise NotFound.of(what="scanner")
    text = (
        "此设备已登记为本企业的扫码设备，其扫码将单独计数。\nThis device is registered; its scans are counted apart.\n"
    )
    response = Response(text, 200, {"Cache-Control": "no-store"}, "text/plain; charset=utf-8")
    response.raw_headers.append((b"set-cookie", _set_cookie(node, cookie)))
    return response
