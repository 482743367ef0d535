"""The QR code of a handle: the shortest address that resolves, drawn as asked, read back by a decoder not ours."""

from __future__ import annotations

import io
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

import httpx
import pytest
import segno
import zxingcpp
from PIL import Image

import handle_codec
from node.config import Settings
from node.errors import BadRequest
from node.http import pages, qr
from node.runtime import Node

PUBLIC = "https://id.example.cn"


@pytest.fixture
def public(settings: Settings) -> Settings:
    return replace(settings, public_url=PUBLIC)


def picture(settings: Settings, handle: str, **query: str) -> Image.Image:
    drawing = qr.read_drawing({name: [value] for name, value in ({"qr": "png"} | query).items()})
    return Image.open(io.BytesIO(bytes(qr.response(settings, handle, drawing).body)))


def read(image: Image.Image) -> str:
    (found,) = zxingcpp.read_barcodes(image.convert("L"))
    return str(found.text)


@pytest.mark.parametrize(
    ("suffix", "address"),
    [
        ("LC-20260912-0001", "HTTPS://ID.EXAMPLE.CN/88.999.1001/LC-20260912-0001"),
        ("lc-20260912-0001", f"{PUBLIC}/88.999.1001/lc-20260912-0001"),
        ("Lc", f"{PUBLIC}/88.999.1001/Lc"),
        ("v12o456789abcd", "HTTPS://ID.EXAMPLE.CN/88.999.1001/V120456789ABCD"),  # a minted serial folds
        ("梨-0001", "HTTPS://ID.EXAMPLE.CN/88.999.1001/%E6%A2%A8-0001"),
        ("A+B$C*D:E/F", "HTTPS://ID.EXAMPLE.CN/88.999.1001/A+B$C*D:E/F"),
        ("A&B=C,D;E", "HTTPS://ID.EXAMPLE.CN/88.999.1001/A%26B%3DC%2CD%3BE"),
        ("a&b=c,d;e", f"{PUBLIC}/88.999.1001/a&b=c%2Cd%3Be"),
        ('箱 1"<x>', f"{PUBLIC}/88.999.1001/%E7%AE%B1%201%22%3Cx%3E"),
    ],
)
def test_the_code_holds_the_shortest_address(public: Settings, suffix: str, address: str) -> None:
    assert qr.shortest_address(public, f"88.999.1001/{suffix}") == address
    assert read(picture(public, f"88.999.1001/{suffix}")) == address
    assert re.fullmatch(r"[\x21-\x7e]+", address)
    plain = f"{PUBLIC}/88.999.1001/{suffix}"
    longest = segno.make(plain.encode(), error="m", micro=False, mode="byte").symbol_size()
    if address.isupper() and suffix.isascii():
        assert segno.make(address, error="m", micro=False).symbol_size() <= longest


def test_a_path_in_the_public_address_keeps_its_case(settings: Settings) -> None:
    here = replace(settings, public_url="https://example.cn/Suzhou")
    assert qr.shortest_address(here, "88.999.1001/A") == "https://example.cn/Suzhou/88.999.1001/A"
    digits = replace(settings, public_url="https://example.cn/34")
    assert qr.shortest_address(digits, "88.999.1001/A") == "HTTPS://EXAMPLE.CN/34/88.999.1001/A"


@pytest.mark.parametrize("suffix", ["LC-1", "lc-1", "Lc.2_x", "V-X"])
async def test_the_address_resolves(
    client: httpx.AsyncClient, make_firm: Callable[..., Awaitable[Any]], node: Node, suffix: str
) -> None:
    """Also where another handle differs in case alone."""
    firm = await make_firm()
    for other in {suffix, suffix.swapcase()}:
        body = {
            "handle": f"{firm.prefix}/{other}",
            "values": [{"index": 1, "type": "X", "data": {"format": "string", "value": other}}],
        }
        assert (await client.post("/api/v1/handles", json=body, headers=firm.headers)).status_code == 201
    address = read(picture(node.settings, f"{firm.prefix}/{suffix}"))
    answer = await client.get(urlsplit(address).path)
    assert answer.status_code == 200
    assert answer.json()["handle"] == f"{firm.prefix}/{suffix}"


