"""How often an item was scanned before, for pages: what many ask in the same moment is read together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import handle_codec
from node.errors import Unavailable
from node.model import Prefix
from node.runtime import Node, ReadConnection, reading
from node.scan_memory import Asker, Key, Scans, apart
from node.store import page_reads

_APART = 0.005  # s between two reads; without it each carried one page at 200 scans a second
_READS = 32  # on one connection; then others that wait for it have their turn
_log = logging.getLogger(__name__)


async def scans_of(node: Node, prefix: Prefix, suffix: str, lot: str | None = None) -> Scans | None:
    """What a page says of an item's scans; None while PostgreSQL is away. Settled scans only: up to a second old, but
    never without the first, which is committed at once. `lot` as in `ask`.

    Cheap enough for every page: what is asked while a query is under way goes together with the next one.
    """
    try:
        found = await ask(node, prefix, suffix, lot)
    except Unavailable:
        return None
    if found.before:
        node.scan_memory.know((prefix.prefix, suffix))
    return found


def key_of(prefix: Prefix, suffix: str, lot: str | None = None) -> Key:
    """What `counts` and `ask` ask for; with the suffix of its lot ("" for none) also whether anything happened."""
    shard = handle_codec.shard_of(suffix, prefix.home, prefix.spread)
    if lot is None:
        return shard, prefix.id, suffix, page_reads.NOT_ASKED, ""
    return shard, prefix.id, suffix, handle_codec.shard_of(lot, prefix.home, prefix.spread) if lot else 0, lot


def ask(node: Node, prefix: Prefix, suffix: str, lot: str | None = None) -> asyncio.Future[Scans]:
    """The same, begun and not waited for. Unavailable in the future while PostgreSQL is away."""
    future: asyncio.Future[Scans] = asyncio.get_running_loop().create_future()
    tell(node, prefix, suffix, future, lot)
    return future


def tell(node: Node, prefix: Prefix, suffix: str, asker: Asker, lot: str | None = None) -> None:
    """The same for one who is told."""
    memory = node.scan_memory
    memory.reads.setdefault(key_of(prefix, suffix, lot), []).append(asker)
    if not memory.reading:
        memory.reading = True
        memory.start(_read(node))


async def _read(node: Node) -> None:
    """Read what is asked for, one call after the other on one connection: taking it from its pool costs as much as a
    call."""
    memory = node.scan_memory
    try:
        while memory.reads:
            asked: dict[Key, list[Asker]] = {}
            try:
                async with reading(node) as conn:
                    for _ in range(_READS):
                        memory.read_at = await apart(memory.read_at, _APART)
                        asked, memory.reads = memory.reads, {}
                        _tell(asked, await counts(conn, list(asked)))
                        if not memory.reads:
                            break
            except Exception as error:
                if not asked:  # there was no connection for them
                    asked, memory.reads = memory.reads, {}
                _refuse(asked, error)
    finally:
        memory.reading = False


def _tell(asked: dict[Key, list[Asker]], found: Sequence[Scans]) -> None:
    for askers, told in zip(asked.values(), found, strict=True):
        for asker in askers:
            if not asker.done():  # its request may have been cancelled
                asker.set_result(told)


def _refuse(asked: dict[Key, list[Asker]], error: Exception) -> None:
    refusal = error if isinstance(error, Unavailable) else Unavailable.of(what="scans", retry_after=2)
    if refusal is not error:
        _log.error("scans could not be read", exc_info=error)
    for asker in (asker for askers in asked.values() for asker in askers):
        if not asker.done():
            asker.set_exception(refusal)


async def counts(conn: ReadConnection, keys: Sequence[Key]) -> list[Scans]:
    """What is known of these now, in order, in one statement."""
    rows = await page_reads.seen(conn, *zip(*keys, strict=True))
    return [Scans(r["count"] or 0, r["first_at"], r["first_place"] or "", r["traced"]) for r in rows]
