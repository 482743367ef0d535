"""The scan page: what it says, what it must never say, and that nothing on it can be turned against its reader."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
from scan_pages import COMPILED, ENGLISH, PICTURE, event, example_of, html_of, resolved_of

from node import scanning
from node.errors import HandleGone, NodeError, Unavailable
from node.http import pages, refusals
from node.model import Kind, PrefixStatus, Status
from node.runtime import Node, close_node, open_node

HTML = {"Accept": "text/html"}
EVIL = "<script>alert('x')</script>\"><img src=x>"


def test_hostile_values_stay_text(node: Node, examples: dict[str, Any]) -> None:
    attributes = {**example_of(examples, "pear"), "product_name": EVIL, "contact": EVIL}
    values = [{"index": 1, "type": EVIL, "data": {"format": "string", "value": "javascript:alert(1)"}}]
    html = html_of(node, resolved_of(COMPILED["pear"], attributes, values), [event(1, EVIL, EVIL)])
    assert "<script" not in html
    assert "<img src=x" not in html
    assert 'href="javascript' not in html
    assert "&lt;script&gt;" in html
    assert not re.search(r"<[^>]+\son\w+=", html)


def test_an_address_in_a_value_is_no_link(node: Node, examples: dict[str, Any]) -> None:
    attributes = {**example_of(examples, "pear"), "report_file": "https://phish.example.com/report.pdf"}
    html = html_of(node, resolved_of(COMPILED["pear"], attributes))
    assert "https://phish.example.com/report.pdf" in html
    assert 'href="https://phish' not in html


@pytest.mark.parametrize("code", sorted(COMPILED))
def test_private_attributes_are_never_on_the_page(node: Node, examples: dict[str, Any], code: str) -> None:
    """Even for the owner, who may read them as JSON: a page is shown to others."""
    compiled = COMPILED[code]
    attributes = example_of(examples, code)
    hidden = [f.code for f in compiled.template.fields if f.visibility != "public" and not f.list]
    marked = {**attributes, **dict.fromkeys(hidden, "GEHEIM")}
    values = [{"index": 1, "type": "X", "data": {"format": "string", "value": "GEHEIM"}, "permissions": "1100"}]
    html = html_of(node, resolved_of(compiled, marked, values))
    assert hidden
    assert "GEHEIM" not in html
    assert attributes["product_name"] in html
    assert len(html.encode()) < 12_000


@pytest.mark.parametrize(
    ("status", "tone", "words"),
    [
        (Status.ACTIVE, "good", "该标识由 示范合作社 于 2026-09-10 注册"),
        (Status.RECALLED, "bad", "该产品已召回"),
        (Status.VOID, "bad", "标识已作废"),
    ],
)
def test_verdict(node: Node, examples: dict[str, Any], status: Status, tone: str, words: str) -> None:
    item = resolved_of(COMPILED["pear"], example_of(examples, "pear"), status=status, reason="抽检不合格")
    html = html_of(node, item)
    assert f'class="verdict {tone}"' in html
    assert words in html
    assert "正品" not in html
    assert "12315" in html
    assert ("抽检不合格" in html) is (status != Status.ACTIVE)


def test_suspended_prefix(node: Node, examples: dict[str, Any]) -> None:
    item = resolved_of(COMPILED["pear"], example_of(examples, "pear"))
    stopped = replace(item, prefix=replace(item.prefix, status=PrefixStatus.STOPPED))
    assert 'class="verdict warn"' in html_of(node, stopped)


def test_trace_in_local_time_and_drugs_without_places(node: Node, examples: dict[str, Any]) -> None:
    pear = html_of(node, resolved_of(COMPILED["pear"], example_of(examples, "pear")), [event(1)])
    assert "2026-09-13 04:31" in pear
    assert "良梨冷库" in pear
    drug = html_of(node, resolved_of(COMPILED["pharma"], example_of(examples, "pharma")), [event(1, "某流通企业")])
    assert "2026-09-13 04:31" in drug
    assert "某流通企业" not in drug


def test_cells_of_a_table_stand_under_their_names(node: Node, examples: dict[str, Any]) -> None:
    """Also where a row has a hole, and where there are more rows than columns."""
    table = next(f for f in COMPILED["pear"].template.fields if f.code == "pesticide_records")
    assert [c.code for c in table.columns if c.visibility == "public"] == ["agent", "date", "interval_days"]
    full = {"agent": "苯醚甲环唑", "date": "2026-06-18", "interval_days": 14}
    holed = {"agent": "吡虫啉", "interval_days": 21}
    attributes = {**example_of(examples, "pear"), "pesticide_records": [full, full, full, full, holed]}
    html = html_of(node, resolved_of(COMPILED["pear"], attributes))
    last = re.findall(r"<li>(<span .*?)</li>", html)[4]
    assert re.findall(r"<b>(\S+)</b> <bdi>(.*?)</bdi>", last) == [("药剂登记名", "吡虫啉"), ("安全间隔期", "21 天")]
    english = html_of(node, resolved_of(COMPILED["pear"], attributes), reader=ENGLISH)
    assert "<b>Safety interval</b> <bdi>21 days</bdi>" in english


def test_page_stays_small_whatever_was_registered(node: Node, examples: dict[str, Any]) -> None:
    records = [{"agent": "\"'<&>" * 12, "date": "2026-06-18", "interval_days": 14}] * 200
    attributes = {**example_of(examples, "pear"), "pesticide_records": records, "thinning": "<疏果>" * 5000}
    values = [{"index": n, "type": "T" * 30, "data": {"format": "string", "value": "值" * 4000}} for n in range(1, 99)]
    events = [event(n, "<" * 255, "冷" * 255) for n in range(400)]
    html = html_of(node, resolved_of(COMPILED["pear"], attributes, values), events)
    assert len(html.encode()) < 60_000
    assert "此前还有 360 步" in html
    assert "查看完整数据" in html


async def test_trace_unavailable_still_shows_the_page(settings: Any, examples: dict[str, Any]) -> None:
    """A node whose database went away: its pool is shut."""
    opened = await open_node(settings)
    await opened.pool.close()
    try:
        resolved = resolved_of(COMPILED["pear"], example_of(examples, "pear"))
        answer = pages.scan_page(opened, resolved, await scanning.events_of(opened, resolved))
    finally:
        await close_node(opened)
    html = bytes(answer.body).decode()
    assert answer.status_code == 200
    assert "追溯信息暂时无法读取" in html
    assert "砀山酥梨" in html


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (HandleGone.of(handle="88.999.1001/A", reason=EVIL, successor="88.999.1001/梨 B"), 410, "标识已注销"),
        (Unavailable.of(what="PostgreSQL", retry_after=2), 503, "服务暂不可用"),
        (NodeError(), 500, "页面暂时出错"),
    ],
)
def test_refusals_as_pages(node: Node, error: NodeError, status: int, words: str) -> None:
    answer = refusals.problem(node, error)
    html = bytes(answer.body).decode()
    assert answer.status_code == status
    assert words in html
    assert "<script" not in html
    assert "PostgreSQL" not in html
    assert answer.headers.get("retry-after") == ("2" if status == 503 else None)
    if status == 410:
        assert f'href="{node.settings.public_url}/88.999.1001/%E6%A2%A8%20B"' in html


async def test_a_carton_is_scanned(
    client: httpx.AsyncClient,
    make_firm: Callable[..., Awaitable[Any]],
    examples: dict[str, Any],
) -> None:
    """Registered over REST, opened by a phone: the page, its headers, its QR code, and 410 once it is deleted."""
    firm = await make_firm()
    lot, item = f"{firm.prefix}/LC-1", f"{firm.prefix}/LC-1-0001"
    body = {"handle": lot, "template": "pear", "attributes": examples["pear"]["lot"]}
    assert (await client.post("/api/v1/lots", json=body, headers=firm.headers)).status_code == 201
    body = {"handle": item, "lot": lot, "attributes": examples["pear"]["item"]}
    assert (await client.post("/api/v1/handles", json=body, headers=firm.headers)).status_code == 201
    for handle, step, when in (
        (lot, "harvesting", "2026-09-12T08:20:00+08:00"),
        (item, "shipping", "2026-09-13T09:00:00+08:00"),
    ):
        form = {"handle": handle, "bizStep": step, "eventTime": when, "readPoint": "良梨镇"}
        assert (await client.post("/api/v1/events", json=form, headers=firm.headers)).status_code == 201
    page = await client.get(f"/{item}", headers=HTML)
    assert page.status_code == 200
    assert page.text.index("采收") < page.text.index("发货")
    assert examples["pear"]["lot"]["dest_party"] not in page.text
    assert "form-action 'none'" in page.headers["content-security-policy"]
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["cache-control"] == "private, no-store"
    assert page.headers["vary"] == "Accept, Accept-Language"
    assert page.headers["content-language"] == "zh-CN"
    english = await client.get(f"/{item}", headers={**HTML, "Accept-Language": "en-GB,en;q=0.9,zh;q=0.5"})
    assert english.headers["content-language"] == "en"
    assert "Harvesting" in english.text
    switched = await client.get(f"/{item}?lang=zh", headers={**HTML, "Accept-Language": "en"})
    assert switched.headers["content-language"] == "zh-CN"
    assert "?lang=zh" in re.findall(r'href="([^"]+)"><code>', switched.text)[0]  # links keep what was chosen
    assert (await client.get(f"/{item}?qr=png")).content.startswith(b"\x89PNG")
    assert (await client.get(f"/{item}?qr=gif")).status_code == 400
    gone = await client.delete(f"/api/v1/handles/{item}?reason=破损", headers=firm.headers)
    assert gone.status_code == 200
    page = await client.get(f"/{item}", headers=HTML)
    assert page.status_code == 410
    assert "破损" in page.text


async def test_landing_page_and_find(client: httpx.AsyncClient, settings: Any) -> None:
    home = await client.get("/")
    assert home.status_code == 200
    # The redirect after the form must be allowed too.
    assert f"form-action 'self' {settings.public_url};" in home.headers["content-security-policy"]
    found = await client.get("/find", params={"id": " hdl:８８.999.1001 / 梨 1 "})
    assert found.status_code == 303
    assert found.headers["location"] == f"{settings.public_url}/88.999.1001/%E6%A2%A8%201"
    for bad in ("", "<script>", "https://elsewhere.example.com/88.999.1001/A", "x" * 5000):
        answer = await client.get("/find", params={"id": bad})
        assert answer.status_code == 422, bad
        assert "<script" not in answer.text


async def test_every_file_that_a_page_names_is_served(client: httpx.AsyncClient) -> None:
    home = await client.get("/", headers=HTML)
    names = set(re.findall(r'(?:src|href)="(/static/[^"]+)"', home.text))
    assert {re.sub(r"\.[0-9a-f]{10}\.", ".", name) for name in names} == {"/static/page.css", "/static/mark.svg"}
    for name in names:
        served = await client.get(name)
        assert served.status_code == 200
        assert served.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert len(served.content) < 12_000
        # Another release's hash: the file as it is now, kept by nobody.
        other = await client.get(re.sub(r"\.[0-9a-f]{10}\.", ".0123456789.", name))
        assert other.content == served.content
        assert other.headers["cache-control"] == "no-cache"
    assert (await client.get("/static/nothing.css")).status_code == 404
    assert (await client.get("/static/..%2f__init__.py")).status_code == 404


@pytest.mark.parametrize(
    ("scans", "words", "words_en"),
    [
        (scanning.NOT_COUNTED, None, None),
        (scanning.Scans(0), "这是它第一次被扫码查询", "This is the first scan"),
        (scanning.Scans(1, 1_788_998_400.0), "首次在 <b>2026-09-10 08:00</b>。", "<b>1</b> time before, first on"),
        (scanning.Scans(7, 1_788_998_400.0, "宿州"), "<b>7</b> 次", "<b>7</b> times before"),
        (scanning.Scans(7, None), "<b>7</b> 次。", "<b>7</b> times before."),
    ],
)
def test_scans_before_this_one(
    node: Node, examples: dict[str, Any], scans: scanning.Scans, words: str | None, words_en: str | None
) -> None:
    item = resolved_of(COMPILED["pear"], example_of(examples, "pear"))
    html, english = html_of(node, item, scans=scans), html_of(node, item, reader=ENGLISH, scans=scans)
    if words is None or words_en is None:
        assert 'class="scans"' not in html
        return
    assert words in html
    assert words_en in english
    assert ("可能被复制" in html) is bool(scans.before)
    assert ("（宿州）" in html) is bool(scans.place)
    lot = replace(item, row=item.row.changed(kind=Kind.LOT))
    assert "可能被复制" not in html_of(node, lot, scans=scans)  # a lot's code is on many cartons


def test_claim_is_an_image_or_nothing(node: Node, examples: dict[str, Any]) -> None:
    item = resolved_of(COMPILED["pear"], example_of(examples, "pear"))
    claimed = html_of(node, item, claim="/claim/a?b&c")
    assert '<img class="claim" src="/claim/a?b&amp;c" width="1" height="1" alt="">' in claimed
    assert html_of(node, item) == re.sub(r'<img class="claim"[^>]*>', "", claimed)


def test_the_order_of_the_page(node: Node, examples: dict[str, Any]) -> None:
    """Verdict, product, the way it came, tests, the enterprise, how to complain: in every trade."""
    for code, compiled in COMPILED.items():
        html = html_of(node, resolved_of(compiled, example_of(examples, code)), [event(1)])
        trade = pages.LOOK.trades.by_code[code]
        marks = ['class="verdict', 'class="name"', f"<h2>{trade.way_zh}", f"<h2>{trade.tests_zh}", "<h2>企业", "12315"]
        places = [html.index(mark) for mark in marks]
        assert places == sorted(places), code


def test_a_page_speaks_one_language(node: Node, examples: dict[str, Any]) -> None:
    """Whatever stands in Chinese on the English page is a value, and says so."""
    item = resolved_of(COMPILED["pear"], example_of(examples, "pear"))
    english = html_of(node, item, [event(1)], ENGLISH, scanning.Scans(3, 1_788_998_400.0))
    assert '<html lang="en"' in english
    assert "Compare the lot number" in english
    without = re.sub(r'<(\w+)[^>]*lang="zh-CN"[^>]*>.*?</\1>', "", english, flags=re.DOTALL)
    body = without[without.index("<body") :]
    assert set(re.findall(r"[\u4e00-\u9fff]+", body)) <= {"示范合作社"}  # the name in the verdict's sentence
    chinese = html_of(node, item, [event(1)])
    assert "Compare" not in chinese
    assert "Enterprise" not in chinese


def test_picture_of_a_proved_host_only(node: Node, examples: dict[str, Any]) -> None:
    attributes = {**example_of(examples, "machinery"), "nameplate_image": PICTURE}
    item = resolved_of(COMPILED["machinery"], attributes)
    plain = html_of(node, item)
    assert 'class="host">img.lichen.example.cn<' in plain
    assert "未经核验" in plain
    assert PICTURE in plain
    assert f'"{PICTURE}"' not in plain
    answer = pages.scan_page(node, item, [], link_ok=lambda url: url.startswith("https://img.lichen.example.cn/"))
    assert f'<img src="{PICTURE}"' in bytes(answer.body).decode()
    assert "img-src 'self' https://img.lichen.example.cn;" in answer.headers["content-security-policy"]


def test_invisible_characters_are_seen(node: Node, examples: dict[str, Any]) -> None:
    """Registered long ago or elsewhere: zero-width, bidi and filler characters stand as what they are."""
    attributes = {**example_of(examples, "pear"), "brand": "梨\u200b晨", "product_name": "酥\u202e梨\u3164"}
    html = html_of(node, resolved_of(COMPILED["pear"], attributes), [event(1, "良\u2066梨", "入\ufeff库")])
    assert "梨[U+200B]晨" in html
    assert "酥[U+202E]梨[U+3164]" in html
    assert "良[U+2066]梨" in html
    assert not re.search("[\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff]", html)
