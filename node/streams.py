"""Imports in one request of any length: cut into chunks while it arrives, two of them in hand, the body read no faster
than the database takes it. Sent again after a break it goes through its own chunks, which answer as before."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from node import closing
from node.cutting import Cut, Cutter
from node.errors import ImportRefused, RowError, Unavailable
from node.imports import own_import, put_chunk, slots
from node.model import Identity
from node.runtime import Node, reading

_IN_FLIGHT = 2
_PATIENCE = 30.0  # s for a database that is away or behind; then 503, and the sender comes again
_SHOWN_ERRORS = 100


async def take(
    node: Node, identity: Identity, import_id: str, source: AsyncIterator[bytes], form: str
) -> dict[str, Any]:
    """Import a body (`form`: ndjson or csv) and close the ledger: the import's sums with the first hundred errors,
    whose `row` counts from the beginning of the body. Raises as put_chunk and commit do; what came before is stored."""
    with slots(node).stream():
        async with reading(node) as conn:
            await own_import(conn, identity, import_id)
        cutter, sending = Cutter(form), _Sending(node, identity, import_id, form)
        try:
            async for data in source:
                for cut in cutter.feed(data):
                    await sending.put(cut)
            for cut in cutter.finish():
                await sending.put(cut)
            await sending.all()
        finally:
            await sending.stop()
        if not cutter.chunks:
            zh, en = "没有数据行", "there are no rows"
            raise ImportRefused.of(RowError("", "empty", zh, en), reason=en, reason_zh=zh)
        rows = cutter.rows if form == "ndjson" else None  # in CSV a lone \r may end rows too
        document = await closing.close(node, identity, import_id, cutter.chunks, rows)
    errors = sorted(sending.errors, key=lambda error: (error["row"], error["chunk"]))
    return document | sending.note | {"again": sending.again, "errors": errors[:_SHOWN_ERRORS]}


class _Sending:
    """The chunks under way."""

    def __init__(self, node: Node, identity: Identity, import_id: str, form: str) -> None:
        self.node, self.identity, self.id, self.form = node, identity, import_id, form
        self.errors: list[dict[str, Any]] = []
        self.note: dict[str, Any] = {}
        self.again = 0  # chunks that had arrived before
        self._tasks: set[asyncio.Task[None]] = set()

    async def put(self, cut: Cut) -> None:
        """Begin a chunk as soon as one in hand is done. Raises what an earlier one met."""
        while len(self._tasks) >= _IN_FLIGHT:
            await self._one()
        self._tasks.add(asyncio.create_task(self._send(cut)))

    async def all(self) -> None:
        while self._tasks:
            await self._one()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _one(self) -> None:
        done, self._tasks = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def _send(self, cut: Cut) -> None:
        answer = await self._patiently(cut)
        self.again += bool(answer.get("again"))
        self.note |= {k: answer[k] for k in ("encoding",) if k in answer}
        shown = answer["errors"] if len(self.errors) < _SHOWN_ERRORS else []
        self.errors += [error | {"row": cut.first + error["row"], "chunk": cut.number} for error in shown]

    async def _patiently(self, cut: Cut) -> dict[str, Any]:
        end, wait = time.monotonic() + _PATIENCE, 0.1
        while True:
            try:
                return await put_chunk(self.node, self.identity, self.id, cut.number, cut.body, self.form)
            except ImportRefused as error:
                where = {"reason": f"from row {cut.first} on: ", "reason_zh": f"自第 {cut.first} 行起："}
                raise ImportRefused.of(*error.errors, **{k: v + error.datum[k] for k, v in where.items()}) from None
            except Unavailable:
                if time.monotonic() > end:
                    raise
                await asyncio.sleep(wait)
                wait = min(2 * wait, 2.0)
