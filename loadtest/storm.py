"""Many phones scan few items at once: the claims, how they are sent, and what must be counted of them afterwards."""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from loadtest.client import request
from node import scan_tokens
from node.scan_tokens import DeviceToken
from node.sealing import Sealer


@dataclass(slots=True, frozen=True)
class Sent:
    """One claim as a phone sends it. `mark` is what is stored of the phone on the item."""

    suffix: str
    mark: bytes
    data: bytes


@dataclass(slots=True)
class Storm:
    """The claims, and when (seconds since the epoch) and where (port) each was answered with its image."""

    claims: list[Sent]
    answered: dict[int, tuple[float, int]] = field(default_factory=dict)
    statuses: dict[int, int] = field(default_factory=dict)


def storm(
    sealer: Sealer, prefix: str, items: int, devices: int, claims: int, now: float, seed: int, replays: float = 0.05
) -> Storm:
    """`claims` scans of `items` by `devices`, in any order: each phone scans several items, some of them twice, a
    share of the claims is sent again, with its phone's cookie or without, and some phones refuse cookies."""
    pick = random.Random(seed)
    ids = [pick.randbytes(12) for _ in range(devices)]
    cookies = [scan_tokens.device_token(sealer, DeviceToken(int(now), device)) for device in ids]
    made: list[Sent] = []
    while len(made) < claims:
        phone, suffix = pick.randrange(devices), f"ST-{seed}-{pick.randrange(items):05d}"
        handle = f"{prefix}/{suffix}"
        token = scan_tokens.claim_token(sealer, handle, now)
        if pick.random() < 0.1:  # no cookie: a phone that is new with this claim
            device, headers = scan_tokens.fresh_device(scan_tokens.read_claim(sealer, token, now).nonce, now), {}
            mark = scan_tokens.mark(sealer, device.device, handle.encode())
        else:
            headers = {"Cookie": f"scan_device={cookies[phone]}"}
            mark = scan_tokens.mark(sealer, ids[phone], handle.encode())
        made.append(Sent(suffix, mark, request("GET", f"/s/{token}.gif", headers=headers)))
        if pick.random() < replays:
            made.append(made[-1])
    pick.shuffle(made)
    return Storm(made)


async def send(
    storm: Storm,
    ports: Sequence[int],
    numbers: Iterable[int],
    connections: int = 32,
    watch: Callable[[], None] = lambda: None,
) -> list[int]:
    """Send these claims over all ports; those that got no answer, because their node ended."""
    following: Iterator[int] = iter(numbers)
    lost: list[int] = []
    dead: set[int] = set()

    async def connection(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
        try:
            for number in following:
                try:
                    writer.write(storm.claims[number].data)
                    status = await _status(reader)
                except (OSError, asyncio.IncompleteReadError):
                    dead.add(port)
                    lost.append(number)
                    return
                storm.statuses[status] = storm.statuses.get(status, 0) + 1
                if status == 200:
                    storm.answered[number] = (time.time(), port)
                watch()
        finally:
            writer.close()

    await asyncio.gather(*(connection(ports[n % len(ports)]) for n in range(connections)))
    return lost + list(following)


async def _status(reader: asyncio.StreamReader) -> int:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    at = head.index(b"content-length:") + 15
    await reader.readexactly(int(head[at : head.index(b"\r\n", at)]))
    return int(head[9:12])


@dataclass(slots=True)
class Counted:
    """What the database holds of a storm's items."""

    counts: dict[str, int]
    firsts: dict[str, Any]
    marks: set[bytes]


async def counted(conn: Any, prefix: str) -> Counted:
    """Read it; `conn` is an asyncpg connection or pool."""
    rows = await conn.fetch(
        "SELECT s.suffix, s.count, s.first_at FROM scan s JOIN prefix p ON p.id = s.prefix_id"
        " WHERE s.shard >= 0 AND p.prefix = $1",
        prefix,
    )
    marks = await conn.fetch("SELECT mark FROM scan_mark WHERE shard BETWEEN 0 AND 1023")
    return Counted(
        {r["suffix"]: r["count"] for r in rows}, {r["suffix"]: r["first_at"] for r in rows}, {r["mark"] for r in marks}
    )


def faults(storm: Storm, found: Counted, excused: Callable[[float, int], bool] = lambda at, port: False) -> list[str]:
    """What is wrong with the counts: each phone on each item is one scan, whatever was sent and how often.

    `excused` says of an answer (time, port) whether its scan may be lost: it came from a process that was killed,
    within the second before.
    """
    sent: dict[str, set[bytes]] = defaultdict(set)
    for claim in storm.claims:
        sent[claim.suffix].add(claim.mark)
    wrong = []
    for suffix, marks in sent.items():
        stored = marks & found.marks
        if found.counts.get(suffix, 0) != len(stored):
            wrong.append(f"{suffix}: {found.counts.get(suffix, 0)} counted of {len(stored)} phones")
        if stored and found.firsts.get(suffix) is None:
            wrong.append(f"{suffix}: no first scan")
    answers: dict[tuple[str, bytes], list[tuple[float, int]]] = defaultdict(list)
    for number, answer in storm.answered.items():
        answers[storm.claims[number].suffix, storm.claims[number].mark].append(answer)
    for (suffix, mark), given in answers.items():
        if mark not in found.marks and not all(excused(*answer) for answer in given):
            wrong.append(f"{suffix}: an answered scan is lost")
        if found.counts.get(suffix, 0) == 0:
            wrong.append(f"{suffix}: answered, and no first scan")
    return wrong
