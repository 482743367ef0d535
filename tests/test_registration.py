"""Registering, changing and deleting over REST: outcomes, idempotency, and each bad input with its own problem."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from handle_codec.twin import restore_content

ROUTE = "/api/v1/handles"


def row(firm: Any, suffix: str, text: str = "https://example.com/a") -> dict[str, Any]:
    return {"handle": f"{firm.prefix}/{suffix}", "values": [{"index": 1, "type": "URL", "data": text}]}


async def post(client: httpx.AsyncClient, firm: Any, body: Any, route: str = ROUTE, **headers: str) -> httpx.Response:
    return await client.post(route, json=body, headers=firm.headers | headers)


async def test_same_content_again_is_success_other_content_a_conflict(client: Any, firm: Any) -> None:
    first = await post(client, firm, row(firm, "A-1"))
    assert first.status_code == 201
    assert first.headers["location"] == f"http://127.0.0.1:8000/{firm.prefix}/A-1"
    again = await post(client, firm, row(firm, "A-1"))
    assert (again.status_code, again.json()["outcome"]) == (200, "unchanged")
    other = await post(client, firm, row(firm, "A-1", "https://example.com/b"))
    assert other.status_code == 409
    assert other.headers["content-type"] == "application/problem+json"
    assert (other.json()["code"], other.json()["version"]) == ("handle_conflict", 1)


async def test_batch_answers_each_row_in_order(client: Any, firm: Any, stranger: Any) -> None:
    await post(client, firm, row(firm, "B-old"))
    rows = [
        row(firm, "B-1"),
        row(firm, "B-old"),
        row(firm, "B-old2") | {"values": "no list"},
        row(stranger, "B-1"),
        row(firm, "B-1"),
        row(firm, "META_x"),
        7,
        row(firm, "B-2"),
    ]
    answer = await post(client, firm, rows, ROUTE + ":batch")
    assert answer.status_code == 200
    assert answer.json()["summary"] == {"created": 2, "unchanged": 1, "conflict": 0, "rejected": 5}
    results = answer.json()["results"]
    assert [r["row"] for r in results] == list(range(8))
    assert [r["outcome"] for r in results] == [
        "created", "unchanged", "rejected", "rejected", "rejected", "rejected", "rejected", "created",
    ]  # fmt: skip
    assert [r.get("code") for r in results[2:7]] == [
        "invalid_row", "foreign_prefix", "duplicate_in_batch", "reserved_suffix", "invalid_row",
    ]  # fmt: skip
    assert results[2]["errors"][0]["field"] == "values"
    assert results[2]["errors"][0]["row"] == 2


async def test_ten_at_once_one_creates(client: Any, firm: Any) -> None:
    answers = await asyncio.gather(*(post(client, firm, row(firm, "race")) for _ in range(10)))
    assert sorted(a.status_code for a in answers) == [200] * 9 + [201]


async def test_idempotency_key_replays_and_refuses_another_body(client: Any, firm: Any) -> None:
    headers = {"Idempotency-Key": "erp-1"}
    first = await post(client, firm, row(firm, "I-1"), **headers)
    again = await post(client, firm, row(firm, "I-1"), **headers)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert again.headers["idempotency-replayed"] == "true"
    other = await post(client, firm, row(firm, "I-2"), **headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")


async def test_idempotency_key_in_a_race_does_the_work_once(client: Any, firm: Any) -> None:
    answers = await asyncio.gather(
        *(post(client, firm, row(firm, "I-race"), **{"Idempotency-Key": "erp-race"}) for _ in range(6))
    )
    assert {a.status_code for a in answers} == {201}
    assert len({a.content for a in answers}) == 1


async def test_change_needs_the_version_and_keeps_history(client: Any, firm: Any, node: Any) -> None:
    await post(client, firm, row(firm, "C-1"))
    path = f"{ROUTE}/{firm.prefix}/C-1"
    change = {"values": [{"index": 1, "type": "URL", "data": "https://example.com/new"}]}
    assert (await client.patch(path, json=change, headers=firm.headers)).status_code == 428
    stale = await client.patch(path, json=change, headers=firm.headers | {"If-Match": '"7"'})
    assert (stale.status_code, stale.json()["code"], stale.json()["version"]) == (412, "stale_version", 1)
    changed = await client.patch(path, json=change, headers=firm.headers | {"If-Match": '"1"'})
    assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')
    same = await client.put(path, json=change, headers=firm.headers)
    assert same.headers["etag"] == '"2"'
    public = await client.get(f"/{firm.prefix}/C-1")
    assert public.json()["values"][0]["data"]["value"] == "https://example.com/new"
    kept = await node.pool.fetch("SELECT version, values FROM handle_history WHERE shard >= 0 AND suffix = 'C-1'")
    assert [r["version"] for r in kept] == [1]
    assert b"example.com/a" in restore_content(kept[0]["values"])


async def test_delete_leaves_a_tombstone_that_is_never_reused(client: Any, firm: Any) -> None:
    await post(client, firm, row(firm, "D-1"))
    path, successor = f"{ROUTE}/{firm.prefix}/D-1", f"{firm.prefix}/D-2"
    assert (await client.get(f"/{firm.prefix}/D-1")).status_code == 200
    gone = await client.delete(f"{path}?reason=换标&successor={successor}", headers=firm.headers)
    assert gone.json()["status"] == "tombstone"
    answer = await client.get(f"/{firm.prefix}/D-1")
    assert answer.status_code == 410
    assert (answer.json()["reason"], answer.json()["successor"]) == ("换标", successor)
    handle_api = await client.get(f"/api/handles/{firm.prefix}/D-1")
    assert (handle_api.status_code, handle_api.json()["responseCode"]) == (404, 100)
    again = await post(client, firm, row(firm, "D-1"))
    assert (again.status_code, again.json()["code"]) == (409, "handle_deleted")
    assert (await client.get(path, headers=firm.headers)).status_code == 410


async def test_listing_by_cursor_gives_every_handle_once(client: Any, make_firm: Any) -> None:
    firm = await make_firm()
    suffixes = {f"L-{n:03d}" for n in range(25)}
    await post(client, firm, [row(firm, s) for s in sorted(suffixes)], ROUTE + ":batch")
    seen, after = [], ""
    while after is not None:
        page = await client.get(
            f"/api/v1/prefixes/{firm.prefix}/handles", params={"after": after, "limit": 7}, headers=firm.headers
        )
        seen += [h["handle"].partition("/")[2] for h in page.json()["handles"]]
        after = page.json()["next"]
    assert len(seen) == 25
    assert set(seen) == suffixes


async def test_lot_gives_its_items_what_they_lack(client: Any, firm: Any, examples: Any) -> None:
    lot, item = f"{firm.prefix}/LOT-1", f"{firm.prefix}/BOX-1"
    example = examples["pear"]
    made = await post(client, firm, {"handle": lot, "template": "pear", "attributes": example["lot"]}, "/api/v1/lots")
    assert made.status_code == 201, made.text
    box = await post(client, firm, {"handle": item, "lot": lot, "attributes": example["item"]})
    assert box.status_code == 201, box.text
    public = (await client.get(f"/{item}")).json()
    assert (public["lot"], public["attributes"]["variety"]) == (lot, example["lot"]["variety"])
    assert "dest_party" not in public["attributes"]
    owner = (await client.get(f"{ROUTE}/{item}", headers=firm.headers)).json()
    assert owner["attributes"]["dest_party"] == example["lot"]["dest_party"]
    changed = await client.patch(
        f"{ROUTE}/{lot}", json={"attributes": {"brand": "新梨晨"}}, headers=firm.headers | {"If-Match": '"1"'}
    )
    assert changed.status_code == 200, changed.text
    assert (await client.get(f"/{item}")).json()["attributes"]["brand"] == "新梨晨"
    # What its items need, it keeps; and it is not deleted from under them.
    lost = await client.patch(
        f"{ROUTE}/{lot}", json={"attributes": {"variety": None}}, headers=firm.headers | {"If-Match": '"2"'}
    )
    assert (lost.status_code, lost.json()["code"]) == (409, "lot_in_use")
    kept = await client.delete(f"{ROUTE}/{lot}", headers=firm.headers)
    assert (kept.status_code, kept.json()["code"]) == (409, "lot_in_use")


BAD_ROWS = [
    ("unknown prefix", {"handle": "88.999.99999/x"}, 404, "unknown_prefix", None),
    ("reserved suffix", {"handle": "{p}/Admin"}, 422, "reserved_suffix", "handle"),
    ("reserved family", {"handle": "{p}/app_1"}, 422, "reserved_suffix", "handle"),
    ("no slash", {"handle": "{p}"}, 422, "invalid_handle", "handle"),
    ("control character", {"handle": "{p}/a\u0007b"}, 422, "invalid_handle", "handle"),
    ("NUL", {"handle": "{p}/a\u0000b"}, 422, "invalid_handle", "handle"),
    ("full-width suffix", {"handle": "{p}/ＡＢＣ"}, 422, "invalid_handle", "handle"),
    ("over-long", {"handle": "{p}/" + "x" * 300}, 422, "invalid_handle", "handle"),
    ("dot segment", {"handle": "{p}/.."}, 422, "invalid_handle", "handle"),
    ("wrong type", {"handle": 7}, 422, "invalid_row", "handle"),
    ("unknown member", {"handle": "{p}/x", "colour": "red"}, 422, "invalid_row", ""),
    ("missing handle", {"template": "pear"}, 422, "invalid_row", ""),
    ("unknown template", {"handle": "{p}/x", "template": "plum"}, 422, "unknown_template", None),
    ("unknown version", {"handle": "{p}/x", "template": "pear@9"}, 422, "unknown_template", None),
    ("unknown lot", {"handle": "{p}/x", "lot": "{p}/no-lot"}, 422, "unknown_lot", "lot"),
    ("foreign lot", {"handle": "{p}/x", "lot": "88.999.1/l"}, 422, "invalid_row", "lot"),
    ("attributes without template", {"handle": "{p}/x", "attributes": {"a": 1}}, 422, "invalid_row", "template"),
    ("reserved index", {"handle": "{p}/x", "values": [{"index": 1001, "type": "A", "data": ""}]}, 422, "invalid_row", "values[0]"),
    ("reserved type", {"handle": "{p}/x", "values": [{"index": 1, "type": "hs_admin", "data": ""}]}, 422, "invalid_row", "values[0]"),
    ("value NUL", {"handle": "{p}/x", "values": [{"index": 1, "type": "A", "data": "\u0000"}]}, 422, "invalid_row", "values[0]"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "body", "status", "code", "field"), BAD_ROWS, ids=[r[0] for r in BAD_ROWS])
async def test_bad_row(
    client: Any, firm: Any, node: Any, what: str, body: Any, status: int, code: str, field: str | None
) -> None:
    text = json.dumps(body, ensure_ascii=False).replace("{p}", firm.prefix)
    before = await node.pool.fetchval("SELECT count(*) FROM handle WHERE shard >= 0")
    answer = await client.post(
        ROUTE, content=text.encode(), headers=firm.headers | {"content-type": "application/json"}
    )
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"]
    if field is not None:
        assert answer.json()["errors"][0]["field"] == field
    assert await node.pool.fetchval("SELECT count(*) FROM handle WHERE shard >= 0") == before


async def test_full_width_prefix_is_mended(client: Any, firm: Any) -> None:
    wide = firm.prefix.translate({ord(c): ord(c) + 0xFEE0 for c in "0123456789."})
    made = await post(client, firm, {"handle": f"{wide}／FW-1"})
    assert (made.status_code, made.json()["handle"]) == (201, f"{firm.prefix}/FW-1")


async def test_field_errors_one_for_each_field(client: Any, firm: Any, examples: Any) -> None:
    attributes = examples["pear"]["lot"] | examples["pear"]["item"]
    attributes |= {"grade": "特级", "last_spray_date": "2024-09-11", "orchard_area_mu": "many"}
    del attributes["variety"]
    answer = await post(client, firm, {"handle": f"{firm.prefix}/bad", "template": "pear", "attributes": attributes})
    assert answer.status_code == 422
    fields = {e["field"]: e["code"] for e in answer.json()["errors"]}
    assert {"attributes.grade", "attributes.orchard_area_mu", "attributes.variety"} <= fields.keys()
    assert fields["attributes.variety"] == "required"
    assert len(fields) == len(answer.json()["errors"])


BAD_BODIES = [
    ("broken JSON", b'{"handle": ', "application/json", 400, "broken_body"),
    ("not UTF-8", b'{"handle": "\xff"}', "application/json", 400, "broken_body"),
    ("lone surrogate", b'{"handle": "88.999.1001/\\ud800"}', "application/json", 400, "broken_body"),
    ("wrong content type", b"handle=1", "application/x-www-form-urlencoded", 415, "wrong_content_type"),
    ("no content type", b"{}", "", 415, "wrong_content_type"),
    ("deep nesting", b"[" * 100_000, "application/json", 400, "broken_body"),
    ("too large", b'"' + b"x" * (8 * 1024 * 1024) + b'"', "application/json", 413, "body_too_large"),
]


@pytest.mark.parametrize(("what", "body", "kind", "status", "code"), BAD_BODIES, ids=[b[0] for b in BAD_BODIES])
@pytest.mark.parametrize("route", [ROUTE, ROUTE + ":batch", "/api/v1/lots", "/api/v1/events"])
async def test_bad_body(
    client: Any, firm: Any, route: str, what: str, body: bytes, kind: str, status: int, code: str
) -> None:
    headers = firm.headers | ({"content-type": kind} if kind else {})
    if route.endswith("batch") and body.startswith(b"{"):
        body = b"[" + body + b"]"
    answer = await client.post(route, content=body, headers=headers)
    if what == "deep nesting" and route != ROUTE + ":batch":
        assert answer.status_code in (400, 422), answer.text  # "expected object" is said before the depth is met
    elif route.endswith("batch") and what == "not UTF-8":
        # Only the row's own text is wrong: the row is refused, the batch is not.
        assert answer.json()["results"][0]["code"] == code, answer.text
    else:
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


async def test_batch_over_its_limit(client: Any, firm: Any) -> None:
    answer = await post(client, firm, [{}] * 2001, ROUTE + ":batch")
    assert (answer.status_code, answer.json()["code"]) == (413, "too_many_rows")


async def test_suspended_prefix_takes_nothing_and_says_so(client: Any, make_firm: Any, operator_headers: Any) -> None:
    firm = await make_firm()
    await post(client, firm, row(firm, "S-1"))
    assert (await client.get(f"/{firm.prefix}/S-1")).json()["status"] == "active"
    path = f"/api/v1/prefixes/{firm.prefix}"
    stopped = await client.post(path + ":suspend", json={"reason": "欠费"}, headers=operator_headers)
    assert stopped.json()["status"] == "stopped", stopped.text
    refused = await post(client, firm, row(firm, "S-2"))
    assert (refused.status_code, refused.json()["code"]) == (403, "prefix_not_active")
    assert (await client.get(f"/{firm.prefix}/S-1")).json()["status"] == "suspended"
    await client.post(path + ":resume", json={"reason": "已缴清"}, headers=operator_headers)
    assert (await client.get(f"/{firm.prefix}/S-1")).json()["status"] == "active"
    assert (await post(client, firm, row(firm, "S-2"))).status_code == 201


async def test_nobody_changes_what_is_not_theirs(client: Any, firm: Any, stranger: Any) -> None:
    await post(client, firm, row(firm, "mine"))
    path = f"{ROUTE}/{firm.prefix}/mine"
    assert (await client.get(path, headers=stranger.headers)).status_code == 403
    assert (await client.put(path, json={"values": []}, headers=stranger.headers)).status_code == 403
    assert (await client.delete(path, headers=stranger.headers)).status_code == 403
    listed = await client.get(f"/api/v1/prefixes/{firm.prefix}/handles", headers=stranger.headers)
    assert listed.status_code == 403
    assert (await post(client, stranger, row(firm, "theirs"))).json()["code"] == "foreign_prefix"


async def test_counters_match_the_rows(client: Any, make_firm: Any, node: Any) -> None:
    from node.runtime import in_transaction, reading
    from node.store import prefixes

    firm = await make_firm()
    await post(client, firm, [row(firm, f"N-{n}") for n in range(40)] * 2, ROUTE + ":batch")
    await client.delete(f"{ROUTE}/{firm.prefix}/N-1", headers=firm.headers)
    async with reading(node) as conn:
        prefix = await prefixes.fetch(conn, firm.prefix)
        assert prefix is not None
        assert await prefixes.totals(conn, prefix.id) == (40, 1, 0)
    await in_transaction(node, prefixes.fold_counts)
    async with reading(node) as conn:
        assert await prefixes.totals(conn, prefix.id) == (40, 1, 0)
    assert await node.pool.fetchval("SELECT count(*) FROM registration_delta") == 0


async def test_events_are_kept_in_order_once(client: Any, firm: Any) -> None:
    await post(client, firm, row(firm, "E-1"))
    handle = f"{firm.prefix}/E-1"
    late = {"handle": handle, "eventId": "e2", "eventTime": "2026-09-13T08:00:00+08:00", "bizStep": "shipping"}
    early = {"handle": handle, "eventId": "e1", "eventTime": "2026-09-12T08:00:00+08:00", "bizStep": "packing"}
    assert (await post(client, firm, late, "/api/v1/events")).status_code == 201
    assert (await post(client, firm, early, "/api/v1/events")).status_code == 201
    assert (await post(client, firm, early, "/api/v1/events")).status_code == 200
    other = await post(client, firm, early | {"bizStep": "storing"}, "/api/v1/events")
    assert (other.status_code, other.json()["code"]) == (409, "already_exists")
    listed = await client.get("/api/v1/events", params={"handle": handle}, headers=firm.headers)
    assert [e["eventId"] for e in listed.json()["events"]] == ["e1", "e2"]


async def test_bad_event_names_each_field(client: Any, firm: Any) -> None:
    await post(client, firm, row(firm, "E-2"))
    bad = {
        "handle": f"{firm.prefix}/E-2",
        "eventTime": "2026-09-12T08:00:00",
        "bizStep": "flying",
        "type": "X",
        "note": "a\u0000b",
    }
    answer = await post(client, firm, bad, "/api/v1/events")
    assert answer.status_code == 422
    assert {e["field"] for e in answer.json()["errors"]} == {"eventTime", "bizStep", "type", "note"}
    unknown = {"handle": f"{firm.prefix}/none", "eventTime": "2026-09-12T08:00:00Z", "bizStep": "packing"}
    assert (await post(client, firm, unknown, "/api/v1/events")).status_code == 404
