"""Exports: what went in comes out, and goes in again unchanged; no cell runs in a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from typing import Any

import pytest

import handle_codec
from node import export
from node.model import Kind
from node.runtime import Node, reading
from node.store import prefixes

ODD = ["=1+1", "+86", "-1", "@cmd", "'quoted", "'=x", "a;b", '逗号,引号"换行', "tab\tinside"]


@pytest.fixture(scope="module")
def settings(settings: Any) -> Any:
    return replace(settings, dev=True)


async def fill(client: Any, firm: Any, examples: Any, industry: str) -> int:
    """A lot and some items of an industry, odd texts among them; how many items."""
    lot = {"handle": f"{firm.prefix}/LOT-1", "template": f"{industry}@1", "attributes": examples[industry]["lot"]}
    assert (await client.post("/api/v1/lots", json=lot, headers=firm.headers)).status_code == 201
    item = examples[industry]["item"]
    items = [{"handle": f"{firm.prefix}/ITEM-{n}", "lot": "LOT-1", "attributes": item} for n in range(5)]
    items += [
        {"handle": f"{firm.prefix}/ODD-{n}", "values": [{"index": 1, "type": "DESC", "data": text}]}
        for n, text in enumerate(ODD)
        if "\n" not in text
    ]
    answer = await client.post("/api/v1/handles:batch", json=items, headers=firm.headers)
    assert answer.json()["summary"]["created"] == len(items), answer.text
    return len(items)


async def exported(client: Any, firm: Any, **query: str) -> Any:
    answer = await client.get(f"/api/v1/prefixes/{firm.prefix}/export", params=query, headers=firm.headers)
    assert answer.status_code == 200, answer.text
    return answer


async def again(client: Any, firm: Any, body: bytes, kind: str, template: str) -> dict[str, Any]:
    """The answer to an import of what was exported."""
    options = {"template": template} if kind == "text/csv" else {}
    import_id = (await client.post("/api/v1/imports", json=options, headers=firm.headers)).json()["id"]
    headers = firm.headers | {"Content-Type": kind}
    answer = await client.put(f"/api/v1/imports/{import_id}/chunks/0", content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.parametrize("industry", ["pear", "green_food", "textile", "home", "shoes", "pharma", "machinery"])
async def test_what_went_in_comes_out_and_goes_in_again(
    client: Any, make_firm: Any, examples: Any, industry: str
) -> None:
    firm = await make_firm()
    count = await fill(client, firm, examples, industry)
    answer = await exported(client, firm)
    rows = [json.loads(line) for line in answer.text.splitlines()]
    assert len(rows) == count
    assert next(r for r in rows if r["handle"].endswith("ITEM-1"))["attributes"] == examples[industry]["item"]
    result = await again(client, firm, answer.content, "application/x-ndjson", "")
    assert (result["unchanged"], result["errors"]) == (count, [])


async def test_csv_comes_back_cell_for_cell(client: Any, make_firm: Any, examples: Any) -> None:
    firm = await make_firm()
    await fill(client, firm, examples, "pear")
    text = (await exported(client, firm, format="csv")).content
    lines = list(csv.DictReader(io.StringIO(text.decode("utf-8-sig"))))
    items = [line for line in lines if line["handle"].startswith(f"{firm.prefix}/ITEM")]
    assert items[0]["carrier"] == examples["pear"]["item"]["carrier"]
    result = await again(client, firm, text, "text/csv", "")  # the template column says it
    assert result["rejected"] == 0, result["errors"]


@pytest.mark.parametrize("text", [*ODD, " outer blanks ", "[list", "\ttab"])
async def test_no_cell_is_a_formula_and_none_is_lost(text: str) -> None:
    from node.fields import Field
    from node.sheets import cell_of, read_cell, value_of

    cell = cell_of(text)
    assert cell[:1] not in ("=", "+", "-", "@", "\t", "\r")
    spec = Field(code="x", zh="x", en="x", type="S", visibility="public")
    assert value_of(spec, read_cell(cell)) == text


async def test_rowless_serials_and_lots(client: Any, make_firm: Any, examples: Any) -> None:
    firm = await make_firm()
    await fill(client, firm, examples, "pear")
    lot = f"/api/v1/lots/{firm.prefix}/LOT-1"
    run = (await client.post(f"{lot}:mint", json={"count": 2500}, headers=firm.headers)).json()["run"]
    activated = await client.post(f"{lot}:activate", json={"run": run, "to": 2400}, headers=firm.headers)
    assert activated.json()["registered"] == 2400, activated.text
    rows = [json.loads(line) for line in (await exported(client, firm)).text.splitlines()]
    minted = [row for row in rows if row["handle"].partition("/")[2].startswith("V")]
    assert len({row["handle"] for row in minted}) == 2400, rows
    assert minted[0] == {"handle": minted[0]["handle"], "lot": f"{firm.prefix}/LOT-1"}
    body = b"\n".join(json.dumps(row).encode() for row in minted)
    assert (await again(client, firm, body, "application/x-ndjson", ""))["unchanged"] == 2400
    lots = [json.loads(line) for line in (await exported(client, firm, kind="lots")).text.splitlines()]
    assert [row["handle"] for row in lots] == [f"{firm.prefix}/LOT-1"]


async def test_only_ones_own(client: Any, firm: Any, stranger: Any) -> None:
    route = f"/api/v1/prefixes/{firm.prefix}/export"
    assert (await client.get(route, headers=stranger.headers)).status_code == 403
    assert (await client.get(route)).status_code == 401
    assert (await client.get(f"{route}?format=xls", headers=firm.headers)).status_code == 400
    assert (await exported(client, stranger)).text == ""


async def test_pages_run_through_all_shards_once(
    client: Any, make_firm: Any, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    firm = await make_firm()
    names = [f"{firm.prefix}/P-{n:02d}" for n in range(41)]
    answer = await client.post("/api/v1/handles:batch", json=[{"handle": n} for n in names], headers=firm.headers)
    assert answer.json()["summary"]["created"] == 41, answer.text
    async with reading(node) as conn:
        prefix = await prefixes.fetch(conn, firm.prefix)
    assert prefix is not None
    shard = {n: handle_codec.shard_of(n.partition("/")[2], prefix.home, prefix.spread) for n in names}
    assert len(set(shard.values())) == 4
    for limit in (1, 7, 41, 50):
        seen: list[str] = []
        after: str | None = ""
        while after is not None:
            route = f"/api/v1/prefixes/{firm.prefix}/handles?limit={limit}&after={after}"
            page = (await client.get(route, headers=firm.headers)).json()
            seen += [handle["handle"] for handle in page["handles"]]
            after = page["next"]
        assert seen == sorted(names, key=lambda n: (shard[n], n))
    monkeypatch.setattr(export, "_PAGE", 5)
    assert sorted([row["handle"] async for row, _ in export.rows(node, prefix, Kind.ITEM)]) == names
