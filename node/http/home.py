"""The landing page, the field to type a code into, and the static files."""

from __future__ import annotations

from urllib.parse import quote

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

import handle_codec
from node.drafts import invalid_handle
from node.errors import Unavailable
from node.http import pages, refusals
from node.http.negotiation import Reader, reader_of
from node.http.requests import node_of
from node.runtime import Node
from node.scanning import samples

router = APIRouter(include_in_schema=False)


def reader_for(request: Request) -> Reader:
    return reader_of(request.headers.get("accept-language", ""), request.query_params.get("lang", ""))


@router.get("/")
async def home(request: Request) -> Response:
    """What this is, and the field to type a code into; the samples of `idnode dev` where they can be read."""
    node = node_of(request)
    shown = await _samples(node) if node.settings.dev else []
    return pages.page(node, "home", {"samples": shown}, reader=reader_for(request), form=True)


async def _samples(node: Node) -> list[dict[str, str]]:
    try:
        found = await samples(node)
    except Unavailable:
        return []
    trades = ((sample, pages.LOOK.trades.of(sample["industry"], sample["industry"])) for sample in found)
    return [{**sample, "code": t.code or "plain", "zh": t.zh, "en": t.en, "icon": t.icon} for sample, t in trades]


@router.get("/api/docs")
async def docs(request: Request) -> Response:
    """The calls, from the OpenAPI document. FastAPI's own page fetches its scripts from elsewhere; many networks
    here have no way out."""
    calls: dict[str, list[dict[str, str]]] = {}
    for path, methods in request.app.openapi()["paths"].items():
        for method, call in methods.items():
            text = {"method": method.upper(), "path": path, "says": call.get("description", call.get("summary", ""))}
            calls.setdefault(call.get("tags", ["other"])[0], []).append(text)
    return pages.page(node_of(request), "docs", {"calls": calls}, reader=reader_for(request))


@router.get("/find")
async def find(request: Request, id: str = "") -> Response:
    """Mend what was typed and go to the handle's page; a code of another scheme is told what it is."""
    node, reader = node_of(request), reader_for(request)
    hosts = frozenset({node.settings.public_url.partition("://")[2].partition("/")[0].lower()})
    switch = f"?id={quote(id[:500])}&lang={'en' if reader.lang == 'zh' else 'zh'}"
    try:
        handle = handle_codec.normalise(id, hosts)
    except handle_codec.InvalidHandle as error:
        if (other := _recognised(id, hosts)) is not None:
            return refusals.other_scheme(node, other, reader, switch=switch)
        return refusals.problem(node, invalid_handle(error, text=id), reader, switch=switch)
    return RedirectResponse(pages.address_of(node, handle, reader.query), 303)


def _recognised(text: str, hosts: frozenset[str]) -> handle_codec.Candidate | None:
    """The likeliest reading as a code of another scheme."""
    try:
        found = handle_codec.recognise(text, hosts=hosts)
    except handle_codec.InvalidCode:
        return None
    return next((candidate for candidate in found if candidate.scheme != "handle"), None)


@router.get("/static/{name}")
async def static(name: str) -> Response:
    return pages.LOOK.assets.response(name)
