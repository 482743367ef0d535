"""Lots and serials over REST: mint, print, activate, void, recall, restore; rowless serials everywhere; exact counts."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import Any

import pytest

from node.model import Identity
from node.runtime import Node, reading
from node.store import prefixes

OPERATOR = Identity("operator:test", role="admin")


@pytest.fixture(scope="module")
def settings(settings: Any) -> Any:
    """As `idnode dev`: it mints for addresses of this machine."""
    return replace(settings, dev=True)


class Lot:
    """A lot of a firm of its own, and what can be asked of it."""

    def __init__(self, client: Any, firm: Any, name: str = "LOT-1") -> None:
        self.client, self.firm, self.name = client, firm, name
        self.handle = f"{firm.prefix}/{name}"
        self.headers = firm.headers

    async def post(self, action: str, body: Any = None, **headers: str) -> Any:
        return await self.client.post(
            f"/api/v1/lots/{self.handle}:{action}", json=body or {}, headers=self.headers | headers
        )

    async def mint(self, count: int) -> tuple[int, list[str]]:
        answer = await self.post("mint", {"count": count})
        assert answer.status_code == 201, answer.text
        run = answer.json()["run"]
        printed = await self.client.get(answer.json()["serials"], headers=self.headers)
        assert printed.headers["content-type"] == "text/csv; charset=utf-8"
        return run, [line.split(",")[0] for line in printed.text.split("\r\n")[1:-1]]

    async def status(self, serial: str) -> str:
        answer = await self.client.get(f"/{self.firm.prefix}/{serial}")
        return str(answer.json().get("status", answer.json().get("code")))

    async def row(self, serial: str, **changes: Any) -> Any:
        value = {"index": 1, "type": "URL", "data": "https://example.com/own"}
        body = {"handle": f"{self.firm.prefix}/{serial}", "values": [value], **changes}
        return await self.client.post("/api/v1/handles", json=body, headers=self.headers)


@pytest.fixture
async def lot(client: Any, make_firm: Any) -> Lot:
    found = Lot(client, await make_firm())
    body = {"handle": found.handle, "values": [{"index": 5, "type": "EMAIL", "data": "li@example.com"}]}
    assert (await client.post("/api/v1/lots", json=body, headers=found.headers)).status_code == 201
    return found


async def counts(node: Node, lot: Lot) -> tuple[int, int, int]:
    """(created, deleted, rowless) of the lot's prefix."""
    async with reading(node) as conn:
        prefix = await prefixes.fetch(conn, lot.firm.prefix)
        assert prefix is not None
        return await prefixes.totals(conn, prefix.id)


async def test_printed_is_not_shipped(node: Node, lot: Lot) -> None:
    run, serials = await lot.mint(5)
    assert len(set(serials)) == 5
    assert await lot.status(serials[0]) == "unshipped"
    assert await counts(node, lot) == (1, 0, 0)  # the lot
    done = await lot.post("activate", {"run": run, "from": 1, "to": 3})
    assert done.json() == {"action": "activate", "changed": 3, "unchanged": 0, "registered": 3, "lot": lot.handle}
    assert [await lot.status(s) for s in serials] == ["active"] * 3 + ["unshipped"] * 2
    assert await counts(node, lot) == (4, 0, 3)
    again = await lot.post("activate", {"run": run, "from": 2, "to": 4})
    assert (again.json()["changed"], again.json()["unchanged"], again.json()["registered"]) == (1, 2, 1)
    assert await counts(node, lot) == (5, 0, 4)


async def test_a_rowless_serial_is_a_whole_record(lot: Lot) -> None:
    run, (serial,) = await lot.mint(1)
    await lot.post("activate", {"run": run})
    record = (await lot.client.get(f"/{lot.firm.prefix}/{serial.lower()}")).json()
    assert (record["handle"], record["lot"], record["version"], record["status"]) == (
        f"{lot.firm.prefix}/{serial}", lot.handle, 1, "active",
    )  # fmt: skip
    assert [value["type"] for value in record["values"]] == ["EMAIL"]
    own = await lot.client.get(f"/api/v1/handles/{lot.firm.prefix}/{serial}", headers=lot.headers)
    assert (own.status_code, own.headers["etag"]) == (200, '"1"')
    page = await lot.client.get(f"/{lot.firm.prefix}/{serial}", headers={"accept": "text/html"})
    assert page.status_code == 200
    assert (await lot.client.get(f"/api/handles/{lot.firm.prefix}/{serial}")).json()["responseCode"] == 1


