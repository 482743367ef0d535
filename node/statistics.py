"""Resolutions as the upper node wants them reported (domain.md 2.3): settled from memory, read per prefix and day.

Source addresses are personal data: kept only as (prefix, day, address, count), the address sealed and grouped by a
digest whose key differs from day to day, for 35 days, and shown to nobody but the report to the upper node.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from math import isfinite
from typing import Any

from node import tally
from node.runtime import Connection, Node, ReadConnection, in_transaction
from node.settling import Ledger
from node.store import settling
from node.store import statistics as store
from node.tally import MAX_SOURCES, OTHER, Day, Sums

KEPT_DAYS = 35  # a month's report, with the ten working days it may take
# Seconds in which a worker that was held up may still add to a second: only then is its maximum taken. One that
# was held up for longer adds to a second of its own: the peak may be reported too low then, never too high.
_OPEN_SECONDS = 60
_LABEL = "resolution-source"
_CHUNK = 500  # addresses sealed between two statements: about 2 ms of the loop


def ledger(node: Node) -> Ledger[Sums]:
    """How this worker's resolutions are settled."""

    async def apply(conn: Connection, sums: Sums) -> None:
        await add(node, conn, sums)

    def take() -> list[Sums]:
        sums = node.tally.take()
        return [sums] if sums else []

    return Ledger("resolution", take, apply, lambda kept, more: kept.add(more))


async def add(node: Node, conn: Connection, sums: Sums) -> None:
    """Add one settlement to the tables: six statements, however much was counted."""
    await store.alone(conn)
    days = await store.add_days(conn, _columns([(p, d, sums.days[p, d]) for p, d in sorted(sums.days)]))
    seconds = sorted((second, prefix_id, n) for (prefix_id, second), n in sums.seconds.items())
    if seconds:
        await store.add_seconds(conn, *([s[i] for s in seconds] for i in range(3)))
    room = {(r["prefix_id"], r["day"]): MAX_SOURCES - r["sources"] for r in days}
    await _add_sources(node, conn, sums.sources, room)


def _columns(days: Iterable[tuple[int, int, Day]]) -> list[list[Any]]:
    rows = [
        (prefix_id, tally.day_of(number), d.requests, d.hits, d.total, d.low, d.low_at, d.high, d.high_at,
         d.forged, d.guessed)
        for prefix_id, number, d in days
    ]  # fmt: skip
    return [list(column) for column in zip(*rows, strict=True)]


_Source = tuple[date, int, bytes]  # day, prefix_id, digest


async def _add_sources(
    node: Node, conn: Connection, counted: dict[tuple[int, int, str], int], room: dict[tuple[int, date], int]
) -> None:
    other: dict[tuple[int, date], int] = {}
    given: dict[_Source, tuple[str, int]] = {}
    for (prefix_id, number, address), count in counted.items():
        day = tally.day_of(number)
        if address == OTHER:
            other[prefix_id, day] = other.get((prefix_id, day), 0) + count
        else:
            given[day, prefix_id, _digest(node, day, address)] = (address, count)
    known = await store.add_to_sources(conn, _split([(*key, given[key][1]) for key in sorted(given)], 4))
    new: dict[tuple[int, date], int] = {}
    rows: list[tuple[date, int, bytes, str, int]] = []
    for key in sorted(given.keys() - known):
        owner, (address, count) = (key[1], key[0]), given[key]
        if room[owner] > 0:
            room[owner] -= 1
            new[owner] = new.get(owner, 0) + 1
            rows.append((*key, address, count))
        else:
            other[owner] = other.get(owner, 0) + count
    for start in range(0, len(rows), _CHUNK):
        part = [(*r[:3], node.sealer.seal(_LABEL, r[3].encode()), r[4]) for r in rows[start : start + _CHUNK]]
        await store.insert_sources(conn, _split(part, 5))
    if touched := sorted(new.keys() | other.keys()):
        await store.add_other(conn, _split([(*k, new.get(k, 0), other.get(k, 0)) for k in touched], 4))


def _split(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    return [[row[i] for row in rows] for i in range(width)]


def _digest(node: Node, day: date, address: str) -> bytes:
    """The same for the same address on the same day, whatever the prefix; between days nothing can be linked."""
    key = node.sealer.derive(f"{_LABEL} {day:%Y-%m-%d}", min(node.sealer.secrets))
    return hmac.digest(key, address.encode(), hashlib.sha256)[:16]


async def tidy(node: Node, now: float) -> None:
    """Take the peaks from seconds that nobody adds to any more; delete addresses 35 days after their day."""

    async def work(conn: Connection) -> None:
        await store.alone(conn)
        await store.fold_seconds(conn, int(now) - _OPEN_SECONDS)
        await settling.expire(conn)
        await store.expire_sources(conn, tally.local_day(now) - timedelta(days=KEPT_DAYS))

    await in_transaction(node, work)


async def daily(conn: ReadConnection, prefix_id: int, first: date, last: date) -> list[dict[str, Any]]:
    """Each day of Beijing that has anything; `prefix_id` WHOLE_NODE for the node, UNKNOWN for foreign prefixes."""
    return [_day(record) for record in await store.days(conn, prefix_id, first, last)]


def _day(record: Any) -> dict[str, Any]:
    requests = record["requests"]
    measured = requests > 0 and isfinite(record["low_seconds"])

    def ms(seconds: float) -> float:
        return round(seconds * 1000, 3)

    return {
        "day": record["day"].isoformat(),
        "requests": requests,
        "hits": record["hits"],
        "peak": {"per_second": record["peak"], "at": _second(record["peak_at"])} if record["peak_at"] else None,
        "latency_ms": {
            "min": ms(record["low_seconds"]),
            "min_at": _second(record["low_at"]),
            "mean": ms(record["total_seconds"] / requests),
            "max": ms(record["high_seconds"]),
            "max_at": _second(record["high_at"]),
        }
        if measured
        else None,
        "sources": {"addresses": record["sources"], "other_requests": record["other"]},
        "forged": record["forged"],
        "guessed": record["guessed"],
    }


def _second(when: Any) -> str:
    return str(when.isoformat(timespec="seconds"))


async def sources(node: Node, conn: ReadConnection, day: date, prefix_id: int | None = None) -> list[tuple[str, int]]:
    """(address, requests) of one prefix, or of the node, on one day, most first: for the report to the upper node and
    for nothing else. What is beyond the limit is in the day's `other_requests`."""
    found = await store.sources(conn, day, prefix_id, MAX_SOURCES)
    return [(node.sealer.open(_LABEL, record["sealed"]).decode(), record["count"]) for record in found]
