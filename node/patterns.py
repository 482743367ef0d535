"""A field's pattern as an automaton over UTF-8 bytes, for the codec's quick reading of rows.

It accepts nothing that the pattern refuses; classes lose what is beyond ASCII, and a pattern with more than groups,
classes, alternatives and plain repetition has no automaton. Rows that it does not accept are read by `re`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

_MOST_PARTS = 2000  # of the automaton before it is made deterministic
_MOST_STATES = 250  # a state is one byte in the table
_ENDS = ord('"')  # never in a text without escapes: its column says where a text may end
_ASCII = frozenset(range(128))
_SPACE = frozenset(i for i in _ASCII if chr(i).isspace())
_DIGIT = frozenset(b"0123456789")
_WORD = frozenset(i for i in _ASCII if chr(i).isalnum()) | {ord("_")}
_CLASSES = {"s": _SPACE, "d": _DIGIT, "w": _WORD, "S": _ASCII - _SPACE, "D": _ASCII - _DIGIT, "W": _ASCII - _WORD}
_QUANTIFIER = re.compile(r"[?*+]|\{([0-9]{1,4})(?:(,)([0-9]{0,4}))?\}")
_ONCE = {"?": (0, 1), "*": (0, None), "+": (1, None)}


class _Beyond(Exception):
    """More than this reader knows."""


@lru_cache(maxsize=1024)
def automaton(pattern: str) -> bytes | None:
    """The table of `FieldPlan.automaton` for a pattern that `re` compiles; None: none, or too large a one."""
    try:
        reader = _Reader(pattern)
        end = reader.alternatives(0)
    except _Beyond:
        return None
    return None if reader.at < len(pattern) else _table(reader.parts, end)


@dataclass(slots=True)
class _Parts:
    """A nondeterministic automaton that begins at 0: free moves, and moves by a set of bytes."""

    free: list[list[int]] = field(default_factory=lambda: [[]])
    moves: list[list[tuple[frozenset[int], int]]] = field(default_factory=lambda: [[]])

    def new(self) -> int:
        if len(self.free) >= _MOST_PARTS:
            raise _Beyond
        self.free.append([])
        self.moves.append([])
        return len(self.free) - 1

    def step(self, start: int, by: frozenset[int]) -> int:
        end = self.new()
        self.moves[start].append((by, end))
        return end

    def closure(self, states: Iterable[int]) -> frozenset[int]:
        found: set[int] = set()
        waiting = list(states)
        while waiting:
            state = waiting.pop()
            if state not in found:
                found.add(state)
                waiting += self.free[state]
        return frozenset(found)


class _Reader:
    """Reads a pattern into parts; what is repeated is read again from where it begins."""

    def __init__(self, pattern: str) -> None:
        self.pattern, self.at, self.parts = pattern, 0, _Parts()

    def peek(self) -> str:
        return self.pattern[self.at : self.at + 1]

    def next(self) -> str:
        self.at += 1
        if self.at > len(self.pattern):
            raise _Beyond
        return self.pattern[self.at - 1]

    def alternatives(self, start: int) -> int:
        end = self.parts.new()
        while True:
            self.parts.free[self.sequence(start)].append(end)
            if self.peek() != "|":
                return end
            self.at += 1

    def sequence(self, start: int) -> int:
        while self.peek() not in ("", "|", ")"):
            start = self.piece(start)
        return start

    def piece(self, start: int) -> int:
        begin = self.at
        inner = self.parts.new()  # of its own, so that a loop back to it takes nothing else along
        self.parts.free[start].append(inner)
        end = self.atom(inner)
        quantifier = _QUANTIFIER.match(self.pattern, self.at)
        if quantifier is None:
            return end
        behind = quantifier.end()
        if self.pattern[behind : behind + 1] in ("?", "+", "*", "{"):
            raise _Beyond  # lazy, possessive
        if end in self.parts.closure([inner]):
            raise _Beyond  # what may be empty, repeated: `re` has rules of its own for that
        least, most = _ONCE.get(quantifier[0]) or (
            int(quantifier[1]),
            int(quantifier[1]) if not quantifier[2] else int(quantifier[3]) if quantifier[3] else None,
        )
        end = self.repeat(inner, begin, least, most)
        self.at = behind
        return end

    def repeat(self, start: int, begin: int, least: int, most: int | None) -> int:
        """`least` to `most` times what stands at `begin`, beside the one reading of it that was for its end alone."""
        current = self.parts.new()
        self.parts.free[start], self.parts.moves[start] = [current], []
        for _ in range(least):
            current = self.again(current, begin)
        last = self.parts.new()
        self.parts.free[current].append(last)
        if most is None:
            loop = self.parts.new()
            self.parts.free[current].append(loop)
            self.parts.free[self.again(loop, begin)] += (loop, last)
        for _ in range(0 if most is None else most - least):
            current = self.again(current, begin)
            self.parts.free[current].append(last)
        return last

    def again(self, start: int, begin: int) -> int:
        self.at = begin
        inner = self.parts.new()
        self.parts.free[start].append(inner)
        return self.atom(inner)

    def atom(self, start: int) -> int:
        sign = self.next()
        if sign == "(":
            if self.peek() == "?":
                raise _Beyond
            end = self.alternatives(start)
            if self.next() != ")":
                raise _Beyond
            return end
        if sign == "[":
            return self.parts.step(start, self.one_of())
        if sign == ".":
            return self.parts.step(start, _ASCII - {0x0A})
        if sign == "\\":
            return self.parts.step(start, self.escaped())
        if sign in "^$*+?{}":
            raise _Beyond
        for byte in sign.encode():
            start = self.parts.step(start, frozenset({byte}))
        return start

    def escaped(self) -> frozenset[int]:
        sign = self.next()
        if sign in _CLASSES:
            return _CLASSES[sign]
        if not sign.isascii() or sign.isalnum():
            raise _Beyond
        return frozenset({ord(sign)})

    def one_of(self) -> frozenset[int]:
        """The members of a class in ASCII."""
        negated = self.peek() == "^"
        self.at += negated
        if self.peek() == "]":
            raise _Beyond
        found: set[int] = set()
        while (sign := self.next()) != "]":
            if sign == "[":
                raise _Beyond
            members = self.escaped() if sign == "\\" else frozenset({ord(sign)})
            if self.peek() == "-" and self.pattern[self.at + 1 : self.at + 2] not in ("]", ""):
                self.at += 1
                last = self.next()
                if len(members) != 1 or last in "\\[":
                    raise _Beyond
                members = frozenset(range(min(members), min(ord(last), 127) + 1))
            found |= members
        return _ASCII - found if negated else _ASCII & found


def _table(parts: _Parts, end: int) -> bytes | None:
    """Sets of parts become states: 0 is dead, 1 the first."""
    first = parts.closure([0])
    numbers = {frozenset[int](): 0, first: 1}
    rows = [bytes(256)]
    waiting = [first]
    while waiting:
        states = waiting.pop(0)
        reached: list[set[int]] = [set() for _ in range(256)]
        for state in states:
            for by, target in parts.moves[state]:
                for byte in by:
                    reached[byte].add(target)
        row = bytearray(256)
        for byte, targets in enumerate(reached):
            together = parts.closure(targets)
            if together not in numbers:
                numbers[together] = len(numbers)
                waiting.append(together)
            if numbers[together] > _MOST_STATES:
                return None
            row[byte] = numbers[together]
        row[_ENDS] = end in states
        rows.append(bytes(row))
    return b"".join(rows)
