"""The one way in for every change: announce the keys it touches, commit, forget them in the cache, acknowledge.

`change` returns only after all four; its caller may then tell the world. Work done inside it is one transaction and
may be run again (a deadlock lost), so it must not have effects outside the connection that it is handed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from node import metrics
from node.cache import handle_key, prefix_key
from node.errors import IdempotencyMismatch, SecretShownOnce, Unavailable
from node.runtime import Connection, Node, in_transaction, reading
from node.store import access as store_access
from node.store import coordinator, prefixes

_T = TypeVar("_T")
_FORGET = "forget"
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Change:
    """What the work of a change is given: its connection, and the way to name more of what it touches."""

    conn: Connection
    handles: list[str] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)

    @property
    def keys(self) -> list[str]:
        """Cache keys of all that this change makes untrue."""
        return [*map(handle_key, self.handles), *map(prefix_key, self.prefixes)]


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
    """Do `work` in one transaction. `handles` are existing handles that it changes (new ones have nothing to
    forget), `dependents` prefixes whose state or owner it changes; each is out of the cache when this returns."""
    announced = Change(None, list(handles), list(dependents)).keys  # type: ignore[arg-type]
    await node.cache.announce(announced)
    touched: list[str] = announced
    message: int | None = None

    async def transact(conn: Connection) -> _T:
        nonlocal touched, message
        if claim:
            await _take(conn, claim)
        doing = Change(conn, list(handles), list(dependents))
        result = await work(doing)
        touched = doing.keys
        message = await coordinator.post(conn, _FORGET, touched) if touched else None
        if claim:
            status, body = claim.render(result)
            await coordinator.answer(conn, claim.scope, claim.key, claim.method, claim.path, status, body)
        return result

    try:
        result = await in_transaction(node, transact)
    except BaseException:
        # Refused, or of unknown outcome: either way what the cache may hold must go.
        await node.cache.forget(touched)
        raise
    await _forget(node, touched, message)
    return result


async def _take(conn: Connection, claim: Claim) -> None:
    stored = await coordinator.claim(conn, claim.scope, claim.key, claim.method, claim.path, claim.digest)
    if stored is None:
        return
    if stored["digest"] != claim.digest:
        raise IdempotencyMismatch.of()
    if stored["body"] is None:
        raise SecretShownOnce.of()
    raise Replayed(stored["status"], stored["body"])


async def _forget(node: Node, keys: Sequence[str], message: int | None) -> None:
    """Forget, then take the message back; whatever is not done here the relay does within seconds."""
    if message is None or not await node.cache.forget(keys):
        return
    try:
        await in_transaction(node, lambda conn: coordinator.done(conn, [message]))
    except Unavailable:
        _log.info("outbox message %d is left to the relay", message)


async def relay(node: Node) -> int:
    """Forget for writers that died or met a cache that was away; the number of messages settled."""

    async def settle(conn: Connection) -> int:
        messages = await coordinator.due(conn, _FORGET)
        settled = [number for number, keys in messages if await node.cache.forget(keys)]
        if settled:
            await coordinator.done(conn, settled)
        return len(settled)

    return await in_transaction(node, settle)


async def housekeeping(node: Node, period: float = 1.0) -> None:
    """Each second: relay what was left, fold the registration counters, let old idempotency keys go."""

    async def tidy(conn: Connection) -> None:
        if node.used_keys:
            await store_access.mark_used(conn, sorted(node.used_keys))
        await prefixes.fold_counts(conn)
        await coordinator.expire_claims(conn)

    while True:
        try:
            await relay(node)
            await in_transaction(node, tidy)
            node.used_keys.clear()
            async with reading(node) as conn:
                metrics.outbox_oldest_seconds.set(await coordinator.oldest_message(conn))
        except Unavailable:
            _log.warning("housekeeping waits for PostgreSQL")
        except Exception:
            _log.exception("housekeeping failed; the next turn tries again")
        await asyncio.sleep(period)
