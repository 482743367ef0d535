"""Pages in the worker's own memory (node/http/copy_groups.py).

Its scans are of a second ago at the most, and never none: whether an item had its first scan is asked of PostgreSQL for
each page. What this worker settled it knows.
"""

from __future__ import annotations

from dataclasses import dataclass

from node.fence import Fence
from node.http.copy_groups import CopyGroups, Grouped
from node.http.frames import Kept
from node.http.negotiation import Reader

_LARGEST = 8 * 1024  # bytes of an entry


@dataclass(slots=True, eq=False, kw_only=True)
class PageCopy(Grouped):
    """A page; its scans are those that the kept page says."""

    # As many as rendered pages are kept; what comes on top of those is the entry, for most 1 KB.
    MOST, IDLE = 16_000, 60.0

    kept: Kept
    reader: Reader

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
        key, proof, resolved = reader.lang.encode() + target, kept.proof, kept.resolved
        if reader.chosen or proof is None or len(entry) > _LARGEST:
            return
        copy = PageCopy(
            key=key, index=self.by_target, handle=resolved.handle, prefix_id=resolved.prefix.id, entry=entry,
            ends=proof.until, kept=kept, reader=reader,
        )  # fmt: skip
        self._groups.join(copy, resolved.prefix.prefix, generation, started)
