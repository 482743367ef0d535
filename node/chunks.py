"""One chunk of an import: the rows that the codec is sure of go by COPY, the others the way of a single registration.

Sure rows have no object of their own: they are columns over a buffer, sorted by key, and leave as binary COPY.
"""

from __future__ import annotations

import asyncio
import re
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import inf
from operator import attrgetter
from typing import Any

from handle_codec.columns import RowBatch
from handle_codec.twin import decode_rows, lots_named, sort_rows
from node import catalogue
from node.errors import DuplicateInBatch, NodeError
from node.model import Identity, Kind, Prefix, Row
from node.outcomes import TURN, Outcome, ReadRows, Result, compare, read_rows
from node.pace import Stride
from node.records import unpack
from node.registration import fetch_lots, owned_prefix, store_rows
from node.row_plans import plan_of
from node.runtime import Connection, Node, reading
from node.store import handles, prefixes
from node.store import imports as store
from node.store.handles import NewRow

_PREFIX = re.compile(rb'"handle"\s*:\s*"([0-9.]{8,64})/')
_PART = 1000  # slow rows stored at a time: what is done with them between two answers of PostgreSQL takes 5 ms
_PATIENCE = 2.0  # s for which a transaction gives way to readers: others wait 5 for its locks
_TOO_LONG = b"a line over 1 MiB"  # no JSON, so that its row is refused


@dataclass(slots=True)
class Sure:
    """Rows that are right by template and lots as these were read; `order` is by key, without the doubles."""

    prefix: Prefix
    template_id: int
    lots: dict[str, Row]
    batch: RowBatch
    order: memoryview
    doubles: list[int]

    def new_row(self, i: int) -> NewRow:
        batch = self.batch
        return NewRow(batch.shards[i], batch.suffix(i), Kind.ITEM, batch.lot(i), self.template_id, batch.content(i))


@dataclass(slots=True)
class Chunk:
    """A chunk as read: all that can be done before its transaction."""

    body: bytes
    count: int
    sure: Sure | None
    slow: ReadRows
    refused: Result  # of the slow rows that cannot be read
    numbers: Sequence[int]  # of the slow rows, within the chunk

    def prefixes(self) -> list[str]:
        """Under which its rows stand."""
        sure = {self.sure.prefix.prefix} if self.sure else set()
        return sorted(sure | {draft.prefix for draft in self.slow.drafts.values()})


def lines_of(body: bytes) -> list[bytes]:
    """The rows of NDJSON; blank lines are none."""
    return [line for line in body.split(b"\n") if line.strip()]


async def slow_chunk(body: bytes, stride: Stride) -> Chunk:
    """All rows for the slow way."""
    rows = lines_of(body)
    return Chunk(body, len(rows), None, *await _read(rows, range(len(rows)), stride))


async def _read(
    rows: Sequence[bytes], numbers: Sequence[int], stride: Stride
) -> tuple[ReadRows, Result, Sequence[int]]:
    refused = Result()

    def refuse(outcome: Outcome) -> None:
        outcome.row = numbers[outcome.row]
        refused.add(outcome)

    return await read_rows(rows, stride, refuse), refused, numbers


async def read_chunk(node: Node, body: bytes, template: str) -> Chunk:
    """Decode a chunk. `template` is the import's own, for rows without a lot."""
    stride = Stride(node.pace, inf)
    planned = await _planned(node, body, template)
    if planned is None:
        return await slow_chunk(body, stride)
    prefix, template_id, compiled, lots = planned
    values = {content: unpack(content)[0] for content in {row.content for row in lots.values()}}
    plan = plan_of(compiled, prefix, {s: values[row.content] for s, row in lots.items()}, without_lot=not lots)

    def decode() -> Sure:
        batch = decode_rows(plan, body)
        order, doubles = sort_rows(batch)
        if doubles:
            order = _without(order, frozenset(doubles))
        return Sure(prefix, template_id, lots, batch, order, doubles)

    sure = await asyncio.to_thread(decode)
    unsure = sure.batch.unsure
    rows, places = [_TOO_LONG if row.raw is None else row.raw for row in unsure], [row.row for row in unsure]
    unsure.clear()  # 50,000 tuples for the collector to look at
    slow, refused, numbers = await _read(rows, places, stride)
    # The earlier of two rows with one handle wins: for that both have to go the same way.
    if bool(slow.drafts) and await asyncio.to_thread(_meet, sure, slow):
        return await slow_chunk(body, stride)
    return Chunk(body, sure.batch.row_count, sure, slow, refused, numbers)


def _without(order: memoryview, doubles: frozenset[int]) -> memoryview:
    kept = array("I", (i for i in order if i not in doubles))
    return memoryview(kept.tobytes()).cast("I")


def _meet(sure: Sure, slow: ReadRows) -> bool:
    """Whether a slow row has the handle of a sure one."""
    own = {draft.suffix for draft in slow.drafts.values() if draft.prefix == sure.prefix.prefix}
    return bool(own) and any(sure.batch.suffix(i) in own for i in range(len(sure.batch)))


