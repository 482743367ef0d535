"""Applies `migrations/NNNN_words.sql`, forward only, each once; a server start only checks.

A ledger keeps the checksum of what was applied: an edited file or a database newer than the code is refused.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import asyncpg

from node.catalogue import publish_industries

_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_NO_TRANSACTION = "-- no-transaction"
_LOCK_ID = 88_0001
_LEDGER = """
    CREATE TABLE IF NOT EXISTS schema_migrations (
        version    integer PRIMARY KEY,
        name       text NOT NULL,
        sha256     text NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now()
    )
"""


class SchemaError(Exception):
    """The database does not fit the code; the message says what to do."""


@dataclass(slots=True, frozen=True)
class Migration:
    version: int
    name: str
    text: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


def migrations() -> list[Migration]:
    """The files of the package `migrations`, in order."""
    found = []
    for entry in files("migrations").iterdir():
        if named := _NAME.fullmatch(entry.name):
            found.append(Migration(int(named.group(1)), entry.name, entry.read_text("utf-8")))
    return sorted(found, key=lambda m: m.version)


async def migrate(dsn: str) -> list[str]:
    """Apply what is missing and publish the industries' templates; the names of what was applied."""
    conn = await asyncpg.connect(dsn, timeout=10)
    try:
        # Two that migrate at once take turns; the second finds nothing to do.
        await conn.execute("SELECT pg_advisory_lock($1)", _LOCK_ID)
        await conn.execute(_LEDGER)
        applied = await _applied(conn)
        known = migrations()
        _compare(known, applied, complete=False)
        missing = [m for m in known if m.version not in applied]
        for migration in missing:
            await _apply(conn, migration)
        async with conn.transaction():
            await publish_industries(conn)
    except ValueError as error:
        raise SchemaError(str(error)) from None
    finally:
        await conn.close()
    return [m.name for m in missing]


async def check(conn: Any) -> None:
    """Raises SchemaError unless the database is exactly what this code was written for."""
    try:
        applied = await _applied(conn)
    except asyncpg.UndefinedTableError:
        raise SchemaError("the database is empty: run `idnode migrate` first") from None
    _compare(migrations(), applied, complete=True)


async def _applied(conn: Any) -> dict[int, tuple[str, str]]:
    rows = await conn.fetch("SELECT version, name, sha256 FROM schema_migrations")
    return {row["version"]: (row["name"], row["sha256"]) for row in rows}


def _compare(known: list[Migration], applied: dict[int, tuple[str, str]], *, complete: bool) -> None:
    by_version = {m.version: m for m in known}
    for version, (name, sha256) in sorted(applied.items()):
        if version not in by_version:
            raise SchemaError(f"the database has {name}, which this code does not know: run newer code")
        if by_version[version].sha256 != sha256:
            raise SchemaError(f"{name} was changed after it was applied: restore the file, add a new migration")
    missing = [m.name for m in known if m.version not in applied]
    if complete and missing:
        raise SchemaError(f"the database lacks {', '.join(missing)}: run `idnode migrate` first")


async def _apply(conn: Any, migration: Migration) -> None:
    if migration.text.startswith(_NO_TRANSACTION):
        await conn.execute(migration.text)
        await _enter(conn, migration)
        return
    async with conn.transaction():
        await conn.execute("SET LOCAL lock_timeout = '4s'")
        await conn.execute(migration.text)
        await _enter(conn, migration)


async def _enter(conn: Any, migration: Migration) -> None:
    await conn.execute(
        "INSERT INTO schema_migrations (version, name, sha256) VALUES ($1, $2, $3)",
        migration.version,
        migration.name,
        migration.sha256,
    )
