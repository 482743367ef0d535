"""SQL over `cache_fence`, `cache_dependent` and `cache_objection`: what says which cache entries may be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from node.fence import Poll, prefix_name
from node.runtime import Connection, ReadConnection
from node.store import prefixes

# A moved dependent is remembered for the life of an entry and this much more: a change is dated by the beginning of its
# transaction, and statements may run for 30 s.
MARGIN = 600

# One statement is one snapshot. Everything at or above its xmin may be unseen: the next reading looks there again.
_POLL = """
    SELECT f.epoch, f.enabled, f.server, pg_snapshot_xmin(pg_current_snapshot())::text AS position, m.names, m.stamps
      FROM cache_fence f
     CROSS JOIN (SELECT coalesce(array_agg(d.name), '{}') AS names, coalesce(array_agg(d.stamp), '{}') AS stamps
                   FROM cache_dependent d
                  WHERE d.changed_in >= $1::text::xid8 AND d.changed_at > now() - make_interval(secs => $2)) AS m
"""
_MOVE = """
    INSERT INTO cache_dependent (name, stamp) SELECT name, nextval('cache_dependent_stamp')
      FROM unnest($1::text[]) AS name ORDER BY name
    ON CONFLICT (name) DO UPDATE SET stamp = nextval('cache_dependent_stamp'), changed_in = pg_current_xact_id(),
                                     changed_at = now()
"""
_EXPIRE = "DELETE FROM cache_dependent WHERE changed_at < now() - make_interval(secs => $1)"
_HOLD = "SELECT epoch, enabled, age FROM fence_hold()"
_LOCK = "SELECT pg_advisory_xact_lock(880002)"
# When it became visible is known only after the commit; until it is said, everybody waits out the whole lease.
_SHUT = """
    UPDATE cache_fence SET epoch = epoch + 1, enabled = false, changed_at = 'infinity' WHERE enabled AND epoch = $1
    RETURNING epoch
"""
_OPEN = """
    UPDATE cache_fence SET epoch = epoch + 1, enabled = true, server = $2, changed_at = 'infinity'
     WHERE epoch = $1 AND NOT EXISTS (SELECT FROM cache_objection WHERE at > clock_timestamp() - interval '5 s')
    RETURNING epoch
"""
_DATE = "UPDATE cache_fence SET changed_at = clock_timestamp() WHERE epoch = $1 AND changed_at = 'infinity'"
_OBJECT = """
    INSERT INTO cache_objection (worker, at) VALUES ($1, clock_timestamp())
    ON CONFLICT (worker) DO UPDATE SET at = EXCLUDED.at
"""
_TIDY = "DELETE FROM cache_objection WHERE at < clock_timestamp() - interval '1 hour'"


@dataclass(slots=True, frozen=True)
class Held:
    """The fence at the commit of the transaction that asked; `age` in seconds since it changed."""

    epoch: int
    enabled: bool
    age: float


async def poll(conn: ReadConnection, position: str, ttl: float) -> Poll:
    """The fence and what moved since `position` ("" for all that moved in the life of an entry, `ttl` s)."""
    record = await conn.fetchrow(_POLL, position or "0", ttl + MARGIN)
    moved = list(zip(record["names"], record["stamps"], strict=True))
    if not position:
        changed = await prefixes.every(conn, None)
    else:  # read after the names, so never older than they are
        start = len(prefix_name(""))
        names = [name[start:] for name, _ in moved if name.startswith(prefix_name(""))]
        changed = await prefixes.fetch_each(conn, names) if names else []
    return Poll(record["epoch"], record["enabled"], record["server"], record["position"], moved, changed)


async def move(conn: Connection, names: Sequence[str]) -> None:
    """Number a change of these dependents, in the transaction that makes it."""
    await conn.execute(_MOVE, sorted(set(names)))


async def expire(conn: Connection, ttl: float) -> None:
    """Drop what moved longer ago than any entry lives; its next change gets a higher stamp all the same."""
    await conn.execute(_EXPIRE, ttl + MARGIN)


async def hold(conn: Connection) -> Held:
    """The fence, which cannot change until this transaction has ended: the last thing before a commit."""
    record = await conn.fetchrow(_HOLD)
    return Held(record["epoch"], record["enabled"], record["age"])


async def shut(conn: Connection, epoch: int) -> int | None:
    """Nobody may trust entries of `epoch` from the commit on; the new epoch, None where it is shut already."""
    await conn.execute(_LOCK)
    found = await conn.fetchval(_SHUT, epoch)
    return int(found) if found else None


async def open_again(conn: Connection, epoch: int, server: str) -> int | None:
    """Entries of a new epoch, held by `server`, may be trusted; None where another changed it or a worker objects."""
    await conn.execute(_LOCK)
    found = await conn.fetchval(_OPEN, epoch, server)
    return int(found) if found else None


async def date(conn: Connection, epoch: int) -> None:
    """Say that the change to `epoch` is visible."""
    await conn.execute(_DATE, epoch)


async def object_to_opening(conn: Connection, worker: str) -> None:
    await conn.execute(_OBJECT, worker)
    await conn.execute(_TIDY)
