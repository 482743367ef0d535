"""Copies show themselves: signs weighed, reasons in words, kept per item, lot and prefix, alarmed once and again."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from node import scan_tokens, scans, suspicion, suspicions
from node.config import Settings
from node.counting import Counting
from node.model import Prefix
from node.runtime import Node, reading
from node.scan_tokens import LOT, UNSHIPPED, VOID
from node.store import prefixes
from node.suspicion import Evidence, guesses, of_item, of_lot, of_prefix, score

NOW = 1_800_000_000.0


def limits(**changes: Any) -> Settings:
    return Settings("", "", None, "http://x", **changes)  # type: ignore[arg-type]


def points(limit: Settings | None = None, **evidence: Any) -> int:
    return score(of_item(Evidence(**evidence), limit or limits()))


def test_what_alone_alarms_and_what_does_not() -> None:
    alarm = limits().suspect_score
    assert points() == points(devices=11, scans=500) == 0  # one household may look often
    assert 0 < points(devices=12) < alarm <= points(devices=26)
    assert points(travels=1) < points(travels=50) < alarm  # mobile gateways: never alone
    assert points(early=1) < alarm <= points(early=2)
    assert points(before_shipping=23) == 0 < points(before_shipping=25) < alarm
    assert points(devices=12, travels=5) >= alarm  # two weak ones together
    assert points(devices=10**6, travels=10**6, early=10**6, before_shipping=10**6) <= 100
    assert score(of_lot([])) == 0 < score(of_lot([60])) < alarm <= score(of_lot([80, 75, 70]))
    assert score(of_prefix(49, 49, limits())) == 0 < score(of_prefix(50, 0, limits()))
    assert points(limits(suspect_devices=3), devices=3) > 0


def test_every_reason_is_read_by_a_person() -> None:
    found = of_item(Evidence(30, 90, 2, 3, 100.0), limits()) + of_lot([70]) + of_prefix(99, 99, limits())
    assert len({reason.code for reason in found}) == len(found) == 7
    for reason in found:
        assert 0 < reason.weight < 1
        assert any("\u4e00" <= c <= "\u9fff" for c in reason.zh)
        assert reason.en.isascii()
        assert any(c.isdigit() for c in reason.zh)


def test_alarms_once_and_again_when_it_rises() -> None:
    assert [suspicion.alarms(p, a, limits()) for p, a in ((59, 0), (60, 0), (79, 60), (80, 60))] == [
        False,
        True,
        False,
        True,
    ]


def test_runs_of_neighbouring_guesses() -> None:
    def total(suffixes: list[str], step: float = 1.0) -> int:
        rings: suspicion.Rings = {}
        return sum(guesses(rings, 7, s, NOW + n * step) for n, s in enumerate(suffixes))

    assert total([f"LC-{n:04d}" for n in range(20)]) == 16
    assert total([f"LC-{n:04d}" for n in range(20, 0, -1)]) == 16
    assert total([f"LC-{n:04d}-A" for n in range(0, 20, 2)]) == 6  # every second one
    assert total([f"LC-{n:04d}" for n in range(4)]) == 0
    assert total(["LC-0007"] * 50) == 0  # one mistyped code, scanned again and again
    assert total([f"LC-{n * 1000:07d}" for n in range(50)]) == 0
    assert total([f"{'ABCDE'[n % 5]}-{n:04d}" for n in range(20)]) == 0
    assert total([f"LC-{n:04d}" for n in range(20)], step=300) == 0  # over hours
    assert total(["", "宿州", "x" * 5000, "9" * 300]) == 0


def test_memory_of_guesses_is_bounded() -> None:
    rings: suspicion.Rings = {}
    for n in range(5000):
        for k in range(3):
            guesses(rings, n, f"A{k * 997:05d}", NOW)
    for n in range(5000):
        guesses(rings, 4999, f"{n % 50}-{n * 31}", NOW)
    assert len(rings) == 2000
    assert max(len(misses.order) for misses in rings.values()) == 64
    for misses in rings.values():
        assert sum(map(len, misses.near.values())) == len(misses.order)
        assert all(misses.near.values())


@pytest.fixture
async def owner(node: Node, make_firm: Any) -> tuple[Any, Prefix]:
    firm = await make_firm()
    async with reading(node) as conn:
        found = await prefixes.fetch(conn, firm.prefix)
    assert found is not None
    return firm, found


async def scanned(node: Node, handle: str, phones: int, *, lot: str = "", state: str = "", now: float = NOW) -> None:
    """So many different phones scan, and the second is over."""
    for _ in range(phones):
        token = scans.claim_address(node, handle, now, lot=lot, state=state).rpartition("/")[2].removesuffix(".gif")
        accepted = scans.accept(node, token, "", now)
        assert accepted is not None
        if accepted.committed is not None:
            await accepted.committed
    await Counting(node).settle()


async def stored(node: Node, prefix: Prefix) -> dict[str, int]:
    async with reading(node) as conn:
        found = await suspicions.listed(conn, prefix.id, 0, ("", ""), 100)
    return {f"{s['kind']}:{s['suffix']}": s["score"] for s in found}


async def test_items_make_their_lot_suspicious(node: Node, owner: Any) -> None:
    _, prefix = owner
    lot = f"{prefix.prefix}/LOT-9"
    await scanned(node, lot, 40, state=LOT)  # every carton shows its lot's code
    for n, phones in enumerate((40, 40, 30, 5)):
        await scanned(node, f"{prefix.prefix}/C-{n}", phones, lot="LOT-9")
    alarms = await suspicions.assess(node, NOW)
    assert {a.handle.partition("/")[2] for a in alarms} == {"C-0", "C-1", "C-2", "LOT-9"}
    assert {a.kind for a in alarms} == {"item", "lot"}
    for alarm in alarms:
        assert alarm.registrant_id == prefix.registrant_id
        assert alarm.score >= node.settings.suspect_score
        assert alarm.reasons[0]["zh"]
        assert alarm.lot == (lot if alarm.kind == "item" else "")
    assert set(await stored(node, prefix)) == {"item:C-0", "item:C-1", "item:C-2", "lot:LOT-9"}
    await scanned(node, f"{prefix.prefix}/C-0", 1, lot="LOT-9", now=NOW + 1)
    assert await suspicions.assess(node, NOW) == []  # told already
    # It rises clearly: told again, and its score never sinks.
    await scanned(node, f"{prefix.prefix}/C-2", 400, lot="LOT-9", now=NOW + 2)
    assert [a.handle.partition("/")[2] for a in await suspicions.assess(node, NOW)][:1] == ["C-2"]


@pytest.mark.parametrize("state", [UNSHIPPED, VOID])
async def test_scans_before_shipping(node: Node, owner: Any, state: str) -> None:
    _, prefix = owner
    await scanned(node, f"{prefix.prefix}/EARLY", 3, state=state)
    (alarm,) = await suspicions.assess(node, NOW)
    assert (alarm.kind, [r["code"] for r in alarm.reasons]) == ("item", ["before_activation"])


async def test_scan_before_the_shipping_event(client: httpx.AsyncClient, node: Node, owner: Any) -> None:
    firm, prefix = owner
    for handle in ("LOT-1", "C-1"):
        path, lot = ("lots", {}) if handle[0] == "L" else ("handles", {"lot": f"{prefix.prefix}/LOT-1"})
        body = {"handle": f"{prefix.prefix}/{handle}", **lot}
        assert (await client.post(f"/api/v1/{path}", json=body, headers=firm.headers)).status_code == 201
    shipped = datetime.now(UTC) + timedelta(hours=23, minutes=55)
    event = {"handle": f"{prefix.prefix}/LOT-1", "bizStep": "shipping", "eventTime": shipped.isoformat()}
    assert (await client.post("/api/v1/events", json=event, headers=firm.headers)).status_code == 201
    first = shipped.timestamp() - 24.05 * 3600  # eight minutes ago: a claim of that age can still be settled
    await scanned(node, f"{prefix.prefix}/C-1", 2, lot="LOT-1", now=first)
    assert await suspicions.assess(node, first) == []  # low weight: kept, no alarm
    assert await stored(node, prefix) == {"item:C-1": 30}
    async with reading(node) as conn:
        (kept,) = await suspicions.listed(conn, prefix.id, 0, ("", ""), 10)
    assert "24 hours" in kept["reasons"][0]["en"]


async def test_forged_serials_and_guesses_of_a_prefix(node: Node, owner: Any) -> None:
    _, prefix = owner
    for day in range(2):
        for n in range(60):
            suspicions.note_miss(node, prefix.id, f"V{n:013d}", NOW + day * 86_400, forged=True)
        await Counting(node).settle()
        (alarm,) = await suspicions.assess(node, NOW + day * 86_400)
        assert (alarm.kind, alarm.handle) == ("prefix", prefix.prefix)  # each day's wave is told
        assert {r["code"] for r in alarm.reasons} == {"never_issued", "guessing"}
        assert await suspicions.assess(node, NOW + day * 86_400) == []


async def test_devices_of_an_attacker_take_no_memory(node: Node, owner: Any) -> None:
    _, prefix = owner
    handle = f"{prefix.prefix}/FLOOD"
    await scanned(node, handle, 3000)
    row = await node.pool.fetchrow("SELECT count, devices FROM scan WHERE shard >= 0 AND suffix = 'FLOOD'")
    assert row["count"] == 3000
    assert len(row["devices"]) == 256
    assert len(node.scan_memory.touched) <= 10_000


async def test_own_scanners_are_no_sign(node: Node, owner: Any) -> None:
    _, prefix = owner
    for _ in range(40):
        token = scan_tokens.claim_token(node.sealer, f"{prefix.prefix}/OWN", NOW, state=UNSHIPPED)
        accepted = scans.accept(node, token, "", NOW, registrant=prefix.registrant_id)
        assert accepted is not None
        if accepted.committed is not None:
            await accepted.committed
    await Counting(node).settle()
    await suspicions.assess(node, NOW)
    assert await stored(node, prefix) == {}


async def test_listed_for_owner_and_operator(
    client: httpx.AsyncClient, node: Node, owner: Any, stranger: Any, operator_headers: dict[str, str]
) -> None:
    firm, prefix = owner
    for n in range(3):
        await scanned(node, f"{prefix.prefix}/L-{n}", 30)
    await suspicions.assess(node, NOW)
    url = f"/api/v1/suspicions?prefix={prefix.prefix}"
    for headers in (firm.headers, operator_headers):
        body = (await client.get(url + "&limit=2", headers=headers)).json()
        assert [s["suffix"] for s in body["suspicions"]] == ["L-0", "L-1"]
        assert json.dumps(body["suspicions"][0]["reasons"][0]["zh"])
        rest = (await client.get(f"{url}&limit=2&after={body['next']}", headers=headers)).json()
        assert [s["suffix"] for s in rest["suspicions"]] == ["L-2"]
        assert rest["next"] is None
    assert (await client.get(url + "&least=100", headers=firm.headers)).json()["suspicions"] == []
    assert (await client.get(url, headers=stranger.headers)).status_code == 403
    assert (await client.get(url)).status_code == 401
    for bad in ("&after=x", "&after=item:%00", "&least=101", "&least=x"):
        assert (await client.get(url + bad, headers=firm.headers)).status_code in (400, 422), bad


async def test_a_copied_code_is_scored_again_when_there_is_more_to_say(node: Node, owner: Any) -> None:
    _, prefix = owner
    handle, memory = f"{prefix.prefix}/TOLD", node.scan_memory
    await scanned(node, handle, 40)
    assert [a.handle for a in await suspicions.assess(node, NOW)] == [handle]
    token = scans.claim_address(node, handle, NOW).rpartition("/")[2].removesuffix(".gif")
    cookie = scans.accept(node, token, "", NOW)
    assert cookie is not None
    await Counting(node).settle()
    await suspicions.assess(node, NOW)
    # The same phone again, once its window is over: one scan more, and nothing else to say.
    later = NOW + 590
    memory.touched.clear()
    address = scans.claim_address(node, handle, later).rpartition("/")[2].removesuffix(".gif")
    assert scans.accept(node, address, cookie.cookie, later + 20) is not None
    await Counting(node).settle()
    assert (prefix.id, "TOLD") not in memory.touched
    await scanned(node, handle, 1, now=later)  # another phone
    assert (prefix.id, "TOLD") in memory.touched


async def test_a_score_that_was_not_committed_is_made_again(
    node: Node, owner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, prefix = owner
    await scanned(node, f"{prefix.prefix}/LOST", 40)

    async def fail(*arguments: Any) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(suspicions, "_keep", fail)
        with pytest.raises(ZeroDivisionError):
            await suspicions.assess(node, NOW)
    await scanned(node, f"{prefix.prefix}/LOST", 1, now=NOW + 1)
    assert [a.handle for a in await suspicions.assess(node, NOW)] == [f"{prefix.prefix}/LOST"]
