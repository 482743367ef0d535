"""The look of a trade comes from its data file alone; an eighth industry is one file."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from node import template_files
from node.catalogue import publish_industries
from node.errors import TemplateError
from node.http import pages
from node.runtime import Node
from node.template_files import FOLDER, load_industries
from node.trades import Trades, contrast, mixed, stylesheet

TEA = """
code = "tea"
version = 1
zh = "霍山黄芽"
en = "Huoshan yellow tea"
industry = "tea"
gb4754 = "C1530"
basis = ["GB/T 21726"]
groups = [
  { code = "garden", zh = "茶园", en = "Tea garden" },
  { code = "product" },
]
fields = [
  { code = "garden_name", zh = "茶园名称", en = "Garden", type = "S", max = 64, visibility = "public", group = "garden" },
  { code = "altitude_m", zh = "海拔", en = "Altitude", type = "N", unit = "m", visibility = "public", group = "garden" },
  { code = "picked", zh = "采摘日期", en = "Picked", type = "D", visibility = "public", group = "garden" },
  { code = "tasting", zh = "审评结论", en = "Tasting", type = "E", enum = ["合格", "不合格"], enum_en = ["passed", "failed"], visibility = "public", group = "quality" },
]

[display]
accent = "#5a6b12"
accent_dark = "#c4d873"
icon = "M4 9h12v6a5 5 0 0 1-10 0z"
badge = "altitude_m"
facts = ["picked", "batch_no"]
way = ["garden"]
way_zh = "从茶园到茶杯"
way_en = "From the garden to the cup"
results = { tasting = ["合格"] }

[display.icons]
garden = "M12 21v-9M3 12h6"
"""
GOODS = {
    "product_category": "1530 精制茶加工",
    "brand": "黄芽",
    "product_name": "霍山黄芽 罐装",
    "manufacturer": "宿州示范茶业有限公司",
    "produced_at": "2026-04-20",
    "batch_no": "HY-0420",
    "exec_standard": "GB/T 21726",
    "garden_name": "三号茶园",
    "altitude_m": 620,
    "picked": "2026-04-12",
    "tasting": "合格",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The data files that come with the node, and one more."""
    for file in FOLDER.glob("*.toml"):
        shutil.copy(file, tmp_path)
    (tmp_path / "tea.toml").write_text(TEA, "utf-8")
    return tmp_path


async def test_an_eighth_industry_is_one_data_file(
    folder: Path,
    node: Node,
    client: httpx.AsyncClient,
    make_firm: Callable[..., Awaitable[Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Published, registered and opened as the seven are."""
    monkeypatch.setattr(pages, "LOOK", pages.Look(Trades(folder)))
    async with node.pool.acquire() as conn:
        await publish_industries(conn, folder)
    firm = await make_firm()
    handle = f"{firm.prefix}/HY-0420-0001"
    body = {"handle": handle, "template": "tea", "attributes": GOODS}
    answer = await client.post("/api/v1/handles", json=body, headers=firm.headers)
    assert answer.status_code == 201, answer.text
    page = (await client.get(f"/{handle}", headers={"Accept": "text/html"})).text
    assert 'class="t-tea"' in page
    assert "M4 9h12v6a5 5 0 0 1-10 0z" in page
    assert "M12 21v-9M3 12h6" in page
    assert "<span>海拔</span> <b>620 m</b>" in page.replace(' lang="zh-CN"', "")
    assert (
        page.index("<dt>采摘日期") < page.index("<dt>批次号") < page.index("从茶园到茶杯") < page.index("<dt>茶园名称")
    )
    assert '<span class="result pass">合格</span>' in page
    english = (await client.get(f"/{handle}?lang=en", headers={"Accept": "text/html"})).text
    assert "From the garden to the cup" in english
    css = await client.get(pages.LOOK.assets.address("page.css"))
    assert ".t-tea{--accent:#5a6b12" in css.text


def test_the_seven_differ_in_all_that_a_reader_sees() -> None:
    trades = Trades().by_code
    assert len(trades) == 7
    for attribute in ("accent", "accent_dark", "icon", "badge", "facts", "way_zh", "way_en", "compare_zh"):
        assert len({getattr(trade, attribute) for trade in trades.values()}) == 7, attribute


def test_the_look_is_outside_the_digest(folder: Path) -> None:
    before = {t.code: t.digest for t in load_industries(folder)}
    file = folder / "tea.toml"
    file.write_text(file.read_text("utf-8").replace("#5a6b12", "#3d5a80"), "utf-8")
    template_files.document.cache_clear()
    assert Trades(folder).by_code["tea"].accent == "#3d5a80"
    assert {t.code: t.digest for t in load_industries(folder)} == before
    template_files.document.cache_clear()


def test_a_template_without_a_look_of_its_own() -> None:
    trades = Trades()
    assert trades.of("pear-premium", "pear") is trades.by_code["pear"]
    assert trades.of("unheard", "of") is trades.plain
    assert trades.of_template(None) is trades.plain


@pytest.mark.parametrize(
    ("right", "wrong", "named"),
    [
        ('accent = "#5a6b12"', 'accent = "#c4d873"', "contrast"),  # legible on the dark paper only
        ('accent_dark = "#c4d873"', 'accent_dark = "#5a6b12"', "contrast"),
        ('accent = "#5a6b12"', 'accent = "red;}body{"', "accent"),
        ('icon = "M4 9h', 'icon = "M4\\"/><script>', "icon"),
        ('garden = "M12', 'garden = "<b>', "garden"),
        ('badge = "altitude_m"', 'badge = "nothing"', "nothing"),
        ('facts = ["picked"', 'facts = ["nothing"', "nothing"),
        ('way = ["garden"]', 'way = ["nothing"]', "nothing"),
        ("results = { tasting", "results = { nothing", "nothing"),
        ('way_zh = "从茶园到茶杯"', "way_zh = 3", "display"),
        ('badge = "altitude_m"', 'colour = "x"', "colour"),
    ],
)
def test_a_look_that_makes_no_sense_is_refused(folder: Path, right: str, wrong: str, named: str) -> None:
    text = (folder / "tea.toml").read_text("utf-8")
    assert right in text
    (folder / "tea.toml").write_text(text.replace(right, wrong), "utf-8")
    with pytest.raises(TemplateError) as caught:
        Trades(folder)
    assert "tea.toml" in str(caught.value)
    assert named in str(caught.value)


def test_colours() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)  # WCAG's own example of just too little
    assert mixed("#000000", "#ffffff", 0.1) == "#e6e6e6"
    css = stylesheet(Trades())
    assert css.count("{") == css.count("}")
    assert len(css) < 1200
