"""Which form and language of an answer a client gets (RFC 9110 sections 12.5.1 and 12.5.4)."""

from __future__ import annotations

import httpx
import pytest

from node.http.negotiation import Reader, reader_of, wants_page

TABLE = [
    ("", False),
    ("*/*", False),
    ("text/html", True),
    ("TEXT/HTML", True),
    ("application/xhtml+xml", True),
    ("application/json", False),
    ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", True),
    ("application/json, text/html", True),
    ("application/json, text/html;q=0.9", False),
    ("application/json;q=0.5, text/html;q=0.9", True),
    ("text/html;q=0, */*", False),
    ("text/html;q=0", False),
    ("text/html;q=nonsense", False),
    ("text/*", False),
    ("image/webp,*/*;q=0.8", False),
    ("application/*, text/html;q=0.5", False),
    (",;,q=", False),
]


@pytest.mark.parametrize(("accept", "page"), TABLE)
def test_preference(accept: str, page: bool) -> None:
    assert wants_page(accept) is page


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("text/html", "text/html; charset=utf-8"),
        ("*/*", "application/problem+json"),
        ("application/json", "application/problem+json"),
    ],
)
async def test_refusal_has_the_form_that_was_asked_for(
    client: httpx.AsyncClient, accept: str, content_type: str
) -> None:
    answer = await client.get("/88.999.9999/NOTHING", headers={"Accept": accept})
    assert answer.status_code == 404
    assert answer.headers["content-type"] == content_type


@pytest.mark.parametrize(
    ("accept_language", "lang"),
    [
        ("", "zh"), ("*", "zh"), ("zh-CN,zh;q=0.9,en;q=0.8", "zh"), ("en", "en"), ("EN-GB", "en"),
        ("en-GB,en;q=0.9", "en"), ("en;q=0.5, zh;q=0.5", "zh"), ("en;q=0.8, zh;q=0.5", "en"), ("en, *", "zh"),
        ("en, *;q=0.5", "en"), ("en;q=0", "zh"), ("fr, de", "zh"), ("fr, en;q=0.1", "en"), ("english", "zh"),
        ("zh-Hant-TW, en;q=0.9", "zh"), (",;,q=", "zh"), ("en;q=nonsense", "zh"), ("zh;q=0, en;q=0.2", "en"),
    ],
)  # fmt: skip
def test_language(accept_language: str, lang: str) -> None:
    assert reader_of(accept_language) == Reader(lang, False)


def test_the_switch_comes_first() -> None:
    assert reader_of("en", "zh") == Reader("zh", True)
    assert reader_of("zh", "en").query == "?lang=en"
    assert reader_of("en", "fr") == Reader("en", False)
    assert reader_of("en", "").query == ""
