"""Content in the table: stored short, read as ever where it is older, and nothing outside the store knows."""

from __future__ import annotations

import json
from typing import Any

from handle_codec.twin import restore_content


async def put(client: Any, firm: Any, suffix: str, **more: Any) -> Any:
    body = {"handle": f"{firm.prefix}/{suffix}", "template": "pear@1", **more}
    return await client.post("/api/v1/handles", json=body, headers=firm.headers)


async def test_rows_are_stored_short_and_older_ones_are_read(client: Any, firm: Any, node: Any, examples: Any) -> None:
    attributes = examples["pear"]["lot"] | examples["pear"]["item"]
    for suffix in ("NEW-1", "OLD-1"):
        assert (await put(client, firm, suffix, attributes=attributes)).status_code == 201
    found = dict(await node.pool.fetch("SELECT suffix, values FROM handle WHERE shard >= 0 AND suffix LIKE '%-1'"))
    assert found["NEW-1"] == found["OLD-1"]
    assert found["NEW-1"][0] == 1
    plain = restore_content(found["NEW-1"])
    assert json.loads(plain)["attributes"].keys() == attributes.keys()
    # As a release before this form left it.
    await node.pool.execute("UPDATE handle SET values = $1 WHERE shard >= 0 AND suffix = 'OLD-1'", plain)
    for suffix in ("NEW-1", "OLD-1"):
        again = await put(client, firm, suffix, attributes=attributes)
        assert (again.status_code, again.json()["outcome"]) == (200, "unchanged")
        other = await put(client, firm, suffix, attributes=attributes | {"ssc_pct": 13.1})
        assert other.status_code == 409
    read = [(await client.get(f"/{firm.prefix}/{suffix}")).json()["attributes"] for suffix in ("NEW-1", "OLD-1")]
    assert read[0] == read[1]
    assert read[0]
    path = f"/api/v1/handles/{firm.prefix}/OLD-1"
    changed = await client.patch(path, json={"lot": ""}, headers=firm.headers | {"If-Match": '"1"'})
    assert changed.status_code == 200, changed.text
    gone = await client.delete(f"{path}?reason=换标", headers=firm.headers)
    assert gone.json()["status"] == "tombstone"
    kept = await node.pool.fetch("SELECT values FROM handle_history WHERE shard >= 0 AND suffix = 'OLD-1'")
    assert {restore_content(r["values"]) for r in kept} == {plain}


async def test_a_damaged_row_is_named(client: Any, firm: Any, node: Any) -> None:
    assert (await put(client, firm, "BAD-1", attributes={}, template="")).status_code == 201
    await node.pool.execute("UPDATE handle SET values = '\\x02'::bytea WHERE shard >= 0 AND suffix = 'BAD-1'")
    answer = await client.get(f"/api/v1/handles/{firm.prefix}/BAD-1", headers=firm.headers)
    assert (answer.status_code, answer.json()["code"]) == (500, "unreadable_row")
    assert "BAD-1" in answer.json()["detail"]
    assert "at byte 0" in answer.json()["detail"]
