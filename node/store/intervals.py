"""SQL over `serial_run`, `serial_interval`, `serial_item`. The latter two are sharded: a prefix's lie at its home."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from node.model import Interval, IntervalState, Prefix, Run
from node.runtime import Connection, ReadConnection

# Who registers rows for serials holds them shared, who changes states alone: so a serial is counted once.
_HOLD_SHARED = "SELECT pg_advisory_xact_lock_shared(89, $1)"
_HOLD_ALONE = "SELECT pg_advisory_xact_lock(89, $1)"

_RUN = "id, first_counter, last_counter, lot, letter, actor, extract(epoch FROM minted_at)::float8 AS minted_at"
_INSERT_RUN = f"""
    INSERT INTO serial_run (prefix_id, first_counter, last_counter, lot, letter, actor)
    VALUES ($1, $2, $3, $4, $5, $6) RETURNING {_RUN}
"""
_RUN_BY_ID = f"SELECT {_RUN} FROM serial_run WHERE prefix_id = $1 AND id = $2"
_RUNS_OF_LOT = f"SELECT {_RUN} FROM serial_run WHERE prefix_id = $1 AND lot = $2 ORDER BY id"

_INTERVAL = (
    "first_counter, last_counter, state, counted, lot, run_id, reason, extract(epoch FROM since)::float8 AS since"
)
_INSERT = """
    INSERT INTO serial_interval (shard, prefix_id, first_counter, last_counter, state, counted, lot, run_id, reason,
                                 actor, since)
    SELECT $1, $2, i.first, i.last, i.state, i.counted, i.lot, i.run, i.reason, $10, to_timestamp(i.since)
      FROM unnest($3::bigint[], $4::bigint[], $5::smallint[], $6::boolean[], $7::text[], $8::bigint[], $9::text[],
                  $11::float8[]) AS i (first, last, state, counted, lot, run, reason, since)
"""
_DELETE = """
    DELETE FROM serial_interval WHERE shard = $1 AND prefix_id = $2 AND first_counter = ANY ($3::bigint[])
"""
# Intervals do not overlap, so the last one that begins at or before a counter is the only one that can hold it.
_AT = f"""
    SELECT {_INTERVAL} FROM serial_interval
     WHERE shard = $1 AND prefix_id = $2 AND first_counter <= $3 ORDER BY first_counter DESC LIMIT 1
"""
_AT_EACH = """
    SELECT c.counter, i.first_counter, i.last_counter, i.state, i.counted, i.lot, i.run_id, i.reason,
           extract(epoch FROM i.since)::float8 AS since
      FROM unnest($3::bigint[]) AS c (counter)
     CROSS JOIN LATERAL (SELECT first_counter, last_counter, state, counted, lot, run_id, reason, since
                           FROM serial_interval
                          WHERE shard = $1 AND prefix_id = $2 AND first_counter <= c.counter
                          ORDER BY first_counter DESC LIMIT 1) AS i
"""
# The same for serials of any prefixes, each by its number.
_AT_EACH_OF = """
    SELECT c.n, c.counter, i.first_counter, i.last_counter, i.state, i.counted, i.lot, i.run_id, i.reason,
           extract(epoch FROM i.since)::float8 AS since
      FROM unnest($1::integer[], $2::smallint[], $3::integer[], $4::bigint[]) AS c (n, shard, prefix_id, counter)
     CROSS JOIN LATERAL (SELECT first_counter, last_counter, state, counted, lot, run_id, reason, since
                           FROM serial_interval s
                          WHERE s.shard = c.shard AND s.prefix_id = c.prefix_id AND s.first_counter <= c.counter
                          ORDER BY s.first_counter DESC LIMIT 1) AS i
"""
# The first of them may begin before `first`; none before it can reach that far.
_OVERLAPPING = f"""
    SELECT {_INTERVAL} FROM serial_interval
     WHERE shard = $1 AND prefix_id = $2 AND first_counter <= $4 AND last_counter >= $3
       AND first_counter >= coalesce((SELECT max(first_counter) FROM serial_interval
                                       WHERE shard = $1 AND prefix_id = $2 AND first_counter <= $3), $3)
     ORDER BY first_counter
"""
_AFTER = f"""
    SELECT {_INTERVAL} FROM serial_interval
     WHERE shard = $1 AND prefix_id = $2 AND last_counter >= $3 AND counted ORDER BY first_counter LIMIT $4
"""
_INSERT_ITEMS = """
    INSERT INTO serial_item (shard, prefix_id, counter) SELECT $1, $2, unnest($3::bigint[]) ON CONFLICT DO NOTHING
"""
_ITEMS = """
    SELECT counter FROM serial_item WHERE shard = $1 AND prefix_id = $2 AND counter BETWEEN $3 AND $4 ORDER BY counter
"""
_ITEMS_AMONG = """
    SELECT counter FROM serial_item WHERE shard = $1 AND prefix_id = $2 AND counter = ANY ($3::bigint[])
"""
_COUNT_ITEMS = """
    SELECT count(*) FROM serial_item WHERE shard = $1 AND prefix_id = $2 AND counter BETWEEN $3 AND $4
