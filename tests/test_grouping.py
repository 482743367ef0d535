"""Single registrations that share a transaction: who wins, who fails alone, and what is counted."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import asyncpg
import httpx
import pytest

from node import grouping


def row(handle: str, text: str = "a", **more: Any) -> dict[str, Any]:
    value = {"index": 1, "type": "URL", "data": f"https://example.com/{text}"}
    return {"handle": handle, "values": [value], **more}


async def post(client: httpx.AsyncClient, headers: dict[str, str], body: Any, *, long_way: bool = False) -> Any:
    """`long_way`: a content type that only FastAPI's route takes."""
    kind = "application/json; charset=utf-8" if long_way else "application/json"
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await client.post("/api/v1/handles", content=content, headers={**headers, "Content-Type": kind})


async def count(settings: Any, prefix: str) -> tuple[int, int]:
    """(rows, counted) of a prefix."""
    conn = await asyncpg.connect(settings.database_url)
    try:
        rows = await conn.fetchval(
            "SELECT count(*) FROM handle h JOIN prefix p ON p.id = h.prefix_id WHERE h.shard >= 0 AND p.prefix = $1",
            prefix,
        )
        counted = await conn.fetchval(
            "SELECT sum(created) FROM (SELECT prefix_id, created FROM registration_count UNION ALL SELECT prefix_id,"
            " created FROM registration_delta) c JOIN prefix p ON p.id = c.prefix_id WHERE p.prefix = $1",
            prefix,
        )
        return rows, counted
    finally:
        await conn.close()


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_of_many_callers_with_one_handle_one_creates_it(
    client: Any, make_firm: Any, settings: Any, seed: int
) -> None:
    firm, chance = await make_firm(), random.Random(seed)
    bodies = [row(f"{firm.prefix}/RACE-{chance.randrange(6)}", chance.choice("ab")) for _ in range(80)]
    answers = await asyncio.gather(*(post(client, firm.headers, body) for body in bodies))
    stored: dict[str, str] = {}
    for body, answer in zip(bodies, answers, strict=True):
        assert answer.status_code in (200, 201, 409), answer.text
        if answer.status_code == 201:
            assert body["handle"] not in stored
            stored[body["handle"]] = body["values"][0]["data"]
    for body, answer in zip(bodies, answers, strict=True):
        same = stored[body["handle"]] == body["values"][0]["data"]
        assert (answer.status_code == 409) == (not same)
    assert await count(settings, firm.prefix) == (len(stored), len(stored))


async def test_what_is_wrong_stays_with_its_own_row(
    client: Any, make_firm: Any, operator_headers: Any, settings: Any
) -> None:
    firm, other, stopped, revoked = [await make_firm() for _ in range(4)]
    url = f"/api/v1/prefixes/{stopped.prefix}:suspend"
    assert (await client.post(url, json={"reason": "test"}, headers=operator_headers)).status_code == 200
    key_id = revoked.key.split("_")[2]
    assert (await client.delete(f"/api/v1/keys/{key_id}", headers=revoked.headers)).status_code in (200, 204)
    bad = [
        (firm.headers, row("no handle at all"), 422),
        (firm.headers, b"{", 400),
        (firm.headers, row(f"{other.prefix}/X"), 403),
        (firm.headers, row(f"{firm.prefix}/T", template="none@1"), 422),
        (firm.headers, row(f"{firm.prefix}/L", lot="NONE"), 422),
        (firm.headers, row("88.999.99999/X"), 404),
        (stopped.headers, row(f"{stopped.prefix}/X"), 409),
        (revoked.headers, row(f"{revoked.prefix}/X"), 401),
        ({"Authorization": "Bearer nothing"}, row(f"{firm.prefix}/N"), 401),
    ]
    good = [(firm.headers, row(f"{firm.prefix}/GOOD-{n}"), 201) for n in range(20)]
    mixed = random.Random(7).sample([*bad, *good], len(bad) + len(good))
    answers = await asyncio.gather(*(post(client, headers, body) for headers, body, _ in mixed))
    for (_, body, status), answer in zip(mixed, answers, strict=True):
        assert answer.status_code in (status, 403 if status == 409 else status), (body, answer.text)
    assert await count(settings, firm.prefix) == (20, 20)


