"""The event loop of a worker: uvloop's, which takes new connections several at a time.

libuv takes one in each turn of the loop (1.45 and later). Beyond the knee a turn is 5 to 10 ms, so that a crowd of
phones, each with a connection of its own, waited in the kernel for seconds before anybody could even refuse it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import uvloop

_AT_ONCE = 64  # not all of a backlog of 2,048: what one worker takes another does not get
_tasks: set[Any] = set()  # held until they are done


class Loop(uvloop.Loop):
    """As uvloop's, for servers on a socket that is given."""

    async def create_server(  # type: ignore[override]
        self, factory: Callable[[], Any], *args: Any, **kwargs: Any
    ) -> Any:
        server = await super().create_server(factory, *args, **kwargs)
        given = kwargs.get("sock")
        return server if given is None else _Server(self, server, given.dup(), factory)


class _Server:
    """uvloop's own, which goes on taking connections, and what takes more of them beside."""

    def __init__(self, loop: Loop, server: Any, listening: socket.socket, factory: Callable[[], Any]) -> None:
        self._loop, self._server, self._listening, self._factory = loop, server, listening, factory
        listening.setblocking(False)
        loop.add_reader(listening, self._take)

    def _take(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                taken, _ = self._listening.accept()
            except OSError:  # another was quicker, or there are too many files: uvloop's server says so
                return
            taken.setblocking(False)
            task = self._loop.create_task(self._loop.connect_accepted_socket(self._factory, taken))
            _tasks.add(task)
            task.add_done_callback(_ended)

    def close(self) -> None:
        self._loop.remove_reader(self._listening)
        self._listening.close()
        self._server.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)


def _ended(task: Any) -> None:
    _tasks.discard(task)
    if not task.cancelled():
        task.exception()  # who has gone already is nobody's fault
