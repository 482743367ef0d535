"""The page of every state in which there are no goods to show, and the page before an address outside the node."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest

from node.errors import ForgedHandle, HandleGone, HandleNotFound, NodeError, TooManyAttempts, UnknownPrefix
from node.http import problems, refusals
from node.http.negotiation import CHINESE, Reader
from node.runtime import Node
from node.shown_links import read_link

HTML = {"Accept": "text/html"}
ENGLISH = Reader("en", chosen=True)


def body_of(answer: Any) -> str:
    return bytes(answer.body).decode()


@pytest.mark.parametrize("reader", [CHINESE, ENGLISH])
def test_unknown_and_forged_are_one_page(node: Node, reader: Reader) -> None:
    """The same bytes, status and headers: which of them it is would tell a guesser how near he came."""
    handle = "88.999.1001/V123456789ABCD"
    unknown = refusals.problem(node, HandleNotFound.of(handle=handle), reader)
    forged = refusals.problem(node, ForgedHandle.of(handle=handle), reader)
    assert (unknown.status_code, unknown.raw_headers, unknown.body) == (
        forged.status_code,
        forged.raw_headers,
        forged.body,
    )
    other = refusals.problem(node, HandleNotFound.of(handle="88.999.1001/OTHER"), reader)
    assert body_of(other).replace("88.999.1001/OTHER", handle) == body_of(unknown)


async def test_unknown_and_forged_over_http(
    client: httpx.AsyncClient, make_firm: Callable[..., Awaitable[Any]]
) -> None:
    firm = await make_firm()
    for path, accept in (("", "text/html"), ("", "application/json"), ("/api/handles", "application/json")):
        shown = []
        for suffix in ("NOBODY-0001", "V0123456789ABC"):
            answer = await client.get(f"{path}/{firm.prefix}/{suffix}", headers={"Accept": accept})
            assert answer.status_code == 404
            headers = {k: v for k, v in answer.headers.items() if k not in ("x-request-id", "content-length")}
            shown.append((answer.text.replace(suffix, "?"), headers))
        assert shown[0] == shown[1], (path, accept)


ERRORS = [
    (HandleNotFound.of(handle="88.999.1001/A"), "请勿购买", "do not buy"),
    (UnknownPrefix.of(prefix="88.999.9"), "可能属于其他节点", "may belong to another node"),
    (HandleGone.of(handle="88.999.1001/A", reason="换标", successor="88.999.1001/B"), "请勿购买", "do not buy"),
    (TooManyAttempts.of(retry_after=9), "不说明商品有问题", "says nothing about the goods"),
    (NodeError(), "不说明商品有问题", "says nothing about the goods"),
]


@pytest.mark.parametrize(("error", "words", "words_en"), ERRORS)
def test_each_says_what_to_do_next(node: Node, error: NodeError, words: str, words_en: str) -> None:
    chinese, english = refusals.problem(node, error), refusals.problem(node, error, ENGLISH)
    assert words in body_of(chinese)
    assert words_en in body_of(english)
    assert chinese.status_code == english.status_code == problems.status_of(error)
    assert chinese.headers["content-language"] == "zh-CN"
    assert english.headers["content-language"] == "en"
    for answer in (chinese, english):
        assert "12315" in body_of(answer)
        assert answer.headers["vary"] == "Accept, Accept-Language"


def test_tombstone_leads_to_its_successor(node: Node) -> None:
    gone = HandleGone.of(handle="88.999.1001/A", reason="换标", successor="88.999.1001/梨 B")
    html = body_of(refusals.problem(node, gone, ENGLISH))
    assert f'href="{node.settings.public_url}/88.999.1001/%E6%A2%A8%20B?lang=en"' in html


@pytest.mark.parametrize(
    ("typed", "words", "words_en"),
    [
        ("6901234567892", "商品条码（GTIN）", "bar code number"),
        ("690 1234 567892", "商品条码（GTIN）", "bar code number"),
        ("10.1000/182", "文献标识（DOI）", "identifier of a publication"),
        ("https://doi.org/10.1000/182", "文献标识（DOI）", "identifier of a publication"),
        ("106141412345678908", "物流单元代码（SSCC）", "logistic unit"),
        ("20.500.12345/ABC", "其他机构的 Handle", "another authority"),
        ("1.2.156.1000.1", "OID 标识", "another scheme (OID)"),
        ("81234560000001271234", "药品追溯码", "drug trace code"),
        ("10.1000/<script>", "文献标识（DOI）", "identifier of a publication"),
    ],
)
async def test_a_code_of_another_scheme(client: httpx.AsyncClient, typed: str, words: str, words_en: str) -> None:
    chinese = await client.get("/find", params={"id": typed}, headers=HTML)
    english = await client.get("/find", params={"id": typed, "lang": "en"}, headers=HTML)
    if chinese.status_code == 303:  # 20.500 has the form of a prefix: its page says that it does not live here
        chinese = await client.get(chinese.headers["location"], headers=HTML)
        assert chinese.status_code == 404
        return
    assert chinese.status_code == english.status_code == 422
    assert words in chinese.text
    assert words_en in english.text
    assert "<script" not in chinese.text
    other = re.search(r'class="switch" href="([^"]+)"', chinese.text)
    assert other is not None
    switched = await client.get("/find" + other[1].replace("&amp;", "&"), headers=HTML)
    assert words_en in switched.text


async def test_a_browser_gets_a_page_where_there_is_nothing(client: httpx.AsyncClient) -> None:
    page = await client.get("/6901234567892", headers=HTML)
    assert page.status_code == 404
    assert "没有这个页面" in page.text
    for path, accept in (("/6901234567892", "*/*"), ("/api/v1/nothing", "text/html")):
        answer = await client.get(path, headers={"Accept": accept})
        assert answer.headers["content-type"] == "application/problem+json", path


HOSTS = [
    ("https://www.lichen.example.cn/a?b=c", "www.lichen.example.cn"),
    ("HTTPS://WWW.Lichen.example.cn:8443/a", "www.lichen.example.cn"),
    ("https://梨晨.example/梨", "xn--nkvy3c.example"),
    ("https://аррӏе.example/", "xn--80ak6aa92e.example"),  # Cyrillic
    ("http://192.0.2.7/", "192.0.2.7"),
    ("https://[2001:db8::1]:443/", "[2001:db8::1]"),
]


@pytest.mark.parametrize(("url", "host"), HOSTS)
def test_the_host_is_in_clear(node: Node, url: str, host: str) -> None:
    link = read_link(url)
    assert link is not None
    assert link.host == host
    assert link.url.isascii()
    html = body_of(refusals.interstitial(node, "88.999.1001/A", url))
    assert f'<p class="leave">{host}</p>' in html
    assert "未经核验" in html
    assert "http-equiv" not in html
    assert 'href="http' not in html.replace(f'href="{node.settings.public_url}/88.999.1001/A"', "")


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)", "data:text/html,x", "//evil.example", "https://", "https://a b/", "https:///x",
        "https://safe.example@evil.example/", "https://user:pass@evil.example/", "https://evil\u202e.example/",
        "https://ex\u200bample.cn/", 'https://a.example/"onx=', "https://a.example/<script>", "https://a.example:99999/",
        "https://-.example/", "https://" + "a" * 64 + ".example/", "https://a.example/" + "x" * 3000, "ftp://a.example/",
    ],
)  # fmt: skip
def test_an_address_that_cannot_be_shown_safely(node: Node, url: str) -> None:
    assert read_link(url, lambda _: True) is None
    html = body_of(refusals.interstitial(node, "88.999.1001/A", url, ENGLISH, link_ok=lambda _: True))
    assert "cannot be used and is not shown" in html
    assert "evil" not in html


def test_a_proved_host_gets_a_link_and_only_over_https(node: Node) -> None:
    url = "https://www.lichen.example.cn/梨?a=1&b=2"
    answer = refusals.interstitial(node, "88.999.1001/A", url, link_ok=lambda _: True)
    assert 'href="https://www.lichen.example.cn/%E6%A2%A8?a=1&amp;b=2" rel="nofollow noopener noreferrer"' in body_of(
        answer
    )
    assert answer.status_code == 200
    plain = refusals.interstitial(node, "88.999.1001/A", "http://www.lichen.example.cn/", link_ok=lambda _: True)
    assert "不提供链接" in body_of(plain)


async def test_node_without_database(
    other_settings: Callable[..., Any], open_app: Callable[..., Any], settings: Any
) -> None:
    """The landing page stays, the code's page says what to do, and neither names what broke."""
    async with open_app(replace(settings, dev=True, pool_timeout=0.2)) as client:
        app = client._transport.app  # type: ignore[attr-defined]
        await app.node.pool.close()
        home = await client.get("/", headers=HTML)
        assert home.status_code == 200
        assert "<form" in home.text
        page = await client.get("/88.999.1001/NOT-CACHED", headers=HTML)
        assert page.status_code == 503
        assert "不说明商品有问题" in page.text
        assert "PostgreSQL" not in page.text
        assert page.headers["retry-after"]
