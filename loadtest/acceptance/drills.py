"""Faults on the own node while people and machines go on asking: what they saw, and how long until it was as before."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

from loadtest.acceptance import small_disk
from loadtest.acceptance.arrivals import Stream
from loadtest.acceptance.flood import flood
from loadtest.acceptance.generators import Generators, Phase
from loadtest.acceptance.own_node import OwnNode, children
from loadtest.acceptance.profiles import Profile
from loadtest.acceptance.progress import Progress
from loadtest.acceptance.rest import Incomplete
from loadtest.acceptance.tally import Tally
from loadtest.freshness.proxy import Way

_CUT_SECONDS = 10.0
_DEAD_SECONDS = 3.0  # a server that was killed stays away so long
_SLOW_SECONDS = 6.0
_SLOW = 0.2  # s, of each packet to and from the cache
_FAST_ENOUGH = 3.0  # times the p99 before the fault, and 50 ms: normal again
_QUIET = 3  # whole seconds in a row that are normal
_NORMAL_SECONDS = 30.0  # within which a node has to be as before


@dataclass(frozen=True, slots=True)
class Drill:
    """`fault` returns when it is over; `reads_only`: no error is expected of the public's reads."""

    name: str
    zh: str
    en: str
    fault: Callable[[OwnNode, Generators], Awaitable[None]]
    seconds: float  # that the fault takes
    promise_zh: str
    promise_en: str
    errors_allowed: float  # s with errors


async def _cache_killed(node: OwnNode, generators: Generators) -> None:
    os.kill(node.cluster.server_pid("valkey"), signal.SIGKILL)
    await asyncio.sleep(_DEAD_SECONDS)
    await node.cluster.start_again("valkey")


async def _cache_slow(node: OwnNode, generators: Generators) -> None:
    for way in Way:
        node.links["valkey"].faults[way].delay = _SLOW
    await asyncio.sleep(_SLOW_SECONDS)
    node.links["valkey"].heal()


async def _database_restarted(node: OwnNode, generators: Generators) -> None:
    await node.cluster.servers.stop_postgres()
    await node.cluster.start_again("postgres")


async def _worker_killed(node: OwnNode, generators: Generators) -> None:
    """One of several is started again by its parent; the only one ends the node, which its service manager starts."""
    assert node.process is not None
    workers = [pid for pid in children(node.process.pid) if _is_worker(pid)]
    if workers:
        os.kill(workers[0], signal.SIGKILL)
        return
    os.kill(node.process.pid, signal.SIGKILL)
    await node.process.wait()
    await node.start()


def _is_worker(pid: int) -> bool:
    """Not multiprocessing's own resource tracker."""
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return b"resource_tracker" not in file.read()


async def _network_cut(node: OwnNode, generators: Generators) -> None:
    for link in node.links.values():
        link.sever()
    await asyncio.sleep(_CUT_SECONDS)
    for link in node.links.values():
        link.heal()


async def _flooding(node: OwnNode, generators: Generators) -> None:
    await flood(node.url, generators.firms[-1], _SLOW_SECONDS)


DRILLS = (
    Drill("cache_killed", "缓存被杀", "cache killed", _cache_killed, _DEAD_SECONDS,
          "解析不断，由数据库应答", "resolution goes on from the database", 2),
    Drill("cache_slow", "缓存变慢", "cache slow", _cache_slow, _SLOW_SECONDS,
          "解析不断，绕开缓存", "resolution goes on around the cache", 2),
    Drill("database_restarted", "数据库重启", "database restarted", _database_restarted, 4.0,
          "重启期间登记报 503，之后自行恢复", "registration answers 503 meanwhile, and comes back by itself", 15),
    Drill("worker_killed", "工作进程被杀", "a worker killed", _worker_killed, 2.0,
          "其余进程应答，被杀的自行重启", "the others answer, the killed one starts again", 15),
    Drill("network_cut", "网络中断十秒", "network cut for ten seconds", _network_cut, _CUT_SECONDS,
          "中断期间有错误，之后自行恢复，不出旧数据", "errors while it is cut, none stale, back by itself", 20),
    Drill("flooding", "单个企业大量涌入", "one enterprise flooding", _flooding, _SLOW_SECONDS,
          "其他企业与公众不受影响", "others and the public are served all the same", 2),
)  # fmt: skip

_DISK = Drill(
    "disk_nearly_full", "磁盘将满", "disk nearly full", small_disk.fill, 8.0,
    "解析照常，登记在磁盘满时报错，之后自行恢复",
    "resolution goes on, registration fails while it is full and comes back", 15,
)  # fmt: skip


