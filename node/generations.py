"""Generations in Valkey: what stands for all changes of a prefix's handles, and for all events of an enterprise.

Whoever changes something takes the old one away before that is acknowledged (node/cache.py), so what was read after a
generation was known, and is not older than that, is right for as long as the generation stands.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from node.fence import changes_name, events_name
from node.model import Prefix
from node.runtime import Node


class Generations:
    """As Valkey said last; of one worker."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._known: dict[str, bytes] = {}

    def of_changes(self, prefix: str) -> bytes:
        """b"" where it is not known; so for events."""
        return self._known.get(changes_name(prefix), b"")

    def of_events(self, prefix: Prefix) -> bytes:
        return self._known.get(events_name(prefix.registrant_id), b"")

    def names(self, prefixes: Sequence[str]) -> list[str]:
        """What is asked for with handles of these prefixes."""
        known = self._node.fence.prefixes
        events = {events_name(known[text].registrant_id) for text in prefixes if text in known}
        return [*(changes_name(text) for text in prefixes), *events]

    def learn(self, names: Sequence[str], found: Sequence[bytes | None]) -> None:
        """What Valkey has just said of them."""
        for name, generation in zip(names, found, strict=True):
            if generation:
                self._known[name] = generation
            else:
                self._known.pop(name, None)

    async def make(self, names: Sequence[str]) -> None:
        """Make those that are missing: since the epoch began, an event was posted, or Valkey evicted them."""
        if missing := [name for name in names if name not in self._known]:
            _, made = await self._node.cache.lease(self._node.fence.epoch, "", [], missing)
            self.learn(missing, made)

    async def ask(
        self, prefixes: Sequence[str], handles: Sequence[str] = ()
    ) -> tuple[float, dict[str, bytes], list[bytes | None]] | None:
        """(when it was asked, monotonic s; what Valkey has of them, by their names; what it keeps of these handles) at
        one instant; None where nobody can tell. Those that it does not have are made for the next time."""
        fence, started, names = self._node.fence, time.monotonic(), self.names(prefixes)
        if not fence.fresh() or not fence.enabled:
            return None
        answer = await self._node.cache.get(fence.epoch, handles, names)
        if answer is None:
            return None
        self.learn(names, answer[1])
        await self.make(names)
        found = {name: generation for name, generation in zip(names, answer[1], strict=True) if generation}
        return started, found, answer[0]
