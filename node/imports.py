"""Imports: rows by the million, in chunks. One transaction a chunk holds its rows, errors, counts and its own record,
so that sent = created + unchanged + conflict + rejected whatever dies in the middle.

The same chunk again is answered as before; another body under its number is refused.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec

from node import catalogue, metrics, sheets
from node.chunks import Chunk, read_chunk, store_chunk
from node.drafts import decoded, issued_handle
from node.errors import (
    ChunkDiffers,
    ImportClosed,
    NotFound,
    Unavailable,
)
from node.model import Identity
from node.outcomes import TURN, Result
from node.pace import Pace, Stride
from node.runtime import Connection, Node, reading
from node.store import imports as store
from node.turns import Turns
from node.writing import Change, Claim, change

MAX_CHUNK_ROWS = 50_000
MAX_CHUNK_BYTES = 64 * 1024 * 1024  # inflated
_SHOWN_ERRORS = 100  # of a chunk, in its answer; all of them under /errors
_SHOWN = ("row", "handle", "outcome", "field", "code", "detail")
_OUTCOMES = ("created", "unchanged", "conflict", "rejected")

_Text = Annotated[str, msgspec.Meta(max_length=300)]


class NewImport(msgspec.Struct, forbid_unknown_fields=True):
    """What POST /imports takes. `prefix`, `template` and `lot` stand for what a row does not give itself."""

    name: _Text = ""
    prefix: _Text = ""
    template: _Text = ""
    lot: _Text = ""
    check: bool = False
    atomic: bool = False


_new_import = msgspec.json.Decoder(NewImport)


@dataclass(slots=True)
class Slots:
    """How many chunks a worker has in hand: half of its connections at work, in turns of the enterprises. Half of those
    at work are being stored: the others are read meanwhile, and more in PostgreSQL at once only get in each other's way
    (with four it took 6.1 us a row, with two 5.4 to 5.6)."""

    working: Turns
    storing: asyncio.Semaphore
    limit: int
    streams: int = 0
    one: asyncio.Lock = field(default_factory=asyncio.Lock)

    def beside(self, pace: Pace) -> AbstractAsyncContextManager[None]:
        """One chunk at a time is stored while readers wait."""
        return self.one if pace.ratio else nullcontext()

    @contextmanager
    def stream(self) -> Iterator[None]:
        """One import without end: each holds up to three chunks in memory, so there are not more of them than chunks
        of one enterprise that wait."""
        if self.streams >= self.limit:
            raise Unavailable.of(what="imports", retry_after=5)
        self.streams += 1
        try:
            yield
        finally:
            self.streams -= 1


def slots(node: Node) -> Slots:
    """The worker's own, made with the first chunk."""
    if node.import_slots is None:
        count = max(1, node.settings.pool_size // 2)
        node.import_slots = Slots(Turns("chunks", count, 2 * count), asyncio.Semaphore(max(1, count // 2)), 2 * count)
    found: Slots = node.import_slots
    return found


async def begin(node: Node, identity: Identity, body: bytes, claim: Claim | None) -> dict[str, Any]:
    """Open an import."""
    form: NewImport = decoded(_new_import, body)
    if form.prefix:
        form.prefix = issued_handle(f"{form.prefix}/x", "prefix")[0]
    import_id = f"imp_{secrets.token_hex(10)}"

    async def work(doing: Change) -> dict[str, Any]:
        await store.insert(
            doing.conn, import_id, identity.registrant_id, form.name, form.prefix, form.template, form.lot,
            form.check, form.atomic, identity.actor,
        )  # fmt: skip
        return {"id": import_id, "state": "open", "check": form.check, "atomic": form.atomic}

    return await change(node, work, claim=claim)


async def own_import(conn: Any, identity: Identity, import_id: str, *, hold: bool = False) -> Any:
    found = await (store.lock if hold else store.fetch)(conn, import_id)
    if found is None or found["registrant_id"] != identity.registrant_id:
        raise NotFound.of(what=f"import {import_id[:64]}")
    return found


async def put_chunk(
    node: Node, identity: Identity, import_id: str, number: int, body: bytes, form: str
) -> dict[str, Any]:
    """Take chunk `number` (`form`: ndjson or csv); its rows resolve when this returns. Raises ChunkDiffers where the
    number was used for another body, ImportClosed after :commit, ImportRefused for a body that is not one of rows."""
    async with reading(node) as conn:
        found = await own_import(conn, identity, import_id)
        names = [found["template"]] if found["template"] else []
        if form == "csv" and not names:
            names = await asyncio.to_thread(sheets.templates_in, body)
        templates = [(await catalogue.by_name(node, name, conn))[1].template for name in names]
    fields = {f.code: f for template in reversed(templates) for f in template.fields}

    def read() -> tuple[bytes, sheets.Given]:
        return hashlib.sha256(body).digest(), sheets.rows_of(body, form, found, fields, MAX_CHUNK_ROWS)

    async with slots(node).working.turn(identity.registrant_id):
        digest, given = await asyncio.to_thread(read)
        aside = found["atomic"] and not found["check_only"]
        keep = await asyncio.to_thread(gzip.compress, given.body, 1) if aside else None
        chunk = None if keep else await read_chunk(node, given.body, found["template"])

        async def work(doing: Change) -> dict[str, Any]:
            if not await store.claim(doing.conn, import_id, number, digest, keep):
                if chunk is not None and not found["check_only"]:
                    doing.grown += chunk.prefixes()  # who stored it may have died before it was safe to say so
                old = await store.chunk(doing.conn, import_id, number)
                return await _as_before(doing.conn, import_id, old, digest)
            # Read after the claim: its foreign key holds the import, so that :commit has been or has to wait.
            own = await own_import(doing.conn, identity, import_id)
            if own["committed_at"] is not None:
                raise ImportClosed.of(id=import_id)
            if chunk is None:
                return {"chunk": number, "rows": sheets.row_count(given.body), "state": "kept", "errors": []}
            result = await stored(node, doing.conn, identity, own, chunk)
            if not own["check_only"]:
                doing.grown += chunk.prefixes()
            return await settle(node, doing.conn, import_id, number, chunk.count, result) | given.note

        async with slots(node).storing, slots(node).beside(node.pace):
            answer = await change(node, work)
    for name in _OUTCOMES:
        if not answer.get("again"):
            metrics.registered_rows_total.labels(name).inc(answer.get(name, 0))
    return answer


async def _as_before(conn: Connection, import_id: str, old: Any, digest: bytes) -> dict[str, Any]:
    if bytes(old["digest"]) != digest:
        raise ChunkDiffers.of(chunk=old["number"], id=import_id)
    lines = await store.errors(conn, import_id, (old["number"], -1, -1), _SHOWN_ERRORS)
    return {
        "chunk": old["number"],
        "rows": old["rows"],
        **{name: old[name] for name in _OUTCOMES},
        "errors": [_shown(r) for r in lines if r["chunk"] == old["number"]],
        "again": True,
    }


def _shown(record: Any) -> dict[str, Any]:
    return {key: record[key] for key in _SHOWN}


async def stored(node: Node, conn: Connection, identity: Identity, own: Any, chunk: Chunk) -> Result:
    """What becomes of the rows; a check's are stored in a savepoint that is taken back."""
    if not own["check_only"]:
        return await store_chunk(node, conn, identity, chunk, own)
    raw: Any = conn
    found = Result()
    try:
        async with raw.transaction():
            found = await store_chunk(node, conn, identity, chunk, own)
            raise _TakeBack
    except _TakeBack:
        return found


class _TakeBack(Exception):
    pass


async def settle(
    node: Node, conn: Connection, import_id: str, number: int, rows: int, result: Result
) -> dict[str, Any]:
    counts = {name: result.counts[name] for name in _OUTCOMES}
    await store.settle(conn, import_id, number, [rows, *counts.values()])
    shown: list[dict[str, Any]] = []
    async for lines in Stride(node.pace, 1.0).pieces(result.lines, TURN):
        await store.insert_errors(conn, import_id, number, lines)
        shown += [{key: getattr(line, key) for key in _SHOWN} for line in lines[: _SHOWN_ERRORS - len(shown)]]
    return {"chunk": number, "rows": rows, **counts, "errors": shown}


async def state(node: Node, identity: Identity, import_id: str) -> dict[str, Any]:
    """Where an import stands: chunks that arrived and that are missing before the last one, and the sums."""
    async with reading(node) as conn:
        found = await own_import(conn, identity, import_id)
        arrived = await store.numbers(conn, import_id)
        totals = await store.totals(conn, import_id)
    document = {
        "id": import_id,
        "name": found["name"],
        "state": "committed" if found["committed_at"] else "open",
        "check": found["check_only"],
        "atomic": found["atomic"],
        "created_at": found["created_at"].isoformat(),
        "next_chunk": next((n for n in range(len(arrived) + 1) if n >= len(arrived) or arrived[n] != n), 0),
        "missing": missing(arrived, arrived[-1] + 1 if arrived else 0),
    }
    return document | totals


def missing(arrived: Sequence[int], count: int) -> list[int]:
    """The first hundred numbers below `count` that did not arrive."""
    there = set(arrived)
    return [n for n in range(count) if n not in there][:100]


async def listed(node: Node, identity: Identity, limit: int = 100) -> list[dict[str, Any]]:
    """The registrant's newest imports."""
    assert identity.registrant_id is not None
    async with reading(node) as conn:
        found = await store.of_registrant(conn, identity.registrant_id, limit)
    return [
        {
            "id": r["id"],
            "name": r["name"],
            "state": "committed" if r["committed_at"] else "open",
            "created_at": r["created_at"].isoformat(),
        }
        for r in found
    ]


async def errors(node: Node, identity: Identity, import_id: str) -> AsyncIterator[dict[str, Any]]:
    """All errors of an import, in order of chunk and row; read in pages, so that a slow reader holds no connection."""
    after = (-1, -1, -1)
    while True:
        async with reading(node) as conn:
            await own_import(conn, identity, import_id)
            page = await store.errors(conn, import_id, after, 1000)
        if not page:
            return
        for record in page:
            yield {"chunk": record["chunk"]} | _shown(record)
        after = (page[-1]["chunk"], page[-1]["row"], page[-1]["position"])
