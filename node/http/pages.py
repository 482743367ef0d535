"""Pages: rendered here, no scripts, every file from the node itself; and the QR code of a handle."""

from __future__ import annotations

import io
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import quote, urlsplit

import segno
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import Response

from node.application_forms import COUNTIES, INDUSTRIES
from node.errors import (
    BadRequest,
    HandleGone,
    HandleNotFound,
    InvalidHandleError,
    NodeError,
    NotAuthenticated,
    Unavailable,
    UnknownPrefix,
)
from node.http import problems
from node.http.answers import Answer
from node.records import Resolved
from node.runtime import Node
from node.scanning import ScanPage, local
from node.scanning import scan as read_scan

_environment = Environment(
    loader=PackageLoader("node.web"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
_TEMPLATES = {
    name: _environment.get_template(f"{name}.html") for name in ("scan", "problem", "home", "docs")
}  # compiled once
_POLICY = (
    "default-src 'none'; img-src 'self'; style-src 'self'; form-action {forms}; base-uri 'none'; frame-ancestors 'none'"
)
_QR_SECONDS = 86_400

# A refusal -> headline and what the reader may do next, in both languages. The error's own words stand between.
_Words = tuple[str, str, str, str]
_ADVICE: dict[type[NodeError], _Words] = {
    HandleNotFound: (
        "没有这个标识",
        "No such code",
        "请核对是否录入有误。若由商品上的码扫得，请保留商品与包装，并向销售者核实。",
        "Check for a typing slip. If it was scanned from goods, keep them and ask the seller.",
    ),
    UnknownPrefix: (
        "不是本节点的标识",
        "Not a code of this node",
        "它可能属于其他节点，也可能是伪造的码。请核对录入，或向商品上标明的企业核实。",
        "It may belong to another node, or be made up. Check your typing, or ask the enterprise on the label.",
    ),
    HandleGone: (
        "标识已注销",
        "Code deleted",
        "该标识不再对应在售商品。若商品上仍有此码，请勿购买，并联系企业或销售者。",
        "No goods on sale should bear this code. If some do, do not buy them; ask the enterprise or the seller.",
    ),
    InvalidHandleError: (
        "标识格式不正确",
        "Not a valid code",
        "标识形如 88.999.1001/ABC-001：前缀、斜线、后缀。请核对后重新输入。",
        "A code looks like 88.999.1001/ABC-001: prefix, slash, suffix. Please check it and type it again.",
    ),
    Unavailable: (
        "服务暂不可用",
        "Unavailable just now",
        "这不说明商品有问题。请过几秒刷新本页。",
        "This says nothing about the goods. Please reload in a few seconds.",
    ),
    NotAuthenticated: (
        "需要有效的密钥",
        "A valid key is needed",
        "公众查询无需登录：请不带密钥重新打开本页。",
        "Anybody may look up a code: open this page again without a key.",
    ),
}
_WRONG_REQUEST = ("请求无法处理", "This cannot be answered", "请核对后重试。", "Please check and try again.")
_OUR_FAULT = (
    "页面暂时出错",
    "Something went wrong here",
    "这不说明商品有问题。请稍后再试。",
    "This says nothing about the goods. Please try again later.",
)


def address_of(node: Node, handle: str) -> str:
    """The public address of a handle: from PUBLIC_URL alone, never from a request's Host."""
    return f"{node.settings.public_url}/{quote(handle, safe='/')}"


def page(node: Node, name: str, values: dict[str, Any], status: int = 200, *, form: bool = False) -> Response:
    """A rendered page with the headers that every page has; only one with a form may send one."""
    public = urlsplit(node.settings.public_url)
    # Browsers hold the target of a redirect after a form against form-action too, and ours is under PUBLIC_URL.
    forms = f"'self' {public.scheme}://{public.netloc}" if form else "'none'"
    headers = {
        "Content-Security-Policy": _POLICY.format(forms=forms),
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "private, no-store",
        "Content-Language": "zh",
        "Vary": "Accept",
    }
    shared = {"node": node.settings.node_name, "base": public.path, "link": partial(address_of, node)}
    text = _TEMPLATES[name].render({**shared, **values})
    return Response(text, status, headers, "text/html; charset=utf-8")


def as_answer(response: Response) -> Answer:
    """A response of a page for the short way."""
    return Answer(
        response.status_code, [h for h in response.raw_headers if h[0] != b"content-length"], bytes(response.body)
    )


async def scan(node: Node, resolved: Resolved) -> Response:
    """The scan page of a handle that exists."""
    return scan_page(node, await read_scan(node, resolved))


def scan_page(node: Node, shown: ScanPage) -> Response:
    county = COUNTIES.get(shown.county, "")
    names = {"county": f"安徽省宿州市{county}", "industry": INDUSTRIES.get(shown.industry, shown.industry)}
    return page(node, "scan", {"page": shown, **names})


def problem(node: Node, error: NodeError) -> Response:
    """A refusal as a page that says what to do next; status and Retry-After as in the problem document."""
    status = problems.status_of(error)
    zh, en, advice, advice_en = _ADVICE.get(type(error), _OUR_FAULT if status >= 500 else _WRONG_REQUEST)
    texts = (error.zh.format_map(error.datum), error.en.format_map(error.datum))
    gone_at = error.datum.get("deleted_at")
    values = {
        "tone": "bad" if isinstance(error, HandleGone) else "warn",
        "title": zh,
        "title_en": en,
        # What broke inside is no help to a reader.
        "detail": "" if status >= 500 else texts[0],
        "detail_en": "" if status >= 500 else texts[1],
        "advice": advice,
        "advice_en": advice_en,
        "successor": error.datum.get("successor") or "",
        "deleted_at": local(datetime.fromisoformat(gone_at)) if gone_at else "",
        "again": status < 500,
    }
    response = page(node, "problem", values, status)
    for name in ("Retry-After", "WWW-Authenticate"):
        if (value := problems.headers(error).get(name)) is not None:
            response.headers[name] = value
    return response


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
