"""Alarms: one for a subject and a kind, counted up; what is told and when; who reads and acknowledges them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import httpx
import orjson
import pytest

from node.alarms import QUIET, Cause, Reason, again, raise_alarms
from node.runtime import Node, in_transaction

URL = "/api/v1/alarms"
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
REASON = Reason("many_devices", "24 小时内被 40 台设备扫过", "scanned by 40 devices within 24 hours")


async def raised(node: Node, firm: Any, suffix: str = "CRATE-1", score: int = 50, **changes: Any) -> Any:
    fields = {"registrant_id": firm.identity.registrant_id, "prefix": firm.prefix, "kind": "copied", "score": score,
              "subject": f"{firm.prefix}/{suffix}", "reasons": [REASON]} | changes  # fmt: skip
    (found,) = await in_transaction(node, lambda conn: raise_alarms(conn, [Cause(**fields)]))
    return found


async def listed(client: httpx.AsyncClient, firm: Any, query: str = "") -> list[dict[str, Any]]:
    answer = await client.get(URL + query, headers=firm.headers)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["alarms"])


async def test_an_alarm_is_one_and_counts_up(client: httpx.AsyncClient, make_firm: Any, node: Node) -> None:
    firm = await make_firm()
    first = await raised(node, firm, at=NOW)
    assert first.told
    second = await raised(node, firm, count=5, at=NOW - timedelta(hours=1))
    assert (second.id, second.told) == (first.id, False)
    other = await raised(node, firm, kind="ghost")
    assert other.id != first.id
    assert other.told
    alarm = next(a for a in await listed(client, firm) if a["id"] == first.id)
    assert alarm == {
        "id": first.id,
        "seq": alarm["seq"],
        "prefix": firm.prefix,
        "subject": f"{firm.prefix}/CRATE-1",
        "kind": "copied",
        "score": 50,
        "reasons": [{"code": "many_devices", "zh": REASON.zh, "en": REASON.en}],
        "count": 6,
        "first_at": (NOW - timedelta(hours=1)).isoformat(),
        "last_at": NOW.isoformat(),
        "acknowledged_at": None,
        "acknowledged_by": None,
    }


async def test_raised_at_once_by_many_it_is_still_one(make_firm: Any, node: Node, client: httpx.AsyncClient) -> None:
    firm = await make_firm()
    results = await asyncio.gather(*(raised(node, firm) for _ in range(12)))
    assert len({r.id for r in results}) == 1
    assert sum(r.told for r in results) == 1
    assert [a["count"] for a in await listed(client, firm)] == [12]


async def test_many_at_once_are_each_as_one_alone(make_firm: Any, node: Node, client: httpx.AsyncClient) -> None:
    firms = [await make_firm(), await make_firm()]
    fields = {"kind": "copied", "reasons": [REASON]}

    def causes(score: int) -> list[Cause]:
        return [
            Cause(registrant_id=f.identity.registrant_id, prefix=f.prefix, subject=f"{f.prefix}/C-{n}",
                  score=score + n, **fields)
            for n in range(3) for f in firms
        ]  # fmt: skip

    await raised(node, firms[0], "C-1", 50)
    first = await in_transaction(node, lambda conn: raise_alarms(conn, causes(50)))
    assert [r.told for r in first] == [True, True, False, True, True, True]  # 51 after 50 is nothing to tell
    second = await in_transaction(node, lambda conn: raise_alarms(conn, causes(60)))
    assert [r.id for r in second] == [r.id for r in first]
    assert [r.told for r in second] == [True] * 6
    for firm in firms:
        alarms = {a["subject"].rpartition("-")[2]: a for a in await listed(client, firm)}
        assert {n: (a["score"], a["count"]) for n, a in alarms.items()} == {
            "0": (60, 2), "1": (61, 3 if firm is firms[0] else 2), "2": (62, 2)
        }  # fmt: skip
    posted = await node.pool.fetch(
        "SELECT convert_from(body, 'UTF8')::json AS body FROM outbox WHERE topic = 'webhook' ORDER BY id"
    )
    ours = [orjson.loads(p["body"]) for p in posted]
    ours = [m for m in ours if m["registrant"] in {f.identity.registrant_id for f in firms}]
    assert len(ours) == 1 + 5 + 6
    assert len({m["id"] for m in ours}) == len(ours)
    assert await in_transaction(node, lambda conn: raise_alarms(conn, [])) == []


async def test_many_raise_the_same_in_any_order(make_firm: Any, node: Node, client: httpx.AsyncClient) -> None:
    firms, chance = [await make_firm() for _ in range(3)], Random(7)
    causes = [
        Cause(registrant_id=f.identity.registrant_id, prefix=f.prefix, subject=f"{f.prefix}/C-{n}", kind="copied",
              score=50, reasons=[REASON])
        for f in firms for n in range(5)
    ]  # fmt: skip
    orders = [chance.sample(causes, len(causes)) for _ in range(8)]
    found = await asyncio.gather(
        *(in_transaction(node, lambda conn, o=order: raise_alarms(conn, o)) for order in orders)  # type: ignore[misc]
    )
    assert sum(r.told for results in found for r in results) == len(causes)
    for firm in firms:
        assert [a["count"] for a in await listed(client, firm)] == [8] * 5


async def test_what_is_told_goes_out_with_the_transaction_or_not_at_all(make_firm: Any, node: Node) -> None:
    firm = await make_firm()
    registrant = firm.identity.registrant_id

    async def fail(conn: Any) -> None:
        fields = {"prefix": firm.prefix, "subject": firm.prefix, "kind": "guessed", "score": 80, "reasons": []}
        await raise_alarms(conn, [Cause(registrant_id=registrant, **fields)])
        assert await conn.fetchval("SELECT count(*) FROM outbox WHERE topic = 'webhook'") > 0
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await in_transaction(node, fail)
    assert await node.pool.fetchval("SELECT count(*) FROM alarm WHERE registrant_id = $1", registrant) == 0


def row(**changes: Any) -> dict[str, Any]:
    return {"score": 50, "told_score": 50, "count": 7, "reasons": b"old", "first_at": NOW, "last_at": NOW,
            "acknowledged_at": None, "acknowledged_by": ""} | changes  # fmt: skip


ACKNOWLEDGED = {"acknowledged_at": NOW, "acknowledged_by": "key:a"}


@pytest.mark.parametrize(
    ("before", "score", "later", "told", "after"),
    [
        ({}, 50, 1, False, {"score": 50, "reasons": b"new"}),
        ({}, 59, 1, False, {"score": 59, "told_score": 50}),
        ({"score": 59}, 60, 1, True, {"score": 60, "told_score": 60}),
        ({}, 20, 1, False, {"score": 50, "reasons": b"old"}),  # the worst finding stays
        (ACKNOWLEDGED, 50, 23, False, ACKNOWLEDGED),
        (ACKNOWLEDGED, 60, 1, True, {"acknowledged_at": None, "acknowledged_by": ""}),
        (ACKNOWLEDGED, 20, 24, True, {"acknowledged_at": None, "score": 20, "told_score": 20, "reasons": b"new"}),
    ],
)
def test_when_the_enterprise_is_told(before: Any, score: int, later: int, told: bool, after: Any) -> None:
    at = NOW + timedelta(hours=later)
    again_so = {"score": score, "reasons": b"new", "count": 3, "first_at": at, "last_at": at}
    changed, tell = again(row(**before), again_so, at)
    assert tell is told
    assert {name: changed[name] for name in after} == after
    assert (changed["count"], changed["first_at"], changed["last_at"]) == (10, NOW, at)


async def test_alarms_are_read_in_the_order_of_what_is_new(
    client: httpx.AsyncClient, make_firm: Any, node: Node
) -> None:
    firm = await make_firm()
    ids = [(await raised(node, firm, f"C-{n}")).id for n in range(5)]
    page = (await client.get(f"{URL}?limit=3", headers=firm.headers)).json()
    assert [a["id"] for a in page["alarms"]] == ids[:3]
    rest = (await client.get(f"{URL}?after={page['next']}", headers=firm.headers)).json()
    assert [a["id"] for a in rest["alarms"]] == ids[3:]
    nothing = (await client.get(f"{URL}?after={rest['next']}", headers=firm.headers)).json()
    assert nothing == {"alarms": [], "next": rest["next"]}
    await raised(node, firm, "C-0")  # counted up: nothing new to tell
    assert await listed(client, firm, f"?after={rest['next']}") == []
    await raised(node, firm, "C-0", score=90)
    assert [(a["id"], a["score"], a["count"]) for a in await listed(client, firm, f"?after={rest['next']}")] == [
        (ids[0], 90, 3)
    ]


async def test_an_alarm_is_acknowledged(client: httpx.AsyncClient, make_firm: Any, node: Node, stranger: Any) -> None:
    firm = await make_firm()
    ids = [(await raised(node, firm, f"C-{n}")).id for n in range(2)]
    path = f"{URL}/{ids[0]}:acknowledge"
    assert (await client.post(path, headers=stranger.headers)).status_code == 404
    seen = await client.post(path, headers=firm.headers)
    assert (seen.status_code, seen.json()["acknowledged_by"]) == (200, firm.identity.actor)
    assert (await client.post(path, headers=firm.headers)).json() == seen.json()
    assert [a["id"] for a in await listed(client, firm, "?open=true")] == [ids[1]]
    assert [a["id"] for a in await listed(client, firm, "?open=false")] == [ids[0]]
    assert len(await listed(client, firm)) == 2
    assert await listed(client, stranger) == []
    audited = await node.pool.fetch(
        "SELECT actor FROM audit WHERE action = 'alarm.acknowledge' AND object = $1", str(ids[0])
    )
    assert [a["actor"] for a in audited] == [firm.identity.actor]
    await node.pool.execute(
        "UPDATE alarm SET acknowledged_at = acknowledged_at - $2::interval WHERE id = $1", ids[0], QUIET
    )
    assert (await raised(node, firm, "C-0")).told
    assert [a["id"] for a in await listed(client, firm, "?open=true")] == [ids[1], ids[0]]


@pytest.mark.parametrize("query", ["?after=-1", "?after=x", "?open=perhaps", "?after=99999999999999999999", "?limit=x"])
async def test_a_bad_query_is_refused(client: httpx.AsyncClient, firm: Any, query: str) -> None:
    answer = await client.get(URL + query, headers=firm.headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


@pytest.mark.parametrize("number", ["0", "x", "99999999999999999999", "7777777"])
async def test_an_alarm_that_is_not_there(client: httpx.AsyncClient, firm: Any, number: str) -> None:
    answer = await client.post(f"{URL}/{number}:acknowledge", headers=firm.headers)
    assert answer.status_code in (400, 404)
    assert orjson.loads(answer.content)["code"] in ("bad_request", "not_found")
    assert (await client.get(URL)).status_code == 401
