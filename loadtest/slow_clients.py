"""`make slow-clients`: does it matter to honest clients that 2,000 others are slow, silent or half-open?

Honest requests come at a fixed rate whatever happens, and their time counts from when they were due, so that an answer
that is late makes those behind it late too. Rounds without and with the hostile connections take turns.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import resource
import statistics
import sys
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson

from loadtest.freshness.wire import Client, NoAnswer, request
from loadtest.servers import dev_node
from loadtest.workload import Goods

_REACH = 1.5  # with them at the most so many times the p99 without
_ITEMS, _CONNECTIONS = 200, 32
_PAUSE = (0.5, 3.0)  # s between two bytes of a slow one


@dataclass
class Hostile:
    """Connections of four kinds, each opened again when the node has had enough of it."""

    port: int
    handle: str
    pick: random.Random
    open: int = 0
    closed: Counter[str] = field(default_factory=Counter)  # by the node
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def start(self, count: int) -> None:
        kinds = (self.silent, self.slow_header, self.slow_body, self.deaf)
        for number in range(count):
            self.tasks.append(asyncio.create_task(self._keep(kinds[number % len(kinds)])))
            if number % 50 == 49:  # a burst would only measure the accept queue
                await asyncio.sleep(0.05)
        async with asyncio.timeout(60):
            while self.open < count * 0.9:  # noqa: ASYNC110 - a start-up, and 2,000 events would be louder
                await asyncio.sleep(0.05)

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.tasks.clear()

    async def _keep(self, kind: Any) -> None:
        while True:
            with suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1024)
                self.open += 1
                try:
                    await kind(reader, writer)
                    self.closed[kind.__name__] += 1
                except ConnectionError:
                    self.closed[kind.__name__] += 1
                finally:
                    self.open -= 1
                    writer.transport.abort()
            await asyncio.sleep(self.pick.uniform(*_PAUSE))

    async def silent(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Says nothing, as one whose other end has vanished."""
        await reader.read()

    async def slow_header(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._slowly(reader, writer, b"GET / HTTP/1.1\r\nHost: a\r\nX-A: " + b"a" * 4000)

    async def slow_body(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"POST /api/v1/applications HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
            b"Content-Length: 4000\r\n\r\n"
        )
        await self._slowly(reader, writer, b"{" + b" " * 3999)

    async def _slowly(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes) -> None:
        ended = asyncio.ensure_future(reader.read())
        try:
            for at in range(len(data)):
                writer.write(data[at : at + 1])
                await asyncio.wait({ended}, timeout=self.pick.uniform(*_PAUSE))
                if ended.done():
                    return
        finally:
            ended.cancel()

    async def deaf(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Asks for page after page and reads none."""
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        ask = f"GET /{self.handle} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
        while not writer.transport.is_closing():
            writer.write(ask)
            await writer.drain()
            await asyncio.sleep(self.pick.uniform(*_PAUSE))


async def honest(port: int, goods: Goods, rate: float, seconds: float) -> tuple[list[float], Counter[str]]:
    """Latencies in ms from when each was due, and what the answers were."""
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    answers: Counter[str] = Counter()
    start = loop.time()

    async def one(number: int) -> None:
        client, pick = Client(port, 30), random.Random(number)
        due = start + number / rate
        while due < start + seconds:
            await asyncio.sleep(max(0.0, due - loop.time()))
            item = pick.randrange(_ITEMS)
            try:
                reply = await client.ask(request("GET", f"/{goods.handle(item)}"))
                wrong = goods.wrong(item, orjson.loads(reply.body)) if reply.status == 200 else None
                answers["wrong" if wrong else str(reply.status)] += 1
            except NoAnswer:
                answers["none"] += 1
            latencies.append(1000 * (loop.time() - due))
            due += _CONNECTIONS / rate
        client.close()

    await asyncio.gather(*(one(n) for n in range(_CONNECTIONS)))
    return latencies, answers


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    async with dev_node() as node:
        port = urlsplit(node["url"]).port or 80
        goods = Goods(node["prefix"])
        rows = orjson.dumps([goods.row(n) for n in range(_ITEMS)])
        client = Client(port, 60)
        reply = await client.ask(request("POST", "/api/v1/handles:batch", rows, node["api_key"]))
        assert reply.status == 200, reply.body
        await honest(port, goods, arguments.rate, min(3.0, arguments.seconds))  # warm
        rounds: list[dict[str, Any]] = []
        for number in range(arguments.rounds):
            for count in (0, arguments.connections):
                hostile = Hostile(port, goods.handle(0), random.Random(number))
                await hostile.start(count)
                latencies, answers = await honest(port, goods, arguments.rate, arguments.seconds)
                held = hostile.open
                await hostile.stop()
                rounds.append(
                    {
                        "hostile": count,
                        "held": held,
                        "closed_by_the_node": dict(hostile.closed),
                        "p50_ms": round(percentile(latencies, 0.5), 2),
                        "p99_ms": round(percentile(latencies, 0.99), 2),
                        "answers": dict(answers),
                    }
                )
                print(json.dumps(rounds[-1]), flush=True)
    return _report(arguments, rounds)


def _report(arguments: argparse.Namespace, rounds: list[dict[str, Any]]) -> dict[str, Any]:
    without = statistics.median(r["p99_ms"] for r in rounds if not r["hostile"])
    with_them = statistics.median(r["p99_ms"] for r in rounds if r["hostile"])
    return {
        "rate": arguments.rate,
        "connections": arguments.connections,
        "p99_ms_without": without,
        "p99_ms_with": with_them,
        "ratio": round(with_them / without, 2),
        "reach": _REACH,
        "not_answered_or_wrong": sum(n for r in rounds for what, n in r["answers"].items() if what != "200"),
        "rounds": rounds,
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.slow_clients",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--connections", type=int, default=2000)
    parser.add_argument("--rate", type=float, default=200.0, help="honest requests a second")
    parser.add_argument("--seconds", type=float, default=20.0, help="of a round")
    parser.add_argument("--rounds", type=int, default=3, help="of each kind")
    parser.add_argument("--report", type=Path, default=Path("reports/slow_clients.json"))
    arguments = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # the node inherits it
    report = asyncio.run(measure(arguments))
    arguments.report.parent.mkdir(parents=True, exist_ok=True)
    arguments.report.write_text(json.dumps(report, indent=1))
    without, with_them = report["p99_ms_without"], report["p99_ms_with"]
    print(f"p99 without {without} ms, with {with_them} ms: {report['ratio']} times (reach {_REACH})")
    return 1 if report["not_answered_or_wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
