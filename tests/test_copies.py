"""Copies of hot records, on real Valkey: they live while their prefix's generation stands, and each use counts once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from serve_env import serve_env
from wire import get, registered, wire

from node import polling, statistics
from node.embedded_process import free_port
from node.http.answers import Answer
from node.http.copies import Copies, Copy
from node.http.copy_groups import CopyGroups
from node.joining import Found
from node.kept import packed
from node.reads import reads_of
from node.runtime import Node, close_node, open_node, reading
from node.store import prefixes
from node.tally import local_day

SECONDS = 0.2  # of the copies here; the writer waits for shorter ones


@pytest.fixture
async def reader(settings: Any) -> AsyncIterator[Node]:
    opened = await open_node(settings)
    await polling.start(opened)
    opened.tasks.append(asyncio.create_task(polling.keep_polling(opened), name="polling"))
    yield opened
    await close_node(opened)


class Place:
    """A worker with its copies."""

    def __init__(self, node: Node, seconds: float = SECONDS) -> None:
        self.node, self.groups = node, CopyGroups(seconds)
        self.copies = Copies(self.groups, 60.0)
        self.groups.open(node)

    async def found(self, handle: str) -> Found:
        """The handle as Valkey keeps it; it is read until it does."""
        prefix, _, suffix = handle.partition("/")
        async with asyncio.timeout(30):
            while True:
                found = await reads_of(self.node).ask(self.node.fence.prefixes[prefix], suffix, -1)
                if found.kept is not None and found.generation:
                    return found

    async def put(self, handle: str, *, body: bytes = b"{}") -> Copy | None:
        found, target = await self.found(handle), b"/" + handle.encode()
        view = found.kept
        assert view is not None
        self.copies.put(target, Answer(200, [], body), view, found)
        return self.copies.by_target.get(target)

    def use(self, copy: Copy) -> None:
        copy.asked = time.monotonic()

    async def later(self, what: Any) -> None:
        async with asyncio.timeout(30):
            while not what():
                await asyncio.sleep(0.001)


@pytest.fixture
async def place(reader: Node) -> AsyncIterator[Place]:
    made = Place(reader)
    yield made
    await made.groups.close()


async def put(place: Place, handle: str) -> Copy:
    copy = await place.put(handle)
    assert copy is not None
    return copy


async def test_what_is_asked_for_lives_on_and_what_is_not_is_given_up(place: Place, client: Any, firm: Any) -> None:
    copy = await put(place, await registered(client, firm, "COPY-1"))
    first = copy.group.until
    place.use(copy)
    await place.later(lambda: copy.group.until > first + 2 * SECONDS)
    assert place.copies.by_target[copy.key] is copy
    await place.later(lambda: not place.copies.by_target)
    assert copy.asked + 2 <= time.monotonic()


async def test_a_change_of_it_drops_it_and_one_of_another_does_not(place: Place, client: Any, firm: Any) -> None:
    one, other = [await registered(client, firm, f"COPY-2-{n}") for n in range(2)]
    kept, changed = await put(place, one), await put(place, other)
    before = kept.group.generation
    for copy in (kept, changed):
        place.use(copy)
    headers = firm.headers | {"If-Match": "*"}
    values = [{"index": 1, "type": "DESC", "data": "changed"}]
    assert (await client.patch(f"/api/v1/handles/{other}", json={"values": values}, headers=headers)).is_success
    await place.later(lambda: kept.group.generation != before)
    assert list(place.copies.by_target) == [kept.key]
    assert kept.group.until > time.monotonic()


async def test_a_change_of_what_it_is_made_of_drops_it(place: Place, client: Any, firm: Any) -> None:
    lot, handle = f"{firm.prefix}/COPY-LOT", f"{firm.prefix}/COPY-3"
    for route, body in (("lots", {"handle": lot}), ("handles", {"handle": handle, "lot": "COPY-LOT"})):
        assert (await client.post(f"/api/v1/{route}", json=body, headers=firm.headers)).is_success
    copy = await put(place, handle)
    place.use(copy)
    recalled = await client.post(f"/api/v1/lots/{lot}:recall", json={"reason": "霉变"}, headers=firm.headers)
    assert recalled.is_success
    await place.later(lambda: not place.copies.by_target)


async def test_a_change_that_touches_no_handle_drops_it(place: Place, client: Any, firm: Any) -> None:
    """Of its prefix, as the fence tells: the generation of the prefix's handles stays."""
    copy = await put(place, await registered(client, firm, "COPY-3-P"))
    place.use(copy)
    fence, name = place.node.fence, f"p:{firm.prefix}"
    stamp = fence.stamp(name) + 1
    fence.turn += 1
    fence.moved[name] = (stamp, fence.turn)
    await place.later(lambda: not place.copies.by_target)


