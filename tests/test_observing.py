"""The observer finds what the protocol should never let happen, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from keeping import until_kept

from node import observing, polling
from node.kept import Form, View, opened, packed
from node.store import handles


async def test_the_observer_finds_an_entry_that_is_older_than_its_row(client: Any, firm: Any, node: Any) -> None:
    items = [f"{firm.prefix}/OBS-{n}" for n in range(5)]
    for handle in items:
        assert (await client.post("/api/v1/handles", json={"handle": handle}, headers=firm.headers)).status_code == 201
        for _ in range(3):
            assert (await client.get(f"/{handle}")).status_code == 200
    await polling.ensure(node)
    await until_kept(node, *items)
    right = await observing.audit(node, 1000)
    assert (right.sampled >= 5, right.inconsistent) == (True, [])
    epoch = node.fence.epoch
    kept = opened((await node.cache.kept(epoch, items))[items[0]])
    old = View(items[0], 1, Form.RECORD, kept.body, kept.etag, kept.version + 1)
    await node.cache.forget(epoch, [items[0]])
    await node.cache.lease(epoch, "t", [items[0]], [firm.prefix])
    await node.cache.fill(epoch, "t", [(items[0], packed(old, kept.dependents), 60)])
    assert (await observing.audit(node, 1000)).inconsistent == [items[0]]


async def test_batches_are_answered_in_order_and_counted(client: Any, firm: Any, stranger: Any) -> None:
    for n in range(3):
        row = {"handle": f"{firm.prefix}/B-{n}"}
        assert (await client.post("/api/v1/handles", json=row, headers=firm.headers)).status_code == 201
    await client.delete(f"/api/v1/handles/{firm.prefix}/B-1?reason=broken", headers=firm.headers)
    asked = [
        f"{firm.prefix}/B-0",
        f"{firm.prefix}/B-1",
        f"{firm.prefix}/NONE",
        "88.999.7/x",
        "nonsense",
        f"{firm.prefix}/B-2",
    ]
    for headers in ({}, firm.headers, stranger.headers, {"Cookie": "a=b"}):
        answer = await client.post("/api/v1/resolve:batch", json={"handles": asked}, headers=headers)
        results = answer.json()["results"]
        assert [r["status"] for r in results] == [200, 410, 404, 404, 422, 200]
        assert results[0]["record"]["handle"] == asked[0]
        assert results[4]["problem"]["code"] == "invalid_handle"
    many = {"handles": [f"{firm.prefix}/B-0"] * 1001}
    assert (await client.post("/api/v1/resolve:batch", json=many)).status_code in (413, 422)


async def test_a_batch_is_one_query_with_a_key_too(
    client: Any, firm: Any, stranger: Any, node: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One for its rows and one for their lots; a row that cannot be read is refused alone."""
    lot, asked = f"{firm.prefix}/ONE-LOT", [f"{firm.prefix}/ONE-{n}" for n in range(40)]
    assert (await client.post("/api/v1/lots", json={"handle": lot}, headers=firm.headers)).is_success
    for number, handle in enumerate(asked):
        body = {"handle": handle, **({"lot": "ONE-LOT"} if number % 2 else {})}
        assert (await client.post("/api/v1/handles", json=body, headers=firm.headers)).is_success
    sizes: list[int] = []
    ordinary = handles.fetch_each

    async def counted(conn: Any, prefix_ids: Any, shards: Any, suffixes: Any) -> Any:
        sizes.append(len(suffixes))
        return await ordinary(conn, prefix_ids, shards, suffixes)

    monkeypatch.setattr(handles, "fetch_each", counted)
    for headers in (firm.headers, stranger.headers):
        answer = await client.post("/api/v1/resolve:batch", json={"handles": asked}, headers=headers)
        assert [r["status"] for r in answer.json()["results"]] == [200] * 40
    assert sizes == [40, 1] * 2
    await node.pool.execute("UPDATE handle SET values = '\\x02'::bytea WHERE shard >= 0 AND suffix = 'ONE-8'")
    answer = await client.post("/api/v1/resolve:batch", json={"handles": asked}, headers=firm.headers)
    assert [r["status"] for r in answer.json()["results"]] == [500 if n == 8 else 200 for n in range(40)]


async def test_any_code_is_recognised(client: Any, firm: Any) -> None:
    row = {"handle": f"{firm.prefix}/ANY"}
    assert (await client.post("/api/v1/handles", json=row, headers=firm.headers)).status_code == 201
    found = (await client.get("/api/v1/resolve", params={"id": f"hdl:{firm.prefix}/ANY"})).json()
    assert found["record"]["handle"] == f"{firm.prefix}/ANY"
    assert (await client.get("/api/v1/resolve", params={"id": "06901234567892"})).json()["candidates"]
    assert (await client.get("/api/v1/resolve", params={"id": "\x00"})).status_code == 400


async def test_public_answers_have_tags_and_conditions(client: Any, firm: Any) -> None:
    handle = f"{firm.prefix}/TAG"
    await client.post("/api/v1/handles", json={"handle": handle}, headers=firm.headers)
    first = await client.get(f"/{handle}")
    tag = first.headers["etag"]
    again = await client.get(f"/{handle}", headers={"If-None-Match": f'"x", W/{tag}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert (await client.get(f"/{handle}", headers={"If-None-Match": '"x"'})).status_code == 200
    head = await client.head(f"/{handle}")
    assert (head.status_code, head.content) == (200, b"")
    assert (head.headers["content-length"], head.headers["vary"]) == (first.headers["content-length"], "Accept")
    explained = await client.get(f"/{handle}?explain=1", headers=firm.headers)
    assert explained.json()["tier"] in ("pg", "cache")
    assert explained.headers["server-timing"].startswith(explained.json()["tier"])
    assert "server-timing" in (await client.get(f"/{handle}", headers=firm.headers)).headers
    assert (await client.get(f"/{handle}?redirect=1")).status_code == 200  # no address: a page, and no redirect
