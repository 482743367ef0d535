"""Sure rows by binary COPY into the real table, and read back as rows that the node stored itself."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from codec_twins import TWINS, twin_named

from handle_codec.rows import COPY_HEADER, COPY_TRAILER
from node.model import Kind
from node.records import unpack
from node.registration import fetch_lots, register
from node.row_plans import plan_of
from node.runtime import reading
from node.store import handles, prefixes
from node.templates import compile_template, load_industries

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
COLUMNS = [
    "created_at",
    "updated_at",
    "prefix_id",
    "template_id",
    "version",
    "shard",
    "kind",
    "status",
    "suffix",
    "lot",
]
COLUMNS += ["values", "reason", "successor"]  # as 0002_handles.sql has them


@pytest.mark.parametrize("name", TWINS)
async def test_copied_rows_are_registered_rows(node: Any, firm: Any, examples: Any, name: str) -> None:
    """One half of the items is registered, the other copied: afterwards nothing but the suffix tells them apart."""
    twin = twin_named(name)
    example = examples["pear"]
    lot = {"handle": f"{firm.prefix}/LOT-{name}", "template": "pear@1", "attributes": example["lot"]}
    assert [o.outcome for o in await register(node, firm.identity, [dumped(lot)], kind=Kind.LOT)] == ["created"]
    items = [
        {
            "handle": f"{firm.prefix}/{name}-{n:03d}",
            "lot": lot["handle"],
            "attributes": {**example["item"], "ssc_pct": n / 10},
        }
        for n in range(100)
    ]
    outcomes = await register(node, firm.identity, [dumped(item) for item in items[:50]])
    assert {o.outcome for o in outcomes} == {"created"}

    async with node.pool.acquire() as conn, conn.transaction():
        prefix = await prefixes.hold(conn, firm.prefix)
        found = await fetch_lots(conn, prefix, {f"LOT-{name}"})
        plan = plan_of(pear(), prefix, {s: unpack(row.content)[0] for s, row in found.items()})
        batch = twin.decode_rows(plan, b"\n".join(map(dumped, items[50:])))
        assert (len(batch), batch.unsure) == (50, [])
        order, doubles = twin.sort_rows(batch)
        assert doubles == []
        now = datetime.now(UTC)
        micros = (now - EPOCH) // timedelta(microseconds=1)
        template = found[f"LOT-{name}"].template_id
        parts = [twin.copy_rows(batch, order, prefix.id, template, micros, first, 20) for first in range(0, 50, 20)]
        assert b"".join(parts) == twin.copy_rows(batch, order, prefix.id, template, micros)

        async def source() -> Any:
            for part in (COPY_HEADER, *parts, COPY_TRAILER):
                yield part

        done = await conn.copy_to_table("handle", source=source(), format="binary", columns=COLUMNS)
        assert done == "COPY 50"

    async with reading(node) as conn:
        suffixes = [item["handle"].partition("/")[2] for item in items]
        shards = [twin.shard_of(s, prefix.home, prefix.spread) for s in suffixes]
        stored = await handles.fetch_many(conn, prefix.id, shards, suffixes)
    assert sorted(stored) == sorted(suffixes)
    for number, suffix in enumerate(suffixes):
        row = stored[suffix]
        assert (row.kind, row.status, row.lot, row.version, row.template_id) == (0, 1, f"LOT-{name}", 1, template)
        assert (row.reason, row.successor) == ("", "")
        assert json.loads(row.content)["attributes"]["ssc_pct"] == number / 10
        if number >= 50:
            assert row.created_at == row.updated_at == pytest.approx(now.timestamp(), abs=1e-5)
    # What was copied is the same content to the node: sent again, it is there already.
    again = await register(node, firm.identity, [dumped(item) for item in items])
    assert {o.outcome for o in again} == {"unchanged"}


def dumped(row: dict[str, Any]) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode()


def pear() -> Any:
    return next(compile_template(template) for template in load_industries() if template.code == "pear")
