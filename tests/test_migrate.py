"""Migrations: each once, checksums held, older and newer databases refused, by two at once."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator

import asyncpg
import pytest

from node import migrate
from node.embedded import Servers
from node.templates import load_industries


@pytest.fixture
async def empty_url(servers: Servers) -> str:
    name = f"migrate_{secrets.token_hex(4)}"
    conn = await asyncpg.connect(servers.admin_database_url)
    await conn.execute(f"CREATE DATABASE {name} OWNER node")
    await conn.close()
    return servers.database_url.rpartition("/")[0] + f"/{name}"


@pytest.fixture
async def conn(empty_url: str) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(empty_url)
    yield opened
    await opened.close()


async def test_two_at_once_apply_each_migration_once(empty_url: str, conn: asyncpg.Connection) -> None:
    first, second = await asyncio.gather(migrate.migrate(empty_url), migrate.migrate(empty_url))
    assert sorted(first + second) == [m.name for m in migrate.migrations()]
    assert await migrate.migrate(empty_url) == []
    await migrate.check(conn)
    assert await conn.fetchval("SELECT count(*) FROM template") == len(load_industries()) == 7


async def test_an_empty_database_is_told_to_migrate(conn: asyncpg.Connection) -> None:
    with pytest.raises(migrate.SchemaError, match="run `idnode migrate`"):
        await migrate.check(conn)


async def test_an_older_database_is_refused(empty_url: str, conn: asyncpg.Connection) -> None:
    await migrate.migrate(empty_url)
    last = migrate.migrations()[-1]
    await conn.execute("DELETE FROM schema_migrations WHERE version = $1", last.version)
    with pytest.raises(migrate.SchemaError, match=last.name):
        await migrate.check(conn)


async def test_a_newer_database_is_refused(empty_url: str, conn: asyncpg.Connection) -> None:
    await migrate.migrate(empty_url)
    await conn.execute("INSERT INTO schema_migrations (version, name, sha256) VALUES (9999, '9999_new.sql', '')")
    with pytest.raises(migrate.SchemaError, match="newer code"):
        await migrate.check(conn)
    with pytest.raises(migrate.SchemaError, match="newer code"):
        await migrate.migrate(empty_url)


async def test_an_edited_migration_is_refused(empty_url: str, conn: asyncpg.Connection) -> None:
    await migrate.migrate(empty_url)
    await conn.execute("UPDATE schema_migrations SET sha256 = 'other' WHERE version = 1")
    with pytest.raises(migrate.SchemaError, match="changed after it was applied"):
        await migrate.migrate(empty_url)


async def test_a_published_template_cannot_change(empty_url: str, conn: asyncpg.Connection) -> None:
    await migrate.migrate(empty_url)
    with pytest.raises(asyncpg.CheckViolationError, match="is published and cannot change"):
        await conn.execute("UPDATE template SET body = '' WHERE code = 'pear'")
    await conn.execute("ALTER TABLE template DISABLE TRIGGER ALL; UPDATE template SET digest = '' WHERE code = 'pear'")
    with pytest.raises(migrate.SchemaError, match="pear@1 is published with other content"):
        await migrate.migrate(empty_url)


async def test_a_used_prefix_keeps_its_shards(empty_url: str, conn: asyncpg.Connection) -> None:
    await migrate.migrate(empty_url)
    await conn.execute("INSERT INTO registrant (credit_code, name, industry, county) VALUES ('x', 'x', 'pear', '1')")
    await conn.execute(
        "INSERT INTO prefix (prefix, registrant_id, home, spread, status) VALUES ('88.999.1', 1, 3, 1, 1)"
    )
    await conn.execute("UPDATE prefix SET spread = 4")
    await conn.execute("UPDATE prefix SET used = true")
    for change in ("home = 4", "spread = 8", "used = false", "prefix = '88.999.2'"):
        with pytest.raises(asyncpg.CheckViolationError, match="are fixed"):
            await conn.execute(f"UPDATE prefix SET {change}")
    await conn.execute("UPDATE prefix SET status = 0")
