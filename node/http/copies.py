"""Answers of hot records in the worker's own memory (node/http/copy_groups.py). Never of a refusal."""

from __future__ import annotations

from typing import Any

from node.fence import Fence
from node.http.answers import Answer
from node.http.copy_groups import CopyGroups, Grouped
from node.joining import Found
from node.kept import View, opened

_LARGEST = 8 * 1024  # bytes of a body; kept are the answer, the entry and the wire: 4096 of them 100 MiB at the most


class Copy(Grouped):
    """An answer."""

    __slots__ = ("answer", "stamps", "wire")
    MOST, IDLE = 4096, 2.0

    def __init__(
        self,
        key: bytes,
        index: dict[bytes, Any],
        answer: Answer,
        view: View,
        stamps: list[tuple[str, int]],
        ends: float,
    ) -> None:
        super().__init__(key, index, view.handle, view.prefix_id, view.entry, ends)
        self.answer = answer
        self.stamps = stamps  # that its dependents had
        # As on the wire around the request's id, and of which second.
        self.wire: tuple[object, bytes, bytes] | None = None

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
        copy = Copy(target, self.by_target, answer, view, kept.dependents, found.started + self._seconds)
        self._groups.join(copy, view.handle.partition("/")[0], found.generation, found.started)
