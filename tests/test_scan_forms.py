"""Pages that are filled into a form are those that would have been rendered: whatever two items differ in."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from scan_pages import COMPILED, example_of, resolved_of

from node.http import pages
from node.http.negotiation import CHINESE, Reader
from node.http.scan_forms import Forms
from node.runtime import Node
from node.scanning import ScanPage, Step, described
from node.shown_links import Link
from node.verdicts import VERDICTS

# For each field another value, where one cannot be made of the field's own. Status is read by nothing but the verdict.
_OTHER: dict[str, Any] = {
    "handle": '88.999.1001/A&<b>"%\u200b宿州',
    "verdict": VERDICTS["recalled"].about("某企业", "2026-01-01"),
    "trade": pages.LOOK.trades.by_code.get("shoes", pages.LOOK.trades.plain),
    "picture": Link("img.example.cn", "https://img.example.cn/other.jpg", live=True),
    "county": "341322",
    "industry": "machinery",
    "values": [{"type": "DESC", "text": "<i>一\u202e</i>"}],
    "steps": [Step("入库", "Stored", "2026-09-12 20:30", "一号库", "满")],
    "earlier_steps": 3,
    "updated": "2026-01-02 03:04",
    "status": "void",
}


def base_of(examples: Any, code: str) -> ScanPage:
    values = [{"index": 1, "type": "DESC", "data": {"format": "string", "value": "说明"}}]
    resolved = resolved_of(COMPILED[code], example_of(examples, code), values)
    return described(resolved, pages.LOOK.trades)


def changed(page: ScanPage) -> list[ScanPage]:
    """The page with each of its fields changed, one at a time."""
    found = [page]
    for one in fields(page):
        now = getattr(page, one.name)
        if one.name in _OTHER:
            other = _OTHER[one.name]
        elif isinstance(now, bool):
            other = not now
        elif isinstance(now, str):
            other = f"{now}<&>" if one.name not in ("lot",) else f"{page.handle.partition('/')[0]}/OTHER"
        elif isinstance(now, list):
            other = now[1:]
        else:  # the badge
            other = {**now, "value": "另一个", "value_en": ""} if now else None
        found.append(replace(page, **{one.name: other}))
        empty = {str: "", list: []}.get(type(now))
        if empty is not None and one.name not in ("handle", "lot", "industry", "county"):
            found.append(replace(page, **{one.name: empty}))
    return found


@pytest.mark.parametrize("code", sorted(COMPILED))
@pytest.mark.parametrize("reader", [CHINESE, Reader("en"), Reader("en", chosen=True)], ids=["zh", "en", "chosen"])
async def test_filled_is_as_rendered(
    node: Node, examples: Any, code: str, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    if code not in examples:
        pytest.skip(f"no example of {code}")
    shown = changed(base_of(examples, code))
    monkeypatch.setattr(pages.LOOK, "forms", Forms())
    warm = [bytes(pages._rendered(node, page, reader).body) for page in shown]
    assert len(set(warm)) > len(fields(ScanPage))
    for page, filled in zip(shown, warm, strict=True):
        monkeypatch.setattr(pages.LOOK, "forms", Forms())
        assert bytes(pages._rendered(node, page, reader).body) == filled


async def test_items_of_a_lot_share_a_form(node: Node, examples: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages.LOOK, "forms", forms := Forms())
    code = next(code for code in sorted(COMPILED) if code in examples)
    base = base_of(examples, code)
    for n in range(50):
        text = bytes(pages._rendered(node, replace(base, handle=f"88.999.1001/N-{n}"), CHINESE).body).decode()
        assert text.count(f"88.999.1001/N-{n}<") == text.count(f"88.999.1001/N-{n}?qr=svg") == 1
        assert "gap" not in text
    assert len(forms._kept) == 1
    for n in range(600):
        pages._rendered(node, replace(base, reason=f"{n}"), CHINESE)
    assert len(forms._kept) <= 512
