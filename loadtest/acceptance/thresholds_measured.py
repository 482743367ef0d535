"""What each limit of acceptance.toml is held against, from the result alone; None where the run did not measure it."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

Result = dict[str, Any]
Measure = Callable[[Result], float | None]
_SHARES = ((0.5, "p50"), (0.4, "p90"), (0.09, "p99"), (0.009, "p999"))  # of a second's answers, and their upper edge
OUTSIDE = ("drills", "steps")  # phases in which errors are expected
LEDGER = ("sent", "created", "unchanged", "conflict", "rejected", "rows", "counters")


def day(result: Result, call: str, share: float = 0.99) -> float | None:
    """A call's percentile over the phase `day`, ms: as it was counted, where the result has that.

    Else from the series, whose percentiles of seconds do not add up to one of the whole. Each second's answers are
    therefore put at the upper edge of the band that they lie in: what comes out is never better than it was, and
    equal to it where all seconds are alike.
    """
    counted = result.get("day", {}).get(call)
    if counted and share == 0.99:
        return float(counted["p99"])
    seconds = [s["calls"][call] for s in within(result, "day") if call in s["calls"]]
    bands = []
    for one in seconds:
        bands += [(edge(one, name), part * one["n"]) for part, name in _SHARES if one["n"]]
        bands.append((edge(one, "p999") if one["n"] <= 1000 else inf, 0.001 * one["n"]))
    left = share * sum(weight for _, weight in bands) - 1e-9
    for value, weight in sorted(bands):
        left -= weight
        if left <= 0:
            return None if value == inf else value
    return None


def edge(one: dict[str, Any], name: str) -> float:
    """An answer without a known time took for ever."""
    value = one.get(name)
    return inf if value is None else float(value)


def within(result: Result, *names: str) -> list[dict[str, Any]]:
    """The seconds of the series in the phases of these names."""
    spans = [
        (int(p["from"]), inf if p["to"] is None else p["to"]) for p in result["run"]["phases"] if p["name"] in names
    ]
    return [s for s in result["series"] if any(a <= s["t"] < b for a, b in spans)]


def wrong_count(result: Result) -> int:
    """The list is cut after some hundreds; the sweep's own count goes on."""
    return max(len(result["wrong"]), int(result["sweep"].get("wrong") or 0))


def _kind(*kinds: str) -> Measure:
    def count(result: Result) -> float | None:
        return sum(w["kind"] in kinds for w in result["wrong"]) if _asked(result) else None

    return count


def _swept_kind(kind: str) -> Measure:
    """Only who looked at everything can say that nothing is lost."""
    return lambda result: _kind(kind)(result) if result["sweep"].get("checked") else None


def _asked(result: Result) -> int:
    return sum(one["n"] for one in result["calls"].values())


def _wrong(result: Result) -> float | None:
    return wrong_count(result) if _asked(result) else None


def _errors(result: Result) -> float | None:
    outside = {id(s) for s in within(result, *OUTSIDE)}
    seconds = [s for s in result["series"] if id(s) not in outside]
    done = sum(s["done"] for s in seconds)
    return round(100 * sum(s["errors"] for s in seconds) / done, 4) if done else None


def _ledger(result: Result) -> float | None:
    parts = [result["ledger"].get(name) for name in LEDGER]
    if any(part is None for part in parts):
        return None
    sent, created, unchanged, conflict, rejected, rows, counters = parts
    outcomes = created + unchanged + conflict + rejected
    return float(abs(sent - outcomes) + abs(created - rows) + abs(created - counters))


def _swept(result: Result) -> float | None:
    created, checked = result["ledger"].get("created"), result["sweep"].get("checked")
    return min(100.0, 100 * checked / created) if created and checked is not None else None


def _import_rate(result: Result) -> float | None:
    """Rows that the morning created. Single registrations of the day are taken off by what was sent of them, and
    refused rows do not count: the rate was no lower."""
    created, chunks = result["ledger"].get("created"), result["calls"].get("import_chunk")
    spans = [p["to"] - p["from"] for p in result["run"]["phases"] if p["name"] == "morning" and p["to"] is not None]
    if created is None or not chunks or not sum(spans):
        return None
    singles = result["calls"].get("register", {"n": 0})["n"]
    return float(round(max(0, created - singles) / sum(spans)))


