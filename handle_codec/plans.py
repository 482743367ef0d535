"""What `decode_rows` may be certain about, as plain data: made by the node from a template, read by both twins."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

# A field of kind "other" is never decided quickly. "file" and "reference" are texts with the node's checks of those
# names; "drug20", "imei" and "gtin" texts of digits with theirs.
KINDS = (
    "other", "text", "number", "integer", "bool", "enum", "day", "moment", "file", "reference",
    "drug20", "imei", "gtin",
)  # fmt: skip
_CODE = re.compile(r"[0-9A-Za-z_]{1,100}")
_NONE = 0xFFFFFFFF


@dataclass(frozen=True)
class FieldPlan:
    """One attribute: texts have `least` to `most` characters, numbers lie in `low` to `high`; `words` are an
    enumeration, or what a text may be instead of passing its check.

    `automaton` narrows a text that is no such word: 256 next states for each state, by byte; state 0 is dead, 1 the
    first, and the text may end where the state behind a quote is not 0."""

    code: str
    kind: str
    least: int = 1
    most: int = 0
    low: float = 0.0
    high: float = 0.0
    words: tuple[str, ...] = ()
    automaton: bytes = b""

    @cached_property
    def makes_sense(self) -> bool:
        states, rest = divmod(len(self.automaton), 256)
        fits = not rest and states != 1 and max(self.automaton, default=-1) < states
        return self.kind in KINDS and bool(_CODE.fullmatch(self.code)) and fits and not math.isnan(self.low + self.high)


@dataclass(frozen=True)
class Bound:
    """Where a row has the text `code` and not `without`, it is sure only within `low` to `high`, in order of bytes
    and both included; "" is open."""

    code: str
    low: str = ""
    high: str = ""
    without: str = ""


@dataclass(frozen=True)
class Pair:
    """A row that has both fields: sure only if they are dates in order and `ordered`; never, if not `ordered`.
    One field twice: a row that has it is never sure."""

    earlier: str
    later: str
    ordered: bool = False


@dataclass(frozen=True)
class LotPlan:
    """What a lot, or no lot (suffix ""), asks of a row: a named template, fields, bounds that its values set."""

    suffix: str
    named: bool = False
    needs: frozenset[str] = frozenset()
    bounds: tuple[Bound, ...] = ()
    pairs: tuple[Pair, ...] = ()


@dataclass(frozen=True)
class RowPlan:
    """Rows of one prefix and one template. `templates` are the names that mean this template; a row that names
    another, or a lot that is not here, is for the slow way. ValueError where it makes no sense."""

    prefix: str
    home: int
    spread: int
    templates: frozenset[str] = frozenset()
    fields: tuple[FieldPlan, ...] = ()
    lots: tuple[LotPlan, ...] = ()

    def __post_init__(self) -> None:
        codes, lots = {f.code for f in self.fields}, {lot.suffix for lot in self.lots}
        if len(codes) != len(self.fields) or len(lots) != len(self.lots):
            raise ValueError("a field or a lot stands twice")
        if not 0 <= self.home < 1024 or self.spread not in {1 << n for n in range(11)}:
            raise ValueError(f"home {self.home} or spread {self.spread} is out of range")
        for field in self.fields:
            if not field.makes_sense:
                raise ValueError(f"field {field.code!r} makes no sense")
        for lot in self.lots:
            named = {c for b in lot.bounds for c in (b.code, b.without) if c}
            named |= {c for pair in lot.pairs for c in (pair.earlier, pair.later)} | lot.needs
            if not named <= codes or not lot.suffix.isascii():
                raise ValueError(f"lot {lot.suffix!r} makes no sense")

    @cached_property
    def program(self) -> bytes:
        """The plan as the compiled twin reads it; `speed_rows.pxi` says how."""
        return _Program(self).whole()


class _Program:
    """Sections one behind the other, native byte order, offsets from the beginning. Fields and lots are sorted, so
    that the reader finds them by bisection and a row's attributes come out in the order of canonical content."""

    def __init__(self, plan: RowPlan) -> None:
        self.plan = plan
        self.fields = sorted(plan.fields, key=lambda f: f.code)
        self.rank = {f.code: i for i, f in enumerate(self.fields)} | {"": _NONE}
        self.body = bytearray(64)  # the head is filled in last

    def whole(self) -> bytes:
        plan = self.plan
        fields = self._put(b"".join([self._field(f) for f in self.fields]))
        lots = self._put(b"".join([self._lot(lot) for lot in sorted(plan.lots, key=lambda lot: lot.suffix)]))
        names = self._spans(sorted(plan.templates))
        prefix = self._text(plan.prefix)
        head = (len(self.fields), fields, len(plan.lots), lots, len(plan.templates), names, *prefix)
        struct.pack_into("=10I", self.body, 0, *head, plan.home, plan.spread)
        return bytes(self.body)

    def _put(self, data: bytes) -> int:
        """Where `data` lies, at a multiple of eight, so that numbers can be read in place."""
        self.body += bytes(-len(self.body) % 8)
        at = len(self.body)
        self.body += data
        return at

    def _text(self, text: str) -> tuple[int, int]:
        data = text.encode()
        return self._put(data), len(data)

    def _spans(self, texts: Iterable[str]) -> int:
        return self._put(b"".join([struct.pack("=2I", *self._text(text)) for text in texts]))

    def _field(self, field: FieldPlan) -> bytes:
        words, code = self._spans(field.words), self._text(f'"{field.code}":')
        automaton = self._put(field.automaton) if field.automaton else 0
        numbers = (KINDS.index(field.kind), field.least, field.most, words, len(field.words), automaton)
        return struct.pack("=2d8I", field.low, field.high, *code, *numbers)

    def _lot(self, lot: LotPlan) -> bytes:
        needs = self._put(struct.pack(f"={len(lot.needs)}I", *sorted(self.rank[code] for code in lot.needs)))
        checks = [
            struct.pack("=8I", 0, self.rank[b.code], self.rank[b.without], *self._text(b.low), *self._text(b.high), 0)
            for b in lot.bounds
        ]
        for pair in lot.pairs:
            ranks = (self.rank[pair.earlier], self.rank[pair.later])
            checks.append(struct.pack("=8I", 1 if pair.ordered else 2, *ranks, 0, 0, 0, 0, 0))
        found = self._put(b"".join(checks))
        return struct.pack("=8I", *self._text(lot.suffix), lot.named, needs, len(lot.needs), found, len(checks), 0)
