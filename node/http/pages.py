"""Pages: rendered here, no scripts, every file from the node itself; and the QR code of a handle."""

from __future__ import annotations

import io
from typing import Any
from urllib.parse import quote

import segno
from jinja2 import Environment, PackageLoader
from starlette.responses import Response

from node.errors import BadRequest, HandleGone, HandleNotFound, NodeError, Unavailable, UnknownPrefix
from node.http import problems
from node.records import Resolved
from node.runtime import Node
from node.scanning import scan as read_scan

_environment = Environment(
    loader=PackageLoader("node.web"), autoescape=True, trim_blocks=True, lstrip_blocks=True, auto_reload=False
)
_POLICY = (
    "default-src 'none'; img-src 'self'; style-src 'self'; form-action {forms}; base-uri 'none'; "
    "frame-ancestors 'none'"
)
_QR_SECONDS = 86_400

# code of a refusal -> what the reader may do next
_ADVICE: dict[type[NodeError], tuple[str, str]] = {
    HandleNotFound: (
        "请核对是否录入有误。若由商品上的码扫得，请保留商品并向销售者核实，或拨打 12315。",
        "Check for a typing slip. If the code was scanned from goods, keep them and ask the seller.",
    ),
    UnknownPrefix: (
        "该前缀不由本节点管理，可能属于其他节点；请向码上的企业核实。",
        "This prefix is not managed here; it may belong to another node.",
    ),
    HandleGone: (
        "该标识已由企业注销，不再对应在售商品。",
        "The enterprise has deleted this identifier; no goods on sale should bear it.",
    ),
    Unavailable: ("请过几秒刷新本页。", "Please reload in a few seconds."),
}
_DEFAULT_ADVICE = ("请核对输入的标识。", "Please check the identifier.")


def address_of(node: Node, handle: str) -> str:
    """The public address of a handle: from PUBLIC_URL alone, never from a request's Host."""
    return f"{node.settings.public_url}/{quote(handle, safe='/-._~')}"


def page(name: str, values: dict[str, Any], status: int = 200, *, form: bool = False) -> Response:
    """A rendered page with the headers that every page has."""
    headers = {
        "Content-Security-Policy": _POLICY.format(forms="'self'" if form else "'none'"),
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "private, no-store",
        "Content-Language": "zh",
        "Vary": "Accept",
    }
    text = _environment.get_template(name).render(values)
    return Response(text, status, headers, "text/html; charset=utf-8")


async def scan(node: Node, resolved: Resolved) -> Response:
    """The scan page of a handle that exists."""
    shown = await read_scan(node, resolved)
    return page("scan.html", {"page": shown, "node": node.settings.node_name, "link": _path_of})


def problem(node: Node, error: NodeError) -> Response:
    """A refusal as a page that says what to do next."""
    zh, en = _ADVICE.get(type(error), _DEFAULT_ADVICE)
    values = {
        "node": node.settings.node_name,
        "zh": error.zh.format_map(error.datum),
        "en": error.en.format_map(error.datum),
        "advice": zh,
        "advice_en": en,
        "successor": error.datum.get("successor"),
        "deleted_at": error.datum.get("deleted_at"),
        "link": _path_of,
    }
    response = page("problem.html", values, problems.status_of(error))
    if "retry_after" in error.datum:
        response.headers["Retry-After"] = str(error.datum["retry_after"])
    return response


def _path_of(handle: str) -> str:
    return "/" + quote(handle, safe="/-._~")


def qr(node: Node, handle: str, form: str) -> Response:
    """The QR code of the handle's address: error level M, border of 4 modules (ISO/IEC 18004)."""
    code = segno.make(address_of(node, handle), error="m", micro=False)
    output = io.BytesIO()
    headers = {"Cache-Control": f"public, max-age={_QR_SECONDS}"}
    if form == "svg":
        code.save(output, kind="svg", border=4, xmldecl=False, omitsize=True)
        return Response(output.getvalue(), 200, headers, "image/svg+xml")
    if form == "png":
        code.save(output, kind="png", border=4, scale=8)
        return Response(output.getvalue(), 200, headers, "image/png")
    raise BadRequest.of(reason="qr must be svg or png", reason_zh="qr 须为 svg 或 png")