def _run_drills(result: Result) -> list[dict[str, Any]]:
    return [d for d in result["drills"] if d["held"] is not None]


def _drills_failed(result: Result) -> float | None:
    drills = _run_drills(result)
    return sum(not d["held"] for d in drills) if drills else None


def _to_normal(result: Result) -> float | None:
    times = [d["seconds_to_normal"] for d in _run_drills(result)]
    return None if not times or None in times else max(times)


def _drill_stale(result: Result) -> float | None:
    counts = [d["stale"] for d in _run_drills(result)]
    return None if not counts or None in counts else float(sum(counts))


def _knee(result: Result) -> float | None:
    return float(result["knee"]["rate"]) if result["knee"] else None


def beyond(result: Result) -> list[dict[str, Any]]:
    """Steps above the knee."""
    rate = _knee(result)
    return [s for s in result["steps"] if rate is not None and s["offered"] > rate]


def _refusals(result: Result) -> float | None:
    times = [s["p99_of_503"] for s in result["steps"] if s["refused_503"]]
    return None if not times or None in times else max(times)


def _overload(result: Result) -> float | None:
    below = [s["done"] for s in result["steps"] if s not in beyond(result)]
    above = [s["done"] for s in beyond(result)]
    if not above or not below or not max(below) or None in above:
        return None
    return float(round(100 * min(above) / max(below), 1))


def _recovered(result: Result) -> float | None:
    last = result["steps"][-1]
    return round(100 * last["done"] / last["offered"], 1) if last["offered"] else None


def left_out(result: Result, needs: str | None) -> tuple[str, str] | None:
    """Why a limit does not apply to this run, in Chinese and English; None where it does."""
    if needs is None:
        return None
    there, zh, en = NEEDS[needs]
    return None if there(result) else (zh, en)


def asked(result: Result, name: str) -> bool:
    """Whether a phase was wanted, even where the run did not get that far."""
    words = str(result["run"].get("command") or "").split()
    return f"--{name}" in words or bool(result[name]) or any(p["name"] == name for p in result["run"]["phases"])


NEEDS: dict[str, tuple[Callable[[Result], bool], str, str]] = {
    "own_node": (lambda r: bool(r["run"].get("own_node")), "节点非本次启动，看不到其数据库",
                 "the node was not started by the run: its database is not seen"),
    "drills": (lambda r: asked(r, "drills"), "未要求演练", "no drills were asked for"),
    "steps": (lambda r: asked(r, "steps"), "未要求逐级加压", "no steps were asked for"),
    "refusals": (lambda r: any(s["refused_503"] for s in r["steps"]), "没有 503", "nothing was refused"),
    "overload": (lambda r: bool(beyond(r)), "未越过拐点", "the load did not go beyond the knee"),
    "recovery": (lambda r: bool(beyond(r)) and bool(r["steps"]) and r["steps"][-1] not in beyond(r)
                 and r["steps"][-1]["offered"] < r["steps"][-2]["offered"],
                 "过载后未再降速", "the load was not lowered after an overload"),
}  # fmt: skip

MEASURES: dict[str, Measure] = {
    **{f"{call}_p99": (lambda r, call=call: day(r, call))  # type: ignore[misc]
       for call in ("resolve", "batch_resolve", "scan", "register", "update", "recall")},
    "errors_share": _errors, "wrong_answers": _wrong, "stale_answers": _kind("stale"),
    "lost_items": _swept_kind("lost"), "doubled_items": _swept_kind("doubled"), "ledger_difference": _ledger,
    "swept_share": _swept, "import_rate": _import_rate,
    "bytes_per_item": lambda r: r["database"].get("bytes_per_item"),
    "generator_rate": lambda r: r["generator"].get("requests_per_core"),
    "drills_failed": _drills_failed, "drill_seconds_to_normal": _to_normal, "drill_stale": _drill_stale,
    "knee_rate": _knee, "refusal_p99": _refusals, "overload_share": _overload, "recovered_share": _recovered,
}  # fmt: skip
