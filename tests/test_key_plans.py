"""Statements by key stay so whatever size a table had when they were planned: the plan is kept until the next ANALYZE."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from node.runtime import _ONLY_BY_KEY, Node
from node.store import events, handles, scans

# The last column of the key: a scan that is not held to it reads a shard, or a prefix, from end to end.
STATEMENTS = {
    "one": (handles._SELECT_ONE, "suffix"),
    "many": (handles._SELECT_MANY, "suffix"),
    "each": (handles._SELECT_EACH, "suffix"),
    "documents": (events._DOCUMENTS, "event_id"),
    "events": (events._HAVE, "event_id"),
    "scans": (scans._SELECT, "suffix"),
}
FILL = """
    INSERT INTO handle (created_at, updated_at, prefix_id, shard, suffix, lot)
    SELECT now(), now(), 1, 0, 'plan-' || n, 'L' FROM generate_series($1::int, $2::int) AS n
"""


def scanned(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The parts of a plan that read a table."""
    if "Relation Name" in plan:
        yield plan
    for part in plan.get("Plans", ()):
        yield from scanned(part)


async def by_key(conn: Any, statement: str, key: str) -> bool:
    """Whether every table is read through an index by this column."""
    await conn.execute(f"PREPARE by_key AS {statement}")
    types = await conn.fetchval("SELECT parameter_types::text[] FROM pg_prepared_statements WHERE name = 'by_key'")
    values = ", ".join(f"NULL::{name}" for name in types)
    plan = json.loads(await conn.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE by_key ({values})"))
    await conn.execute("DEALLOCATE by_key")
    found = list(scanned(plan[0]["Plan"]))
    assert found
    return all(key in part.get("Index Cond", "") for part in found)


async def wrong(conn: Any) -> set[str]:
    return {name for name, (statement, key) in STATEMENTS.items() if not await by_key(conn, statement, key)}


async def test_a_plan_made_while_a_table_was_small_is_by_key(node: Node) -> None:
    async with node.pool.acquire() as conn:
        assert await wrong(conn) == set()
        for first, last in ((1, 60), (61, 1000)):
            await conn.execute(FILL, first, last)
            await conn.execute("ANALYZE handle")
            assert await wrong(conn) == set()


async def test_without_the_settings_it_would_not_be(node: Node) -> None:
    async with node.pool.acquire() as conn, conn.transaction():
        await conn.execute("DELETE FROM handle WHERE shard = 0 AND suffix LIKE 'plan-%'")
        await conn.execute(FILL, 1, 60)
        await conn.execute("ANALYZE handle")
        for name in _ONLY_BY_KEY:
            await conn.execute(f"SET LOCAL {name} = on")
        assert {"many", "each"} <= await wrong(conn)
