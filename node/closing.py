"""Closing an import: the ledger is complete, and what was kept aside is stored, all of it or nothing."""

from __future__ import annotations

import gzip
from typing import Annotated, Any

import msgspec

from node.chunks import read_chunk
from node.drafts import decoded
from node.errors import ImportIncomplete, ImportRefused, RowError
from node.imports import missing, own_import, settle, slots, state, stored
from node.model import Identity
from node.runtime import Connection, Node
from node.store import imports as store
from node.store import prefixes
from node.writing import Change, change


class Closing(msgspec.Struct, forbid_unknown_fields=True):
    """What :commit takes: how many chunks were sent, and how many rows where the sender counted them."""

    chunks: Annotated[int, msgspec.Meta(ge=0, le=10_000_000)]
    rows: Annotated[int, msgspec.Meta(ge=0)] | None = None


_closing = msgspec.json.Decoder(Closing)


async def commit(node: Node, identity: Identity, import_id: str, body: bytes) -> dict[str, Any]:
    """Close the ledger; an atomic import's rows are stored now, all or none. Raises ImportIncomplete with the missing
    chunks. Closing again answers the same."""
    form: Closing = decoded(_closing, body)
    return await close(node, identity, import_id, form.chunks, form.rows)


async def close(node: Node, identity: Identity, import_id: str, chunks: int, rows: int | None) -> dict[str, Any]:
    """`commit` of an import of so many chunks, and rows where they were counted."""

    async def work(doing: Change) -> None:
        own = await own_import(doing.conn, identity, import_id, hold=True)
        arrived = await store.numbers(doing.conn, import_id)
        if gaps := missing(arrived, chunks):
            raise ImportIncomplete.of(missing=", ".join(map(str, gaps)), id=import_id)
        if len(arrived) > chunks:
            raise ImportIncomplete.of(missing=f"— {len(arrived)} > {chunks}", id=import_id)
        if own["committed_at"] is not None:
            if own["atomic"]:  # who stored its rows may have died before it was safe to say so
                assert identity.registrant_id is not None
                doing.grown += [p.prefix for p in await prefixes.of_registrant(doing.conn, identity.registrant_id)]
            return
        if own["atomic"] and not own["check_only"]:
            for number in arrived:
                doing.grown += await _apply(node, doing.conn, identity, own, number)
        totals = await store.totals(doing.conn, import_id)
        if rows is not None and rows != totals["rows"]:
            raise ImportRefused.of(reason=f"{rows} rows sent, {totals['rows']} arrived", reason_zh="行数不符")
        await store.commit(doing.conn, import_id)

    async with slots(node).working.turn(identity.registrant_id):
        await change(node, work)
    return await state(node, identity, import_id)


async def _apply(node: Node, conn: Connection, identity: Identity, own: Any, number: int) -> list[str]:
    body = gzip.decompress(await store.body(conn, own["id"], number))
    chunk = await read_chunk(node, body, own["template"])
    result = await stored(node, conn, identity, own, chunk)
    if (outcome := result.first) is not None and (error := outcome.error) is not None:
        whole = RowError("", error.code, error.zh.format_map(error.datum), error.en.format_map(error.datum))
        raise ImportRefused.of(
            *(error.errors[:10] or [whole]),
            reason=f"chunk {number}, row {outcome.row}, {outcome.handle}: {error.detail}",
            reason_zh="整批导入未生效",
        )
    await settle(node, conn, own["id"], number, chunk.count, result)
    return chunk.prefixes()
