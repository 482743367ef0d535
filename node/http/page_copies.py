# cython: annotation_typing=False
"""Pages in the worker's own memory (node/http/copy_groups.py).

Its scans are of a second ago at the most, and never none: whether an item had its first scan is asked of PostgreSQL for
each page. What this worker settled it knows.
"""

from __future__ import annotations

from typing import Any

from node.fence import Fence
from node.http.copy_groups import CopyGroups, Grouped
from node.http.frames import Kept
from node.http.negotiation import Reader

_LARGEST = 8 * 1024  # bytes of an entry


class PageCopy(Grouped):
    """A page; its scans are those that the kept page says."""

    # As many as rendered pages are kept; what comes on top of those is the entry, for most 1 KB.
    MOST, IDLE = 16_000, 60.0

    def __init__(
        self, key: bytes, index: dict[bytes, Any], kept: Kept, reader: Reader, entry: bytes, ends: float
    ) -> None:
        super().__init__(key, index, kept.resolved.handle, kept.resolved.prefix.id, entry, ends)
        self.kept, self.reader = kept, reader

    def stands(self, fence: Fence, events: bytes) -> bool:
        proof = self.kept.proof
        return proof is not None and events != b"" and proof.events == events and proof.stands(fence)


class PageCopies:
    """By language and request target: `zh/88.999.1001/X`."""

    def __init__(self, groups: CopyGroups) -> None:
        self._groups = groups
        self.by_target: dict[bytes, PageCopy] = {}

    def keep(self, target: bytes, reader: Reader, kept: Kept, entry: bytes, generation: bytes, started: float) -> None:
        """Keep a page of what was asked for at `started`, when this generation of the prefix's changes was known
        already; `entry` is b"" where it was not Valkey that was asked."""
        key, proof = reader.lang.encode() + target, kept.proof
        if reader.chosen or proof is None or len(entry) > _LARGEST:
            return
        copy = PageCopy(key, self.by_target, kept, reader, entry, proof.until)
        self._groups.join(copy, kept.resolved.prefix.prefix, generation, started)
