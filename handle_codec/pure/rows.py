"""Rows of NDJSON: which are certainly right, and what of them is stored. Everything else is for the slow way.

A row is sure only in the plainest form of JSON: no escape, no member twice, no member but handle, template, lot and
attributes, no nesting below the attributes. What is said of a sure row has to be what the slow way would say.
"""

from __future__ import annotations

import re
from array import array
from dataclasses import dataclass, field
from typing import Any

from handle_codec.columns import MAX_BUFFER, RowBatch, Unsure
from handle_codec.errors import InvalidHandle
from handle_codec.plans import Bound, FieldPlan, LotPlan, RowPlan
from handle_codec.pure.ff1 import is_serial
from handle_codec.pure.handles import parse_issued
from handle_codec.pure.row_values import NotSure, string_at, text_of, value_at
from handle_codec.pure.shards import shard_of

LINE_LIMIT = 1 << 20  # bytes
MOST_ATTRIBUTES = 64  # of a sure row

_BLANKS = b" \t\r"
_OPEN = re.compile(rb"[ \t\r]*\{[ \t\r]*")
_KEY = re.compile(rb'"([^"\\\x00-\x1f]*)"[ \t\r]*:[ \t\r]*')
_NEXT = re.compile(rb"[ \t\r]*([,}])[ \t\r]*")
_EMPTY = b"{}"


def decode_rows(plan: RowPlan, data: bytes, row: int = 0, line: int = 0, limit: int = LINE_LIMIT) -> RowBatch:
    """The rows of whole lines ("\\n" or "\\r\\n", the last may go without); `row`, `line`: numbers of the first."""
    if len(data) > MAX_BUFFER:
        raise ValueError(f"a batch has at most {MAX_BUFFER} bytes")
    made = _Made()
    reader = _Reader(plan)
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    first = row
    for number, given in enumerate(lines, line):
        raw = given.removesuffix(b"\r")
        if len(raw) > limit:
            made.unsure.append(Unsure(row, number, None))
        elif not raw.strip(_BLANKS):
            continue
        else:
            try:
                made.add(row, number, *reader.read(raw))
            except NotSure:
                made.unsure.append(Unsure(row, number, raw))
        row += 1
    return made.batch(row - first, len(lines))


@dataclass(slots=True)
class _Made:
    """Columns on the way."""

    buffer: bytearray = field(default_factory=bytearray)
    numbers: list[array[int]] = field(default_factory=lambda: [array("I") for _ in range(6)])
    shards: array[int] = field(default_factory=lambda: array("H"))
    unsure: list[Unsure] = field(default_factory=list)

    def add(self, row: int, line: int, shard: int, suffix: bytes, lot: bytes, content: bytes) -> None:
        at = len(self.buffer)
        ends = (at + len(suffix), at + len(suffix) + len(lot), at + len(suffix) + len(lot) + len(content))
        for column, number in zip(self.numbers, (row, line, at, *ends), strict=True):
            column.append(number)
        self.shards.append(shard)
        self.buffer += suffix + lot + content

    def batch(self, rows: int, lines: int) -> RowBatch:
        row, line, suffix, lot, content, end = (memoryview(c.tobytes()).cast("I") for c in self.numbers)
        shards = memoryview(self.shards.tobytes()).cast("H")
        return RowBatch(bytes(self.buffer), row, line, shards, suffix, lot, content, end, self.unsure, rows, lines)


class _Reader:
    """Reads single lines by a plan; raises NotSure."""

    def __init__(self, plan: RowPlan) -> None:
        self.plan = plan
        self.fields: dict[bytes, FieldPlan] = {f.code.encode(): f for f in plan.fields}
        self.lots = {lot.suffix: lot for lot in plan.lots}

    def read(self, line: bytes) -> tuple[int, bytes, bytes, bytes]:
        """(shard, suffix, lot, content)."""
        members = self._members(line)
        suffix = self._suffix(members.get("handle", b""))
        lot = self._lot(members.get("lot", b""))
        template = text_of(members.get("template", b""))
        if template not in self.plan.templates if template else lot.named:
            raise NotSure
        attributes = members["attributes"]
        _check(lot, attributes)
        content = b",".join(b'"%s":%s' % (code.encode(), attributes[code]) for code in sorted(attributes))
        shard = shard_of(suffix, self.plan.home, self.plan.spread)
        return shard, suffix.encode(), lot.suffix.encode(), b'{"attributes":{%s}}' % content if content else b""

    def _members(self, line: bytes) -> dict[str, Any]:
        members: dict[str, Any] = {}
        at, more = _matched(_OPEN, line, 0)[1], True
        while more:
            name, at = _matched(_KEY, line, at)
            known = {b"handle": "handle", b"lot": "lot", b"template": "template", b"attributes": "attributes"}.get(name)
            if known is None or known in members:
                raise NotSure
            members[known], at = self._attributes(line, at) if known == "attributes" else string_at(line, at)
            more, at = _next(line, at)
        if line[at:]:
            raise NotSure
        return {"attributes": {}, **members}

    def _attributes(self, line: bytes, at: int) -> tuple[dict[str, bytes], int]:
        values: dict[str, bytes] = {}
        if line.startswith(_EMPTY, at):
            return values, at + len(_EMPTY)
        if line[at : at + 1] != b"{":
            raise NotSure
        at, more = _matched(_OPEN, line, at)[1], True
        while more:
            name, at = _matched(_KEY, line, at)
            known = self.fields.get(name)
            if known is None or known.code in values or len(values) == MOST_ATTRIBUTES:
                raise NotSure
            values[known.code], at = value_at(known, line, at)
            more, at = _next(line, at)
        return values, at

    def _suffix(self, handle: bytes) -> str:
        try:
            prefix, suffix = parse_issued(text_of(handle))
        except InvalidHandle:
            raise NotSure from None
        if prefix != self.plan.prefix or is_serial(suffix):  # whether it was minted only its key can say
            raise NotSure
        return suffix

    def _lot(self, text: bytes) -> LotPlan:
        own = self.plan.prefix.encode() + b"/"
        name = text_of(text.removeprefix(own))
        lot = self.lots.get(name)
        if lot is None or (text and not name):
            raise NotSure
        return lot


def _matched(pattern: re.Pattern[bytes], line: bytes, at: int) -> tuple[bytes, int]:
    match = pattern.match(line, at)
    if match is None:
        raise NotSure
    return match[match.re.groups], match.end()


def _next(line: bytes, at: int) -> tuple[bool, int]:
    """Whether a comma follows, not the closing bracket, and where the next thing begins."""
    mark, at = _matched(_NEXT, line, at)
    return mark == b",", at


def _check(lot: LotPlan, values: dict[str, bytes]) -> None:
    if not lot.needs <= values.keys():
        raise NotSure
    for bound in lot.bounds:
        if bound.code in values and bound.without not in values and not _within(bound, values[bound.code]):
            raise NotSure
    for pair in lot.pairs:
        if pair.earlier in values and pair.later in values:
            both = [values[pair.earlier][1:-1], values[pair.later][1:-1]]
            if not pair.ordered or not _in_order(*both):
                raise NotSure


def _within(bound: Bound, value: bytes) -> bool:
    text = value[1:-1]
    return bound.low.encode() <= text and (not bound.high or text <= bound.high.encode())


def _in_order(earlier: bytes, later: bytes) -> bool:
    """Dates as written can be compared where one is a day or both end in the same offset; words are no dates."""
    if not (earlier[:1].isdigit() and later[:1].isdigit()) or earlier > later:
        return False
    return 10 in (len(earlier), len(later)) or earlier[-6:] == later[-6:]
