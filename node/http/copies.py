"""Answers of hot records in the worker's own memory (node/http/copy_groups.py). Never of a refusal."""

from __future__ import annotations

from dataclasses import dataclass

from node.fence import Fence
from node.http.answers import Answer
from node.http.copy_groups import CopyGroups, Grouped
from node.joining import Found
from node.kept import View, opened

_LARGEST = 8 * 1024  # bytes of a body; kept are the answer, the entry and the wire: 4096 of them 100 MiB at the most


@dataclass(slots=True, eq=False, kw_only=True)
class Copy(Grouped):
    """An answer."""

    MOST, IDLE = 4096, 2.0

    answer: Answer
    stamps: list[tuple[str, int]]  # that its dependents had
    wire: tuple[object, bytes, bytes] | None = None  # as on the wire around the request's id, and of which second

    def stands(self, fence: Fence, events: bytes) -> bool:
        return fence.stand(self.stamps)


class Copies:
    """By request target as it came; without query, credentials or conditions."""

    def __init__(self, groups: CopyGroups, seconds: float) -> None:
        self._groups, self._seconds = groups, seconds
        self.by_target: dict[bytes, Copy] = {}

    def put(self, target: bytes, answer: Answer, view: View, found: Found) -> None:
        """Keep an answer that was made of what Valkey had."""
        if len(answer.body) > _LARGEST or (kept := opened(view.entry)) is None:
            return
        copy = Copy(
            key=target, index=self.by_target, handle=view.handle, prefix_id=view.prefix_id, entry=view.entry,
            ends=found.started + self._seconds, answer=answer, stamps=kept.dependents,
        )  # fmt: skip
        self._groups.join(copy, view.handle.partition("/")[0], found.generation, found.started)