async def test_what_was_read_before_a_change_joins_nobody(place: Place, client: Any, firm: Any) -> None:
    """Its entry and its generation are of one instant; the group is of a later one."""
    one, other = [await registered(client, firm, f"COPY-4-{n}") for n in range(2)]
    old = await place.found(one)
    headers = firm.headers | {"If-Match": "*"}
    values = [{"index": 1, "type": "DESC", "data": "changed"}]
    assert (await client.patch(f"/api/v1/handles/{one}", json={"values": values}, headers=headers)).is_success
    await put(place, other)
    assert old.kept is not None
    late = Found(time.monotonic(), old.kept, old.generation)  # as if it had been asked for only now
    place.copies.put(b"/" + one.encode(), Answer(200, [], b"{}"), old.kept, late)
    assert b"/" + one.encode() not in place.copies.by_target


async def test_without_valkey_copies_run_out(place: Place, client: Any, firm: Any) -> None:
    copy = await put(place, await registered(client, firm, "COPY-5"))
    first = copy.group.until
    await place.later(lambda: copy.group.until > first)
    place.node.fence.enabled = False  # as the fence says of an epoch that is shut
    next(task for task in place.node.tasks if task.get_name() == "polling").cancel()
    await asyncio.sleep(0)
    until = copy.group.until
    await place.later(lambda: time.monotonic() > until + SECONDS)
    assert copy.group.until <= until + SECONDS  # of a look that was under way
    assert copy.group.until < time.monotonic()


async def test_each_answer_is_counted_once(
    settings: Any, serving: Any, client: Any, make_firm: Any, node: Node
) -> None:
    """Records and pages, read and from memory, until the node stops."""
    firm = await make_firm()
    handle, times = await registered(client, firm, "COPY-6"), 200
    async with serving(serve_env(settings), port := free_port(0), 1), wire(port) as there:
        for _ in range(times):
            assert (await there.ask(get(f"/{handle}"))).status == 200
            assert (await there.ask(get(f"/{handle}", "Accept: text/html"))).status == 200
    today = local_day(time.time())
    async with reading(node) as conn:
        prefix = await prefixes.fetch(conn, firm.prefix)
        assert prefix is not None
        days = await statistics.daily(conn, prefix.id, today - timedelta(1), today)
    assert [sum(day[name] for day in days) for name in ("requests", "hits")] == [2 * times, 2 * times]


async def test_whoever_reads_as_many_as_fit_keeps_nobody_out(
    place: Place, client: Any, firm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Copy, "MOST", 2)
    one, two, three = [await put(place, await registered(client, firm, f"COPY-9-{n}")) for n in range(3)]
    assert list(place.copies.by_target) == [two.key, three.key]
    place.use(two)
    again = await put(place, one.handle)  # hot: its next request brings it back
    assert list(place.copies.by_target) == [three.key, again.key]
    again = await put(place, three.handle)  # takes its own place
    assert set(place.copies.by_target) == {one.key, again.key}


async def test_nothing_is_kept_that_is_over_already(place: Place, client: Any, firm: Any) -> None:
    handle = await registered(client, firm, "COPY-7")
    found = await place.found(handle)
    assert found.kept is not None
    over = Found(time.monotonic() - SECONDS, found.kept, found.generation)
    place.copies.put(b"/" + handle.encode(), Answer(200, [], b"{}"), found.kept, over)
    unknown = Found(time.monotonic(), found.kept)
    place.copies.put(b"/" + handle.encode(), Answer(200, [], b"{}"), found.kept, unknown)
    assert not place.copies.by_target
    off = Place(place.node, 0.0)
    assert await off.put(handle) is None
    assert await place.put(handle, body=bytes(9000)) is None  # left to Valkey


async def test_an_entry_of_another_dependent_is_not_kept(place: Place, client: Any, firm: Any) -> None:
    """One that was filled by a worker that knew less of its lot than this one does now."""
    handle = await registered(client, firm, "COPY-8")
    found = await place.found(handle)
    assert found.kept is not None
    place.node.fence.moved["l:other"] = (7, place.node.fence.turn)
    for stamp, kept in ((6, 0), (7, 1)):
        view = msgspec.structs.replace(found.kept, entry=packed(found.kept, [("l:other", stamp)]))
        fresh = await place.found(handle)
        place.copies.put(b"/" + handle.encode(), Answer(200, [], b"{}"), view, fresh)
        assert len(place.copies.by_target) == kept
