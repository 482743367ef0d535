"""Answers of very hot records in the worker's own memory, for at most `COPIES_SECONDS` from the start of the read that
filled them. Never of a refusal. A change of a record waits that long before it is acknowledged (node/writing.py)."""

from __future__ import annotations

import time
from dataclasses import dataclass

from node.http.answers import Answer

_MOST = 4096  # of one period: whatever is hot at more than 10 requests a second is among them


@dataclass(slots=True)
class Copy:
    """An answer, until when it is right (monotonic s), and the prefix that it counts for."""

    until: float
    answer: Answer
    prefix_id: int
    wire: bytes = b""  # head and body as they go on the wire, but for date and request id; made by the first use


class Copies:
    """By request target as it came; without query, credentials or conditions. Emptied each period: nothing in it is
    older, and nothing has to be evicted."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._by_target: dict[bytes, Copy] = {}
        self._emptied = 0.0

    def get(self, target: bytes) -> Copy | None:
        copy = self._by_target.get(target)
        return copy if copy is not None and time.monotonic() < copy.until else None

    def put(self, target: bytes, answer: Answer, prefix_id: int, started: float) -> None:
        """Keep an answer that was read from Valkey beginning at `started`."""
        now = time.monotonic()
        if now - self._emptied > self.seconds:
            self._by_target.clear()
            self._emptied = now
        until = started + self.seconds
        if until > now and len(self._by_target) < _MOST:
            self._by_target[target] = Copy(until, answer, prefix_id)