"""


def _run(record: Any) -> Run:
    return Run(
        id=record["id"],
        first=record["first_counter"],
        last=record["last_counter"],
        lot=record["lot"],
        letter=record["letter"],
        actor=record["actor"],
        minted_at=record["minted_at"],
    )


def _interval(record: Any) -> Interval:
    return Interval(
        first=record["first_counter"],
        last=record["last_counter"],
        state=IntervalState(record["state"]),
        counted=record["counted"],
        lot=record["lot"],
        run=record["run_id"],
        reason=record["reason"],
        since=record["since"],
    )


async def hold(conn: Connection, prefix: Prefix, *, alone: bool = False) -> None:
    """Lock the prefix's intervals for the transaction; after the prefix itself, before lots and rows."""
    await conn.execute(_HOLD_ALONE if alone else _HOLD_SHARED, prefix.id)


async def insert_run(conn: Connection, prefix: Prefix, first: int, last: int, lot: str, letter: str, actor: str) -> Run:
    """Store a run of counters as one reserved interval."""
    run = _run(await conn.fetchrow(_INSERT_RUN, prefix.id, first, last, lot, letter, actor))
    whole = Interval(first, last, IntervalState.RESERVED, False, lot, run.id, "", run.minted_at)
    await insert(conn, prefix, [whole], actor)
    return run


async def run(conn: ReadConnection, prefix: Prefix, run_id: int) -> Run | None:
    record = await conn.fetchrow(_RUN_BY_ID, prefix.id, run_id)
    return _run(record) if record else None


async def runs_of_lot(conn: ReadConnection, prefix: Prefix, lot: str) -> list[Run]:
    return [_run(record) for record in await conn.fetch(_RUNS_OF_LOT, prefix.id, lot)]


async def insert(conn: Connection, prefix: Prefix, new: Sequence[Interval], actor: str) -> None:
    await conn.execute(
        _INSERT,
        prefix.home,
        prefix.id,
        [i.first for i in new],
        [i.last for i in new],
        [i.state for i in new],
        [i.counted for i in new],
        [i.lot for i in new],
        [i.run for i in new],
        [i.reason for i in new],
        actor,
        [i.since for i in new],
    )


async def delete(conn: Connection, prefix: Prefix, firsts: Sequence[int]) -> None:
    await conn.execute(_DELETE, prefix.home, prefix.id, firsts)


async def at(conn: ReadConnection, prefix: Prefix, counter: int) -> Interval | None:
    """The interval that holds the counter."""
    record = await conn.fetchrow(_AT, prefix.home, prefix.id, counter)
    return _interval(record) if record and record["last_counter"] >= counter else None


async def at_each(conn: ReadConnection, prefix: Prefix, counters: Sequence[int]) -> dict[int, Interval]:
    """The interval of each counter that has one."""
    found = await conn.fetch(_AT_EACH, prefix.home, prefix.id, counters)
    return {r["counter"]: _interval(r) for r in found if r["last_counter"] >= r["counter"]}


async def at_each_of(
    conn: ReadConnection, prefixes: Sequence[Prefix], counters: Sequence[int]
) -> list[Interval | None]:
    """The interval of each (prefix, counter), in order; None where there is none."""
    found: list[Interval | None] = [None] * len(counters)
    homes, ids = [p.home for p in prefixes], [p.id for p in prefixes]
    for record in await conn.fetch(_AT_EACH_OF, range(len(counters)), homes, ids, counters):
        if record["last_counter"] >= record["counter"]:
            found[record["n"]] = _interval(record)
    return found


async def overlapping(conn: ReadConnection, prefix: Prefix, first: int, last: int) -> list[Interval]:
    """The intervals that touch first..last, in order."""
    return [_interval(r) for r in await conn.fetch(_OVERLAPPING, prefix.home, prefix.id, first, last)]


async def registered_after(conn: ReadConnection, prefix: Prefix, counter: int, limit: int) -> list[Interval]:
    """Intervals of registered serials that end at `counter` or later, in order."""
    return [_interval(r) for r in await conn.fetch(_AFTER, prefix.home, prefix.id, counter, limit)]


async def insert_items(conn: Connection, prefix: Prefix, counters: Sequence[int]) -> None:
    """Note that these serials have rows of their own."""
    await conn.execute(_INSERT_ITEMS, prefix.home, prefix.id, counters)


async def items(conn: ReadConnection, prefix: Prefix, first: int, last: int) -> list[int]:
    """Counters in first..last whose serials have rows."""
    return [r["counter"] for r in await conn.fetch(_ITEMS, prefix.home, prefix.id, first, last)]


async def items_among(conn: ReadConnection, prefix: Prefix, counters: Sequence[int]) -> set[int]:
    """Those of the counters whose serials have rows."""
    return {r["counter"] for r in await conn.fetch(_ITEMS_AMONG, prefix.home, prefix.id, counters)}


async def count_items(conn: ReadConnection, prefix: Prefix, first: int, last: int) -> int:
    return int(await conn.fetchval(_COUNT_ITEMS, prefix.home, prefix.id, first, last))
