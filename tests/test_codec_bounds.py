"""Bounded time and memory, without a clock: nothing past 2 KiB is looked at, work grows with the size and no faster."""

from __future__ import annotations

import importlib
import pkgutil
import re
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from re import _constants as sre  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any

import pytest
from codec_twins import TWINS, outcome, swapped, twin_named

import handle_codec
from handle_codec import InvalidCode, SerialKey, pure
from handle_codec.pure.handles import MAX_INPUT
from handle_codec.schemes import SCHEMES

HOSTS = frozenset({"id.example.com"})
KEY = SerialKey("88.999.1", "V", bytes(16))


@pytest.fixture(params=TWINS)
def codec(request: pytest.FixtureRequest) -> Iterator[Any]:
    twin = twin_named(request.param)
    with swapped(twin):
        yield twin


def readers(codec: Any) -> dict[str, Callable[[str], Any]]:
    """Every public function that reads one code."""
    forced = {
        f"recognise {scheme}": lambda t, scheme=scheme: handle_codec.recognise(t, scheme=scheme) for scheme in SCHEMES
    }
    return {
        **{name: getattr(codec, name) for name in ("parse", "parse_issued", "gtin14", "parse_elements")},
        **{name: getattr(codec, name) for name in ("parse_digital_link", "is_prefix", "is_serial", "fold_serial")},
        "normalise": lambda t: codec.normalise(t, HOSTS),
        "is_reserved": lambda t: codec.is_reserved("88.999.1", t),
        "is_credit_code": handle_codec.is_credit_code,
        "with_check_character": handle_codec.with_check_character,
        "without_check_character": handle_codec.without_check_character,
        "counter_of": KEY.counter_of,
        "recognise": lambda t: handle_codec.recognise(t, hosts=HOSTS, nsi=frozenset({"00001"})),
        **forced,
    }


BEGINNINGS = ["88.999.1/", "https://id.example.com/", "(10)", "]C110", "1.", "酥", " ", "V", "4000011"]


@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_what_stands_behind_2048_characters_changes_nothing(codec: Any, beginning: str) -> None:
    for name, read in readers(codec).items():
        head = beginning + "1" * (MAX_INPUT + 1 - len(beginning))
        found = [outcome(read, head + tail) for tail in ("", "\ud800", "酥" * 40, "/\x00")]
        if name == "fold_serial":  # any other suffix as it is
            continue
        assert found == [found[0]] * 4, name
        assert not isinstance(found[0], str | list), name


def test_eight_megabytes_are_refused_in_a_few_kilobytes(codec: Any) -> None:
    long = "88.999.1/酥" + "酥" * (1 << 22)
    calls = readers(codec)
    for read in calls.values():
        outcome(read, long[:3000])  # what is made once, as compiled patterns, is made
    for name, read in calls.items():
        tracemalloc.start()
        outcome(read, long)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 64 * 1024, (name, peak)


def test_a_line_of_eight_megabytes_is_not_decoded(codec: Any) -> None:
    buffer = b"88.999.1/A\n88.999.1/" + "酥".encode() * (1 << 22) + b"\xff\n88.999.1/B"
    for read in (codec.parse_batch, lambda b: codec.normalise_batch(b, HOSTS)):
        read(buffer[:3000])
        tracemalloc.start()
        columns = read(buffer)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert [(row, e.code, e.position) for row, e in columns.errors] == [(1, "too_long", 255)]
        assert [columns.suffix(row) for row in (0, 2)] == ["A", "B"]
        assert peak < 64 * 1024


@pytest.mark.parametrize("issued", [False, True])
def test_a_wrong_row_keeps_no_frame(codec: Any, issued: bool) -> None:
    columns = codec.parse_batch(b"rubbish\n" * 3, issued)
    assert [error.__traceback__ for _, error in columns.errors] == [None] * 3
    assert [error.__traceback__ for _, error in codec.normalise_batch(b"rubbish\n\xff").errors] == [None] * 2


