"""Readers and writers that meet: a small set of popular handles, most changes among the most popular."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from loadtest.freshness import bulk, writers
from loadtest.freshness.cluster import Cluster, Worker
from loadtest.freshness.history import History
from loadtest.freshness.subjects import Prefix, Target, Wrong, record_of, record_of_lot, values_of
from loadtest.freshness.wire import Client, NoAnswer, Reply
from loadtest.freshness.world import Sender, World
from loadtest.workload import Zipf

_READ_SECONDS, _WRITE_SECONDS = 5.0, 12.0


@dataclass(frozen=True)
class Plan:
    """How much, and by how many. `reads` are judged answers, `writes` acknowledged changes."""

    reads: int
    writes: int
    seed: int
    workers: int = 3
    readers: int = 24  # connections
    writers: int = 14
    slots: int = 40
    lots: int = 5
    limit: float = 3600.0  # s


async def prepare(cluster: Cluster, plan: Plan) -> World:
    """A world with its lots, slots and prefixes, before anything goes wrong."""
    history = History()
    first = Prefix(cluster.seeded["prefix"], history.register("prefix", "enabled"), cluster.seeded["api_key"])
    world = World(cluster, history, random.Random(plan.seed), first, prefixes={first.text: first})
    sender = world.sender(_WRITE_SECONDS)
    await world.log_in(sender)
    await world.make_lots(sender, plan.lots)
    world.make_slots(plan.slots)
    return world


async def run(world: World, plan: Plan) -> None:
    """Read and write until both numbers are reached or the time is over."""
    popular = Zipf(plan.slots, plan.seed)
    workers = world.cluster.workers
    tasks = [asyncio.create_task(_read(world, workers[n % len(workers)], popular)) for n in range(plan.readers)]
    tasks += [asyncio.create_task(_write(world, popular)) for _ in range(plan.writers)]
    tasks += [
        asyncio.create_task(_others(world, step))
        for step in (_change_lots, _serials, _keys, _prefixes, bulk.register_many)
    ]
    tasks.append(asyncio.create_task(_count(world)))
    end = asyncio.get_running_loop().time() + plan.limit
    try:
        while world.reads < plan.reads or world.acknowledged < plan.writes:
            done, _ = await asyncio.wait(tasks, timeout=0.2, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            if asyncio.get_running_loop().time() > end:
                return
    finally:
        world.closing = True
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _choose(world: World, popular: Zipf) -> Target:
    share = world.random.random()
    if share < 0.12 and world.specials:
        return world.specials.popleft() if share < 0.06 else world.random.choice(world.specials)
    if share < 0.18:
        return record_of_lot(world.random.choice(world.lots))
    slot = world.slots[popular.next()]
    # One to come is asked for before it is registered, one that was deleted afterwards.
    item = slot.now if share < 0.88 else world.random.choice(slot.items)
    return record_of(item) if world.random.random() < 0.75 else values_of(item)


async def _read(world: World, worker: Worker, popular: Zipf) -> None:
    client = Client(worker.port, _READ_SECONDS)
    while True:
        target = _choose(world, popular)
        try:
            reply = await client.ask(target.request)
        except NoAnswer:
            world.statuses["read: no answer"] += 1
            await asyncio.sleep(0.02)
            continue
        world.statuses[f"read: {reply.status}"] += 1
        if reply.status == 503:
            await asyncio.sleep(0.01)
            continue
        _take(world, worker, target, reply)


def _take(world: World, worker: Worker, target: Target, reply: Reply) -> None:
    try:
        shown = target.observe(reply)
    except (Wrong, ValueError, LookupError, TypeError) as error:
        world.history.wrong.append(f"worker {worker.number}: {reply.status} {error!r} {reply.body[:200]!r}")
        return
    world.reads += 1
    for register, seen in shown:
        world.history.read(register, seen, reply.begun, reply.ended, worker.number)


async def _write(world: World, popular: Zipf) -> None:
    sender = world.sender(_WRITE_SECONDS)
    while True:
        await writers.change_an_item(world, sender, world.slots[popular.next()])
        await asyncio.sleep(0)  # where all it met were busy


Other = Callable[[World, Sender], Awaitable[None]]


async def _others(world: World, step: Other) -> None:
    sender = world.sender(_WRITE_SECONDS)
    while True:
        await step(world, sender)
        await asyncio.sleep(0.2)


async def _change_lots(world: World, sender: Sender) -> None:
    """All lots but the last, each by a writer of its own."""
    await asyncio.gather(*(writers.change_a_lot(world, world.sender(_WRITE_SECONDS), lot) for lot in world.lots[:-1]))


async def _serials(world: World, sender: Sender) -> None:
    await writers.live_of_a_serial(world, sender, world.lots[-1])


async def _keys(world: World, sender: Sender) -> None:
    await writers.live_of_a_key(world, sender, world.prefix)


async def _prefixes(world: World, sender: Sender) -> None:
    prefix = await writers.allot(world, sender)
    if prefix is not None:
        await writers.stop_and_resume(world, sender, prefix)


async def _count(world: World) -> None:
    """Which tier answered, asked now and then: a killed worker takes its counters with it."""
    while True:
        await asyncio.gather(*(worker.count() for worker in world.cluster.workers))
        await asyncio.sleep(1)
