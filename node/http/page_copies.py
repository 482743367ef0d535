"""Pages of hot items in the worker's own memory, as node/http/copies.py keeps records and by the same rule: for at most
`COPIES_SECONDS` from the start of the read that filled them, read again by the timer while they are hot.

A page is made of more than its record. Its trace stands while the generation of its enterprise's events does, which
Valkey keeps: who posts an event drops it, and waits as for a change of a record. Its scans are of a second ago at the
most, and never none: whether an item had its first scan is asked of PostgreSQL for each page. What this worker settled
it knows; else a page goes the way of others once a second.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from node.http.answers import Answer
from node.http.copies import Copies, Copy, Count, StillKept
from node.http.frames import Kept
from node.http.negotiation import Reader
from node.http.scan_pages import no_event_since, told_lately
from node.kept import View
from node.runtime import Node

_MOST = 4096  # pages; with their wire 8 to 20 KB each, beside frames that are kept anyway
_OFTEN = 1.0  # s between two showings, and the page is worth keeping: to be read again 16 times costs as much as one
_NO_ANSWER = Answer(200, [], b"")  # a page's bytes are put together for each reader


@dataclass(slots=True)
class PageCopy(Copy):
    """A page; its scans are those that the kept page says."""

    kept: Kept = None  # type: ignore[assignment]
    reader: Reader = None  # type: ignore[assignment]

    def good(self, node: Node, now: float) -> bool:
        """Whether it may be shown now (monotonic s)."""
        return self.until > now and told_lately(node, self.kept, now)


class PageCopies(Copies):
    """By language and request target: `zh/88.999.1001/X`."""

    _idle = 16  # reads in a row without a request, about a second

    def __init__(self, seconds: float, still_kept: StillKept, count: Count) -> None:
        super().__init__(seconds, still_kept, count)
        self._node: Node | None = None

    def open(self, node: Node) -> None:
        """From here on pages are kept."""
        self._node = node

    def keep(self, target: bytes, reader: Reader, kept: Kept, view: View, started: float) -> None:
        """Keep a page that was just shown, of what was asked for at `started`."""
        often = started - kept.shown < _OFTEN
        kept.shown = started
        if not often:
            return
        key, until = reader.lang.encode() + target, started + self.seconds
        counted = kept.scans is not None and kept.scans.before > 0  # type: ignore[operator]
        full = key not in self.by_target and len(self.by_target) >= _MOST
        if not counted or reader.chosen or full or until <= time.monotonic():
            return
        if (known := self.by_target.get(key)) is not None:
            self._tell(known)
        self._keep(PageCopy(until, _NO_ANSWER, view, key, kept=kept, reader=reader), started)

    def _stands(self, copy: Copy) -> bool:
        assert isinstance(copy, PageCopy)
        assert self._node is not None
        proof, fence = copy.kept.proof, self._node.fence
        return proof is not None and fence.enabled and proof.stands(fence) and no_event_since(self._node, copy.kept)
