"""The same items over the baseline's batch route: what a season would take by the plain service."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import asyncpg

from loadtest.client import Request, drive, request
from loadtest.seasons import Season
from loadtest.servers import baseline
from node.fields import FIRST_INDEX

BATCH = 500  # rows, as `make bench` has them
CONNECTIONS = 4
MOST_ROWS = 60_000  # the rate does not change with the number: the baseline's table is small either way
_SECONDS = 120.0


async def rate_of_batches(ready: dict[str, Any], season: Season) -> float:
    """Rows a second; raises RuntimeError unless each row was taken and is in the baseline's table."""
    rows = min(season.count, MOST_ROWS)
    # Made before the clock starts: the client's own JSON is not what is measured.
    requests = list(_requests(season, rows))

    def check(size: int, body: bytes) -> str | None:
        return None if json.loads(body) == {"accepted": size} else body[:200].decode()

    async with baseline(ready) as port:
        load = await drive(port, iter(requests), _SECONDS, CONNECTIONS, check, every=1)
    conn = await asyncpg.connect(ready["database_url"])
    stored = await conn.fetchval("SELECT count(*) FROM baseline_handle")
    await conn.close()
    if load.wrong or set(load.statuses) != {200} or stored != rows:
        raise RuntimeError(f"the baseline holds {stored} of {rows} rows: {load.statuses}, {load.wrong[:3]}")
    return rows / load.seconds


def _requests(season: Season, rows: int) -> Iterator[Request]:
    for first in range(0, rows, BATCH):
        part = [_row(season.item(n)) for n in range(first, min(first + BATCH, rows))]
        body = json.dumps(part, ensure_ascii=False).encode()
        yield request("POST", "/api/v1/handles:batch", body), len(part)


def _row(item: dict[str, Any]) -> dict[str, Any]:
    """The item in the baseline's form: its lot and each attribute as a value."""
    given = {"lot": item["lot"], **item["attributes"]}
    values = [{"index": FIRST_INDEX + i, "type": k, "data": v} for i, (k, v) in enumerate(given.items())]
    return {"handle": item["handle"], "values": values}
