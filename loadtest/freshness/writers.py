"""Those who change things. Each register has one writer at a time, and what is sent again cannot take effect twice, so
that versions are committed in the order of their numbers whatever gets lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import orjson

from loadtest.freshness.history import Register, Write
from loadtest.freshness.subjects import (
    Item,
    Lot,
    Prefix,
    Slot,
    anything_under,
    record_of_lot,
    record_of_serial,
    registers_of_lot,
    use_of_key,
)
from loadtest.freshness.wire import Reply, request
from loadtest.freshness.world import Sender, World, item_body, lot_body
from node.demo import credit_code

_GRACE = 500_000_000  # ns: a revoked key is dead within half a second
_ITEMS, _LOTS = "/api/v1/handles/", "/api/v1/lots/"

Step = Callable[[World, Sender], Awaitable[None]]


async def change_an_item(world: World, sender: Sender, slot: Slot) -> None:
    """Register the slot's item, change it, or now and then delete it."""
    item = slot.now
    if item.busy:
        return
    item.busy = True
    try:
        if not item.exists:
            await _register(world, sender, item)
        elif item.version and item.doubt is None and world.random.random() < 0.03:
            await _delete(world, sender, slot, item)
        else:
            reply = await change_content(world, sender, item, lambda n: item_body(item, n))
            if reply is not None and reply.status in (404, 410):
                world.advance(slot)  # a deletion that was not acknowledged
    finally:
        item.busy = False


async def _register(world: World, sender: Sender, item: Item) -> None:
    write = item.doubt or item.content.invoke(0)
    reply = await world.send(
        sender, request("POST", "/api/v1/handles", item_body(item, 0, new=True), item.lot.prefix.key)
    )
    if reply is not None and reply.status in (200, 201):
        world.acknowledge(item.content, write)
        item.exists, item.doubt, item.version = True, None, reply.header("etag")
    else:
        item.doubt = write  # sent again with the same content: whichever arrives, arrives once


async def _delete(world: World, sender: Sender, slot: Slot, item: Item) -> None:
    write = item.content.invoke("gone")
    address = f"{_ITEMS}{item.handle}?reason=freshness"
    message = request("DELETE", address, b"", item.lot.prefix.key, if_match=item.version)
    reply = await world.send(sender, message)
    if reply is not None and reply.status == 412:
        item.version = ""
        return
    if reply is not None and reply.status == 200:
        world.acknowledge(item.content, write)
    if reply is None or reply.status in (200, 404, 410):
        world.advance(slot)  # also where it may yet happen: nobody writes there any more


async def change_content(
    world: World, sender: Sender, subject: Item | Lot, body: Callable[[int], bytes]
) -> Reply | None:
    """PUT the next number, or the last once more where it was not acknowledged: always with If-Match, so that nothing
    sent earlier can still take effect after what was acknowledged since."""
    key = (subject.lot.prefix if isinstance(subject, Item) else subject.prefix).key
    address = f"{_ITEMS}{subject.handle}"
    if not subject.version:
        reply = await world.send(sender, request("GET", address, b"", key))
        if reply is None or reply.status != 200:
            return reply
        subject.version = reply.header("etag")
    write: Write | None = subject.doubt
    if write is None or world.random.random() < 0.5:
        subject.number += 1
        write = subject.content.invoke(subject.number)
    reply = await world.send(sender, request("PUT", address, body(subject.number), key, if_match=subject.version))
    if reply is not None and reply.status == 200:
        world.acknowledge(subject.content, write)
        subject.version, subject.doubt = reply.header("etag"), None
        return reply
    subject.doubt = write
    if reply is not None and reply.status == 412:
        subject.version = ""
    return reply


async def change_a_lot(world: World, sender: Sender, lot: Lot) -> None:
    """Its attributes, which all its items show; now and then recall it and take that back."""
    if world.random.random() < 0.25:
        for state, action in (("recalled", "recall"), ("active", "restore")):
            if not await _insist_on(world, sender, lot.state, state, f"{_LOTS}{lot.handle}:{action}", lot.prefix.key):
                return
        lot.version = ""
        return
    await change_content(world, sender, lot, lambda n: lot_body(lot.handle, n))


async def _insist_on(
    world: World, sender: Sender, register: Register, state: str, address: str, key: str, body: str = '{"reason":"x"}'
) -> Reply | None:
    """A change of state with an Idempotency-Key, sent until it is acknowledged: none of the copies comes late."""
    write = register.invoke(state)
    message = request("POST", address, body.encode(), key, idempotency_key=world.idempotency_key())
    reply = await world.insist(sender, message)
    if reply is None:
        register.retire()
        return None
    if reply.status >= 300:
        world.history.wrong.append(f"POST {address}: {reply.status} {reply.body[:200]!r}")
        register.retire()
        return None
    world.acknowledge(register, write)
    return reply