async def test_the_short_way_answers_as_the_route_does(client: Any, firm: Any, stranger: Any) -> None:
    bodies: list[Any] = [
        row(f"{firm.prefix}/SAME-1"),
        row(f"{firm.prefix}/SAME-1"),
        row(f"{firm.prefix}/SAME-1", "other"),
        row(f"{firm.prefix}/ADMIN"),
        row(f"{firm.prefix}/bad suffix"),
        row(f"{stranger.prefix}/X"),
        row("88.999.77777/X"),
        row(f"{firm.prefix}/T", template="none@1"),
        {"handle": f"{firm.prefix}/U", "unknown": 1},
        {"values": []},
        b"[]",
        b"\xff",
        b"",
    ]
    for body in bodies:
        other = json.loads(json.dumps(body).replace("SAME-1", "SAME-2")) if isinstance(body, dict) else body
        short, long = await post(client, firm.headers, body), await post(client, firm.headers, other, long_way=True)
        assert short.status_code == long.status_code, (body, short.text, long.text)
        assert short.text.replace("SAME-1", "SAME-2") == long.text
        kept = [[(k, v) for k, v in a.headers.raw if k != b"x-request-id"] for a in (short, long)]
        assert [(k, v.replace(b"SAME-1", b"SAME-2")) for k, v in kept[0]] == kept[1]
    for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": "Basic x"}):
        short, long = await post(client, headers, bodies[0]), await post(client, headers, bodies[0], long_way=True)
        assert (short.status_code, short.text) == (long.status_code, long.text)


async def test_what_the_database_refuses_is_sought_out(client: Any, make_firm: Any, settings: Any) -> None:
    firm = await make_firm()
    conn = await asyncpg.connect(settings.database_url)
    try:
        await conn.execute("ALTER TABLE handle ADD CONSTRAINT refuses CHECK (suffix <> 'REFUSED')")
        suffixes = [f"FINE-{n}" for n in range(30)]
        suffixes.insert(17, "REFUSED")
        answers = await asyncio.gather(*(post(client, firm.headers, row(f"{firm.prefix}/{s}")) for s in suffixes))
        assert [a.status_code for a in answers] == [500 if s == "REFUSED" else 201 for s in suffixes]
        assert answers[17].json()["code"] == "internal"
    finally:
        await conn.execute("ALTER TABLE handle DROP CONSTRAINT refuses")
        await conn.close()
    assert await count(settings, firm.prefix) == (30, 30)


async def test_a_caller_that_goes_away_takes_nothing_from_the_others(node: Any, make_firm: Any, settings: Any) -> None:
    firm, groups = await make_firm(), grouping.Groups(node)
    tasks = [
        asyncio.create_task(groups.register(firm.key, "127.0.0.1", json.dumps(row(f"{firm.prefix}/C-{n}")).encode()))
        for n in range(60)
    ]
    await asyncio.sleep(0)
    for task in tasks[::3]:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    for n, outcome in enumerate(outcomes):
        if n % 3 == 0:
            assert isinstance(outcome, asyncio.CancelledError)
        else:
            assert isinstance(outcome, grouping.Outcome)
            assert (outcome.outcome, outcome.handle) == ("created", f"{firm.prefix}/C-{n}")
    rows, counted = await count(settings, firm.prefix)
    assert rows == counted >= 40


async def test_a_group_that_waits_for_a_lock_holds_nobody_up(client: Any, make_firm: Any, settings: Any) -> None:
    stuck, other = await make_firm(), await make_firm()
    conn = await asyncpg.connect(settings.database_url)
    try:
        async with conn.transaction():
            await conn.execute("SELECT pg_advisory_xact_lock(88, hashtext($1))", stuck.prefix)
            waits = asyncio.create_task(post(client, stuck.headers, row(f"{stuck.prefix}/W-1")))
            async with asyncio.timeout(60):
                while not await conn.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                    await asyncio.sleep(0.01)
            assert (await post(client, other.headers, row(f"{other.prefix}/W-2"))).status_code == 201
            assert not waits.done()
            status = "UPDATE prefix SET status = 2 WHERE prefix = $1"
            await conn.execute(status, stuck.prefix)
        refused = await waits  # the state of a prefix is read after its lock, not before
        assert (refused.status_code, refused.json()["code"]) == (403, "prefix_not_active")
    finally:
        await conn.close()
    assert await count(settings, stuck.prefix) == (0, None)


async def test_too_many_are_told_to_come_again(
    node: Any, make_firm: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    firm, groups = await make_firm(), grouping.Groups(node)
    monkeypatch.setattr(grouping, "_QUEUE", 5)
    monkeypatch.setattr(grouping, "_MOST", 1)
    bodies = [json.dumps(row(f"{firm.prefix}/Q-{n}")).encode() for n in range(40)]
    tasks = [asyncio.create_task(groups.register(firm.key, "127.0.0.1", body)) for body in bodies]
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    refused = [o for o in outcomes if isinstance(o, Exception)]
    assert refused
    assert {type(o).__name__ for o in refused} == {"Unavailable"}
    assert (await count(settings, firm.prefix))[0] == 40 - len(refused)
