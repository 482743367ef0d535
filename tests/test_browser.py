"""The pages in a real browser, on a phone's screen: Debian's Chromium, driven by Playwright.

Pictures of all of them are left in reports/screens; the README's two are copied from there to examples/screens.
"""

from __future__ import annotations

import io
import os
import re
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import zxingcpp
from browser_site import INDUSTRIES, STATES, Site, fill, served
from PIL import Image
from playwright.async_api import Browser, Page, async_playwright
from scan_pages import COMPILED, event, example_of, resolved_of

from node.http import pages, qr, refusals
from node.http.negotiation import Reader
from node.runtime import Node
from node.scanning import Scans

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]
ROOT = Path(__file__).parent.parent
SCREENS = ROOT / "reports" / "screens"
VENDOR = ROOT / "tests" / "vendor"
PHONE, NARROW = {"width": 390, "height": 844}, {"width": 320, "height": 640}
BUDGET = 60_000  # bytes of a page with all that it fetches, headers included
NAMES = (*INDUSTRIES, *STATES)

if CHROMIUM is None and not os.environ.get("DEMAND_BROWSER"):
    pytest.skip("no chromium here: the pages were seen by no browser", allow_module_level=True)


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    assert CHROMIUM is not None, "DEMAND_BROWSER is set and there is no chromium"
    SCREENS.mkdir(parents=True, exist_ok=True)
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield launched
        await launched.close()


@pytest.fixture(scope="module")
async def site(settings: Any, make_firm: Callable[..., Awaitable[Any]]) -> AsyncIterator[Site]:
    async with served(settings) as running:
        await fill(running, settings, await make_firm())
        yield running


@asynccontextmanager
async def opened(browser: Browser, address: str = "", **options: Any) -> AsyncIterator[Page]:
    """The page at the address; fails over any complaint of the browser's, CSP's among them."""
    context = await browser.new_context(**{"viewport": PHONE, "locale": "zh-CN", **options})
    context.set_default_timeout(60_000)
    page = await context.new_page()
    complaints: list[str] = []
    page.on(
        "console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfailed", lambda request: complaints.append(f"{request.url} failed"))
    try:
        if address:
            await page.goto(address, wait_until="load")
        yield page
        # A page of status 404 or 503 is itself told to the console as a resource that failed to load.
        assert [c for c in complaints if "the server responded with a status of" not in c] == []
    finally:
        await context.close()


async def axe(page: Page) -> list[str]:
    """Serious and critical faults that axe-core finds, with the element."""
    await page.evaluate((VENDOR / "axe-core" / "axe.min.js").read_text("utf-8"))
    found = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{fault['id']}: {node['html'][:200]}"
        for fault in found["violations"]
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]


