"""The audit chain: one chain whoever writes at once, and every kind of tampering shows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from node import audit, embedded
from node.runtime import Connection, Node, in_transaction, reading

COUNT = 20


async def record(node: Node, number: int) -> None:
    async def work(conn: Connection) -> None:
        await audit.record(conn, "test", "test.write", str(number), {"b": number, "a": "甲"})

    await in_transaction(node, work)


async def faults(node: Node) -> list[str]:
    async with reading(node) as conn:
        return await audit.verify(conn)


@pytest.fixture
async def superuser(servers: embedded.Servers, database_url: str, node: Node) -> AsyncIterator[asyncpg.Connection]:
    """A superuser in a database with a whole chain, whose trigger is out of the way."""
    name = database_url.rpartition("/")[2]
    conn = await asyncpg.connect(servers.admin_database_url.rpartition("/")[0] + f"/{name}")
    await conn.execute("ALTER TABLE audit DISABLE TRIGGER audit_is_append_only; DELETE FROM audit")
    for number in range(COUNT):
        await record(node, number)
    assert await faults(node) == []
    yield conn
    await conn.execute("DELETE FROM audit; ALTER TABLE audit ENABLE TRIGGER audit_is_append_only")
    await conn.close()


async def test_concurrent_entries_make_one_chain(node: Node) -> None:
    await asyncio.gather(*(record(node, number) for number in range(40)))
    async with reading(node) as conn:
        ids = [entry["id"] for entry in await audit.entries(conn, 0, 1000)]
        assert ids == list(range(1, len(ids) + 1))
        assert len(ids) >= 40
        assert await audit.verify(conn) == []


async def test_an_entry_is_undone_with_its_transaction(node: Node) -> None:
    async def fails(conn: Connection) -> None:
        await audit.record(conn, "test", "test.undone", "x")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await in_transaction(node, fails)
    async with reading(node) as conn:
        actions = [entry["action"] for entry in await audit.entries(conn, 0, 1000)]
    assert "test.undone" not in actions
    assert await faults(node) == []


async def test_nobody_changes_an_entry(node: Node) -> None:
    await record(node, 1)
    for statement in ("UPDATE audit SET actor = 'x'", "DELETE FROM audit"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await in_transaction(node, lambda conn, text=statement: conn.execute(text))


@pytest.mark.parametrize(
    "change",
    [
        "actor = 'somebody'",
        "action = 'test.read'",
        "object = 'other'",
        "at = at + interval '1 microsecond'",
        "detail = set_byte(detail, 3, get_byte(detail, 3) # 1)",
        "detail = '\\xff'",
        "hash = set_byte(hash, 31, get_byte(hash, 31) # 1)",
        "previous = set_byte(previous, 0, get_byte(previous, 0) # 1)",
    ],
)
async def test_a_flipped_entry_shows(node: Node, superuser: asyncpg.Connection, change: str) -> None:
    await superuser.execute(f"UPDATE audit SET {change} WHERE id = 7")
    assert any("entry 7" in fault for fault in await faults(node))


@pytest.mark.parametrize(
    ("gone", "fault"),
    [("id = 7", "entries 7 to 7"), ("id BETWEEN 7 AND 12", "entries 7 to 12"), ("id < 3", "entries 1 to 2")],
)
async def test_dropped_entries_show(node: Node, superuser: asyncpg.Connection, gone: str, fault: str) -> None:
    await superuser.execute(f"DELETE FROM audit WHERE {gone}")
    assert await faults(node) == [f"{fault} are missing"]


async def test_dropped_and_renumbered_entries_show(node: Node, superuser: asyncpg.Connection) -> None:
    await superuser.execute("DELETE FROM audit WHERE id = 7")
    for number in range(8, COUNT + 1):
        await superuser.execute("UPDATE audit SET id = id - 1 WHERE id = $1", number)
    found = await faults(node)
    assert "entry 7 does not follow entry 6" in found
    assert "entry 7 was altered" in found


async def test_reordered_entries_show(node: Node, superuser: asyncpg.Connection) -> None:
    for old, new in ((7, 1000), (8, 7), (1000, 8)):
        await superuser.execute("UPDATE audit SET id = $2 WHERE id = $1", old, new)
    assert {"entry 7 does not follow entry 6", "entry 8 does not follow entry 7"} <= set(await faults(node))


async def test_a_forged_entry_shows(node: Node, superuser: asyncpg.Connection) -> None:
    await superuser.execute(
        """INSERT INTO audit (id, at, actor, action, object, detail, previous, hash)
           SELECT id + 1, at, actor, action, object, detail, hash, hash FROM audit ORDER BY id DESC LIMIT 1"""
    )
    assert await faults(node) == [f"entry {COUNT + 1} was altered"]


async def test_verify_goes_page_by_page(
    node: Node, superuser: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "_PAGE", 3)
    assert await faults(node) == []
    await superuser.execute("DELETE FROM audit WHERE id = 4")  # the first of a page
    assert await faults(node) == ["entries 4 to 4 are missing"]
