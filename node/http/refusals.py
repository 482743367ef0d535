"""Pages for what is not there: refusals, codes of other schemes, and addresses that lead out of the node."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

import handle_codec
from node.errors import HandleGone, NodeError
from node.http import problems
from node.http.negotiation import CHINESE, Reader, reader_of, wants_page
from node.http.pages import page
from node.http.words import NO_SUCH_CODE, advice_for, scheme_words
from node.runtime import Node
from node.scanning import local
from node.shown_links import LinkOk, nobody, read_link

_PROBLEM: dict[str, Any] = {
    "tone": "warn", "detail": "", "detail_en": "", "handle": "", "successor": "", "deleted_at": "", "again": True,
}  # fmt: skip


def problem(node: Node, error: NodeError, reader: Reader = CHINESE, *, switch: str = "") -> Response:
    """A refusal as a page that says what to do next; status and Retry-After as in the problem document.

    `switch` is the address of the same page in the other language, where `?lang=` alone is not."""
    status = problems.status_of(error)
    advice = advice_for(error, status)
    says = advice.says and status < 500  # what broke inside is no help to a reader
    gone_at = error.datum.get("deleted_at")
    values = _PROBLEM | {
        "tone": "bad" if isinstance(error, HandleGone) or advice is NO_SUCH_CODE else "warn",
        "title": advice.title,
        "title_en": advice.title_en,
        "detail": error.zh.format_map(error.datum) if says else "",
        "detail_en": error.en.format_map(error.datum) if says else "",
        "handle": error.datum.get("handle", "") if advice is NO_SUCH_CODE else "",
        "advice": advice.advice,
        "advice_en": advice.advice_en,
        "successor": error.datum.get("successor") or "",
        "deleted_at": local(datetime.fromisoformat(gone_at)) if gone_at else "",
        "again": status < 500,
    }
    response = page(node, "problem", values | ({"switch": switch} if switch else {}), status, reader=reader)
    for name in ("Retry-After", "WWW-Authenticate"):
        if (value := problems.headers(error).get(name)) is not None:
            response.headers[name] = value
    return response


def other_scheme(
    node: Node, candidate: handle_codec.Candidate, reader: Reader = CHINESE, *, switch: str = ""
) -> Response:
    """A well-formed code of another scheme, typed where a handle belongs: what it is, and what to look for. Nothing
    is looked up, so it tells nobody whether goods of that code are registered here."""
    name, name_en, advice, advice_en = scheme_words(candidate.scheme)
    values = _PROBLEM | {
        "title": "这不是商品的工业互联网标识",
        "title_en": "Not an industrial-internet identifier",
        "detail": f"您输入的是{name}：",
        "detail_en": f"What you typed is {name_en}: ",
        "handle": candidate.canonical,
        "advice": advice,
        "advice_en": advice_en,
    }
    return page(node, "problem", values | ({"switch": switch} if switch else {}), 422, reader=reader)


def interstitial(node: Node, handle: str, url: str, reader: Reader = CHINESE, *, link_ok: LinkOk = nobody) -> Response:
    """Before an address that leads out of the node: its host in clear (punycode), a warning, and no forwarding. Only
    a proved host gets a live link; an address that `read_link` refuses is not shown at all."""
    return page(node, "leaving", {"handle": handle, "target": read_link(url, link_ok)}, reader=reader)


def for_request(request: Request, error: NodeError) -> Response:
    """A page where a browser asked for one outside the API, else the problem document."""
    if request.url.path.startswith("/api/") or not wants_page(request.headers.get("accept", "")):
        return problems.response(error)
    reader = reader_of(request.headers.get("accept-language", ""), request.query_params.get("lang", ""))
    return problem(request.app.state.node, error, reader)
