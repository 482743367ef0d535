"""Delivers what was posted to the outbox for webhooks, at least once, and looks again at proved hosts each day.

The outbox row commits with its alarm. `accept` moves it into the queue of its receiver, so that the outbox stays
short however many receivers are dead; a turn then speaks to one receiver that it has leased. Whoever dies in a turn
leaves a lease that ends by itself. What was sent but not noted down is sent again under the same id.

Nobody waits for a slow receiver: each has one turn at a time in all workers, a turn begins no message after 10 s,
and those that failed or were slow last time share a lane of their own, apart from the others.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any

import orjson

from node import hosts, metrics, outgoing
from node.alarms import TOPIC
from node.errors import NotReached, Unavailable
from node.runtime import Node, in_transaction, reading
from node.store import coordinator
from node.store import webhooks as store
from node.webhooks import LABEL, send

_LANES = (16, 4)  # receivers at a time in one worker: those that did well last time, and the others
_TURN_SECONDS = 10.0
_LEASE_SECONDS = 2 * _TURN_SECONDS + outgoing.SECONDS  # the last message's 10 s, and 10 more for PostgreSQL
_TURN_MESSAGES = 100
_SLOW_SECONDS = 2.0  # a message: beyond, the receiver joins the slow lane
_PARK_HOURS = 24
_KEPT_DAYS = 30  # a parked message
_HOSTS_SECONDS = 60.0  # between looks for proofs whose day is over
_log = logging.getLogger(__name__)


async def errands(node: Node, period: float = 1.0) -> None:
    """For the life of the worker: deliver messages, look again at hosts."""
    async with asyncio.TaskGroup() as group:
        group.create_task(_deliver(node, period, group))
        group.create_task(_look_again(node))


async def _deliver(node: Node, period: float, group: asyncio.TaskGroup) -> None:
    lanes: tuple[set[asyncio.Task[None]], ...] = (set(), set())
    while True:
        try:
            await accept(node)
            for ailing, lane in enumerate(lanes):
                for receiver in await _take(node, _LANES[ailing] - len(lane), bool(ailing)):
                    task = group.create_task(_turn(node, receiver))
                    lane.add(task)
                    task.add_done_callback(lane.discard)
        except Unavailable:
            _log.warning("webhooks wait for PostgreSQL")
        except Exception:
            _log.exception("delivering failed; the next turn tries again")
        await asyncio.sleep(period)


async def _look_again(node: Node) -> None:
    while True:
        try:
            while await hosts.recheck(node):
                pass
            await in_transaction(node, lambda conn: store.expire(conn, _KEPT_DAYS))
        except Unavailable:
            _log.warning("checks of hosts wait for PostgreSQL")
        except Exception:
            _log.exception("checking hosts failed; the next turn tries again")
        await asyncio.sleep(_HOSTS_SECONDS)


async def accept(node: Node) -> int:
    """Move posted messages into their receivers' queues; how many were taken out of the outbox."""

    async def move(conn: Any) -> int:
        posted = await coordinator.due(conn, TOPIC, 0.0)
        if posted:
            await store.accept(conn, [_queued(message) for _, message in posted])
            await coordinator.done(conn, [number for number, _ in posted])
        return len(posted)

    return await in_transaction(node, move)


def _queued(message: dict[str, Any]) -> tuple[str, int, bytes]:
    registrant = message.pop("registrant")
    return message["id"], registrant, orjson.dumps(message)


async def _take(node: Node, limit: int, ailing: bool) -> list[Any]:
    if limit <= 0:
        return []
    return await in_transaction(node, lambda conn: store.take(conn, limit, ailing, _LEASE_SECONDS))


async def _turn(node: Node, receiver: Mapping[str, Any]) -> None:
    """Speak to one receiver. What cannot be noted down is sent again after the lease, under the same id."""
    try:
        await _speak(node, receiver)
    except Unavailable:
        _log.warning("a webhook's turn ended early: PostgreSQL is away")
    except Exception:
        _log.exception("a webhook's turn failed")


async def _speak(node: Node, receiver: Mapping[str, Any]) -> None:
    registrant, lease, begun, slowest = receiver["registrant_id"], receiver["lease"], time.monotonic(), 0.0
    secret = node.sealer.open(LABEL, receiver["secret"]).decode()
    async with reading(node) as conn:
        messages = await store.due(conn, registrant, _TURN_MESSAGES)
    for message in messages:
        started = time.monotonic()
        if started - begun > _TURN_SECONDS:
            break
        if not await _one(node, receiver, secret, message["id"], message["body"]):
            return
        slowest = max(slowest, time.monotonic() - started)
    await in_transaction(node, lambda conn: store.release(conn, registrant, lease, slowest > _SLOW_SECONDS))


async def _one(node: Node, receiver: Mapping[str, Any], secret: str, message_id: str, body: bytes) -> bool:
    """Deliver one message and note the outcome down, if the receiver is still leased to us; whether it arrived."""
    registrant, lease = receiver["registrant_id"], receiver["lease"]
    try:
        if not receiver["proved"]:
            raise outgoing.not_reached(receiver["host"], "not_proved")
        await send(node.settings, receiver["url"], secret, message_id, body)
    except NotReached as error:
        why, told = error.datum["why"], error.detail
        metrics.webhook_deliveries_total.labels(why).inc()
        await in_transaction(
            node, lambda conn: store.failed(conn, registrant, lease, message_id, told, hours=_PARK_HOURS)
        )
        return False
    metrics.webhook_deliveries_total.labels("delivered").inc()
    await in_transaction(node, lambda conn: store.delivered(conn, registrant, lease, message_id))
    return True