async def test_the_page_gives_the_code_it_is_asked_for(
    client: httpx.AsyncClient, make_firm: Callable[..., Awaitable[Any]], node: Node
) -> None:
    firm = await make_firm()
    handle = f"{firm.prefix}/QR-1"
    assert (await client.post("/api/v1/handles", json={"handle": handle}, headers=firm.headers)).status_code == 201
    answer = await client.get(f"/{handle}?qr=png&size=600px&ec=h&quiet=6")
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["cache-control"] == "public, max-age=86400"
    assert read(Image.open(io.BytesIO(answer.content))) == qr.shortest_address(node.settings, handle)
    wrong = await client.get(f"/{handle}?qr=png&size=600cm")
    assert wrong.status_code == 400
    assert "size" in wrong.json()["detail"]


@pytest.mark.parametrize("error", ["l", "m", "q", "h"])
@pytest.mark.parametrize("quiet", [4, 10])
def test_level_and_quiet_zone(public: Settings, error: str, quiet: int) -> None:
    handle = "88.999.1001/LC-20260912-0001"
    image = picture(public, handle, size="800px", ec=error, quiet=str(quiet)).convert("L")
    code = segno.make(qr.shortest_address(public, handle), error=error, micro=False)
    side = code.symbol_size(border=quiet)[0]
    scale = 800 // side
    assert image.size == (side * scale, side * scale)  # whole pixels a module
    dark = image.point(lambda grey: 255 - grey).getbbox()
    assert dark == (quiet * scale, quiet * scale, (side - quiet) * scale, (side - quiet) * scale)
    assert "lmqh".index(code.error.lower()) >= "lmqh".index(error)
    assert read(image) == qr.shortest_address(public, handle)


def test_size_in_print(public: Settings) -> None:
    image = picture(public, "88.999.1001/LC-1", size="30mm")
    inches = image.size[0] / image.info["dpi"][0]
    assert abs(inches * 25.4 - 30) < 0.2
    assert image.size[0] / 33 >= 10  # pixels a module
    drawing = qr.read_drawing({"qr": ["svg"], "size": ["30mm"]})
    svg = ElementTree.fromstring(bytes(qr.response(public, "88.999.1001/LC-1", drawing).body))
    assert (svg.attrib["width"], svg.attrib["height"]) == ("30.0mm", "30.0mm")


def test_svg_without_a_size_fills_its_place(node: Node) -> None:
    answer = pages.qr(node, "88.999.1001/A", {"qr": ["svg"]})
    drawing = ElementTree.fromstring(bytes(answer.body))
    address = qr.shortest_address(node.settings, "88.999.1001/A")
    side = segno.make(address, error="m", micro=False).symbol_size(border=4)[0]
    assert drawing.attrib["viewBox"] == f"0 0 {side} {side}"
    assert "width" not in drawing.attrib
    assert answer.headers["content-type"] == "image/svg+xml"


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ({"qr": "gif"}, "qr"), ({"qr": ""}, "qr"), ({"ec": "x"}, "ec"), ({"ec": ""}, "ec"), ({"ec": "mm"}, "ec"),
        ({"quiet": "3"}, "quiet"), ({"quiet": "21"}, "quiet"), ({"quiet": "-4"}, "quiet"), ({"quiet": "四"}, "quiet"),
        ({"quiet": "4.5"}, "quiet"), ({"quiet": "²"}, "quiet"), ({"size": ""}, "size"), ({"size": "30"}, "size"),
        ({"size": "0mm"}, "size"), ({"size": "301mm"}, "size"), ({"size": "4001px"}, "size"), ({"size": "3e3px"}, "size"),
        ({"size": "30 mm"}, "size"), ({"size": "99999999px"}, "size"), ({"size": "٣٠mm"}, "size"),
        ({"size": "8mm"}, "at least 9mm"), ({"size": "40px"}, "at least 66px"), ({"size": "30px", "qr": "svg"}, "66px"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_is_named(public: Settings, query: dict[str, str], named: str) -> None:
    with pytest.raises(BadRequest) as caught:
        picture(public, "88.999.1001/LC-1", **query)
    assert named in caught.value.datum["reason"]
    assert caught.value.datum["reason_zh"]


def test_the_smallest_size_that_is_taken_is_read(public: Settings) -> None:
    assert read(picture(public, "88.999.1001/LC-1", size="66px")).endswith("/88.999.1001/LC-1")
    assert read(picture(public, "88.999.1001/LC-1", size="9mm")).endswith("/88.999.1001/LC-1")


def test_a_handle_as_long_as_may_be(public: Settings) -> None:
    handle = "88.999.1001/" + "梨" * 243
    handle_codec.parse(handle)
    assert read(picture(public, handle, ec="l")) == qr.shortest_address(public, handle)