async def some(
    node: OwnNode | None, generators: Generators, profile: Profile, progress: Progress, names: Sequence[str]
) -> list[dict[str, Any]]:
    """The drills of these names, one after the other; a node that is not our own is not hurt."""
    if node is None:
        raise Incomplete("演练只在自启的节点上进行", "drills are for a node that the run started itself")
    await node.with_links()
    found = []
    try:
        for drill in DRILLS:
            if drill.name not in names:
                continue
            found.append(await _one(node, generators, profile, progress, drill))
    finally:
        await node.without_links()
    return [*found, await _disk(generators, profile, progress)] if _DISK.name in names else found


async def _disk(generators: Generators, profile: Profile, progress: Progress) -> dict[str, Any]:
    """On a small node of its own: the disk that all else lies on is not filled."""
    progress.phase("演练：磁盘将满", "drill: disk nearly full, on a small node of its own")
    try:
        async with small_disk.node_on_it(generators) as (node, small):
            found = await _one(node, small, profile, progress, _DISK)
            after = Tally()
            await small_disk.swept(small, after)
    except small_disk.NotRun as why:
        return small_disk.not_run(why, generators.start)
    generators.tally.merge(after)
    found["held"] = found["held"] and not after.wrong_count
    return found


def _streams(profile: Profile, seconds: float) -> list[Stream]:
    """The day's mix, calm, a fifth of its rate at the most a hundred a second: what is looked for is not speed."""
    total = min(100.0, max(40.0, profile.rate / 2))
    shares = {"resolve": 0.6, "scan": 0.2, "claim": 0.05, "register": 0.06, "update": 0.04, "unknown": 0.03,
              "recall": 0.02}  # fmt: skip
    return [Stream(call, [(0.0, total * share), (seconds, total * share)]) for call, share in shares.items()]


async def _one(
    node: OwnNode, generators: Generators, profile: Profile, progress: Progress, drill: Drill
) -> dict[str, Any]:
    before = max(4.0, profile.drill_seconds / 4)
    seconds = before + drill.seconds + profile.drill_seconds
    progress.phase(f"演练：{drill.zh}", f"drill: {drill.en}", seconds)
    begun: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    times = [0.0, 0.0]

    async def hurt() -> None:
        await asyncio.sleep(await begun + before - monotonic())
        times[0] = monotonic() - generators.start
        await drill.fault(node, generators)
        times[1] = monotonic() - generators.start

    hurting = asyncio.create_task(hurt())
    phase = Phase(f"drill-{drill.name}", _streams(profile, seconds), seconds, timeout=5.0, patient=True)
    try:
        tally = await generators.run(phase, progress.load, begun.set_result)
        await hurting
    finally:
        hurting.cancel()
        for link in node.links.values():
            link.heal()
    return judged(drill, tally, times[0], times[1])


def judged(drill: Drill, tally: Tally, begin: float, end: float) -> dict[str, Any]:
    """What users saw. Normal: three seconds in a row without errors and with the p99 of before, times three."""
    first = min(tally.seconds, default=int(begin))
    calm = tally.whole(first + 1, int(begin)).percentile(0.99) or 50.0
    limit = max(50.0, calm) * _FAST_ENOUGH
    last = max(tally.seconds, default=int(end))
    bad = [t for t in tally.seconds if t >= int(begin) and _errors(tally, t)]
    normal = next(
        (t for t in range(int(end), last - _QUIET + 1) if all(_normal(tally, t + n, limit) for n in range(_QUIET))),
        None,
    )
    to_normal = None if normal is None else max(0.0, round(normal - end, 1))
    errors = sum(_errors(tally, t) for t in tally.seconds)
    held = not tally.wrong_count and to_normal is not None and to_normal <= _NORMAL_SECONDS
    held = held and len(bad) <= drill.errors_allowed
    held = held and not any(cause == "500" for cause, _ in tally.errors)  # promise 5: never a 500
    causes: dict[str, int] = {}
    for (cause, _), (count, _) in tally.errors.items():
        causes[cause] = causes.get(cause, 0) + count
    said = "，".join(f"{cause} {count}" for cause, count in sorted(causes.items()))
    return {
        "name": drill.name, "zh": drill.zh, "en": drill.en, "from": round(begin, 1), "to": round(end, 1),
        "errors": errors, "seconds_with_errors": len(bad),
        "stale": sum(w["kind"] == "stale" for w in tally.wrong), "seconds_to_normal": to_normal, "held": held,
        "notes_zh": f"{drill.promise_zh}；{said or '没有错误'}",
        "notes_en": f"{drill.promise_en}; {said.replace('，', ', ') or 'no errors'}",
    }  # fmt: skip


def _errors(tally: Tally, second: int) -> int:
    return sum(s.errors for s in tally.seconds.get(second, {}).values())


def _normal(tally: Tally, second: int, limit: float) -> bool:
    seen = tally.whole(second, second + 1)
    p99 = seen.percentile(0.9)  # of a hundred answers a p99 is their one slowest
    return seen.n > 0 and not seen.errors and p99 is not None and p99 <= limit
