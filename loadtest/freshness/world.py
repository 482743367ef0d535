"""All that a run writes and reads, and how requests get to the workers."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import orjson

from loadtest.freshness.cluster import Cluster
from loadtest.freshness.history import History, Register, Write
from loadtest.freshness.subjects import Item, Lot, Prefix, Slot, Target, brand, item_address, registers_of_lot
from loadtest.freshness.wire import Client, NoAnswer, Reply, request

_EXAMPLE = orjson.loads((files("node.industries") / "examples" / "pear.json").read_bytes())
_AHEAD = 3  # prefixes that are asked for before they are allotted
_TRIES = 400  # of what has to succeed before the nemesis begins

Sender = dict[int, Client]  # by worker


@dataclass
class World:
    """Shared by readers and writers."""

    cluster: Cluster
    history: History
    random: random.Random
    prefix: Prefix
    lots: list[Lot] = field(default_factory=list)
    slots: list[Slot] = field(default_factory=list)
    prefixes: dict[str, Prefix] = field(default_factory=dict)  # also those to come
    specials: deque[Target] = field(default_factory=lambda: deque(maxlen=120))
    operator: str = ""
    statuses: Counter[str] = field(default_factory=Counter)
    reads: int = 0
    acknowledged: int = 0
    closing: bool = False
    _keys: int = 0

    def sender(self, timeout: float) -> Sender:
        """A writer's connections."""
        return {worker.number: Client(worker.port, timeout) for worker in self.cluster.workers}

    async def send(self, sender: Sender, message: bytes) -> Reply | None:
        """The answer of any worker; None where the outcome is unknown."""
        client = sender[self.random.choice(list(sender))]
        try:
            reply = await client.ask(message)
        except NoAnswer:
            self.statuses["write: no answer"] += 1
            await asyncio.sleep(0.02)  # a dead worker refuses at once
            return None
        self.statuses[f"write: {reply.status}"] += 1
        if reply.status == 503:
            await asyncio.sleep(0.01)
            return None
        if reply.status >= 500:
            self.history.wrong.append(f"{message.splitlines()[0].decode()}: {reply.status} {reply.body[:200]!r}")
            return None
        return reply

    async def insist(self, sender: Sender, message: bytes) -> Reply | None:
        """The same until it is answered; None when the run is over. For what may be sent twice."""
        while (reply := await self.send(sender, message)) is None:
            if self.closing:
                return None
        return reply

    def acknowledge(self, register: Register, write: Write, grace: int = 0) -> None:
        register.acknowledge(write, grace)
        self.acknowledged += 1

    def idempotency_key(self) -> str:
        self._keys += 1
        return f"freshness-{self._keys}"

    # --- what is made before the run begins

    def new_item(self, slot: Slot) -> Item:
        lot = self.lots[slot.number % len(self.lots)]
        handle = f"{self.prefix.text}/I-{slot.number:03d}-{len(self.history.registers)}"
        return Item(handle, lot, self.history.register(f"item {handle}", "absent"))

    def advance(self, slot: Slot) -> None:
        """What lay there is deleted, or may be: the next one takes its place."""
        slot.items = [*slot.items[-2:], self.new_item(slot)]

    def make_slots(self, count: int) -> None:
        for number in range(count):
            slot = Slot(number)
            slot.items = [self.new_item(slot), self.new_item(slot)]
            self.slots.append(slot)

    async def make_lots(self, sender: Sender, count: int) -> None:
        for number in range(count):
            handle = f"{self.prefix.text}/LOT-{number}"
            await self._must(sender, request("POST", "/api/v1/lots", lot_body(handle, 0, new=True), self.prefix.key))
            self.lots.append(registers_of_lot(self.history, handle, self.prefix, 0))

    async def log_in(self, sender: Sender) -> None:
        known = self.cluster.seeded["operator"]
        body = orjson.dumps({"login": known["login"], "password": known["password"]})
        reply = await self._must(sender, request("POST", "/api/v1/operators:login", body))
        self.operator = orjson.loads(reply.body)["token"]

    async def _must(self, sender: Sender, message: bytes) -> Reply:
        for _ in range(_TRIES):
            reply = await self.send(sender, message)
            if reply is not None and reply.status < 300:
                return reply
        raise RuntimeError(f"refused: {message.splitlines()[0].decode()} {reply and reply.body.decode()}")

    def foresee(self) -> list[Prefix]:
        """The next prefixes that will be allotted."""
        node, _, last = max(self.prefixes, key=lambda text: int(text.rpartition(".")[2])).rpartition(".")
        allotted = max(int(p.text.rpartition(".")[2]) for p in self.prefixes.values() if p.key or p is self.prefix)
        for number in range(int(last) + 1, allotted + _AHEAD + 1):
            text = f"{node}.{number}"
            self.prefixes[text] = Prefix(text, self.history.register(f"prefix {text}", "unknown"))
        return [p for p in self.prefixes.values() if int(p.text.rpartition(".")[2]) > allotted]


def lot_body(handle: str, number: int, *, new: bool = False) -> bytes:
    attributes: dict[str, Any] = {**_EXAMPLE["lot"], "brand": brand(number)}
    body = {"handle": handle, "template": "pear", "attributes": attributes}
    return orjson.dumps(body if new else {k: v for k, v in body.items() if k != "handle"})


def item_body(item: Item, number: int, *, new: bool = False) -> bytes:
    body = {
        "handle": item.handle,
        "lot": item.lot.handle,
        "attributes": {"carton_id": item.handle, "net_weight_kg": 5},
        "values": [{"index": 1, "type": "URL", "data": item_address(item.handle, number)}],
    }
    return orjson.dumps(body if new else {k: v for k, v in body.items() if k != "handle"})
