"""The landing page, the field to type a code into, and the static files."""

from __future__ import annotations

from importlib.resources import files

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

import handle_codec
from node.drafts import invalid_handle
from node.errors import NotFound
from node.http import pages
from node.http.requests import node_of
from node.scanning import samples

router = APIRouter(include_in_schema=False)

_TYPES = {"css": "text/css; charset=utf-8", "svg": "image/svg+xml"}
_STATIC = {
    entry.name: entry.read_bytes()
    for entry in files("node.web").joinpath("static").iterdir()
    if entry.name.rpartition(".")[2] in _TYPES
}


@router.get("/")
async def home(request: Request) -> Response:
    """What this is, and the field to type a code into."""
    node = node_of(request)
    shown = await samples(node) if node.settings.dev else []
    return pages.page(
        node, "home", {"samples": shown, "link": lambda handle: pages.address_of(node, handle)}, form=True
    )


@router.get("/api/docs")
async def docs(request: Request) -> Response:
    """The calls, from the OpenAPI document. FastAPI's own page fetches its scripts from elsewhere; many networks
    here have no way out."""
    calls: dict[str, list[dict[str, str]]] = {}
    for path, methods in request.app.openapi()["paths"].items():
        for method, call in methods.items():
            text = {"method": method.upper(), "path": path, "says": call.get("description", call.get("summary", ""))}
            calls.setdefault(call.get("tags", ["other"])[0], []).append(text)
    return pages.page(node_of(request), "docs", {"calls": calls})


@router.get("/find")
async def find(request: Request, id: str = "") -> Response:
    """Mend what was typed and go to the handle's page."""
    node = node_of(request)
    host = node.settings.public_url.partition("://")[2].partition("/")[0].lower()
    try:
        handle = handle_codec.normalise(id, frozenset({host}))
    except handle_codec.InvalidHandle as error:
        return pages.problem(node, invalid_handle(error, text=id))
    return RedirectResponse(pages.address_of(node, handle), 303)


@router.get("/static/{name}")
async def static(name: str) -> Response:
    if name not in _STATIC:
        raise NotFound.of(what=name[:100])
    headers = {"Cache-Control": "public, max-age=86400", "X-Content-Type-Options": "nosniff"}
    return Response(_STATIC[name], 200, headers, _TYPES[name.rpartition(".")[2]])
