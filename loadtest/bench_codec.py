"""`make bench-codec`: the compiled codec beside the pure one and beside biip, in turn on one core; medians.

Absolute figures are those of this machine; the ratios of one run are what counts.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import timeit
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from biip.gs1_digital_link_uris import GS1DigitalLinkURI
from biip.gs1_messages import GS1Message
from biip.gtin import Gtin

import handle_codec
from handle_codec import SerialKey, packages, pure, schemes, serials
from handle_codec.plans import Bound, FieldPlan, LotPlan, RowPlan

HANDLE = "88.999.1001/LC-2026-HARVEST-00001"
LINK = "https://id.example.com/01/06901234567892/10/A213B1/21/1234"
MESSAGE = "]C10106901234567892111412311715070710A213B1\x1d211234"
GTIN = "6901234567892"
CONTENT = b'{"attributes":{"carton_id":"C000000005","fruit_weight_g":323,"net_weight_kg":5.17,"ssc_pct":10.8}}'
STORED = pure.shorten_content(CONTENT)
ROWS = 200_000  # of a compiled batch: 6.6 MB, more than the second-level cache
PURE_ROWS = 5_000
ITEMS = 50_000  # of a chunk of an import: 10 MB
PLAN = RowPlan(
    "88.999.1001",
    7,
    16,
    fields=(
        FieldPlan("carton_id", "reference", most=255),
        FieldPlan("net_weight_kg", "number", low=0.01, high=2000),
        FieldPlan("fruit_weight_g", "number", low=0, high=3000),
        FieldPlan("ssc_pct", "number", low=0, high=100),
        FieldPlan("sort_time", "moment", most=40),
        FieldPlan("carrier", "text", most=128),
    ),
    lots=(LotPlan("LOT-1", needs=frozenset({"carton_id"}), bounds=(Bound("sort_time", "2024-09-12"),)),),
)
TURN = 0.1  # seconds that one variant runs at a time


@dataclass
class Measure:
    """One thing to measure: variants by name (compiled, pure, another library), and what is to be reached."""

    what: str
    variants: dict[str, tuple[Callable[[], Any], int]]  # the call, and how many codes it reads
    most_ns: float = 0  # the compiled one, at most; 0: no limit
    least_ratio: float = 0  # of pure over compiled
    twin: bool = False  # the call goes through a module whose twin has to be put in place
    nanoseconds: dict[str, float] = field(default_factory=dict)

    def reached(self) -> bool:
        compiled = self.nanoseconds["compiled"]
        ratio = self.nanoseconds.get("pure", 0) / compiled
        return (not self.most_ns or compiled < self.most_ns) and ratio >= self.least_ratio


def measures(compiled: Any) -> list[Measure]:
    """What is measured, on inputs made once."""
    big, small = _lines(ROWS), _lines(PURE_ROWS)
    columns, few = compiled.parse_batch(big), pure.parse_batch(small)
    found = [
        _both("parse, one handle", compiled, lambda t: lambda: t.parse(HANDLE), 250, 4),
        _both("parse_issued, one handle", compiled, lambda t: lambda: t.parse_issued(HANDLE)),
        _both("normalise, nothing to mend", compiled, lambda t: lambda: t.normalise(HANDLE)),
        _both("shard_of, one suffix", compiled, lambda t: lambda: t.shard_of("LC-2026-HARVEST-00001", 7, 16)),
        Measure(
            "parse_batch, each handle",
            {
                "compiled": (lambda: compiled.parse_batch(big), ROWS),
                "pure": (lambda: pure.parse_batch(small), PURE_ROWS),
            },
            most_ns=200,
        ),
        Measure(
            "shard_batch, each handle",
            {
                "compiled": (lambda: compiled.shard_batch(columns, 7, 16), ROWS),
                "pure": (lambda: pure.shard_batch(few, 7, 16), PURE_ROWS),
            },
        ),
        _both("Digital Link: GTIN, lot, serial", compiled, lambda t: lambda: t.parse_digital_link(LINK), 1000),
        _both("the same with an expiry date", compiled, lambda t: lambda: t.parse_digital_link(LINK + "?17=271231")),
        _both("element string, five elements", compiled, lambda t: lambda: t.parse_elements(MESSAGE)),
        _both("GTIN", compiled, lambda t: lambda: t.gtin14(GTIN)),
        _either("recognise a handle", lambda: schemes.recognise(HANDLE)),
        _either("recognise a GTIN", lambda: schemes.recognise(GTIN)),
        _either("recognise a Digital Link", lambda: schemes.recognise(LINK)),
        _both("is_serial, one suffix", compiled, lambda t: lambda: t.is_serial("LC-2026-HARVEST-00001")),
        _both("fold_serial, a serial", compiled, lambda t: lambda: t.fold_serial("v8cqn3c64a5ps5")),
        _both("a resolution: parse, fold, shard", compiled, lambda t: lambda: asked(t, HANDLE)),
    ]
    found[6].variants["biip"] = (lambda: GS1DigitalLinkURI.parse(LINK), 1)
    found[7].variants["biip"] = (lambda: GS1DigitalLinkURI.parse(LINK + "?17=271231"), 1)
    found[8].variants["biip"] = (lambda: GS1Message.parse(MESSAGE[3:]), 1)
    found[9].variants["biip"] = (lambda: Gtin.parse(GTIN), 1)
    found += _row_measures(compiled)
    return found + _serial_measures("V", "AES", 1000, 5000) + _serial_measures("E", "SM4", 0, 0)


def asked(twin: Any, text: str) -> tuple[str, bool, int]:
    """All that a resolution asks of the codec before it looks anything up."""
    prefix, suffix = twin.parse(text)
    suffix = twin.fold_serial(suffix)
    return prefix, twin.is_serial(suffix), twin.shard_of(suffix, 7, 16)


def _both(
    what: str, compiled: Any, call: Callable[[Any], Callable[[], Any]], most: float = 0, ratio: float = 0
) -> Measure:
    return Measure(what, {"compiled": (call(compiled), 1), "pure": (call(pure), 1)}, most, ratio)


def _either(what: str, call: Callable[[], Any], compiled_codes: int = 1) -> Measure:
    return Measure(what, {"compiled": (call, compiled_codes), "pure": (call, compiled_codes)}, twin=True)


def _serial_measures(letter: str, cipher: str, most_mint: float, most_check: float) -> list[Measure]:
    key = SerialKey("88.999.1001", letter, bytes(range(16)))
    lines, few = key.mint_lines(0, ROWS), key.mint_lines(0, PURE_ROWS)
    serial = key.mint(12345)

    def turned(what: str, many: Callable[[], Any], less: Callable[[], Any], most: float) -> Measure:
        return Measure(what, {"compiled": (many, ROWS), "pure": (less, PURE_ROWS)}, most, twin=True)

    check = _either(f"check one serial, {cipher}", lambda: key.counter_of(serial))
    check.most_ns = most_check
    return [
        turned(
            f"mint, {cipher}, each", lambda: key.mint_lines(0, ROWS), lambda: key.mint_lines(0, PURE_ROWS), most_mint
        ),
        check,
        turned(f"check a batch, {cipher}, each", lambda: key.counters_of(lines), lambda: key.counters_of(few), 0),
    ]


def _row_measures(compiled: Any) -> list[Measure]:
    """Items of a lot of pears with five attributes, 213 bytes each; together at most 1 us, a million a second."""
    big, small = _items(ITEMS), _items(PURE_ROWS)
    batch, few = compiled.decode_rows(PLAN, big), compiled.decode_rows(PLAN, small)
    assert len(batch) == ITEMS, "the rows that are measured have to be sure"
    order, less = compiled.sort_rows(batch)[0], compiled.sort_rows(few)[0]

    def each(what: str, call: Callable[[Any, Any, Any, Any], Any], most: float) -> Measure:
        many, some = (lambda: call(compiled, big, batch, order)), (lambda: call(pure, small, few, less))
        return Measure(what, {"compiled": (many, ITEMS), "pure": (some, PURE_ROWS)}, most)

    return [
        each("decode_rows, each", lambda t, data, _, __: t.decode_rows(PLAN, data), 700),
        each("sort_rows, each", lambda t, _, batch, __: t.sort_rows(batch), 150),
        each("copy_rows, each", lambda t, _, batch, order: t.copy_rows(batch, order, 1, 2, 3), 300),
        _both("shorten_content, of a carton", compiled, lambda t: lambda: t.shorten_content(CONTENT)),
        _both("restore_content, the same", compiled, lambda t: lambda: t.restore_content(STORED), 1500),
    ]


def _items(rows: int) -> bytes:
    return b"".join(
        b'{"handle":"88.999.1001/C-%07d","lot":"88.999.1001/LOT-1","attributes":{"carton_id":"88.999.1001/LC%07d",'
        b'"net_weight_kg":%d.0%d,"fruit_weight_g":%d,"ssc_pct":12.6,"sort_time":"2024-09-13T09:41:%02d+08:00"}}\n'
        % (n, n, 1 + n % 9, n % 10, 200 + n % 99, n % 60)
        for n in range(rows)
    )


def _lines(rows: int) -> bytes:
    return b"".join(b"88.999.1001/LC-2026-HARVEST-%05d\n" % n for n in range(rows))


def run(measure: Measure, compiled: Any, rounds: int) -> None:
    """Fill in the median nanoseconds a code; the variants take turns, so that a slow minute hits all of them."""
    taken: dict[str, list[float]] = {name: [] for name in measure.variants}
    loops: dict[str, int] = {}
    for round_ in range(rounds):
        names = list(measure.variants)
        for name in names if round_ % 2 == 0 else reversed(names):
            call, codes = measure.variants[name]
            if measure.twin:
                _put_in_place(compiled if name == "compiled" else pure)
            timer = timeit.Timer("call()", globals={"call": call})
            if name not in loops:
                once = timer.timeit(1)
                loops[name] = max(1, int(TURN / max(once, 1e-7)) // (1 if once > 1e-4 else 2))
            taken[name].append(timer.timeit(loops[name]) / loops[name] / codes * 1e9)
    _put_in_place(compiled)
    measure.nanoseconds = {name: statistics.median(figures) for name, figures in taken.items()}


def _put_in_place(twin: Any) -> None:
    for module in (schemes, packages, serials):
        module.twin = twin  # type: ignore[attr-defined]


def _line(measure: Measure) -> str:
    figures = measure.nanoseconds
    compiled = figures["compiled"]
    pure_ns, other = figures.get("pure"), figures.get("biip")
    reach = []
    if measure.most_ns:
        reach.append(f"< {measure.most_ns:,.0f} ns")
    if measure.least_ratio:
        reach.append(f"{measure.least_ratio:g} x pure")
    verdict = f"{'reached' if measure.reached() else 'NOT REACHED'} ({', '.join(reach)})" if reach else ""
    return (
        f"{measure.what:34}{compiled:>10,.1f}{1e9 / compiled:>14,.0f}"
        f"{pure_ns or 0:>11,.0f}{(pure_ns or 0) / compiled:>8.1f}"
        + (f"{other:>11,.0f}{other / compiled:>8.0f}" if other else " " * 19)
        + f"  {verdict}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--core", type=int, default=None, help="the core to stay on (default: the last one)")
    arguments = parser.parse_args()
    if handle_codec.IMPLEMENTATION != "compiled":
        print("the codec is not compiled here: nothing to compare", file=sys.stderr)
        return 1
    from handle_codec import _speed

    if hasattr(os, "sched_setaffinity"):
        core = max(os.sched_getaffinity(0)) if arguments.core is None else arguments.core
        os.sched_setaffinity(0, {core})
    print(f"{'':34}{'compiled':>10}{'a second':>14}{'pure':>11}{'ratio':>8}{'biip':>11}{'ratio':>8}")
    print(f"{'':34}{'ns':>10}{'':>14}{'ns':>11}{'':>8}{'ns':>11}")
    found = measures(_speed)
    for measure in found:
        run(measure, _speed, arguments.rounds)
        print(_line(measure), flush=True)
    report = Path("reports/bench-codec.json")
    report.parent.mkdir(exist_ok=True)
    rows = [{"what": m.what, "ns": m.nanoseconds, "reached": m.reached()} for m in found]
    report.write_text(json.dumps(rows, indent=1))
    return 0 if all(measure.reached() for measure in found) else 1


if __name__ == "__main__":
    sys.exit(main())
