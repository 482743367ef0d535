"""Keys of enterprises, and logins of operators: who gets in, who does not, and how soon a key is dead."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from node import access
from node.errors import (
    AlreadyExists,
    InvalidRow,
    KeyRevoked,
    NotAllowed,
    NotAuthenticated,
    TooManyAttempts,
    TooManyKeys,
)
from node.runtime import Node, in_transaction
from node.store import access as store

KEYS = "/api/v1/keys"
HERE = "127.0.0.1"
PASSWORD = "correct horse battery"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def run(database_url: str, statement: str, *arguments: Any) -> Any:
    conn = await asyncpg.connect(database_url)
    try:
        return await conn.fetch(statement, *arguments)
    finally:
        await conn.close()


async def issue(node: Node, firm: Any, **options: Any) -> str:
    registrant = firm.identity.registrant_id
    _, key = await in_transaction(
        node, lambda conn: access.issue_key(conn, node, registrant, "second", actor="test", **options)
    )
    return key


def test_form_of_a_key() -> None:
    key_id, key = access.new_key("live")
    kind, environment, middle, secret, check = key.split("_")
    assert (kind, environment, middle) == ("iid", "live", key_id)
    assert (len(key_id), len(secret), len(check)) == (10, 43, 6)
    assert len({access.new_key("live")[1] for _ in range(100)}) == 100


async def test_a_slip_is_refused_before_any_look_up(node: Node, firm: Any) -> None:
    slipped = firm.key[:-10] + ("a" if firm.key[-10] != "a" else "b") + firm.key[-9:]
    away = replace(node, pool=None)  # asking PostgreSQL would be an AttributeError
    for token in (slipped, firm.key[:-1], firm.key + "0", "", "iid_test", "\u00e9" * 60, "iid_test_a\0b_c_d"):
        with pytest.raises(NotAuthenticated):
            await access.enterprise(away, token, HERE)


async def test_a_well_formed_key_of_nobody_is_refused(node: Node, firm: Any) -> None:
    unknown = access.new_key("test")[1]
    body = "_".join([*unknown.split("_")[:2], firm.key.split("_")[2], unknown.split("_")[3]])
    for token in (unknown, f"{body}_{access._check(body)}"):  # the second has an id that exists
        with pytest.raises(NotAuthenticated):
            await access.enterprise(node, token, HERE)


async def test_the_secret_is_not_in_the_database(firm: Any, database_url: str) -> None:
    row = (await run(database_url, "SELECT id, digest FROM api_key WHERE id = $1", firm.key.split("_")[2]))[0]
    assert firm.key.split("_")[3].encode() not in row["digest"]
    for table in ("api_key", "audit", "idempotency", "outbox"):
        found = await run(database_url, f"SELECT t::text AS text FROM {table} t")
        assert not any(firm.key.split("_")[3] in row["text"] for row in found)


async def test_a_revoked_key_is_dead_at_once(client: httpx.AsyncClient, make_firm: Callable[..., Any]) -> None:
    firm = await make_firm()
    made = await client.post(KEYS, json={"name": "轮换"}, headers=firm.headers)
    assert made.status_code == 201
    fresh = bearer(made.json()["api_key"])
    assert (await client.delete(f"{KEYS}/{firm.key.split('_')[2]}", headers=fresh)).status_code == 204
    refused = await client.get(KEYS, headers=firm.headers)
    assert (refused.status_code, refused.json()["code"]) == (401, "key_revoked")
    assert refused.headers["www-authenticate"].startswith("Bearer")
    listed = await client.get(KEYS, headers=fresh)
    assert [key["live"] for key in listed.json()["keys"]] == [False, True]
    assert made.json()["api_key"] not in listed.text


async def test_nobody_revokes_what_is_not_theirs(
    client: httpx.AsyncClient, firm: Any, stranger: Any, operator_headers: dict[str, str], make_firm: Any
) -> None:
    key_id = firm.key.split("_")[2]
    for unknown in (key_id, "0123456789", "x", "a%00b"):
        assert (await client.delete(f"{KEYS}/{unknown}", headers=stranger.headers)).status_code == 404
    assert (await client.get(KEYS, headers=firm.headers)).status_code == 200
    other = await make_firm()
    assert (await client.delete(f"{KEYS}/{other.key.split('_')[2]}", headers=operator_headers)).status_code == 204
    assert (await client.get(KEYS, headers=other.headers)).status_code == 401


async def test_two_live_keys_and_no_third(client: httpx.AsyncClient, make_firm: Callable[..., Any]) -> None:
    firm = await make_firm()
    answers = await asyncio.gather(*(client.post(KEYS, json={}, headers=firm.headers) for _ in range(6)))
    assert sorted(a.status_code for a in answers) == [201, *[409] * 5]
    assert {a.json()["code"] for a in answers if a.status_code == 409} == {"too_many_keys"}


async def test_a_key_with_an_idempotency_key_is_shown_once(
    client: httpx.AsyncClient, make_firm: Callable[..., Any]
) -> None:
    firm = await make_firm()
    headers = firm.headers | {"Idempotency-Key": "rotate"}
    assert (await client.post(KEYS, json={}, headers=headers)).status_code == 201
    assert (await client.post(KEYS, json={}, headers=headers)).json()["code"] == "secret_shown_once"


async def test_an_expired_key(node: Node, make_firm: Callable[..., Any], database_url: str) -> None:
    firm = await make_firm()
    key = await issue(node, firm, expires_at=datetime.now(UTC) + timedelta(hours=1))
    await access.enterprise(node, key, HERE)
    past = datetime.now(UTC) - timedelta(seconds=1)
    await run(database_url, "UPDATE api_key SET expires_at = $2 WHERE id = $1", key.split("_")[2], past)
    with pytest.raises(KeyRevoked):
        await access.enterprise(node, key, HERE)
    await issue(node, firm)  # an expired key does not count among the live ones
    with pytest.raises(TooManyKeys):
        await issue(node, firm)


async def test_a_key_of_another_network(node: Node, make_firm: Callable[..., Any]) -> None:
    key = await issue(node, await make_firm(), networks=["192.0.2.0/24", "2001:db8::/32"])
    for address in ("192.0.2.7", "2001:db8::1", "::ffff:192.0.2.7"):
        await access.enterprise(node, key, address)
    for address in ("198.51.100.1", "2001:db9::1", "unix", ""):
        with pytest.raises(NotAllowed):
            await access.enterprise(node, key, address)


async def test_a_key_gives_no_right_that_its_maker_lacks(
    node: Node, client: httpx.AsyncClient, make_firm: Callable[..., Any]
) -> None:
    firm = await make_firm()
    key = await issue(node, firm, scopes=["register"])
    assert (await client.get(KEYS, headers=bearer(key))).status_code == 403
    wrong = {"scopes": ["admin"], "networks": ["10.0.0.1/8"], "expires_at": "2020-01-01T00:00:00Z", "name": "a\0"}
    refused = await client.post(KEYS, json=wrong, headers=firm.headers)
    assert {e["field"] for e in refused.json()["errors"]} == {"scopes", "networks[0]", "expires_at", "name"}
    far = await client.post(KEYS, json={"expires_at": "9999-12-31T23:59:59-12:00"}, headers=firm.headers)
    assert far.status_code == 422


async def test_use_is_written_down_later_and_once_a_minute(node: Node, firm: Any, database_url: str) -> None:
    key_id, query = firm.key.split("_")[2], "SELECT last_used_at FROM api_key WHERE id = $1"
    await access.enterprise(node, firm.key, HERE)
    assert key_id in node.used_keys
    await in_transaction(node, lambda conn: store.mark_used(conn, [key_id]))
    first = (await run(database_url, query, key_id))[0]["last_used_at"]
    await in_transaction(node, lambda conn: store.mark_used(conn, [key_id]))
    assert first is not None
    assert (await run(database_url, query, key_id))[0]["last_used_at"] == first


async def test_login_and_logout(client: httpx.AsyncClient, operator_headers: dict[str, str]) -> None:
    new = {"login": "zhao", "password": PASSWORD, "role": "auditor"}
    assert (await client.post("/api/v1/operators", json=new, headers=operator_headers)).status_code == 201
    assert (await client.post("/api/v1/operators", json=new, headers=operator_headers)).status_code == 409
    session = (await client.post("/api/v1/operators:login", json={"login": "zhao", "password": PASSWORD})).json()
    headers = bearer(session["token"])
    assert datetime.fromisoformat(session["expires_at"]) > datetime.now(UTC)
    assert (await client.get("/api/v1/audit", headers=headers)).status_code == 200
    assert (await client.post("/api/v1/operators:logout", headers=headers)).status_code == 204
    assert (await client.get("/api/v1/audit", headers=headers)).status_code == 401


async def test_an_ended_session_is_over(node: Node, database_url: str) -> None:
    await access.add_operator(node, "sun", PASSWORD, "auditor", actor="test")
    token, _ = await access.login(node, "sun", PASSWORD)
    assert (await access.operator(node, token)).role == "auditor"
    await run(database_url, "UPDATE operator_session SET expires_at = now() WHERE login = 'sun'")
    with pytest.raises(NotAuthenticated):
        await access.operator(node, token)


async def test_what_an_operator_may_not_be(node: Node) -> None:
    with pytest.raises(InvalidRow) as refused:
        await access.add_operator(node, "a b", "short", "king", actor="test")
    assert [e.field for e in refused.value.errors] == ["login", "password", "role"]
    await access.add_operator(node, "qian", PASSWORD, "admin", actor="test")
    with pytest.raises(AlreadyExists):
        await access.add_operator(node, "qian", PASSWORD, "auditor", actor="test")


async def test_five_failures_lock_for_a_quarter_of_an_hour(
    node: Node, client: httpx.AsyncClient, database_url: str
) -> None:
    await access.add_operator(node, "li", PASSWORD, "reviewer", actor="test")
    wrong = {"login": "li", "password": "wrong horse battery"}
    for _ in range(4):
        assert (await client.post("/api/v1/operators:login", json=wrong)).status_code == 401
    await access.login(node, "li", PASSWORD)  # sets the count back
    for _ in range(5):
        assert (await client.post("/api/v1/operators:login", json=wrong)).status_code == 401
    locked = await client.post("/api/v1/operators:login", json=wrong | {"password": PASSWORD})
    assert (locked.status_code, locked.json()["code"]) == (429, "too_many_attempts")
    assert 0 < int(locked.headers["retry-after"]) <= 15 * 60
    actions = await run(database_url, "SELECT action FROM audit WHERE object = 'li' ORDER BY id")
    assert [row["action"] for row in actions] == ["operator.add", "operator.login", "operator.lock"]
    await run(database_url, "UPDATE operator SET locked_until = now() WHERE login = 'li'")
    await access.login(node, "li", PASSWORD)


async def test_attempts_at_once_do_not_pass_the_limit(node: Node) -> None:
    await access.add_operator(node, "wu", PASSWORD, "reviewer", actor="test")
    tries = [access.login(node, "wu", f"wrong horse battery {n}") for n in range(12)]
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(r, NotAuthenticated) for r in results) == 5
    assert sum(isinstance(r, TooManyAttempts) for r in results) == 7


async def test_an_unknown_login_costs_a_hash_too(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    verified: list[str] = []

    def counting(hashed: str, password: str) -> bool:
        verified.append(hashed)
        return False

    monkeypatch.setattr(access, "_verified", counting)
    for name in ("nobody", "甲"):
        with pytest.raises(NotAuthenticated):
            await access.login(node, name, PASSWORD)
    assert verified == [access._NO_OPERATOR] * 2
    with pytest.raises(NotAuthenticated):
        await access.login(node, "a\0b", PASSWORD)
