"""SQL over `serial_key` and `serial_counter`."""

from __future__ import annotations

from dataclasses import dataclass, field

import asyncpg

from node.errors import SerialsExhausted
from node.runtime import Connection, ReadConnection

# A key that was replaced before its first use ends where it began: of those with one beginning the open one is last.
_KEYS = """
    SELECT letter, wrapped, first_counter, until_counter FROM serial_key
     WHERE prefix_id = $1 ORDER BY first_counter, until_counter NULLS LAST
"""
_ISSUED = "SELECT issued FROM serial_counter WHERE prefix_id = $1"
_RESERVE = """
    INSERT INTO serial_counter (prefix_id, issued) VALUES ($1, $2)
    ON CONFLICT (prefix_id) DO UPDATE SET issued = serial_counter.issued + EXCLUDED.issued
    RETURNING issued
"""
_INSERT = """
    INSERT INTO serial_key (prefix_id, letter, wrapped, first_counter) VALUES ($1, $2, $3, $4)
    ON CONFLICT (prefix_id) WHERE until_counter IS NULL DO NOTHING
"""
_RETIRE = "UPDATE serial_key SET until_counter = $2 WHERE prefix_id = $1 AND until_counter IS NULL"
_CAPACITY = "serial_counter_capacity"


@dataclass(slots=True, frozen=True)
class StoredKey:
    """A prefix's key as stored: wrapped, and for which counters it mints."""

    letter: str
    wrapped: bytes = field(repr=False)
    first: int
    until: int | None  # None: the current key


async def keys(conn: ReadConnection, prefix_id: int) -> list[StoredKey]:
    """All keys that the prefix ever had, the current one last."""
    return [StoredKey(*record) for record in await conn.fetch(_KEYS, prefix_id)]


async def issued(conn: ReadConnection, prefix_id: int) -> int:
    return int(await conn.fetchval(_ISSUED, prefix_id) or 0)


async def reserve(conn: Connection, prefix_id: int, prefix: str, count: int) -> int:
    """Hand out `count` counters; the first of them. Others of the prefix wait until this transaction ends."""
    try:
        return int(await conn.fetchval(_RESERVE, prefix_id, count)) - count
    except asyncpg.CheckViolationError as error:
        if error.constraint_name != _CAPACITY:
            raise
        raise SerialsExhausted.of(prefix=prefix) from None


async def insert(conn: Connection, prefix_id: int, letter: str, wrapped: bytes, first: int) -> None:
    """Store a first or next key; where another got there first, that one stays."""
    await conn.execute(_INSERT, prefix_id, letter, wrapped, first)


async def retire(conn: Connection, prefix_id: int, until: int) -> None:
    await conn.execute(_RETIRE, prefix_id, until)