def test_columns_that_do_not_fit_their_buffer_are_refused() -> None:
    """A buffer that was put in place of another: the compiled twin reads no byte of what is not there."""
    from dataclasses import replace

    columns = pure.parse_batch(b"88.999.1/A\n88.999.1/B\n")
    compiled = pytest.importorskip("handle_codec._speed")
    for wrong in (
        replace(columns, buffer=b"88"),
        replace(columns, ends=memoryview(bytes(4)).cast("I")),
        replace(columns, slashes=columns.ends),
    ):
        with pytest.raises(ValueError, match=r"lie in the buffer|one length"):
            compiled.shard_batch(wrong, 7, 16)


def test_text_of_a_subclass_is_text(codec: Any) -> None:
    class Marked(str):
        __slots__ = ()

    for name, read in readers(codec).items():
        for given in ("88.999.1/A", "06901234567892", "https://e.com/01/06901234567892", "V8CQN3C64A5PS5", "(10)A"):
            assert outcome(read, Marked(given)) == outcome(read, given), name
    assert codec.shard_of(Marked("A"), 7, 16) == codec.shard_of("A", 7, 16)


# --- work ---------------------------------------------------------------------------------------------------------------

HOSTILE: list[Callable[[int], str]] = [
    lambda n: " " * n + "x",
    lambda n: "x" + " " * n,
    lambda n: "８" * n,
    lambda n: "88.999.1/" + "a/" * (n // 2),
    lambda n: "88.999.1" + " ／" * (n // 2) + "A",
    lambda n: "https://id.example.com/" + "%41" * (n // 3),
    lambda n: "https://id.example.com/" + "hdl/" * (n // 4),
    lambda n: "https://id.example.com/?" + "a=1&" * (n // 4),
    lambda n: "https://" + "e" * n,
    lambda n: "https://e.com" + "/10/A" * (n // 5),
    lambda n: "https://e.com" + "/01" * (n // 3),
    lambda n: "https://e.com/01/06901234567892?" + "10=A&" * (n // 5),
    lambda n: "https://e.com/01/06901234567892?" + "240=%41" * (n // 7),
    lambda n: "https://e.com/01/06901234567892?7003=" + "1" * n,
    lambda n: "https://e.com/01/06901234567892?" + "7003=2612311200&" * (n // 16),
    lambda n: "(10)A" * (n // 5),
    lambda n: "(10)" + " " * n + "(",
    lambda n: "(10)A" + " x" * (n // 2),
    lambda n: "(" * n,
    lambda n: "(7003)" * (n // 6),
    lambda n: "]C1" + "10A\x1d" * (n // 4),
    lambda n: "]C1" + "\x1d" * n,
    lambda n: "]C191" + "A" * n,
    lambda n: "]C1" + "7003" * (n // 4),
    lambda n: "1" * n,
    lambda n: "1 " * (n // 2),
    lambda n: "1." * (n // 2) + "1",
    lambda n: "0.NA/" + "aB" * (n // 2),
    lambda n: "did:bid:ef" + "z" * n,
    lambda n: "did:vaa:" + "a" * n + ":",
    lambda n: "MA.156" + ".A" * (n // 2) + "-",
    lambda n: "VAA" + "1" * n,
    lambda n: "A" * n,
    lambda n: "400001" + "酥" * n,
    lambda n: "ﷺ" * n,
]


def opcodes(call: Callable[[], Any]) -> int:
    """How many instructions of Python a call runs, in our own code and in the libraries that it asks."""
    count = 0

    def trace(frame: Any, event: str, _: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        outcome(call)
    finally:
        sys.settrace(before)
    return count


def growth(read: Callable[[str], Any], shape: Callable[[int], str]) -> float:
    """How many times the work of 900 characters 1,800 are; what is the same for any size is taken off."""
    outcome(read, shape(20))
    least, half, full = (opcodes(lambda n=n: read(shape(n))) for n in (20, 900, 1800))
    return (full - least) / max(half - least, 200)


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_twice_the_size_is_twice_the_work(number: int) -> None:
    with swapped(pure):
        for name, read in readers(pure).items():
            assert growth(read, HOSTILE[number]) < 2.5, name


def test_quadratic_work_would_be_seen() -> None:
    def quadratic(text: str) -> int:
        return sum(1 for _ in text for _ in text)

    assert growth(quadratic, HOSTILE[0]) > 3.5


# --- patterns: a step of the matcher is no instruction, so their form is looked at -----------------------------------------

_ALL = frozenset(map(chr, range(0x250))) | {"酥", "\ud800", "８"}


def charset(node: Any) -> frozenset[str] | None:
    """The characters that one item of a pattern may stand for; None where it is more than one character."""
    kind, value = node
    if kind is sre.LITERAL:
        return frozenset({chr(value)})
    if kind is sre.NOT_LITERAL:
        return _ALL - {chr(value)}
    if kind is sre.ANY:
        return _ALL
    if kind is not sre.IN:
        return None
    found: set[str] = set()
    for what, given in value:
        if what is sre.LITERAL:
            found.add(chr(given))
        elif what is sre.RANGE:
            found |= {c for c in _ALL if given[0] <= ord(c) <= given[1]}
        elif what is sre.CATEGORY:
            test = {sre.CATEGORY_SPACE: str.isspace, sre.CATEGORY_NOT_SPACE: lambda c: not c.isspace()}[given]
            found |= {c for c in _ALL if test(c)}
    return _ALL - found if value[0][0] is sre.NEGATE else frozenset(found)


Follow = frozenset[str]


def walk(items: list[Any], follow: Follow, fold: bool) -> tuple[Follow, list[str]]:
    """(what the items may begin with, the faults within them), `follow` being what may stand behind them.

    A fault is an unlimited repeat whose characters may also begin what follows it: the matcher tries each division.
    """
    faults: list[str] = []
    for node in reversed(items):
        kind, value = node
        single = charset(node)
        if single is not None:
            follow = frozenset(c for each in single for c in (each, each.lower(), each.upper())) if fold else single
        elif kind is sre.AT:
            pass
        elif kind is sre.SUBPATTERN:
            follow, found = walk(list(value[3]), follow, fold or bool(value[1] & re.IGNORECASE))
            faults += found
        elif kind is sre.BRANCH:
            parts = [walk(list(part), follow, fold) for part in value[1]]
            follow, faults = frozenset().union(*(p[0] for p in parts)), faults + [f for p in parts for f in p[1]]
        elif kind in (sre.MAX_REPEAT, sre.MIN_REPEAT):
            least, most, body = value
            begins, _ = walk(list(body), frozenset(), fold)
            unlimited = most is sre.MAXREPEAT
            _, found = walk(list(body), follow | begins if most > 1 else follow, fold)
            faults += found
            if unlimited and begins & follow:
                faults.append(f"{node}")
            follow = begins | (follow if least == 0 else frozenset())
        elif kind is sre.POSSESSIVE_REPEAT:  # gives nothing back, so there is nothing to try
            begins, _ = walk(list(value[2]), frozenset(), fold)
            follow = begins | (follow if value[0] == 0 else frozenset())
        elif kind is sre.ASSERT_NOT:
            pass
        else:
            raise AssertionError(f"{kind} is not known here")
    return follow, faults


def faults_of(pattern: str | bytes, flags: int = 0) -> list[str]:
    return walk(list(_parser.parse(pattern, flags)), frozenset(), bool(flags & re.IGNORECASE))[1]


def patterns() -> dict[str, re.Pattern[Any]]:
    found = {}
    for package in (handle_codec, pure):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            for name, value in vars(importlib.import_module(module.name)).items():
                if isinstance(value, re.Pattern):
                    found[f"{module.name}.{name}"] = value
    return found


def test_no_pattern_can_be_made_to_try_every_division() -> None:
    found = patterns()
    assert len(found) > 25
    assert {name: faults for name, p in found.items() if (faults := faults_of(p.pattern, p.flags & re.DOTALL))} == {}


@pytest.mark.parametrize(
    "bad", [r"(?:a+)+b", r"a*a*b", r"(?:\s*x?)*y", r" *([^(]*) *\)", r"(?:a|ab*)*b", r"[0-9]+(?:\.?[0-9]+)*/"]
)
def test_a_pattern_that_could_would_be_seen(bad: str) -> None:
    assert faults_of(bad)


def test_a_refusal_is_invalid_code_with_a_position(codec: Any) -> None:
    for name, read in readers(codec).items():
        for shape in HOSTILE:
            for size in (0, 1, 30, 300, 2040, 3000):
                found = outcome(read, shape(size))
                if isinstance(found, tuple) and found and isinstance(found[0], type):
                    assert issubclass(found[0], InvalidCode), name
                    assert 0 <= found[2] <= MAX_INPUT, (name, shape(size)[:40])
