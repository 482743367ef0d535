"""A TCP proxy for one link between a process and a server, which can be made slow, deaf, half-open or broken.

What is swallowed is not lost but late: after a partition TCP sends again what was under way, also of a connection that
its sender has given up. So an old command may arrive at a server long after everybody has forgotten it.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

_TRICKLE = 0.0005  # s between two bytes


class Way(Enum):
    """Of bytes: UP from the process to the server, DOWN back."""

    UP = "up"
    DOWN = "down"


@dataclass(slots=True)
class Faults:
    """What happens to the bytes of one way, on every connection of the link."""

    delay: float = 0.0  # s, of each chunk
    swallow: bool = False  # nothing arrives until healed
    trickle: bool = False  # one byte at a time

    @property
    def any(self) -> bool:
        return bool(self.delay or self.swallow or self.trickle)


@dataclass(slots=True)
class Caught:
    """The first chunk that holds `marker`, with all that follows it on its connection, until it is released."""

    way: Way
    marker: bytes
    seen: asyncio.Event = field(default_factory=asyncio.Event)
    flow: _Flow | None = None
    released: bool = False

    def release(self) -> None:
        """Let it go; what has not come yet will pass."""
        self.released = True
        if self.flow is not None:
            self.flow.held = False
            self.flow.run()


class _Flow:
    """The bytes of one connection in one way. None in the queue is their end."""

    def __init__(self, link: Link, way: Way) -> None:
        self.link, self.way = link, way
        self.faults = link.faults[way]
        self.out: asyncio.Transport | None = None
        self.held = False
        self._queue: deque[tuple[float, bytes | None]] = deque()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def feed(self, data: bytes | None) -> None:
        self.link.look(self, data)
        if self.out is not None and not self._queue and not self.held and not self.faults.any:
            self._deliver(data)
            return
        self._queue.append((self._loop.time() + self.faults.delay, data))
        self.run()

    def run(self) -> None:
        """Deliver what is due."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._queue and self.out is not None and not self.held and not self.faults.swallow:
            due, data = self._queue[0]
            if (wait := due - self._loop.time()) > 0:
                self._timer = self._loop.call_later(wait, self.run)
                return
            if self.faults.trickle and data and len(data) > 1:
                self._deliver(data[:1])
                self._queue[0] = (self._loop.time() + _TRICKLE, data[1:])
                continue
            self._queue.popleft()
            self._deliver(data)

    def _deliver(self, data: bytes | None) -> None:
        assert self.out is not None
        if data is None:
            self.out.close()
        elif not self.out.is_closing():
            self.out.write(data)


class _Pipe:
    """One accepted connection and the one to the server behind it."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.flows = {way: _Flow(link, way) for way in Way}
        self.ends: list[asyncio.Transport] = []
        self._lost = 0

    def lost(self, way: Way) -> None:
        """The end that sends `way` is gone; the other one hears of it after all that was sent before."""
        if self not in self.link.pipes:
            return
        self._lost += 1
        if self._lost == 2:
            self.link.pipes.discard(self)
        else:
            self.flows[way].feed(None)

    def opened(self, way: Way, transport: asyncio.Transport) -> None:
        """`transport` takes the bytes of `way` from now on."""
        self.ends.append(transport)
        self.flows[way].out = transport
        self.flows[way].run()

    def abort(self) -> None:
        """A reset for both ends, and whatever was under way is gone."""
        self.link.pipes.discard(self)
        for transport in self.ends:
            _reset(transport)


class _End(asyncio.Protocol):
    """One end of a pipe: what arrives here goes `way`, what is written here came the other way."""

    def __init__(self, pipe: _Pipe, way: Way) -> None:
        self.pipe, self.way = pipe, way

    def connection_made(self, transport: Any) -> None:
        self.pipe.opened(Way.UP if self.way is Way.DOWN else Way.DOWN, transport)
        if self.way is Way.UP:
            self.pipe.link.accepted(self.pipe)

    def data_received(self, data: bytes) -> None:
        self.pipe.flows[self.way].feed(data)

    def connection_lost(self, error: Exception | None) -> None:
        self.pipe.lost(self.way)


class Link:
    """Listens on `port`, forwards to `target` of loopback."""

    def __init__(self, target: int) -> None:
        self.target, self.port = target, 0
        self.faults = {way: Faults() for way in Way}
        self.refusing = False  # new connections are reset
        self.deaf = False  # new connections are accepted and hear nothing, ever
        self.pipes: set[_Pipe] = set()
        self._catches: list[Caught] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _End(_Pipe(self), Way.UP), "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        self.cut()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    def accepted(self, pipe: _Pipe) -> None:
        self.pipes.add(pipe)
        if self.refusing:
            pipe.abort()
        elif not self.deaf:
            task = asyncio.get_running_loop().create_task(self._connect(pipe))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _connect(self, pipe: _Pipe) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: _End(pipe, Way.DOWN), "127.0.0.1", self.target)
        except OSError:
            pipe.abort()

    def look(self, flow: _Flow, data: bytes | None) -> None:
        self._catches = [caught for caught in self._catches if not caught.released]
        for caught in self._catches if data else ():
            if caught.way is flow.way and caught.marker in data:  # type: ignore[operator]
                caught.flow, flow.held = flow, True
                self._catches.remove(caught)
                caught.seen.set()
                return

    def catch(self, way: Way, marker: bytes) -> Caught:
        """Hold the connection on which `marker` comes next, from that chunk on."""
        caught = Caught(way, marker)
        self._catches.append(caught)
        return caught

    def cut(self) -> None:
        """Reset every connection."""
        for pipe in list(self.pipes):
            pipe.abort()

    def halve(self) -> None:
        """The server's ends are gone, and nobody has told the process: its connections are half-open."""
        for pipe in list(self.pipes):
            self.pipes.discard(pipe)
            if pipe.ends[1:]:
                _reset(pipe.ends[1])
            for flow in pipe.flows.values():
                flow.held = True

    def sever(self) -> None:
        """Cut, and refuse until healed."""
        self.refusing = True
        self.cut()

    def heal(self) -> None:
        """As if nothing had been; what was swallowed arrives now."""
        self.refusing = self.deaf = False
        for faults in self.faults.values():
            faults.delay, faults.swallow, faults.trickle = 0.0, False, False
        for pipe in list(self.pipes):
            for flow in pipe.flows.values():
                flow.run()


def _reset(transport: asyncio.Transport) -> None:
    """Close with a reset instead of an orderly end."""
    known = transport.get_extra_info("socket")
    if known is not None and known.fileno() >= 0:
        with socket.socket(fileno=os.dup(known.fileno())) as copy:
            copy.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
