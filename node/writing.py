"""The one way in for every change: announce the handles it touches, commit, forget them in the cache, acknowledge.

`change` returns only after all four; its caller may then tell the world. Work done inside it is one transaction and
may be run again (a deadlock lost), so it must not have effects outside the connection that it is handed.

What was acknowledged is never shown older: entries of changed handles are gone from Valkey, or, where Valkey did not
answer, no worker trusts that epoch any more; workers' copies, and what they know of lots, prefixes and keys, have run
out.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from node import metrics, polling
from node.errors import IdempotencyMismatch, SecretShownOnce, Unavailable
from node.runtime import Connection, Node, in_transaction, reading
from node.store import access as store_access
from node.store import coordinator, prefixes
from node.store import fence as store_fence
from node.store.fence import Held

_T = TypeVar("_T")
_FORGET = "forget"
_ONE_BY_ONE = 200  # new handles whose "no such handle" is dropped key by key; beyond that their prefixes' all at once
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Change:
    """What the work of a change is given: its connection, and the way to name what it makes untrue.

    `handles` existed and change; `created` are new (kept at most as absent); `grown` are prefixes that got so many that
    they are not named one by one; `dependents` are what other handles' views are made from (node/fence.py).
    """

    conn: Connection
    handles: list[str] = field(default_factory=list)
    created: list[str] = field(default_factory=list)
    grown: list[str] = field(default_factory=list)
    dependents: list[str] = field(default_factory=list)
    held: Held | None = None  # where the work's last statement has asked for the fence

    def touches(self) -> bool:
        return bool(self.handles or self.created or self.grown or self.dependents)

    def settle_created(self) -> None:
        """Many new handles are dropped by prefix: one command each, not one for each handle."""
        if len(self.created) > _ONE_BY_ONE:
            self.grown += sorted({handle.partition("/")[0] for handle in self.created} - set(self.grown))
            self.created = []


@dataclass(slots=True, frozen=True)
class Claim:
    """An Idempotency-Key: the same request again is answered as the first time, and not done again.

    `render` turns the work's result into (status, body); a body of None holds a secret and is never stored.
    """

    scope: str
    key: str
    method: str
    path: str
    digest: bytes
    render: Callable[[Any], tuple[int, bytes | None]]


class Replayed(Exception):
    def __init__(self, status: int, body: bytes) -> None:
        self.status, self.body = status, body


async def change(
    node: Node,
    work: Callable[[Change], Awaitable[_T]],
    *,
    handles: Sequence[str] = (),
    dependents: Sequence[str] = (),
    claim: Claim | None = None,
) -> _T:
    """Do `work` in one transaction. `handles` are existing handles that it changes, `dependents` what others' views are
    made from; the work may name more, and what it creates. When this returns no reader is told what was before."""
    if handles and node.fence.enabled and not node.cache.paused():
        await node.cache.announce(node.fence.epoch, handles)
    doing = Change(None, list(handles))  # type: ignore[arg-type]
    held: Held | None = None
    message: int | None = None

    async def transact(conn: Connection) -> _T:
        nonlocal doing, held, message
        if claim:
            await _take(conn, claim)
        doing = Change(conn, list(handles), dependents=list(dependents))
        result = await work(doing)
        # New handles need no repair, their absence is kept for seconds only; but a replay acknowledges them at once.
        left = [*doing.handles, *doing.created] if claim else doing.handles
        message = await coordinator.post(conn, _FORGET, left) if left else None
        if claim:
            status, body = claim.render(result)
            await coordinator.answer(conn, claim.scope, claim.key, claim.method, claim.path, status, body)
        if doing.touches():
            if doing.dependents:
                await store_fence.move(conn, doing.dependents)
            held = doing.held or await store_fence.hold(conn)
        return result

    try:
        result = await in_transaction(node, transact)
    except Replayed:
        await _settle_replay(node)
        raise
    except BaseException:
        # Refused, or of unknown outcome: either way what the cache may hold must go. The outbox has it too.
        if doing.handles and node.fence.enabled:
            await node.cache.forget(node.fence.epoch, doing.handles)
        raise
    if held is not None:
        await _settle(node, doing, held, time.monotonic())
        if message is not None:
            node.settled.append(message)
    return result


async def _settle(node: Node, doing: Change, held: Held, committed: float) -> None:
    """Make what was before unreachable: forget, or shut the epoch, and wait for whoever may still act on it."""
    settings, until = node.settings, committed
    doing.settle_created()
    if held.enabled and (doing.handles or doing.created or doing.grown):
        done = await node.cache.forget(held.epoch, doing.handles, doing.grown, doing.created)
        if not done and "fence" not in settings.switched_off:
            await polling.shut(node, held.epoch)
        elif doing.handles and "wait" not in settings.switched_off:
            until = time.monotonic() + settings.copies
    if held.age < settings.fence_wait:  # workers may still trust the epoch before
        until = max(until, committed + settings.fence_wait - max(0.0, held.age))
    if doing.dependents:
        until = max(until, committed + settings.fence_wait)
    if (rest := until - time.monotonic()) > 0:
        await asyncio.sleep(rest)


async def _settle_replay(node: Node) -> None:
    """Who did it first may have died between its commit and its acknowledgement: do what it had left to do."""
    await relay(node, 0.0)
    await asyncio.sleep(node.settings.fence_wait)


async def _take(conn: Connection, claim: Claim) -> None:
    stored = await coordinator.claim(conn, claim.scope, claim.key, claim.method, claim.path, claim.digest)
    if stored is None:
        return
    if stored["digest"] != claim.digest:
        raise IdempotencyMismatch.of()
    if stored["body"] is None:
        raise SecretShownOnce.of()
    raise Replayed(stored["status"], stored["body"])


async def relay(node: Node, older: float = 1.0) -> int:
    """Forget for writers that died before they had; the number of messages settled. Messages younger than `older` s
    belong to a writer that is still forgetting by itself."""
    own, node.settled = node.settled, []

    async def settle(conn: Connection) -> int:
        if own:
            await coordinator.done(conn, own)
        messages = await coordinator.due(conn, _FORGET, older)
        held = await store_fence.hold(conn)
        # A shut epoch is never opened again: there is nothing to forget in it.
        settled = [n for n, handles in messages if not held.enabled or await node.cache.forget(held.epoch, handles)]
        if settled:
            await coordinator.done(conn, settled)
        return len(settled)

    try:
        return await in_transaction(node, settle)
    except BaseException:
        node.settled += own
        raise


async def housekeeping(node: Node, period: float = 1.0) -> None:
    """Each second: relay what was left, fold the registration counters, let old idempotency keys go."""

    async def tidy(conn: Connection) -> None:
        if node.used_keys:
            await store_access.mark_used(conn, sorted(node.used_keys))
        await prefixes.fold_counts(conn)
        await coordinator.expire_claims(conn)
        await store_fence.expire(conn, node.settings.cache_ttl)

    while True:
        metrics.tell()
        try:
            await relay(node)
            await in_transaction(node, tidy)
            node.used_keys.clear()
            node.fence.expire(node.settings.cache_ttl + store_fence.MARGIN)
            async with reading(node) as conn:
                metrics.outbox_oldest_seconds.set(await coordinator.oldest_message(conn))
        except Unavailable:
            _log.warning("housekeeping waits for PostgreSQL")
        except Exception:
            _log.exception("housekeeping failed; the next turn tries again")
        await asyncio.sleep(period)
