"""Resolutions counted: exact over workers and repetitions, addresses bounded, sealed and gone in time."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import httpx
import pytest

from node import statistics, tally
from node.errors import Unavailable
from node.runtime import Node, reading
from node.settling import Ledger, settle
from node.store import prefixes
from node.tally import MAX_SOURCES, OTHER, Sums, Tally, grouped

# 2026-03-01 00:00 in Beijing is 16:00 UTC of the day before.
MIDNIGHT = int(datetime.fromisoformat("2026-03-01T00:00:00+08:00").timestamp())
NOON = MIDNIGHT + 12 * 3600


def many(tally: Tally, prefix_id: int, hits: int, seconds: float, address: str, now: float, misses: int = 0) -> None:
    for number in range(hits + misses):
        tally.count(prefix_id, number < hits, seconds, address, now)


def worker(node: Node) -> tuple[Tally, Ledger[Sums]]:
    """Another worker of the same node: its own memory and its own numbers."""
    own = Tally()

    async def apply(conn: Any, sums: Sums) -> None:
        await statistics.add(node, conn, sums)

    def take() -> list[Sums]:
        sums = own.take()
        return [sums] if sums else []

    return own, Ledger("resolution", take, apply, lambda kept, more: kept.add(more))


async def days(node: Node, prefix_id: int, first: date, last: date) -> list[dict[str, Any]]:
    async with reading(node) as conn:
        return await statistics.daily(conn, prefix_id, first, last)


async def id_of(node: Node, firm: Any) -> int:
    async with reading(node) as conn:
        found = await prefixes.fetch(conn, firm.prefix)
    assert found is not None
    return found.id


def test_address_groups() -> None:
    assert grouped("2001:db8:1:2:3:4:5:6") == grouped("2001:db8:1:2::9") == "2001:db8:1:2::/64"
    assert grouped("fe80::1%eth0") == "fe80::/64"
    assert grouped("::ffff:192.0.2.7") == grouped("192.0.2.7") == "192.0.2.7"
    assert grouped("") == grouped("unknown") == grouped("300.1.1.1") == OTHER


async def test_two_workers_are_summed_before_the_peak_is_taken(node: Node, make_firm: Any) -> None:
    prefix_id = await id_of(node, await make_firm())
    (a, of_a), (b, of_b) = worker(node), worker(node)
    for n in range(30):  # 30 in one second here, 40 in another there, 25 + 25 in a third together
        a.count(prefix_id, True, 0.010 + n / 1000, "192.0.2.1", NOON + 0.5)
    many(b, prefix_id, 38, 0.001, "192.0.2.2", NOON + 7.9, misses=2)
    many(a, prefix_id, 25, 0.002, "192.0.2.1", NOON + 3)
    many(b, prefix_id, 20, 0.002, "192.0.2.1", NOON + 3.9, misses=5)
    assert [await settle(node, ledger, NOON + 8) for ledger in (of_a, of_b)] == [1, 1]
    day = date(2026, 3, 1)

    async def look() -> dict[str, Any]:
        (found,) = await days(node, prefix_id, day, day)
        return found

    before = await look()
    await statistics.tidy(node, NOON + 300)  # folded: the same is said from the totals
    assert await look() == before
    assert (before["requests"], before["hits"]) == (120, 113)
    assert before["peak"]["per_second"] == 50
    assert datetime.fromisoformat(before["peak"]["at"]).timestamp() == NOON + 3
    latency = before["latency_ms"]
    assert (latency["min"], latency["max"]) == (1.0, 39.0)
    assert datetime.fromisoformat(latency["max_at"]).timestamp() == NOON
    assert datetime.fromisoformat(latency["min_at"]).timestamp() == NOON + 7
    total = sum(10 + n for n in range(30)) + 40 * 1 + 50 * 2
    assert latency["mean"] == pytest.approx(total / 120, abs=0.001)
    async with reading(node) as conn:
        assert await statistics.sources(node, conn, day, prefix_id) == [("192.0.2.1", 80), ("192.0.2.2", 40)]


async def test_days_are_days_of_beijing(node: Node, make_firm: Any) -> None:
    prefix_id = await id_of(node, await make_firm())
    own, ledger = worker(node)
    own.count(prefix_id, True, 0.001, "192.0.2.1", MIDNIGHT - 0.001)
    many(own, prefix_id, 2, 0.001, "192.0.2.1", MIDNIGHT)
    await settle(node, ledger)
    for fold in (False, True):
        if fold:
            await statistics.tidy(node, MIDNIGHT + 300)
        found = await days(node, prefix_id, date(2026, 2, 28), date(2026, 3, 1))
        assert [(d["day"], d["requests"], d["peak"]["per_second"]) for d in found] == [
            ("2026-02-28", 1, 1),
            ("2026-03-01", 2, 2),
        ]


async def test_a_settlement_of_unknown_outcome_is_not_applied_twice(node: Node, make_firm: Any) -> None:
    prefix_id = await id_of(node, await make_firm())
    own, ledger = worker(node)
    many(own, prefix_id, 5, 0.001, "192.0.2.1", NOON)
    ledger.gather(NOON)
    number, taken_at, sums = ledger.waiting[0]
    assert await settle(node, ledger, NOON) == 1
    # The commit's acknowledgement was lost: the worker still holds it, and sends it again with what came since.
    ledger.waiting.appendleft((number, taken_at, sums))
    many(own, prefix_id, 2, 0.001, "192.0.2.1", NOON + 1)
    assert await settle(node, ledger, NOON + 1) == 1
    (day,) = await days(node, prefix_id, date(2026, 3, 1), date(2026, 3, 1))
    assert (day["requests"], day["hits"], day["peak"]["per_second"]) == (7, 7, 5)
    # And it is the number that holds this: under another worker's name the same settlement does count again.
    _, other = worker(node)
    other.waiting.append((1, NOON, sums))
    other.number = 1
    await settle(node, other, NOON)
    (day,) = await days(node, prefix_id, date(2026, 3, 1), date(2026, 3, 1))
    assert (day["requests"], day["peak"]["per_second"]) == (12, 10)


async def test_a_settlement_that_breaks_off_is_sent_again(node: Node, make_firm: Any) -> None:
    prefix_id = await id_of(node, await make_firm())
    own, ledger = worker(node)
    whole, cut = ledger.apply, iter([True, False, False])

    async def broken(conn: Any, sums: Sums) -> None:
        await whole(conn, sums)
        if next(cut):  # everything is written, nothing committed, and the server ends the session
            await conn.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    ledger.apply = broken
    many(own, prefix_id, 3, 0.001, "192.0.2.1", NOON)
    with pytest.raises(Unavailable):
        await settle(node, ledger, NOON)
    many(own, prefix_id, 4, 0.001, "192.0.2.1", NOON + 1)
    assert await settle(node, ledger, NOON + 1) == 2
    (day,) = await days(node, prefix_id, date(2026, 3, 1), date(2026, 3, 1))
    assert (day["requests"], day["peak"]["per_second"]) == (7, 4)


async def test_a_settlement_that_cannot_be_applied_holds_up_nothing(node: Node, make_firm: Any) -> None:
    prefix_id = await id_of(node, await make_firm())
    own, ledger = worker(node)
    many(own, 2**40, 1, 0.001, "192.0.2.1", NOON)  # no such prefix can be stored
    ledger.gather(NOON)
    many(own, prefix_id, 4, 0.001, "192.0.2.1", NOON + 1)
    await settle(node, ledger, NOON + 1)
    (day,) = await days(node, prefix_id, date(2026, 3, 1), date(2026, 3, 1))
    assert day["requests"] == 4


async def test_what_waits_is_bounded_and_loses_no_count(node: Node, make_firm: Any) -> None:
    prefix_id = await id_of(node, await make_firm())
    own, ledger = worker(node)
    for second in range(200):  # PostgreSQL is away for 200 turns
        many(own, prefix_id, 1 + (second == 150), 0.001, f"192.0.2.{second % 7}", NOON + second)
        ledger.gather(NOON + second)
    assert len(ledger.waiting) <= 60
    await settle(node, ledger, NOON + 200)
    (day,) = await days(node, prefix_id, date(2026, 3, 1), date(2026, 3, 1))
    assert (day["requests"], day["peak"]["per_second"], day["sources"]["addresses"]) == (201, 2, 7)


async def test_addresses_beyond_the_limit_are_other(node: Node, make_firm: Any) -> None:
    prefix_id = await id_of(node, await make_firm())
    (a, of_a), (b, of_b) = worker(node), worker(node)
    for n in range(MAX_SOURCES - 3):
        a.count(prefix_id, True, 0.001, f"10.0.{n >> 8}.{n & 255}", NOON)
    await settle(node, of_a, NOON)
    for n in range(10):
        b.count(prefix_id, True, 0.001, f"10.9.0.{n}", NOON + 1)
    for _ in range(4):
        b.count(prefix_id, True, 0.001, "10.0.0.1", NOON + 1)  # one of the known goes on being counted
    b.count(prefix_id, True, 0.001, "unix:", NOON + 1)
    await settle(node, of_b, NOON + 1)
    b.count(prefix_id, True, 0.001, "10.9.9.9", NOON + 2)
    await settle(node, of_b, NOON + 2)
    (day,) = await days(node, prefix_id, date(2026, 3, 1), date(2026, 3, 1))
    assert day["sources"] == {"addresses": MAX_SOURCES, "other_requests": 7 + 1 + 1}
    async with reading(node) as conn:
        found = await statistics.sources(node, conn, date(2026, 3, 1), prefix_id)
    assert len(found) == MAX_SOURCES
    assert found[0] == ("10.0.0.1", 5)
    assert sum(n for _, n in found) + day["sources"]["other_requests"] == day["requests"]


async def test_addresses_are_sealed_and_unlinkable_between_days(node: Node, make_firm: Any) -> None:
    prefix_id = await id_of(node, await make_firm())
    own, ledger = worker(node)
    for day in range(2):
        own.count(prefix_id, True, 0.001, "198.51.100.77", NOON + day * 86_400)
        own.count(tally.UNKNOWN, False, 0.001, "198.51.100.77", NOON + day * 86_400)
    await settle(node, ledger, NOON)
    rows = await node.pool.fetch("SELECT * FROM resolution_source WHERE prefix_id = $1 ORDER BY day", prefix_id)
    assert len(rows) == 2
    assert rows[0]["digest"] != rows[1]["digest"]
    for row in rows:
        assert all(b"198.51" not in bytes(row[c]) for c in ("digest", "sealed"))
    async with reading(node) as conn:  # over the whole node the same address is one
        found = dict(await statistics.sources(node, conn, date(2026, 3, 2)))
    assert found["198.51.100.77"] == 2


async def test_addresses_go_35_days_after_their_day(node: Node, make_firm: Any) -> None:
    prefix_id = await id_of(node, await make_firm())
    own, ledger = worker(node)
    own.count(prefix_id, True, 0.001, "192.0.2.1", MIDNIGHT + 1)
    await settle(node, ledger, NOON)

    async def kept(now: float) -> int:
        await statistics.tidy(node, now)
        count = "SELECT count(*) FROM resolution_source WHERE prefix_id = $1"
        return int(await node.pool.fetchval(count, prefix_id))

    assert await kept(MIDNIGHT + 36 * 86_400 - 1) == 1
    assert await kept(MIDNIGHT + 36 * 86_400) == 0
    (day,) = await days(node, prefix_id, date(2026, 3, 1), date(2026, 3, 1))
    assert day["requests"] == 1  # the numbers stay


async def test_statistics_of_owner_and_operator(
    client: httpx.AsyncClient, node: Node, firm: Any, stranger: Any, operator_headers: dict[str, str]
) -> None:
    prefix_id = await id_of(node, firm)
    own, ledger = worker(node)
    own.count(prefix_id, True, 0.001, "203.0.113.5", NOON)
    await settle(node, ledger, NOON)
    url = f"/api/v1/statistics?prefix={firm.prefix}&from=2026-03-01&to=2026-03-01"
    for headers in (firm.headers, operator_headers):
        answer = await client.get(url, headers=headers)
        assert answer.status_code == 200, answer.text
        assert [d["requests"] for d in answer.json()["days"]] == [1]
        assert "203.0.113" not in answer.text
    assert (await client.get(url, headers=stranger.headers)).status_code == 403
    assert (await client.get(url)).status_code == 401
    whole = await client.get("/api/v1/statistics?from=2026-03-01&to=2026-03-01", headers=operator_headers)
    assert whole.json()["days"][0]["requests"] >= 1
    assert whole.json()["prefixes"] >= 2
    bad = ("", "prefix=&to=2026-13-01", "prefix=x&from=2026-03-02&to=2026-03-01", "from=2020-01-01", "to=0001-01-01",
           "from=9999-12-31&to=9999-12-31", "from=%00", "to=２０２６-03-01")  # fmt: skip
    for query in bad:
        answer = await client.get(f"/api/v1/statistics?{query}", headers=firm.headers)
        assert answer.status_code == 400, (query, answer.text)
