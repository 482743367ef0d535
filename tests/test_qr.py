"""The QR code of a handle holds its address under PUBLIC_URL, and nothing else."""

from __future__ import annotations

import re
import struct
import zlib
from xml.etree import ElementTree

import pytest
import segno

from node.errors import BadRequest
from node.http import pages
from node.runtime import Node


def modules_of_png(png: bytes) -> tuple[tuple[int, ...], ...]:
    """The pixels of a one-channel PNG without interlace, 1 for dark (ISO/IEC 15948), read by hand."""
    position, data, header = 8, b"", b""
    while position < len(png):
        (length,) = struct.unpack(">I", png[position : position + 4])
        kind, chunk = png[position + 4 : position + 8], png[position + 8 : position + 8 + length]
        header, data = (chunk if kind == b"IHDR" else header), data + (chunk if kind == b"IDAT" else b"")
        position += 12 + length
    width, height, depth = struct.unpack(">IIB", header[:9])
    assert depth == 1
    raw, stride = zlib.decompress(data), (width + 7) // 8 + 1
    rows, above = [], bytes(stride - 1)
    for y in range(height):
        kind_of_filter, row = raw[y * stride], raw[y * stride + 1 : (y + 1) * stride]
        assert kind_of_filter in (0, 2)  # none, or the difference to the row above
        above = bytes((a + b) % 256 for a, b in zip(row, above, strict=True)) if kind_of_filter else row
        rows.append(above)
    return tuple(tuple(1 - (row[x // 8] >> (7 - x % 8) & 1) for x in range(width)) for row in rows)


@pytest.mark.parametrize("suffix", ["LC-20260912-0001", "梨 箱/0001#?%", "a+b&c=d"])
def test_qr_holds_the_public_address(node: Node, suffix: str) -> None:
    address = pages.address_of(node, f"88.999.1001/{suffix}")
    assert address.startswith(f"{node.settings.public_url}/88.999.1001/")
    assert re.fullmatch(r"[\x21-\x7e]+", address)
    assert not set("#?") & set(address)
    png = pages.qr(node, f"88.999.1001/{suffix}", "png")
    pixels = modules_of_png(bytes(png.body))
    expected = segno.make(address, error="m", micro=False).matrix_iter(scale=8, border=4)
    assert [list(row) for row in pixels] == [list(row) for row in expected]
    assert png.headers["content-type"] == "image/png"
    assert png.headers["cache-control"] == "public, max-age=86400"


def test_qr_is_read_by_a_decoder_that_is_not_ours(node: Node) -> None:
    zxingcpp = pytest.importorskip("zxingcpp")
    handle = "88.999.1001/梨-0001"
    pixels = modules_of_png(bytes(pages.qr(node, handle, "png").body))
    size = len(pixels)
    grey = memoryview(bytes(0 if dark else 255 for row in pixels for dark in row)).cast("B", (size, size))
    (found,) = zxingcpp.read_barcodes(grey)
    assert found.text == pages.address_of(node, handle)


def test_qr_as_svg(node: Node) -> None:
    answer = pages.qr(node, "88.999.1001/A", "svg")
    drawing = ElementTree.fromstring(bytes(answer.body))
    side = segno.make(pages.address_of(node, "88.999.1001/A"), error="m", micro=False).symbol_size(border=4)[0]
    assert drawing.attrib["viewBox"] == f"0 0 {side} {side}"
    assert answer.headers["content-type"] == "image/svg+xml"
    with pytest.raises(BadRequest):
        pages.qr(node, "88.999.1001/A", "gif")