async def overflow(page: Page) -> int:
    return int(await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


async def fits(page: Page) -> None:
    """No sideways scrolling on a narrow phone, at the usual type and at twice its size."""
    await page.set_viewport_size(NARROW)
    assert await overflow(page) == 0
    await page.evaluate("document.documentElement.style.fontSize = '200%'")
    assert await overflow(page) == 0


@pytest.mark.parametrize("lang", ["zh", "en"])
@pytest.mark.parametrize("name", NAMES)
async def test_every_page_on_a_phone(browser: Browser, site: Site, name: str, lang: str) -> None:
    async with opened(browser, site.address(name, lang)) as page:
        assert await page.locator("h1").count() == 1
        assert await page.evaluate("document.documentElement.lang") == {"zh": "zh-CN", "en": "en"}[lang]
        assert await page.locator("script").count() == 0
        await page.screenshot(path=SCREENS / f"{name}-{lang}.jpg", type="jpeg", quality=72, full_page=True)
        assert await axe(page) == []
        await fits(page)


@pytest.mark.parametrize("lang", ["zh", "en"])
@pytest.mark.parametrize("kind", ["nobody", "proved", "unusable"])
async def test_the_page_before_an_outside_address(
    browser: Browser, site: Site, node: Node, kind: str, lang: str
) -> None:
    """Served in the place of a page of the node's: the front door calls it for `?redirect=1`."""
    url = "javascript:alert(1)" if kind == "unusable" else "https://梨晨.example/promo?x=1"
    answer = refusals.interstitial(node, "88.999.1001/A", url, Reader(lang), link_ok=lambda _: kind == "proved")
    async with opened(browser) as page:
        headers = {k: v for k, v in answer.headers.items() if k != "content-length"}
        await page.route("**/leaving", lambda route: route.fulfill(body=bytes(answer.body).decode(), headers=headers))
        await page.goto(f"{site.url}/leaving")
        await page.wait_for_load_state("networkidle")
        assert page.url == f"{site.url}/leaving"  # nothing forwards
        links = [await link.get_attribute("href") for link in await page.locator("main a").all()]
        assert [link for link in links if "xn--nkvy3c.example" in str(link)] == (
            ["https://xn--nkvy3c.example/promo?x=1"] if kind == "proved" else []
        )
        await page.screenshot(path=SCREENS / f"leaving-{kind}-{lang}.jpg", type="jpeg", quality=72)
        assert await axe(page) == []
        await fits(page)


@pytest.mark.parametrize("name", [*INDUSTRIES, "recalled", "unknown", "suspended"])
async def test_in_the_dark(browser: Browser, site: Site, name: str) -> None:
    async with opened(browser, site.address(name, "zh"), color_scheme="dark") as page:
        await page.screenshot(path=SCREENS / f"{name}-dark.jpg", type="jpeg", quality=72)
        assert await axe(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("lang", ["zh", "en"])
async def test_a_page_with_everything_on_it(
    browser: Browser, site: Site, node: Node, examples: dict[str, Any], lang: str, scheme: Any
) -> None:
    """What the demo's goods do not show: earlier scans, a failed test, an address that nobody proved, a claim."""
    attributes = example_of(examples, "pear") | {"residue_result": "不合格", "report_file": "https://phish.example/a"}
    shown = (resolved_of(COMPILED["pear"], attributes), [event(1)], Reader(lang), Scans(7, 1_788_998_400.0, "宿州"))
    answer = pages.scan_page(node, *shown, "/claim")
    async with opened(browser, color_scheme=scheme) as page:
        headers = {k: v for k, v in answer.headers.items() if k != "content-length"}
        await page.route("**/all", lambda route: route.fulfill(body=bytes(answer.body).decode(), headers=headers))
        await page.route("**/claim", lambda route: route.fulfill(body=b"", content_type="image/gif"))
        async with page.expect_request("**/claim"):
            await page.goto(f"{site.url}/all")
        for part in (".scans", ".fail", ".warning", ".host"):
            assert await page.locator(part).first.is_visible()
        await page.screenshot(path=SCREENS / f"all-{scheme}-{lang}.jpg", type="jpeg", quality=72, full_page=True)
        assert await axe(page) == []
        await fits(page)


@pytest.mark.parametrize("name", INDUSTRIES)
async def test_bytes_and_requests(browser: Browser, site: Site, name: str) -> None:
    """All that a phone fetches for a page, favicon and headers too: from the node alone, without a script."""
    async with opened(browser) as page:
        fetched: list[Any] = []
        page.on("requestfinished", lambda request: fetched.append(request))
        await page.goto(site.address(name, "zh"), wait_until="networkidle")
        sizes = [await request.sizes() for request in fetched]
        total = sum(size["responseBodySize"] + size["responseHeadersSize"] for size in sizes)
        kinds = sorted(request.resource_type for request in fetched)
        assert all(request.url.startswith(site.url) for request in fetched)
        assert "script" not in kinds
        assert {"document", "stylesheet"} <= set(kinds)
        assert len(kinds) <= 4  # the icon of the tab, where the browser wants it
        assert 10_000 < total < BUDGET


async def test_nothing_moves_while_it_loads(browser: Browser, site: Site) -> None:
    watch = "window.moved = 0; new PerformanceObserver(l => l.getEntries().forEach(e => window.moved += e.value))"
    async with opened(browser) as page:
        await page.add_init_script(f"{watch}.observe({{type: 'layout-shift', buffered: true}})")
        for name in INDUSTRIES:
            await page.goto(site.address(name, "zh"), wait_until="networkidle")
            assert await page.evaluate("window.moved") == 0


def counted(text: str) -> str:
    """The text without how often it was scanned: each opening is a scan."""
    return re.sub(r"\n(这是它第一次|此前已被扫码)[^\n]*", "", text)


async def test_complete_without_scripts(browser: Browser, site: Site) -> None:
    address = site.address("pear", "zh")
    async with opened(browser, address) as page:
        with_scripts = counted(await page.inner_text("body"))
    async with opened(browser, address, java_script_enabled=False) as page:
        assert counted(await page.locator("body").inner_text()) == with_scripts


async def test_by_keyboard(browser: Browser, site: Site) -> None:
    """Tab goes down the page in the order in which it is read; where it is can be seen; the skip link skips."""
    async with opened(browser, site.address("pear", "zh")) as page:
        seen, tops = [], []
        for _ in range(30):
            await page.keyboard.press("Tab")
            here = await page.evaluate(
                "(() => { const e = document.activeElement, s = getComputedStyle(e), r = e.getBoundingClientRect();"
                "return [e.tagName, e.textContent.trim(), s.outlineStyle, r.top + scrollY, r.height] })()"
            )
            if here[0] == "BODY":
                break
            seen.append(here[1])
            tops.append(here[3])
            assert here[2] == "solid", here
            assert here[4] >= 20, here
        assert seen[:3] == ["跳到正文", "宿州市工业互联网标识解析二级节点", "English"]
        assert "投诉举报 12315" in seen
        assert seen[-1] == "二维码"
        assert tops[3:] == sorted(tops[3:])
        await page.reload()
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        assert page.url.endswith("#main")


async def test_the_switch_changes_the_language_and_stays(browser: Browser, site: Site) -> None:
    async with opened(browser, site.url + site.paths["pear"]) as page:
        await page.get_by_text("English", exact=True).click()
        assert await page.inner_text("h1") == "Registered code"
        await page.locator("main a[href*='lang=en']").first.click()
        assert await page.evaluate("document.documentElement.lang") == "en"
        await page.get_by_text("中文", exact=True).click()
        assert await page.inner_text("h1") == "已登记的标识"
    async with opened(browser, site.url + site.paths["pear"], locale="en-GB") as page:
        assert await page.inner_text("h1") == "Registered code"


@pytest.mark.parametrize(("name", "lang"), [("pear", "zh"), ("textile", "en")])
async def test_the_pictures_of_the_readme_stay_small(browser: Browser, site: Site, name: str, lang: str) -> None:
    async with opened(browser, site.address(name, lang), viewport={"width": 390, "height": 1300}) as page:
        taken = SCREENS / f"readme-{name}-{lang}.jpg"
        await page.screenshot(path=taken, type="jpeg", quality=72)
    for picture in (taken, ROOT / "examples" / "screens" / f"{name}-{lang}.jpg"):
        assert 10_000 < picture.stat().st_size < 120_000


async def test_the_way_from_the_first_page(browser: Browser, site: Site) -> None:
    """Type a code and press Enter: a form's redirect meets the page's own CSP."""
    async with opened(browser, site.address("front", "en")) as page:
        await page.fill("#id", site.paths["pear"].removeprefix("/"))
        await page.keyboard.press("Enter")
        await page.wait_for_url(f"**{site.paths['pear']}?lang=en")
        assert await page.inner_text("h1") == "Registered code"


async def test_the_qr_code_is_read_from_the_picture_of_the_page(browser: Browser, site: Site, settings: Any) -> None:
    async with opened(browser, site.address("pear", "zh"), device_scale_factor=2) as page:
        await page.locator("summary").focus()
        async with page.expect_response("**qr=svg"):
            await page.keyboard.press("Enter")
        await page.locator(".qr").scroll_into_view_if_needed()
        await page.wait_for_function("document.querySelector('.qr').naturalWidth > 0")
        shot = Image.open(io.BytesIO(await page.screenshot()))
    (found,) = zxingcpp.read_barcodes(shot.convert("L"))
    node_settings = site.app.node.settings
    assert found.text == qr.shortest_address(node_settings, site.paths["pear"].removeprefix("/"))


async def test_a_node_without_a_database(browser: Browser, settings: Any) -> None:
    async with served(settings) as lonely:
        await lonely.app.node.pool.close()
        for lang, words in (("zh", "不说明商品有问题"), ("en", "says nothing about the goods")):
            async with opened(browser, f"{lonely.url}/88.999.1001/NEVER-SEEN?lang={lang}") as page:
                assert words in await page.inner_text("main")
                await page.screenshot(path=SCREENS / f"no-database-{lang}.jpg", type="jpeg", quality=72)
                assert await axe(page) == []
                await fits(page)
