"""Answers of very hot records in the worker's own memory, for at most `COPIES_SECONDS` from the start of the read that
filled them. Never of a refusal. A change of a record waits that long before it is acknowledged (node/writing.py)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from node.http.answers import Answer
from node.joining import Found
from node.kept import View

# Of its life left: a record that is asked for then is read again. At 0.4 one of 37 requests a second ran out 1 in 4.
_LATE = 0.7
Asked = asyncio.Future[Found] | None
_MOST = 4096  # of one period: whatever is hot at more than 10 requests a second is among them


@dataclass(slots=True)
class Copy:
    """An answer, and until when it is right (monotonic s)."""

    until: float
    answer: Answer
    handle: str
    prefix_id: int
    etag: str  # of the record, whatever form the answer gives it
    refreshing: bool = False
    wire: tuple[bytes, bytes] | None = None  # as on the wire, before and after the request's id; made by the first use


class Copies:
    """By request target as it came; without query, credentials or conditions."""

    def __init__(self, seconds: float, ask: Callable[[str], Asked]) -> None:
        self.seconds = seconds
        self._ask = ask
        self._by_target: dict[bytes, Copy] = {}
        self._emptied = 0.0

    def get(self, target: bytes) -> Copy | None:
        copy = self._by_target.get(target)
        if copy is None:
            return None
        left = copy.until - time.monotonic()
        if left <= 0:
            return None
        if left < self.seconds * _LATE and not copy.refreshing:
            self._refresh(target, copy)
        return copy

    def _refresh(self, target: bytes, copy: Copy) -> None:
        """Read a hot record again before its copy is too old: with others of the turn, without a request's cost."""
        asked = self._ask(copy.handle)
        if asked is not None:
            copy.refreshing = True
            asked.add_done_callback(lambda done: self._refreshed(target, copy, done))

    def _refreshed(self, target: bytes, copy: Copy, done: asyncio.Future[Found]) -> None:
        copy.refreshing = False
        view = None if done.cancelled() or done.exception() else done.result().kept
        if view is not None and view.etag == copy.etag:
            copy.until = max(copy.until, done.result().started + self.seconds)
        else:
            self._by_target.pop(target, None)

    def put(self, target: bytes, answer: Answer, view: View, started: float) -> None:
        """Keep an answer that was made of what Valkey said, asked at `started`."""
        now = time.monotonic()
        if now - self._emptied > self.seconds:
            self._by_target = {t: copy for t, copy in self._by_target.items() if copy.until > now}
            self._emptied = now
        until = started + self.seconds
        if until > now and len(self._by_target) < _MOST:
            self._by_target[target] = Copy(until, answer, view.handle, view.prefix_id, view.etag)
