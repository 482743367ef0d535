"""Applications, decisions and prefixes, over HTTP and on real servers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import asyncpg
import httpx
import pytest
from stdnum.cn import uscc

from node import access, onboarding
from node.config import Settings
from node.errors import AlreadyDecided
from node.model import Identity
from node.runtime import Node, close_node, open_node, reading
from node.store import prefixes

URL = "/api/v1/applications"
ADMIN = Identity("operator:test", role="admin")
APPROVE = json.dumps({"decision": "approve", "reason": "资料齐全"}).encode()


async def apply(client: httpx.AsyncClient, form: dict[str, Any]) -> int:
    answer = await client.post(URL, json=form)
    assert answer.status_code == 201, answer.text
    return int(answer.json()["id"])


async def decide(client: httpx.AsyncClient, headers: dict[str, str], number: int, **decision: Any) -> httpx.Response:
    body = {"decision": "approve", "reason": "资料齐全", **decision}
    return await client.post(f"{URL}/{number}:decide", json=body, headers=headers)


def fields(answer: httpx.Response) -> set[str]:
    assert answer.status_code == 422, answer.text
    return {error["field"] for error in answer.json()["errors"]}


async def test_apply_approve_and_use_the_key(
    client: httpx.AsyncClient, operator_headers: dict[str, str], make_application: Callable[..., Any]
) -> None:
    form = make_application()
    applied = await client.post(URL, json=form | {"credit_code": form["credit_code"].lower()})
    number = applied.json()["id"]
    assert applied.headers["location"] == f"http://127.0.0.1:8000{URL}/{number}"
    assert applied.json()["status"] == "pending"
    decided = await decide(client, operator_headers, number, spread=8)
    assert decided.status_code == 200
    assert decided.headers["cache-control"] == "no-store"
    prefix, key = decided.json()["prefix"], decided.json()["api_key"]
    assert decided.json()["status"] == "enabled"
    assert prefix.startswith("88.999.")
    own = await client.get("/api/v1/prefixes", headers={"Authorization": f"Bearer {key}"})
    assert [p["prefix"] for p in own.json()["prefixes"]] == [prefix]
    seen = await client.get(f"{URL}/{number}", headers=operator_headers)
    assert key not in seen.text
    assert seen.json()["credit_code"] == form["credit_code"]
    every = (await client.get("/api/v1/prefixes", headers=operator_headers)).json()["prefixes"]
    assert next(p for p in every if p["prefix"] == prefix)["spread"] == 8


async def test_each_wrong_field_gets_its_own_error(
    client: httpx.AsyncClient, make_application: Callable[..., Any]
) -> None:
    wrong = {
        "credit_code": "91341300MA0000000X",
        "name": "甲\u0000乙",
        "industry": "coal",
        "county": "110000",
        "contact": {"person": "", "phone": "x", "email": "nobody"},
    }
    assert fields(await client.post(URL, json=wrong)) == {
        *("credit_code", "name", "industry", "county", "contact.person", "contact.phone", "contact.email")
    }
    assert fields(await client.post(URL, json={})) == {
        *("credit_code", "name", "industry", "county", "contact.person", "contact.phone")
    }
    assert fields(await client.post(URL, json=make_application(name="长" * 129))) == {"name"}
    assert fields(await client.post(URL, json=make_application(county=341321))) == {"county"}
    assert (await client.post(URL, content=b"{", headers={"content-type": "application/json"})).status_code == 400
    assert (await client.post(URL, content=b"{}", headers={"content-type": "text/plain"})).status_code == 415


@pytest.mark.parametrize("code", ["", "9" * 18, "９１３４１３００", "91341300MA\u0000", "甲" * 18, "O" * 18])
async def test_no_credit_code_breaks_the_check(
    client: httpx.AsyncClient, make_application: Callable[..., Any], code: str
) -> None:
    assert fields(await client.post(URL, json=make_application(credit_code=code))) == {"credit_code"}


async def test_a_village_collective_may_apply(client: httpx.AsyncClient, make_application: Callable[..., Any]) -> None:
    """农村集体经济组织 have N where others have a digit."""
    body = "N2341321MA8N0A1B2"
    form = make_application(credit_code=body + uscc.calc_check_digit(body))
    assert (await client.post(URL, json=form)).status_code == 201


async def test_one_open_application_of_an_enterprise(
    client: httpx.AsyncClient, operator_headers: dict[str, str], make_application: Callable[..., Any]
) -> None:
    form = make_application()
    answers = await asyncio.gather(*(client.post(URL, json=form) for _ in range(8)))
    assert sorted(a.status_code for a in answers) == [201, *[409] * 7]
    number = next(a.json()["id"] for a in answers if a.status_code == 201)
    refusal = next(a for a in answers if a.status_code == 409)
    assert form["name"] not in refusal.text
    assert "id" not in refusal.json()
    rejected = await decide(client, operator_headers, number, decision="reject", reason="证照不清")
    assert (rejected.json()["status"], rejected.json()["prefix"]) == ("rejected", None)
    assert "api_key" not in rejected.json()
    await apply(client, form)


async def test_a_second_prefix_renames_the_enterprise_everywhere(
    client: httpx.AsyncClient, operator_headers: dict[str, str], make_application: Callable[..., Any]
) -> None:
    form = make_application()
    first = (await decide(client, operator_headers, await apply(client, form))).json()
    again = await apply(client, form | {"name": "宿州示范新名称有限公司"})
    second = (await decide(client, operator_headers, again)).json()
    assert second["prefix"] != first["prefix"]
    assert second["api_key"] is None  # it goes on with the key that it has
    own = await client.get("/api/v1/prefixes", headers={"Authorization": f"Bearer {first['api_key']}"})
    assert {p["registrant"] for p in own.json()["prefixes"]} == {"宿州示范新名称有限公司"}


async def test_the_same_idempotency_key_applies_once(
    client: httpx.AsyncClient, make_application: Callable[..., Any]
) -> None:
    form, key = make_application(), {"Idempotency-Key": "apply-1"}
    first, again = [await client.post(URL, json=form, headers=key) for _ in range(2)]
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    other = await client.post(URL, json=make_application(), headers=key)
    assert other.json()["code"] == "idempotency_mismatch"


async def test_a_decision_that_shows_a_key_is_never_replayed(
    client: httpx.AsyncClient, operator_headers: dict[str, str], make_application: Callable[..., Any]
) -> None:
    number = await apply(client, make_application())
    headers = operator_headers | {"Idempotency-Key": "decide-1"}
    assert (await decide(client, headers, number)).json()["api_key"]
    again = await decide(client, headers, number)
    assert (again.status_code, again.json()["code"]) == (409, "secret_shown_once")


async def test_of_ten_decisions_at_once_one_wins(node: Node, make_application: Callable[..., Any]) -> None:
    applied = await onboarding.apply(node, json.dumps(make_application()).encode(), None)
    results = await asyncio.gather(
        *(onboarding.decide(node, ADMIN, applied["id"], APPROVE, None) for _ in range(10)), return_exceptions=True
    )
    assert sum(isinstance(r, dict) for r in results) == 1
    assert sum(isinstance(r, AlreadyDecided) for r in results) == 9
    async with reading(node) as conn:
        count = await conn.fetchval("SELECT count(*) FROM application WHERE id = $1", applied["id"])
    assert count == 1


async def test_decisions_that_cannot_be(
    client: httpx.AsyncClient, operator_headers: dict[str, str], make_application: Callable[..., Any]
) -> None:
    number = await apply(client, make_application())
    bad = await decide(client, operator_headers, number, decision="perhaps", reason=" ", spread=3)
    assert fields(bad) == {"decision", "reason", "spread"}
    assert fields(await decide(client, operator_headers, number, reason="a\u0000b")) == {"reason"}
    assert (await decide(client, operator_headers, 10**15)).status_code == 404
    assert (await decide(client, operator_headers, 2**70)).status_code == 400
    assert (await decide(client, {}, number)).status_code == 401
    assert (await client.get(f"{URL}?status=99", headers=operator_headers)).status_code == 400
    assert (await client.get(f"{URL}?after={2**70}", headers=operator_headers)).status_code == 400


@pytest.mark.parametrize("answer", ["approve", "reject"])
async def test_manual_upper_approval(
    other_settings: Callable[..., Settings], make_application: Callable[..., Any], answer: str
) -> None:
    node = await open_node(other_settings(upper_approval="manual"))
    try:
        applied = await onboarding.apply(node, json.dumps(make_application()).encode(), None)
        waiting = await onboarding.decide(node, ADMIN, applied["id"], APPROVE, None)
        assert waiting["status"] == "in_review"
        assert "api_key" not in waiting
        async with reading(node) as conn:
            assert (await prefixes.fetch(conn, waiting["prefix"])).status == 5
        body = json.dumps({"decision": answer, "reason": "顶级节点答复"}).encode()
        decided = await onboarding.decide(node, ADMIN, applied["id"], body, None)
        async with reading(node) as conn:
            state = (await prefixes.fetch(conn, waiting["prefix"])).status
        assert (decided["status"], int(state)) == {"approve": ("enabled", 1), "reject": ("rejected", 3)}[answer]
        assert bool(decided.get("api_key")) == (answer == "approve")
        with pytest.raises(AlreadyDecided):
            await onboarding.decide(node, ADMIN, applied["id"], APPROVE, None)
    finally:
        await close_node(node)


async def test_contact_is_sealed_masked_and_opened_under_audit(
    client: httpx.AsyncClient,
    database_url: str,
    operator_headers: dict[str, str],
    make_application: Callable[..., Any],
) -> None:
    contact = {"person": "欧阳示范", "phone": "13800009999", "email": "ouyang@example.com"}
    number = await apply(client, make_application(contact=contact))
    conn = await asyncpg.connect(database_url)
    try:
        stored = await conn.fetchval("SELECT contact FROM application WHERE id = $1", number)
        trail = await conn.fetch("SELECT detail FROM audit")
    finally:
        await conn.close()
    for secret in contact.values():
        assert secret.encode() not in stored
        assert all(secret.encode() not in row["detail"] for row in trail)
    listed = await client.get(f"{URL}?after={number - 1}&limit=1&status=4", headers=operator_headers)
    assert listed.json()["applications"][0]["id"] == number
    assert not any(secret in listed.text for secret in contact.values())
    opened = await client.get(f"{URL}/{number}", headers=operator_headers)
    assert opened.json()["contact"] == contact
    entries = (await client.get("/api/v1/audit?limit=500", headers=operator_headers)).json()["entries"]
    assert (entries[-1]["action"], entries[-1]["object"]) == ("application.read", str(number))


async def test_suspend_and_resume(
    client: httpx.AsyncClient, operator_headers: dict[str, str], make_firm: Callable[..., Any]
) -> None:
    firm = await make_firm()
    row = {"handle": f"{firm.prefix}/SUSPEND-1"}
    url = f"/api/v1/prefixes/{firm.prefix}"
    assert fields(await client.post(f"{url}:suspend", json={"reason": ""}, headers=operator_headers)) == {"reason"}
    assert (await client.post(f"{url}:suspend", json={"reason": "欠费"}, headers=firm.headers)).status_code == 401
    stopped = await client.post(f"{url}:suspend", json={"reason": "欠费"}, headers=operator_headers)
    assert (stopped.status_code, stopped.json()["status"]) == (200, "stopped")
    refused = await client.post("/api/v1/handles", json=row, headers=firm.headers)
    assert (refused.status_code, refused.json()["code"]) == (403, "prefix_not_active")
    await client.post(f"{url}:resume", json={"reason": "已缴"}, headers=operator_headers)
    assert (await client.post("/api/v1/handles", json=row, headers=firm.headers)).status_code == 201
    for unknown in ("88.999.77777", "nonsense", "88.999.1%00"):
        answer = await client.post(
            f"/api/v1/prefixes/{unknown}:suspend", json={"reason": "x"}, headers=operator_headers
        )
        assert answer.json()["code"] == "unknown_prefix"


async def test_roles(node: Node, client: httpx.AsyncClient, make_application: Callable[..., Any]) -> None:
    number = await apply(client, make_application())
    calls = {
        "decide": ("POST", f"{URL}/{number}:decide", {"decision": "reject", "reason": "x"}),
        "suspend": ("POST", "/api/v1/prefixes/88.999.77777:suspend", {"reason": "x"}),
        "add": ("POST", "/api/v1/operators", {"login": "", "password": "", "role": ""}),
        "read": ("GET", f"{URL}/{number}", None),
        "list": ("GET", URL, None),
        "audit": ("GET", "/api/v1/audit", None),
        "revoke": ("DELETE", "/api/v1/keys/0123456789", None),
        "statistics": ("GET", "/api/v1/statistics", None),
    }
    allowed = {
        "auditor": {"list", "audit", "statistics"},
        "reviewer": {"read", "suspend", "revoke", "list", "statistics", "decide"},
    }
    for role, may in allowed.items():
        await access.add_operator(node, f"role-{role}", "correct horse battery", role, actor="test")
        token, _ = await access.login(node, f"role-{role}", "correct horse battery")
        refused = set()
        for name, (method, url, body) in calls.items():
            answer = await client.request(method, url, json=body, headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code < 500
            refused |= {name} if answer.status_code == 403 else set()
        assert refused == set(calls) - may, role


async def test_statistics(client: httpx.AsyncClient, operator_headers: dict[str, str], firm: Any) -> None:
    url = f"/api/v1/statistics?prefix={firm.prefix}"
    before = (await client.get(url, headers=operator_headers)).json()
    handle = f"{firm.prefix}/COUNTED-1"
    assert (await client.post("/api/v1/handles", json={"handle": handle}, headers=firm.headers)).status_code == 201
    assert (await client.delete(f"/api/v1/handles/{handle}?reason=x", headers=firm.headers)).status_code == 200
    after = (await client.get(url, headers=operator_headers)).json()
    assert [after[k] - before[k] for k in ("created", "deleted", "registered")] == [1, 1, 0]
    assert (await client.get("/api/v1/statistics?prefix=a%00", headers=operator_headers)).status_code == 404
