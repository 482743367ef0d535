"""What an enterprise registers against its readers: refused with the field named, or shown as harmless text."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

HTML = {"Accept": "text/html"}
BIDI = "酥\u202e梨\u202c"
# What is registered as product_name and brand, and whether it is refused or what the page shows instead.
CASES = {
    "script": ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
    "attribute": ('" onmouseover="alert(1)', "&#34; onmouseover=&#34;alert(1)"),
    "comment": ("--><img src=x onerror=alert(1)>", "--&gt;&lt;img src=x onerror=alert(1)&gt;"),
    "template": ("{{ 7*7 }}{% raw %}", "{{ 7*7 }}{% raw %}"),
    "entity": ("&lt;b&gt;&#x202e;", "&amp;lt;b&amp;gt;&amp;#x202e;"),
    "zero width": ("砀山\u200b酥梨\u2060", "砀山[U+200B]酥梨[U+2060]"),
    "marks": ("梨\u200e\u200f\u061c", "梨[U+200E][U+200F][U+061C]"),
    "filler": ("梨\u3164", "梨[U+3164]"),
    "tags": ("梨\U000e0041", "梨[U+E0041]"),
    "bidi": (BIDI, None),
    "isolate": ("梨\u2066x\u2069", None),
    "line separator": ("梨\u2028x", None),
    "mark of order": ("\ufeff梨", None),
    "nul": ("梨\x00", None),
    "escape": ("\x1b[31m梨", None),
    "100 KB": ("梨" * 34_000, None),
}


@pytest.fixture(scope="module")
async def hostile(make_firm: Callable[..., Awaitable[Any]]) -> Any:
    return await make_firm()


def refused_fields(answer: httpx.Response) -> set[str]:
    assert answer.status_code == 422, answer.text
    return {error["field"] for error in answer.json()["errors"]}


@pytest.mark.parametrize("case", CASES)
async def test_attributes(client: httpx.AsyncClient, hostile: Any, examples: dict[str, Any], case: str) -> None:
    text, shown = CASES[case]
    attributes = {**examples["pear"]["lot"], **examples["pear"]["item"], "product_name": text, "brand": text}
    handle = f"{hostile.prefix}/EVIL-{sorted(CASES).index(case)}"
    body = {"handle": handle, "template": "pear", "attributes": attributes}
    answer = await client.post("/api/v1/handles", json=body, headers=hostile.headers)
    if shown is None:
        found = refused_fields(answer)
        assert "attributes.product_name" in found
        assert (await client.get(f"/{handle}", headers=HTML)).status_code == 404
        return
    assert answer.status_code == 201, answer.text
    for lang in ("zh", "en"):
        page = await client.get(f"/{handle}?lang={lang}", headers=HTML)
        assert f">{shown}</h2>" in page.text
        assert f"<title>{shown} ·" in page.text
        assert "<script" not in page.text
        assert not re.search(r"<[^>]+\son\w+=", page.text)


@pytest.mark.parametrize("case", CASES)
async def test_values(client: httpx.AsyncClient, hostile: Any, case: str) -> None:
    """Handle values may hold any bytes, as the protocol has it: the page shows them as text, the small and the large."""
    text, shown = CASES[case]
    handle = f"{hostile.prefix}/VALUE-{sorted(CASES).index(case)}"
    value = {"index": 1, "type": "NOTE", "data": {"format": "string", "value": text}}
    answer = await client.post("/api/v1/handles", json={"handle": handle, "values": [value]}, headers=hostile.headers)
    if answer.status_code != 201:
        assert any(field.startswith("values") for field in refused_fields(answer))
        return
    page = await client.get(f"/{handle}", headers=HTML)
    assert page.status_code == 200
    assert "<script" not in page.text
    assert len(page.content) < 12_000
    assert not re.search("[\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff]", page.text)
    if shown is not None:
        assert f">{shown}</dd>" in page.text


@pytest.mark.parametrize("case", CASES)
async def test_events(client: httpx.AsyncClient, hostile: Any, case: str) -> None:
    text, shown = CASES[case]
    handle = f"{hostile.prefix}/EVENT-{sorted(CASES).index(case)}"
    made = await client.post("/api/v1/handles", json={"handle": handle}, headers=hostile.headers)
    assert made.status_code == 201
    event = {"handle": handle, "bizStep": "storing", "eventTime": "2026-09-12T08:20:00+08:00", "readPoint": text}
    answer = await client.post("/api/v1/events", json=event, headers=hostile.headers)
    if shown is None:
        assert answer.status_code == 422, answer.text
        assert "readPoint" in answer.text
        return
    assert answer.status_code == 201, answer.text
    page = await client.get(f"/{handle}", headers=HTML)
    assert f"<span>{shown}</span>" in page.text
    assert "<script" not in page.text


async def test_a_reason_and_a_successor(client: httpx.AsyncClient, hostile: Any) -> None:
    """What a tombstone says is written by the enterprise too."""
    for number, (text, shown) in enumerate(CASES.values()):
        if len(text) > 1000:
            continue
        handle = f"{hostile.prefix}/GONE-{number}"
        await client.post("/api/v1/handles", json={"handle": handle}, headers=hostile.headers)
        path = f"/api/v1/handles/{handle}"
        gone = await client.delete(path, params={"reason": text}, headers=hostile.headers)
        if gone.status_code != 200:
            assert refused_fields(gone) == {"reason"}
            continue
        page = await client.get(f"/{handle}", headers=HTML)
        assert page.status_code == 410
        assert "<script" not in page.text
        assert shown is not None
        assert shown in page.text


@pytest.mark.parametrize("lang", ["<script>", "en'\"", "\u202e", "x" * 5000, ""])
async def test_a_language_that_is_none(client: httpx.AsyncClient, hostile: Any, lang: str) -> None:
    page = await client.get(f"/{hostile.prefix}/NOTHING", params={"lang": lang}, headers=HTML)
    assert page.status_code == 404
    assert page.headers["content-language"] == "zh-CN"
    assert "<script" not in page.text
    assert "<script" not in (await client.get("/", params={"lang": lang}, headers=HTML)).text
