"""Rendered pages that are kept: used again for the same, and for nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from scan_pages import COMPILED, ENGLISH, PICTURE, event, example_of, html_of, resolved_of

from node import scanning
from node.http import pages
from node.http.negotiation import CHINESE, Reader
from node.model import Kind, PrefixStatus, Status
from node.runtime import Node
from node.shown_links import nobody


def test_a_kept_page_is_never_of_something_else(node: Node, examples: dict[str, Any], monkeypatch: Any) -> None:
    """Any change of record, lot, prefix, trace, language or proved host renders anew; the same is rendered once."""
    monkeypatch.setattr(pages, "LOOK", pages.Look(pages.LOOK.trades))
    rendered: list[str] = []
    whole = pages._rendered
    monkeypatch.setattr(pages, "_rendered", lambda *given: rendered.append(given[1].handle) or whole(*given))
    attributes = {**example_of(examples, "machinery"), "nameplate_image": PICTURE}
    item = resolved_of(COMPILED["machinery"], attributes)
    lot = item.row.changed(kind=Kind.LOT, suffix="LC-1")
    different = [
        (item, [event(1)], CHINESE, nobody),
        (item, [event(1)], ENGLISH, nobody),
        (item, [event(1)], Reader("en", True), nobody),
        (item, [event(1), event(2)], CHINESE, nobody),
        (item, None, CHINESE, nobody),
        (item, [event(1)], CHINESE, lambda url: True),
        (replace(item, row=item.row.changed(version=2, updated_at=1_800_000_000.0)), [event(1)], CHINESE, nobody),
        (replace(item, row=item.row.changed(status=Status.RECALLED)), [event(1)], CHINESE, nobody),
        (replace(item, lot=lot), [event(1)], CHINESE, nobody),
        (replace(item, lot=lot.changed(status=Status.RECALLED)), [event(1)], CHINESE, nobody),
        (replace(item, prefix=replace(item.prefix, status=PrefixStatus.STOPPED)), [event(1)], CHINESE, nobody),
    ]
    for number, (resolved, events, reader, link_ok) in enumerate(different, 1):
        first = pages.scan_page(node, resolved, events, reader, scanning.Scans(number), f"/c/{number}", link_ok)
        again = pages.scan_page(node, resolved, events, reader, scanning.Scans(number + 1), "/c/0", link_ok)
        assert len(rendered) == number
        expected = bytes(first.body).decode().replace(f"/c/{number}", "/c/0")
        assert bytes(again.body).decode() == expected.replace(f"<b>{number}</b>", f"<b>{number + 1}</b>").replace(
            "time before", "times before"
        )
        assert again.headers["content-type"] == "text/html; charset=utf-8"
        assert {k: v for k, v in again.headers.items() if k != "content-length"} == {
            k: v for k, v in first.headers.items() if k != "content-length"
        }


def test_few_pages_are_kept(node: Node, examples: dict[str, Any], monkeypatch: Any) -> None:
    monkeypatch.setattr(pages, "LOOK", pages.Look(pages.LOOK.trades))
    monkeypatch.setattr("node.http.frames._KEPT", 5)
    item = resolved_of(COMPILED["pear"], example_of(examples, "pear"))
    for number in range(12):
        html_of(node, replace(item, handle=f"88.999.1001/{number}"))
    assert len(pages.LOOK.frames._kept) == 5
