"""Keeps a worker's knowledge of the fence fresh, and opens and shuts the cache for all workers."""

from __future__ import annotations

import asyncio
import logging
import time

from node.errors import Unavailable
from node.runtime import Connection, Node, in_transaction, reading, watching
from node.store import fence as store

_PROBES = 3  # good ones in a row, a second apart, before the cache is opened again
_ATTEMPTS = 3
_FIRST = 10.0  # s: a worker that starts has a connection to make, beside others that start, and nobody waits for it yet
_log = logging.getLogger(__name__)


async def ensure(node: Node) -> None:
    """Return with a fence that is fresh; raises Unavailable where PostgreSQL cannot be asked in time."""
    for _ in range(_ATTEMPTS):
        if node.fence.fresh():
            return
        await _joined_poll(node)
    if not node.fence.fresh():  # each reading took longer than it is good for
        raise Unavailable.of(what="PostgreSQL", retry_after=1)


async def _joined_poll(node: Node, limit: float | None = None) -> None:
    """One reading at a time: who comes meanwhile waits for the same. `limit` s, FENCE_TIMEOUT where none is given."""
    if node.poll is None:
        node.poll = asyncio.ensure_future(_poll(node, limit or node.settings.fence_timeout))
        node.poll.add_done_callback(lambda done: _finished(node, done))
    await asyncio.shield(node.poll)


def _finished(node: Node, done: asyncio.Future[None]) -> None:
    node.poll = None
    if not done.cancelled():
        done.exception()  # looked at: nobody may be waiting any more


async def _poll(node: Node, limit: float) -> None:
    fence = node.fence
    started = time.monotonic()
    async with watching(node, limit) as conn:
        found = await store.poll(conn, fence.position, node.settings.cache_ttl)
    node.pace.felt(time.monotonic() - started)
    fence.apply(found, started)
    node.cache.expect(fence.server)


async def keep_polling(node: Node) -> None:
    """Read the fence every `fence_poll` seconds, so that no reader has to."""
    while True:
        try:
            await _joined_poll(node)
        except Unavailable:
            pass  # readers ask themselves, and say so
        except Exception:
            _log.exception("the fence could not be read")
        await asyncio.sleep(node.settings.fence_poll)


async def shut(node: Node, epoch: int) -> None:
    """Valkey did not take what it had to forget: no worker may trust entries of `epoch`. Returns once none does."""

    async def close(conn: Connection) -> int | None:
        return await store.shut(conn, epoch)

    new = await in_transaction(node, close)
    visible = time.monotonic()
    if new is not None:
        _log.warning("the cache is shut: Valkey does not answer")
        await in_transaction(node, lambda conn: store.date(conn, new))
    await asyncio.sleep(max(0.0, visible + node.settings.fence_wait - time.monotonic()))


async def try_open(node: Node) -> bool:
    """Open the cache for all workers where this one reaches Valkey; False where it does not or another objects."""
    server = await node.cache.probe()
    if not server:
        return False
    async with reading(node) as conn:
        now = await store.poll(conn, node.fence.position or "0", 0)
    if now.enabled and now.server == server:
        return True
    new = await in_transaction(node, lambda conn: store.open_again(conn, now.epoch, server))
    if new is None:
        return False
    await in_transaction(node, lambda conn: store.date(conn, new))
    _log.info("the cache is open: epoch %d", new)
    return True


async def start(node: Node) -> None:
    """Read the fence for the first time, and open the cache where it is shut or belongs to another run of Valkey."""
    await _joined_poll(node, _FIRST)
    if not node.fence.enabled or node.fence.server != await node.cache.probe():
        await try_open(node)
        await _joined_poll(node, _FIRST)


async def watch_cache(node: Node, period: float = 1.0) -> None:
    """Each second: where the cache is shut, or belongs to another run of Valkey, say so or open it again."""
    good = 0
    while True:
        try:
            fence = node.fence
            server = await node.cache.probe()
            if not server:
                good = 0
                await in_transaction(node, lambda conn: store.object_to_opening(conn, node.name))
            elif not fence.enabled or fence.server != server:
                good += 1
                if good >= _PROBES and await try_open(node):
                    good = 0
        except Unavailable:
            good = 0
        except Exception:
            _log.exception("the cache could not be watched")
        await asyncio.sleep(period)
