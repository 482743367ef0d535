"""Proving a host: a real name server, a real HTTPS server, and every way to lead the node astray."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from outside import ADDRESS, Outside, answer, die, endless, hang

from node import hosts, outgoing
from node.config import ConfigError, Settings
from node.errors import NotReached, RowError
from node.hosts import State, judge
from node.proofs import FILE, Finding
from node.runtime import Node

URL = "/api/v1/hosts"
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def settings(settings: Settings, outside: Outside) -> Settings:
    return replace(settings, public_url="https://id.example.com", **outside.settings)


async def claimed(client: httpx.AsyncClient, firm: Any, host: str) -> dict[str, Any]:
    made = await client.post(URL, json={"host": host}, headers=firm.headers)
    assert made.status_code in (200, 201), made.text
    return dict(made.json())


async def verify(client: httpx.AsyncClient, firm: Any, host: str) -> httpx.Response:
    return await client.post(f"{URL}/{host}:verify", headers=firm.headers)


def publish(outside: Outside, claim: dict[str, Any]) -> None:
    outside.names.records[claim["dns"]["name"], "TXT"] = ['"v=spf1 -all"', f'"{claim["dns"]["value"]}"']


def codes(refusal: httpx.Response) -> dict[str, str]:
    assert refusal.status_code == 409, refusal.text
    assert refusal.json()["code"] == "host_not_proved"
    return {error["field"]: error["code"] for error in refusal.json()["errors"]}


async def test_a_host_is_proved_by_dns(client: httpx.AsyncClient, make_firm: Any, outside: Outside, node: Node) -> None:
    firm = await make_firm()
    made = await client.post(URL, json={"host": "Shop.Example.com."}, headers=firm.headers)
    assert made.status_code == 201
    claim = made.json()
    assert (claim["host"], claim["state"]) == ("shop.example.com", "pending")
    assert claim["dns"] == {"name": "_idnode.shop.example.com", "type": "TXT",
                            "value": f"idnode-verification={claim['token']}"}  # fmt: skip
    again = await client.post(URL, json={"host": "shop.example.com"}, headers=firm.headers)
    assert (again.status_code, again.json()) == (200, claim)
    assert codes(await verify(client, firm, "shop.example.com")) == {"dns": "no_record", "file": "no_such_name"}

    publish(outside, claim)
    proved = (await verify(client, firm, "SHOP.example.com")).json()
    assert (proved["state"], proved["method"], proved["failures"], proved["errors"]) == ("proved", "dns", 0, [])
    listed = (await client.get(URL, headers=firm.headers)).json()["hosts"]
    assert listed == [proved]
    assert proved["checked_at"]
    assert proved["proved_at"]
    registrant = firm.identity.registrant_id
    assert await hosts.proved(node, registrant) == {"shop.example.com"}
    # Exactly this host: neither what lies above it nor what lies below.
    assert not hosts.link_ok("https://www.shop.example.com/", await hosts.proved(node, registrant))

    assert (await client.delete(f"{URL}/shop.example.com", headers=firm.headers)).status_code == 204
    assert (await client.get(URL, headers=firm.headers)).json() == {"hosts": []}
    node.proved_hosts.clear()  # the client's node is another one: here half a second would have to pass
    assert await hosts.proved(node, registrant) == frozenset()
    assert (await client.delete(f"{URL}/shop.example.com", headers=firm.headers)).status_code == 404
    entries = await node.pool.fetch("SELECT action FROM audit WHERE object = 'shop.example.com' ORDER BY id")
    assert [e["action"] for e in entries] == ["host.claim", "host.prove", "host.release"]


@pytest.mark.parametrize("form", ["{token}", "{value}", "\ufeff{token}\r\n", "somebody-else\n  {token}  \nmore\n"])
async def test_a_host_is_proved_by_a_file(
    client: httpx.AsyncClient, make_firm: Any, outside: Outside, form: str
) -> None:
    firm = await make_firm()
    claim = await claimed(client, firm, "file.example.com")
    assert claim["file"] == {"url": f"https://file.example.com{FILE}", "content": claim["token"]}
    body = form.format(token=claim["token"], value=claim["dns"]["value"]).encode()
    outside.host("file.example.com", answer(200, body))
    proved = await verify(client, firm, "file.example.com")
    assert (proved.status_code, proved.json()["method"]) == (200, "file")
    got = outside.web.got[-1]
    assert (got.method, got.path, got.headers["host"]) == ("GET", FILE, "file.example.com")
    assert outside.web.sni == "file.example.com"
    assert not {"authorization", "cookie", "referer"} & got.headers.keys()


@pytest.mark.parametrize(
    ("route", "code"),
    [
        (answer(200, b"something else"), "no_line"),
        (answer(404), "status"),
        (answer(500), "status"),
        (answer(302, Location="https://file.example.com/elsewhere"), "redirect"),
        (answer(200, b"x" * 5000), "too_large"),
        (endless, "too_large"),
        (die, ""),
    ],
)
async def test_a_file_that_is_no_proof(
    client: httpx.AsyncClient, make_firm: Any, outside: Outside, route: Any, code: str
) -> None:
    firm = await make_firm()
    await claimed(client, firm, "wrong.example.com")
    outside.host("wrong.example.com", route)
    before = len(outside.web.got)
    allowed = {"broken", "no_connection"} if route is die else {code}
    assert codes(await verify(client, firm, "wrong.example.com"))["file"] in allowed
    assert len(outside.web.got) == before + 1  # a redirect was not followed, nothing tried twice
    listed = (await client.get(URL, headers=firm.headers)).json()["hosts"][0]
    assert (listed["state"], listed["failures"], listed["errors"][0]["field"]) == ("pending", 1, "dns")


async def test_a_certificate_for_another_host_is_no_proof(
    client: httpx.AsyncClient, make_firm: Any, outside: Outside
) -> None:
    firm = await make_firm()
    claim = await claimed(client, firm, "pears.example.org")
    outside.host("pears.example.org", answer(200, claim["token"].encode()))
    assert codes(await verify(client, firm, "pears.example.org"))["file"] == "tls"


PRIVATE = ["127.0.0.1", "::1", "10.0.0.1", "169.254.169.254", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "fe80::1"]


@pytest.mark.parametrize("address", PRIVATE)
@pytest.mark.parametrize("beside", [(), (ADDRESS,)])
async def test_a_name_for_a_private_address_is_refused(
    client: httpx.AsyncClient, make_firm: Any, outside: Outside, address: str, beside: tuple[str, ...]
) -> None:
    firm, before = await make_firm(), len(outside.web.got)
    claim = await claimed(client, firm, "inner.example.com")
    outside.host("inner.example.com", answer(200, claim["token"].encode()))
    outside.names.point("inner.example.com", address, *beside)
    assert codes(await verify(client, firm, "inner.example.com"))["file"] == "not_public"
    assert (outside.web.trapped, len(outside.web.got)) == (0, before)


async def test_a_name_that_changes_between_check_and_connection(
    client: httpx.AsyncClient, make_firm: Any, outside: Outside
) -> None:
    """DNS rebinding: the second answer would be loopback. It is never asked for."""
    firm = await make_firm()
    claim = await claimed(client, firm, "rebind.example.com")
    outside.host("rebind.example.com", answer(200, claim["token"].encode()))
    outside.names.records["rebind.example.com", "A"] = [[ADDRESS], ["127.0.0.1"]]
    assert (await verify(client, firm, "rebind.example.com")).json()["method"] == "file"
    assert outside.names.asked.count(("rebind.example.com", "A")) == 1
    assert codes(await verify(client, firm, "rebind.example.com"))["file"] == "not_public"
    assert outside.web.trapped == 0


async def test_the_way_to_loopback_is_open_in_dev_only(settings: Settings, outside: Outside) -> None:
    outside.host("dev.example.com", answer(200, b"here"))
    assert (await outgoing.request(settings, "GET", "dev.example.com", "/")).body == b"here"
    for changes, why in (({"dev": False}, "dns_failed no_such_name not_public"), ({"dev_reachable": ()}, "not_public")):
        with pytest.raises(NotReached) as refused:
            await outgoing.request(replace(settings, **changes), "GET", "dev.example.com", "/")
        assert refused.value.datum["why"] in why
    env = {"DATABASE_URL": "x", "REDIS_URL": "x", "NODE_SECRET_FILE": "x", "PUBLIC_URL": "https://id.example.com"}
    with pytest.raises(ConfigError, match="DEV_REACHABLE"):
        Settings.from_env(env | {"DEV_REACHABLE": "127.0.0.1"})
    read = Settings.from_env(env | outside.env)
    assert (read.dev_dns, read.dev_reachable, read.dev_https_port) == (outside.dns, (ADDRESS,), outside.web.port)


async def test_a_record_is_enough_where_the_web_server_hangs(
    client: httpx.AsyncClient, make_firm: Any, outside: Outside
) -> None:
    firm = await make_firm()
    publish(outside, await claimed(client, firm, "hang.example.com"))
    outside.host("hang.example.com", hang)
    assert (await verify(client, firm, "hang.example.com")).json()["method"] == "dns"


async def test_a_name_server_that_is_silent(client: httpx.AsyncClient, make_firm: Any, outside: Outside) -> None:
    firm = await make_firm()
    await claimed(client, firm, "silent.example.com")
    outside.names.silent |= {"silent.example.com", "_idnode.silent.example.com"}
    assert codes(await verify(client, firm, "silent.example.com")) == {"dns": "dns_failed", "file": "dns_failed"}


async def test_several_enterprises_prove_one_host(
    client: httpx.AsyncClient, make_firm: Any, outside: Outside, node: Node
) -> None:
    firms = [await make_firm(), await make_firm()]
    claims = [await claimed(client, firm, "group.example.com") for firm in firms]
    assert claims[0]["token"] != claims[1]["token"]
    publish(outside, claims[0])
    assert (await verify(client, firms[0], "group.example.com")).status_code == 200
    assert codes(await verify(client, firms[1], "group.example.com"))["dns"] == "no_record"
    outside.names.records["_idnode.group.example.com", "TXT"].append(f'"{claims[1]["dns"]["value"]}"')
    assert (await verify(client, firms[1], "group.example.com")).status_code == 200
    for firm in firms:
        assert await hosts.proved(node, firm.identity.registrant_id) == {"group.example.com"}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"host": "*.example.com"}, "not_a_host"),
        ({"host": "192.0.2.1"}, "not_a_host"),
        ({"host": "https://example.com/"}, "not_a_host"),
        ({"host": "printer.local"}, "not_a_host"),
        ({"host": "exa\0mple.com"}, "not_a_host"),
        ({"host": "ID.example.com"}, "own_host"),
        ({"host": ""}, "wrong_type"),
        ({"host": "a" * 300}, "wrong_type"),
        ({"host": 5}, "wrong_type"),
        ({}, "wrong_type"),
        ({"host": "example.com", "state": "proved"}, "wrong_type"),
    ],
)
async def test_a_claim_that_is_wrong(client: httpx.AsyncClient, firm: Any, body: Any, code: str) -> None:
    refused = await client.post(URL, json=body, headers=firm.headers)
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (422, code)


async def test_a_stranger_reaches_nothing(
    client: httpx.AsyncClient, make_firm: Any, stranger: Any, node: Node, outside: Outside
) -> None:
    firm = await make_firm()
    publish(outside, await claimed(client, firm, "mine.example.com"))
    assert (await verify(client, stranger, "mine.example.com")).status_code == 404
    assert (await client.delete(f"{URL}/mine.example.com", headers=stranger.headers)).status_code == 404
    assert (await client.get(URL, headers=stranger.headers)).json() == {"hosts": []}
    for host in ("nobody.example.com", "1.2.3.4", "%00", "a%20b"):
        assert (await verify(client, firm, host)).status_code == 404
    assert (await client.get(URL)).status_code == 401
    # A production line's key may not say where links lead.
    answered = await client.post("/api/v1/keys", json={"name": "line", "scopes": ["register"]}, headers=firm.headers)
    line = {"Authorization": f"Bearer {answered.json()['api_key']}"}
    assert (await client.post(URL, json={"host": "x.example.com"}, headers=line)).status_code == 403
    assert (await client.post(f"{URL}/mine.example.com:verify", headers=line)).status_code == 403


async def test_hosts_and_checks_are_limited(client: httpx.AsyncClient, make_firm: Any, node: Node) -> None:
    firm = await make_firm()
    for number in range(hosts.MAX_HOSTS):
        await claimed(client, firm, f"h{number}.example.com")
    full = await client.post(URL, json={"host": "one-more.example.com"}, headers=firm.headers)
    assert (full.status_code, full.json()["code"]) == (409, "too_many_hosts")
    await node.pool.execute(
        "INSERT INTO host_check VALUES ($1, date_trunc('hour', now()), $2)",
        *(firm.identity.registrant_id, hosts.CHECKS_AN_HOUR),
    )
    refused = await verify(client, firm, "h1.example.com")
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_attempts")
    assert 0 < int(refused.headers["retry-after"]) <= 3600
    await node.pool.execute("UPDATE host_check SET hour = hour - interval '1 hour'")
    assert (await verify(client, firm, "h1.example.com")).status_code == 409


def row(**changes: Any) -> dict[str, Any]:
    return {"state": State.PROVED, "method": "dns", "proved_at": NOW - 99 * HOUR, "failing_since": None,
            "failures": 0} | changes  # fmt: skip


FAULT = (RowError("dns", "no_record", "无", "none"),)


@pytest.mark.parametrize(
    ("since", "failures", "definite", "state"),
    [
        (None, 0, True, State.PROVED),  # once is an accident
        (NOW - 71 * HOUR, 20, True, State.PROVED),
        (NOW - 72 * HOUR, 2, True, State.PROVED),  # the node itself was away, and looked three times only
        (NOW - 72 * HOUR, 3, True, State.LAPSED),
        (NOW - 72 * HOUR, 30, False, State.PROVED),
        (NOW - 14 * 24 * HOUR, 55, False, State.LAPSED),
    ],
)
def test_when_a_proof_lapses(since: datetime | None, failures: int, definite: bool, state: State) -> None:
    after = judge(row(failing_since=since, failures=failures), Finding("", definite, FAULT), NOW)
    assert (after["state"], after["failures"], after["failing_since"]) == (state, failures + 1, since or NOW)
    assert after["next_at"] == (NOW + 6 * HOUR if state == State.PROVED else None)


def test_a_good_check_forgets_the_bad_ones() -> None:
    after = judge(row(failing_since=NOW - HOUR, failures=9), Finding("file"), NOW)
    assert (after["failures"], after["failing_since"], after["method"]) == (0, None, "file")
    assert after["proved_at"] == NOW - 99 * HOUR
    assert 23 * HOUR <= after["next_at"] - NOW <= 25 * HOUR
    assert judge(row(state=State.LAPSED), Finding("file"), NOW)["proved_at"] == NOW


def test_a_claim_that_was_never_proved_is_not_checked_by_itself() -> None:
    after = judge(row(state=State.PENDING, failures=99, failing_since=NOW - 999 * HOUR), Finding("", True, FAULT), NOW)
    assert (after["state"], after["next_at"]) == (State.PENDING, None)


async def test_proofs_are_looked_at_again(
    client: httpx.AsyncClient, make_firm: Any, outside: Outside, node: Node
) -> None:
    firm = await make_firm()
    registrant = firm.identity.registrant_id
    publish(outside, await claimed(client, firm, "daily.example.com"))
    await verify(client, firm, "daily.example.com")
    outside.names.records.pop(("_idnode.daily.example.com", "TXT"))

    async def day_over(**columns: Any) -> dict[str, Any]:
        await node.pool.execute(
            "UPDATE host SET next_at = now(), failures = $2, failing_since = now() - $3::interval WHERE registrant_id = $1",
            *(registrant, columns.get("failures", 0), columns.get("since", timedelta())),
        )
        # Two workers at once: one of them takes it.
        assert sum(await asyncio.gather(hosts.recheck(node), hosts.recheck(node))) <= 1
        while (found := (await client.get(URL, headers=firm.headers)).json()["hosts"][0])["failures"] == columns.get(
            "failures", 0
        ):
            await hosts.recheck(node)  # the running node of `client` may have taken it, and is at it
        return dict(found)

    assert (await day_over())["state"] == "proved"
    lapsed = await day_over(failures=3, since=timedelta(hours=73))
    assert (lapsed["state"], lapsed["errors"][0]["code"]) == ("lapsed", "no_record")
    node.proved_hosts.clear()
    assert await hosts.proved(node, registrant) == frozenset()
    assert await hosts.recheck(node) == 0  # no more by itself
    publish(outside, lapsed)
    assert (await verify(client, firm, "daily.example.com")).json()["state"] == "proved"
    actions = await node.pool.fetch("SELECT actor, action FROM audit WHERE object = 'daily.example.com' ORDER BY id")
    assert [tuple(a) for a in actions][2] == ("node", "host.lapse")


async def test_a_claim_made_anew_during_a_check_is_not_proved_by_it(
    client: httpx.AsyncClient, make_firm: Any, outside: Outside
) -> None:
    firm = await make_firm()
    claim = await claimed(client, firm, "late.example.com")

    async def slowly(got: Any, writer: asyncio.StreamWriter) -> None:
        await client.delete(f"{URL}/late.example.com", headers=firm.headers)
        await claimed(client, firm, "late.example.com")
        await answer(200, claim["token"].encode())(got, writer)

    outside.host("late.example.com", slowly)
    assert (await verify(client, firm, "late.example.com")).status_code == 404
    listed = (await client.get(URL, headers=firm.headers)).json()["hosts"]
    assert [h["state"] for h in listed] == ["pending"]


async def test_no_database_means_no_live_link(node: Node, other_settings: Callable[..., Settings]) -> None:
    def away(**_: Any) -> Any:
        raise ConnectionRefusedError

    broken = replace(node, pool=SimpleNamespace(acquire=away), proved_hosts={})
    assert await hosts.proved(broken, 1) == frozenset()