async def test_the_page_says_that_it_is_not_shipped(lot: Lot) -> None:
    _, (serial,) = await lot.mint(1)
    page = await lot.client.get(f"/{lot.firm.prefix}/{serial}", headers={"accept": "text/html"})
    assert "尚未出厂" in page.text
    english = await lot.client.get(f"/{lot.firm.prefix}/{serial}?lang=en", headers={"accept": "text/html"})
    assert "Not yet shipped" in english.text


async def test_a_forged_serial_is_not_found(lot: Lot) -> None:
    await lot.mint(1)
    answer = await lot.client.get(f"/{lot.firm.prefix}/V0000000000000")
    assert (answer.status_code, answer.json()["code"]) == (404, "handle_not_found")


async def test_a_row_for_a_reserved_serial_is_created_and_counted_once(node: Node, lot: Lot) -> None:
    run, serials = await lot.mint(3)
    first = await lot.row(serials[0])
    assert (first.status_code, first.json()["outcome"]) == (201, "created")
    assert (await lot.client.get(f"/{lot.firm.prefix}/{serials[0]}")).json()["lot"] == lot.handle
    assert await lot.status(serials[0]) == "unshipped"
    assert await counts(node, lot) == (2, 0, 0)
    done = await lot.post("activate", {"run": run})
    assert (done.json()["changed"], done.json()["registered"]) == (3, 2)
    assert await counts(node, lot) == (4, 0, 2)


async def test_a_row_for_an_activated_serial_is_a_change(node: Node, lot: Lot) -> None:
    run, (serial, other) = await lot.mint(2)
    await lot.post("activate", {"run": run})
    posted = await lot.row(serial)
    assert (posted.status_code, posted.json()["code"], posted.json()["version"]) == (409, "handle_conflict", 1)
    same = await lot.row(serial, values=[])
    assert (same.status_code, same.json()["outcome"]) == (200, "unchanged")
    path = f"/api/v1/handles/{lot.firm.prefix}/{serial}"
    body = {"lot": lot.handle, "values": [{"index": 1, "type": "URL", "data": "https://example.com/own"}]}
    put = await lot.client.put(path, json=body, headers=lot.headers | {"If-Match": '"1"'})
    assert (put.status_code, put.json()["version"]) == (200, 2)
    assert await counts(node, lot) == (3, 0, 1)
    deleted = await lot.client.delete(f"/api/v1/handles/{lot.firm.prefix}/{other}", headers=lot.headers)
    assert deleted.status_code == 200
    assert await counts(node, lot) == (3, 1, 0)
    assert (await lot.client.get(f"/{lot.firm.prefix}/{other}")).status_code == 410


async def test_a_reserved_serial_cannot_be_changed_before_it_is_registered(lot: Lot) -> None:
    _, (serial,) = await lot.mint(1)
    answer = await lot.client.delete(f"/api/v1/handles/{lot.firm.prefix}/{serial}", headers=lot.headers)
    assert answer.status_code == 404


async def test_events_of_a_rowless_serial(lot: Lot) -> None:
    run, (serial,) = await lot.mint(1)
    event = {"handle": f"{lot.firm.prefix}/{serial}", "eventTime": "2026-09-12T08:00:00+08:00", "bizStep": "packing"}
    assert (await lot.client.post("/api/v1/events", json=event, headers=lot.headers)).status_code == 404
    await lot.post("activate", {"run": run})
    assert (await lot.client.post("/api/v1/events", json=event, headers=lot.headers)).status_code == 201