async def _planned(node: Node, body: bytes, template: str) -> tuple[Prefix, int, Any, dict[str, Row]] | None:
    """What the chunk's first row and its lots say: prefix, template and the lots that have it; None: nothing sure."""
    first = _PREFIX.search(body)
    if first is None:
        return None
    text = first[1].decode()
    texts = set(await asyncio.to_thread(lots_named, body))
    named = {name.decode("utf-8", "replace").removeprefix(f"{text}/") for name in texts}
    async with reading(node) as conn:
        prefix = await prefixes.fetch(conn, text)
        if prefix is None:
            return None
        found = await _lots(conn, prefix, sorted(named))
        if found:
            template_id = Counter(row.template_id for row in found.values()).most_common(1)[0][0]
            compiled = await catalogue.by_id(node, template_id, conn)
        else:
            try:
                template_id, compiled = await catalogue.by_name(node, template, conn) if template else (0, None)
            except NodeError:
                return None
    return prefix, template_id, compiled, {s: row for s, row in found.items() if row.template_id == template_id}


async def _lots(conn: Any, prefix: Prefix, suffixes: Sequence[str]) -> dict[str, Row]:
    if not suffixes or len(suffixes) > 2000:
        return {}
    shards = [store.shard_of(prefix, suffix) for suffix in suffixes]
    found = await handles.fetch_many(conn, prefix.id, shards, suffixes)
    return {s: row for s, row in found.items() if row.kind == Kind.LOT}


async def store_chunk(node: Node, conn: Connection, identity: Identity, chunk: Chunk, own: Mapping[str, Any]) -> Result:
    """Store a chunk in the caller's transaction."""
    result, stride = Result(), Stride(node.pace, _PATIENCE)
    if chunk.sure is not None and not await _store_sure(conn, identity, chunk.sure, own, result, stride):
        chunk = await slow_chunk(chunk.body, stride)  # a lot changed since it was read: its rows are judged again
    result.join(chunk.refused)
    for part in chunk.slow.parts(lambda: stride.rows(_PART)):
        async for outcomes in stride.pieces(await store_rows(node, conn, identity, part), TURN):
            for outcome in outcomes:
                outcome.row = chunk.numbers[outcome.row]
                result.add(outcome)
    if result.lines:
        await asyncio.to_thread(result.lines.sort, key=attrgetter("row"))
    return result


async def _store_sure(
    conn: Connection, identity: Identity, sure: Sure, own: Mapping[str, Any], result: Result, stride: Stride
) -> bool:
    """False, with nothing done, where template or lots are no longer what the rows were held against."""
    batch, handle = sure.batch, f"{sure.prefix.prefix}/"
    try:
        prefix = await owned_prefix(conn, identity, sure.prefix.prefix)
    except NodeError as error:
        async for numbers in stride.pieces(range(len(batch)), TURN):
            for i in numbers:
                result.add(Outcome(batch.rows[i], handle + batch.suffix(i), "rejected", error=error))
        return True
    now = await fetch_lots(conn, prefix, set(sure.lots))
    if {s: (r.content, r.template_id) for s, r in now.items()} != {
        s: (r.content, r.template_id) for s, r in sure.lots.items()
    }:
        return False
    async for numbers in stride.pieces(sure.doubles, TURN):
        for i in numbers:
            double = DuplicateInBatch.of(handle=handle + batch.suffix(i), first="—")
            result.add(Outcome(batch.rows[i], handle + batch.suffix(i), "rejected", error=double))
    created = await _copy(conn, prefix, sure, own, result, stride)
    result.counts["created"] += created
    if created:
        if not prefix.used:
            await prefixes.mark_used(conn, prefix.id)
        await prefixes.count(conn, prefix.id, created=created)
    return True


async def _copy(
    conn: Connection, prefix: Prefix, sure: Sure, own: Mapping[str, Any], result: Result, stride: Stride
) -> int:
    """The number of rows that were new; those that are there with something else are compared with that."""
    if not len(sure.order):
        return 0
    rows = store.Rows(sure.batch, sure.order, prefix.id, sure.template_id, datetime.now(UTC), stride)
    if not own["staging"] and not own["check_only"]:
        if await store.copy_straight(conn, rows):
            return len(sure.order)
        await store.to_staging(conn, own["id"])  # each failed try leaves dead rows: one is enough
    created, others = await store.copy_staged(conn, rows, prefix)
    result.counts["unchanged"] += len(sure.order) - created - len(others)
    old: list[int] = []
    async for numbers in stride.pieces(sure.order if others else [], 4 * TURN):
        old += [i for i in numbers if sure.batch.suffix(i) in others]
    async for numbers in stride.pieces(old, TURN):
        part = [(i, sure.new_row(i)) for i in numbers]
        stored = await handles.fetch_many(conn, prefix.id, [r.shard for _, r in part], [r.suffix for _, r in part])
        for i, row in part:
            result.add(compare(sure.batch.rows[i], f"{prefix.prefix}/{row.suffix}", row, stored[row.suffix]))
    return created