async def live_of_a_serial(world: World, sender: Sender, lot: Lot) -> None:
    """Mint one, activate it, make it void; readers are told of it as soon as it is minted."""
    state = world.history.register("serial", "forged")
    address, key = f"{_LOTS}{lot.handle}", lot.prefix.key
    reply = await _insist_on(world, sender, state, "unshipped", f"{address}:mint", key, '{"count":1}')
    if reply is None:
        return
    minted = orjson.loads(reply.body)
    handle = f"{lot.prefix.text}/{minted['first']}"
    state.name = f"serial {handle}"
    target = record_of_serial(handle, state)
    world.specials.extend([target] * 4)
    for word, action in (("active", "activate"), ("void", "void")):
        body = orjson.dumps({"run": minted["run"], **({"reason": "x"} if action == "void" else {})}).decode()
        if not await _insist_on(world, sender, state, word, f"{address}:{action}", key, body):
            return
        world.specials.extend([target] * 4)


async def live_of_a_key(world: World, sender: Sender, prefix: Prefix) -> None:
    """Issue a second key, let it be used, revoke it."""
    state = world.history.register("key", "dead")
    write = state.invoke("live")
    reply = await world.send(sender, request("POST", "/api/v1/keys", b'{"name":"second"}', prefix.key))
    if reply is None or reply.status != 201:
        await _revoke_others(world, sender, prefix)
        return
    made = orjson.loads(reply.body)
    world.acknowledge(state, write)
    state.name = f"key {made['id']}"
    target = use_of_key(made["api_key"], state, world.lots[0].handle)
    world.specials.extend([target] * 4)
    await asyncio.sleep(0.3)
    write = state.invoke("dead")
    reply = await world.insist(sender, request("DELETE", f"/api/v1/keys/{made['id']}", b"", prefix.key))
    if reply is not None and reply.status == 204:
        world.acknowledge(state, write, _GRACE)
    world.specials.extend([target] * 8)


async def _revoke_others(world: World, sender: Sender, prefix: Prefix) -> None:
    """A key that was issued and lost on the way counts among the two that may live."""
    reply = await world.send(sender, request("GET", "/api/v1/keys", b"", prefix.key))
    if reply is None or reply.status != 200:
        return
    own = prefix.key.split("_")[2]
    for key in orjson.loads(reply.body)["keys"]:
        if key["live"] and key["id"] != own:
            await world.send(sender, request("DELETE", f"/api/v1/keys/{key['id']}", b"", prefix.key))


async def allot(world: World, sender: Sender) -> Prefix | None:
    """A new enterprise, whose prefix readers have asked for before it was allotted."""
    coming = world.foresee()
    world.specials.extend(anything_under(prefix) for prefix in coming for _ in range(3))
    form = {
        "credit_code": credit_code(len(world.history.registers)),
        "name": "宿州市示范企业有限公司",
        "industry": "pear",
        "county": "341321",
        "contact": {"person": "张示范", "phone": "0557-8010000", "email": "demo@example.com"},
    }
    reply = await world.send(sender, request("POST", "/api/v1/applications", orjson.dumps(form)))
    if reply is None or reply.status != 201:
        return None
    number = orjson.loads(reply.body)["id"]
    writes = [(prefix, prefix.state.invoke("enabled")) for prefix in coming]  # whichever it will be
    body = b'{"decision":"approve","reason":"freshness"}'
    reply = await world.send(sender, request("POST", f"/api/v1/applications/{number}:decide", body, world.operator))
    if reply is None or reply.status != 200:
        return None
    decided = orjson.loads(reply.body)
    for prefix, write in writes:
        if prefix.text == decided["prefix"]:
            prefix.key = decided["api_key"]
            world.acknowledge(prefix.state, write)
            world.specials.extend([anything_under(prefix)] * 8)
            return prefix
    # An earlier decision of unknown outcome took the numbers that were foreseen.
    text = decided["prefix"]
    world.prefixes[text] = Prefix(text, world.history.register(f"prefix {text}", "enabled"), decided["api_key"])
    return None


async def stop_and_resume(world: World, sender: Sender, prefix: Prefix) -> Prefix | None:
    """Suspend a prefix and take that back; where an outcome is unknown the prefix is given up."""
    handle = f"{prefix.text}/LOT-P"
    reply = await world.send(sender, request("POST", "/api/v1/lots", lot_body(handle, 0, new=True), prefix.key))
    if reply is None or reply.status not in (200, 201):
        return prefix
    lot = registers_of_lot(world.history, handle, prefix, 0)
    for state, action in (("suspended", "suspend"), ("enabled", "resume")) * 2:
        world.specials.extend([record_of_lot(lot)] * 6)
        await asyncio.sleep(0.1)
        write = prefix.state.invoke(state)
        message = request("POST", f"/api/v1/prefixes/{prefix.text}:{action}", b'{"reason":"x"}', world.operator)
        reply = await world.send(sender, message)
        if reply is None or reply.status != 200:
            prefix.state.retire()
            return None
        world.acknowledge(prefix.state, write)
    return prefix