async def test_void_and_take_it_back(node: Node, lot: Lot) -> None:
    run, serials = await lot.mint(4)
    await lot.post("activate", {"serials": [serials[1], f"{lot.firm.prefix}/{serials[2].lower()}"]})
    assert (await lot.post("void", {"run": run})).json()["errors"][0]["field"] == "reason"
    voided = await lot.post("void", {"run": run, "reason": "标签印错"})
    assert voided.json()["changed"] == 4
    assert {await lot.status(s) for s in serials} == {"void"}
    refused = await lot.row(serials[0])
    assert (refused.status_code, refused.json()["code"]) == (409, "serial_not_usable")
    assert (await lot.post("activate", {"run": run})).status_code == 409
    await lot.post("restore", {"run": run})
    assert [await lot.status(s) for s in serials] == ["unshipped", "active", "active", "unshipped"]
    assert await counts(node, lot) == (3, 0, 2)


async def test_recall_of_a_part_and_of_a_lot(lot: Lot) -> None:
    run, serials = await lot.mint(3)
    await lot.post("activate", {"run": run})
    await lot.post("recall", {"run": run, "from": 2, "to": 2, "reason": "农残超标"})
    assert [await lot.status(s) for s in serials] == ["active", "recalled", "active"]
    page = await lot.client.get(f"/{lot.firm.prefix}/{serials[1]}", headers={"accept": "text/html"})
    assert "农残超标" in page.text
    recalled = await lot.post("recall", {"reason": "整批召回"})
    assert recalled.status_code == 200
    assert {await lot.status(s) for s in serials} == {"recalled"}
    assert await lot.status(lot.name) == "recalled"
    assert (
        "整批召回" in (await lot.client.get(f"/{lot.firm.prefix}/{serials[0]}", headers={"accept": "text/html"})).text
    )
    assert (await lot.post("mint", {"count": 1})).status_code == 422  # nothing new goes into it
    await lot.post("restore")
    assert [await lot.status(s) for s in serials] == ["active", "recalled", "active"]


async def test_runs_show_what_became_of_them(lot: Lot) -> None:
    run, serials = await lot.mint(10)
    await lot.post("activate", {"run": run, "from": 3, "to": 6})
    await lot.post("void", {"run": run, "from": 6, "to": 7, "reason": "卷尾"})
    (shown,) = (await lot.client.get(f"/api/v1/lots/{lot.handle}/runs", headers=lot.headers)).json()["runs"]
    assert (shown["count"], shown["first"], shown["last"]) == (10, serials[0], serials[-1])
    assert [(part["from"], part["to"], part["state"]) for part in shown["intervals"]] == [
        (1, 2, "reserved"), (3, 5, "activated"), (6, 6, "void"), (7, 7, "void"), (8, 10, "reserved"),
    ]  # fmt: skip


async def test_minting_at_once_in_either_form(lot: Lot) -> None:
    direct = await lot.post("mint", {"count": 20_000}, Accept="text/csv")
    assert direct.status_code == 201
    lines = direct.text.split("\r\n")
    assert (lines[0], len(lines)) == ("suffix,url", 20_002)
    suffix, url = lines[1].split(",")
    assert url == f"http://127.0.0.1:8000/{lot.firm.prefix}/{suffix}"
    again = await lot.client.get(
        direct.headers["location"].removeprefix("http://127.0.0.1:8000"),
        headers=lot.headers | {"Accept": "application/x-ndjson"},
    )
    assert [line.split('"')[3] for line in again.text.splitlines()] == [line.split(",")[0] for line in lines[1:-1]]


async def test_minting_again_with_the_same_key_mints_nothing_new(lot: Lot) -> None:
    first, second = [await lot.post("mint", {"count": 5}, **{"Idempotency-Key": "roll-7"}) for _ in range(2)]
    assert first.json() == second.json()
    assert len((await lot.client.get(f"/api/v1/lots/{lot.handle}/runs", headers=lot.headers)).json()["runs"]) == 1


