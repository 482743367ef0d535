"""One enterprise that sends as fast as it can: batches of rows on many connections, from the driver's own process."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import monotonic

import httpx
import orjson

from loadtest.acceptance.firms import Firm

_CONNECTIONS = 24
_EVERY = 0.1  # s between two batches of a connection at the least: 48,000 rows a second are asked for, and 429 does not
# slow it down. Faster, and it is the driver that keeps the cores from the node.
_ROWS = 200
_FLOOD = 700_000_000  # numbers apart from all others; rows that are broken, so that the ledger stays as it was


async def flood(url: str, firm: Firm, seconds: float) -> int:
    """How many batches were answered, with whatever status. Each row names an attribute that its template does not
    have: it is read, looked up and refused, and stored nowhere."""
    end = monotonic() + seconds
    rows = []
    for n in range(_ROWS):
        row = firm.document(_FLOOD + n, firm.lot(0), 1)
        row["attributes"]["no_such_field"] = 1
        rows.append(row)
    body = orjson.dumps(rows)
    headers = {"Authorization": f"Bearer {firm.key}", "Content-Type": "application/json"}
    done = 0

    async def sender(client: httpx.AsyncClient) -> None:
        nonlocal done
        while (begun := monotonic()) < end:
            with suppress(httpx.HTTPError):
                await client.post("/api/v1/handles:batch", content=body)
                done += 1
            await asyncio.sleep(max(0.0, begun + _EVERY - monotonic()))

    limits = httpx.Limits(max_connections=_CONNECTIONS)
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=10, limits=limits) as client:
        await asyncio.gather(*(sender(client) for _ in range(_CONNECTIONS)))
    return done
