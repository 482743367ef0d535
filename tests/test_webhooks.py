"""Webhooks: where they may lead, and that what was committed arrives, whatever the receiver or the names do: at
least once, under one id, signed."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace
from typing import Any

import httpx
import pytest
from hooks import PATIENCE, Hooked, make_hooked, prove, verified
from outside import ADDRESS, Got, Outside, answer, die, hang

from node import writing
from node.config import Settings
from node.runtime import Node, in_transaction
from node.store import webhooks as store

URL = "/api/v1/webhook"


@pytest.fixture(scope="module")
def settings(settings: Settings, outside: Outside) -> Settings:
    return replace(settings, **outside.settings)


@pytest.fixture
def hook(client: httpx.AsyncClient, make_firm: Any, outside: Outside, node: Node) -> Any:
    """Makes an enterprise with a webhook; the application behind `client` delivers to it."""

    async def make(route: Any = None, path: str = "/in") -> Hooked:
        return await make_hooked(node, await make_firm(), outside, route, path)

    return make


async def test_where_a_webhook_may_lead(
    client: httpx.AsyncClient, make_firm: Any, outside: Outside, node: Node
) -> None:
    firm, host = await make_firm(), outside.host("where.example.com")
    refused = await client.put(URL, json={"url": f"https://{host}/in"}, headers=firm.headers)
    assert (refused.status_code, refused.json()["code"]) == (409, "host_not_proved")
    assert (await client.get(URL, headers=firm.headers)).status_code == 404
    await prove(node, firm, outside, host)
    for bad in (f"http://{host}/", f"https://{host}:8443/", f"https://a:b@{host}/", "https://127.0.0.1/", "ftp://x", "x",
                f"https://{host}/\r\nX: y", f"https://{host}/%0d%0a", f"https://{host}\\@evil.cn/", "https://[::1]/"):  # fmt: skip
        refused = await client.put(URL, json={"url": bad}, headers=firm.headers)
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "url"), bad
    refused = await client.put(URL, json={"url": f"https://www.{host}/in"}, headers=firm.headers)
    assert refused.json()["code"] == "host_not_proved"

    made = await client.put(URL, json={"url": f"https://{host}/in"}, headers=firm.headers)
    secret = made.json()["secret"]
    assert secret.startswith("whsec_")
    assert made.headers["cache-control"] == "no-store"
    again = (await client.put(URL, json={"url": f"https://{host}/in"}, headers=firm.headers)).json()
    assert "secret" not in again
    shown = (await client.get(URL, headers=firm.headers)).json()
    assert "secret" not in shown
    assert (shown["url"], shown["host_proved"], shown["pending"], shown["parked"]) == (
        f"https://{host}/in",
        True,
        0,
        [],
    )
    sealed = await node.pool.fetchval("SELECT secret FROM webhook WHERE host = $1", host)
    assert secret.encode() not in sealed
    for body in ({"url": f"https://{host}/in", "rotate": True}, {"url": f"https://{host}/other"}):
        renewed = (await client.put(URL, json=body, headers=firm.headers)).json()["secret"]
        assert renewed != secret
        secret = renewed
    assert (await client.delete(URL, headers=firm.headers)).status_code == 204
    assert (await client.delete(URL, headers=firm.headers)).status_code == 404
    assert (await client.post(f"{URL}:test", headers=firm.headers)).status_code == 404
    audited = await node.pool.fetch("SELECT action FROM audit WHERE action LIKE 'webhook.%' AND object = $1 ORDER BY id",
                                    str(firm.identity.registrant_id))  # fmt: skip
    assert [a["action"] for a in audited] == ["webhook.put"] * 3 + ["webhook.delete"]


async def test_a_message_arrives_signed(hook: Any, client: httpx.AsyncClient) -> None:
    hooked = await hook(path="/in?from=node#part")
    await hooked.alarm(score=70)
    got = await hooked.got()
    message = verified(got, hooked.secret)
    assert (got.method, got.path, got.headers["host"]) == ("POST", "/in?from=node", hooked.host)
    assert (got.headers["content-type"], got.sni) == ("application/json", hooked.host)
    listed = (await client.get("/api/v1/alarms", headers=hooked.firm.headers)).json()["alarms"]
    assert message == {"id": message["id"], "type": "alarm.raised", "alarm": listed[0]}
    with pytest.raises(AssertionError):
        verified(replace(got, body=got.body + b" "), hooked.secret)
    await hooked.state("d.id IS NULL AND w.delivered_at IS NOT NULL AND w.failures = 0")
    assert hooked.outside.web.queue(hooked.host).empty()


@pytest.mark.parametrize(
    ("route", "told"),
    [
        (answer(500), "500"),
        (answer(404), "404"),
        (answer(302, Location="https://127.0.0.1/elsewhere"), "redirect"),
        (answer(307, Location="/elsewhere"), "redirect"),
        (die, ""),
    ],
)
async def test_a_receiver_that_fails_is_tried_again(
    hook: Any, client: httpx.AsyncClient, route: Any, told: str
) -> None:
    hooked = await hook(route)
    await hooked.alarm()
    first = verified(await hooked.got(), hooked.secret)
    await hooked.state("d.attempts >= 1 AND w.failures >= 1")
    shown = (await client.get(URL, headers=hooked.firm.headers)).json()
    assert told in shown["error"]
    assert (shown["pending"], shown["delivered_at"]) == (1, None)
    hooked.outside.web.routes[hooked.host] = answer(200, b"thank you")
    await hooked.hurry()
    second = await hooked.got()
    assert second.path == "/in"  # a redirect was not followed
    assert verified(second, hooked.secret) == first
    await hooked.state("d.id IS NULL AND w.failures = 0")
    assert hooked.outside.web.trapped == 0


async def test_receivers_that_hang_do_not_hold_up_others(hook: Any, node: Node, outside: Outside) -> None:
    dead = [await hook(hang) for _ in range(5)]
    well = await hook()
    for hooked in dead:
        await hooked.alarm()
    for hooked in dead:
        await hooked.got()  # each is being waited for now
    await well.alarm()
    await well.got()
    ids = [hooked.registrant for hooked in dead]
    failed = "SELECT count(*) FROM webhook WHERE registrant_id = ANY ($1) AND failures > 0"
    assert await node.pool.fetchval(failed, ids) < len(dead)  # it did not have to wait until they were given up
    # Neither do changes: the outbox holds no message of theirs, and no row is locked.
    assert await node.pool.fetchval("SELECT count(*) FROM outbox WHERE topic = 'webhook'") == 0
    await writing.relay(node)
    async with node.pool.acquire() as conn, conn.transaction():
        await conn.fetch("SELECT FROM webhook w JOIN webhook_delivery d USING (registrant_id) FOR UPDATE NOWAIT")
    await dead[0].state("w.failures >= 1 AND d.last_error LIKE '%no answer in time%'")
    for hooked in dead:  # well again, so that they take no place in the slow lane from the next tests
        outside.web.routes[hooked.host] = answer(200)
        await hooked.hurry()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "169.254.169.254", "10.1.2.3", "::ffff:127.0.0.1"])
async def test_a_name_that_turns_private_is_not_followed(hook: Any, address: str) -> None:
    hooked = await hook()
    hooked.outside.names.point(hooked.host, address)
    await hooked.alarm()
    await hooked.state("d.attempts >= 1 AND w.last_error LIKE '%not public%'")
    assert hooked.outside.web.trapped == 0
    hooked.outside.names.point(hooked.host, ADDRESS)
    await hooked.hurry()
    verified(await hooked.got(), hooked.secret)


async def test_a_name_that_changes_between_check_and_connection(hook: Any) -> None:
    hooked = await hook()
    hooked.outside.names.records[hooked.host, "A"] = [[ADDRESS], ["127.0.0.1"]]
    hooked.outside.names.asked.clear()
    await hooked.alarm()
    verified(await hooked.got(), hooked.secret)
    assert hooked.outside.names.asked.count((hooked.host, "A")) == 1
    assert hooked.outside.web.trapped == 0


async def test_a_lapsed_host_gets_nothing(hook: Any, client: httpx.AsyncClient, node: Node) -> None:
    hooked = await hook()
    await node.pool.execute("UPDATE host SET state = 2 WHERE registrant_id = $1", hooked.registrant)
    await hooked.alarm()
    await hooked.state("d.attempts >= 1 AND w.last_error LIKE '%not proved%'")
    assert hooked.outside.web.queue(hooked.host).empty()
    assert (await client.get(URL, headers=hooked.firm.headers)).json()["host_proved"] is False
    assert (await client.post(f"{URL}:test", headers=hooked.firm.headers)).json()["code"] == "host_not_proved"
    await node.pool.execute("UPDATE host SET state = 1 WHERE registrant_id = $1", hooked.registrant)
    await hooked.hurry()
    verified(await hooked.got(), hooked.secret)


async def test_after_a_day_it_is_parked_and_can_be_sent_again(hook: Any, client: httpx.AsyncClient, node: Node) -> None:
    hooked = await hook(answer(503))
    await hooked.alarm()
    first = verified(await hooked.got(), hooked.secret)
    await hooked.state("d.attempts >= 1")
    await node.pool.execute(
        "UPDATE webhook_delivery SET created_at = now() - interval '25 hours' WHERE id = $1", first["id"]
    )
    await hooked.hurry()
    await hooked.state("d.parked_at IS NOT NULL")
    shown = (await client.get(URL, headers=hooked.firm.headers)).json()
    assert (shown["pending"], shown["parked_count"]) == (0, 1)
    assert shown["parked"][0]["message"] == first
    assert "503" in shown["parked"][0]["error"]
    hooked.outside.web.routes[hooked.host] = answer(200)
    queue = hooked.outside.web.queue(hooked.host)
    while not queue.empty():
        queue.get_nowait()
    await node.pool.execute("UPDATE webhook SET next_at = now() WHERE registrant_id = $1", hooked.registrant)
    assert (await client.post(f"{URL}:redeliver", headers=hooked.firm.headers)).json() == {"queued": 1}
    assert verified(await hooked.got(), hooked.secret) == first


async def test_pauses_grow_to_an_hour(hook: Any, node: Node) -> None:
    hooked = await hook()
    await node.pool.execute(
        "UPDATE webhook SET next_at = now() + interval '1 hour' WHERE registrant_id = $1", hooked.registrant
    )
    lease = await node.pool.fetchval("SELECT lease FROM webhook WHERE registrant_id = $1", hooked.registrant)
    pauses: dict[int, list[float]] = {}
    for attempts in (0, 5, 10, 11, 5000):
        for _ in range(8):

            async def fail(conn: Any, attempts: int = attempts) -> float:
                message = f"msg_{secrets.token_hex(8)}"
                await store.accept(conn, [(message, hooked.registrant, b"{}")])
                await conn.execute("UPDATE webhook_delivery SET attempts = $2 WHERE id = $1", message, attempts)
                await store.failed(conn, hooked.registrant, lease, message, "x", 24)
                seconds = "SELECT extract(epoch FROM next_at - now())::float8 FROM webhook_delivery WHERE id = $1"
                return float(await conn.fetchval(seconds, message))

            pauses.setdefault(attempts, []).append(await in_transaction(node, fail))
    for attempts, found in pauses.items():
        longest = min(3600, 2 * 2**attempts) if attempts < 100 else 3600
        assert longest / 2 <= min(found) <= max(found) <= longest
        assert len(set(found)) > 1  # jitter
    state = await node.pool.fetchrow(
        "SELECT failures, extract(epoch FROM next_at - now()) AS s FROM webhook WHERE registrant_id = $1",
        hooked.registrant,
    )
    assert (state["failures"], 0 < state["s"] <= 300) == (40, True)


async def test_without_a_webhook_nothing_is_kept(make_firm: Any, node: Node, outside: Outside, client: Any) -> None:
    hooked = Hooked(await make_firm(), "", "", outside, node)
    await hooked.alarm()
    async with asyncio.timeout(PATIENCE):
        while await node.pool.fetchval("SELECT count(*) FROM outbox WHERE topic = 'webhook'"):
            await asyncio.sleep(0.05)
    assert (
        await node.pool.fetchval("SELECT count(*) FROM webhook_delivery WHERE registrant_id = $1", hooked.registrant)
        == 0
    )


async def test_a_test_message_is_sent_at_once(hook: Any, client: httpx.AsyncClient) -> None:
    hooked = await hook()
    told = (await client.post(f"{URL}:test", headers=hooked.firm.headers)).json()
    assert told["delivered"] is True
    assert verified(await hooked.got(), hooked.secret) == {"id": told["id"], "type": "test"}
    hooked.outside.web.routes[hooked.host] = answer(403)
    told = (await client.post(f"{URL}:test", headers=hooked.firm.headers)).json()
    assert (told["delivered"], told["why"], "403" in told["reason"]) == (False, "status", True)


async def test_what_went_to_the_old_address_goes_to_the_new_one_too(hook: Any, client: httpx.AsyncClient) -> None:
    """It was put while the message was under way: what the old address said does not count."""
    go = asyncio.Event()

    async def slowly(got: Got, writer: asyncio.StreamWriter) -> None:
        await go.wait()
        await answer(200)(got, writer)

    hooked = await hook(slowly)
    await hooked.alarm()
    old = await hooked.got()
    hooked.outside.web.routes[hooked.host] = answer(200)
    renewed = (await client.put(URL, json={"url": f"https://{hooked.host}/new"}, headers=hooked.firm.headers)).json()
    go.set()
    new = await hooked.got()
    assert (old.path, new.path) == ("/in", "/new")
    assert verified(new, renewed["secret"]) == verified(old, hooked.secret)


async def test_several_workers_deliver_each_message_once(hook: Any, settings: Settings, open_app: Any) -> None:
    hooked = await hook()
    async with open_app(settings), open_app(settings):
        for _ in range(40):  # at once they are a crowd, of which a slow machine refuses some
            await hooked.alarm()
        await hooked.state("d.id IS NULL AND w.delivered_at IS NOT NULL")
        seen = [verified(await hooked.got(), hooked.secret)["id"] for _ in range(40)]
        await hooked.state("d.id IS NULL")
    assert len(set(seen)) == 40
    assert hooked.outside.web.queue(hooked.host).empty()