@pytest.mark.parametrize(
    ("action", "body", "status", "field"),
    [
        ("mint", {"count": 0}, 422, "count"),
        ("mint", {"count": 10_000_001}, 422, "count"),
        ("mint", {}, 422, ""),
        ("activate", {"run": 999}, 404, None),
        ("activate", {"from": 0}, 422, "from"),
        ("activate", {"serials": []}, 422, "serials"),
        ("activate", {"serials": ["V0000000000000", "nonsense", "88.999.9/x"]}, 422, "serials[0]"),
        ("recall", {}, 422, "reason"),
        ("recall", {"reason": "\u202e"}, 422, "reason"),
        ("explode", {}, 404, None),
    ],
)
async def test_what_a_lot_does_not_take(lot: Lot, action: str, body: Any, status: int, field: str | None) -> None:
    answer = await lot.post(action, body)
    assert answer.status_code == status, answer.text
    if field is not None:
        assert answer.json()["errors"][0]["field"] == field


async def test_a_selection_outside_its_run(lot: Lot) -> None:
    run, _ = await lot.mint(3)
    for selection, field in (({"from": 2, "to": 4}, "to"), ({"from": 3, "to": 2}, "to"), ({"from": 9}, "from")):
        answer = await lot.post("activate", {"run": run, **selection})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


async def test_strangers_and_the_serials_of_another_lot(lot: Lot, stranger: Any) -> None:
    run, (serial,) = await lot.mint(1)
    other = Lot(lot.client, lot.firm, "LOT-2")
    body = {"handle": other.handle, "values": [{"index": 1, "type": "URL", "data": "https://example.com/2"}]}
    await lot.client.post("/api/v1/lots", json=body, headers=lot.headers)
    foreign = await other.post("activate", {"serials": [serial]})
    assert (foreign.status_code, foreign.json()["errors"][0]["code"]) == (422, "serial_lot")
    assert (await other.post("activate", {"run": run})).status_code == 404
    wrong = await lot.row(serial, lot=other.handle)
    assert wrong.json()["errors"][0]["code"] == "serial_lot"
    lot.headers = stranger.headers
    for action, given in (("mint", {"count": 1}), ("activate", {"run": run}), ("recall", {"reason": "x"})):
        assert (await lot.post(action, given)).status_code == 403
    assert (await lot.client.get(f"/api/v1/lots/{lot.handle}/runs", headers=stranger.headers)).status_code == 403


async def test_an_address_that_nobody_can_open_is_not_printed(other_settings: Any, open_app: Any, lot: Lot) -> None:
    async with open_app(other_settings(dev=False)) as client:
        outside = Lot(client, lot.firm)
        answer = await outside.post("mint", {"count": 1})
        assert (answer.status_code, answer.json()["code"]) == (409, "loopback_address")


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_rows_and_activation_race_and_each_serial_counts_once(node: Node, lot: Lot, seed: int) -> None:
    """Rows arrive for some serials while parts of the run are activated, voided and restored, in a seeded order."""
    chance = random.Random(seed)
    run, serials = await lot.mint(120)

    async def rows(part: list[str]) -> None:
        body = [
            {
                "handle": f"{lot.firm.prefix}/{s}",
                "values": [{"index": 1, "type": "URL", "data": "https://example.com/r"}],
            }
            for s in part
        ]
        answer = await lot.client.post("/api/v1/handles:batch", json=body, headers=lot.headers)
        assert answer.status_code == 200

    async def act(action: str, first: int, last: int) -> None:
        answer = await lot.post(action, {"run": run, "from": first, "to": last, "reason": "race"})
        assert answer.status_code in (200, 409), answer.text  # 409: it was void just then

    work: list[Any] = [rows(chance.sample(serials, 15)) for _ in range(6)]
    for action in chance.choices(["activate", "void", "restore"], k=10):
        first = chance.randint(1, 100)
        work.append(act(action, first, chance.randint(first, 120)))
    chance.shuffle(work)
    await asyncio.gather(*work)
    await lot.post("restore", {"run": run})
    await lot.post("activate", {"run": run})
    listed, after = 0, ""
    with_rows = 0
    while after is not None:
        route = f"/api/v1/prefixes/{lot.firm.prefix}/handles?limit=50&after={after}"
        page = (await lot.client.get(route, headers=lot.headers)).json()
        listed += len(page["handles"])
        with_rows += sum(not handle.get("rowless") for handle in page["handles"])
        after = page["next"]
    assert listed == 121
    assert await counts(node, lot) == (121, 0, 121 - with_rows)
