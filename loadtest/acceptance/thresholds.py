"""Thresholds against measurements, and the verdict. An unfinished run, a wrong answer, a ledger that does not balance
or a threshold that was not measured is never a pass."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[1] / "acceptance.toml"
Result = dict[str, Any]
_LEDGER = ("sent", "created", "unchanged", "conflict", "rejected", "rows", "counters")


def judge(result: Result, file: Path = FILE) -> None:
    """Fill "thresholds", "verdict" and "why" of a result."""
    profile = result["run"]["profile"]
    result["thresholds"] = [
        _held(name, given, profile, result) for name, given in _read(file).items() if _asked(given, result)
    ]
    failed = [_words(threshold) for threshold in result["thresholds"] if threshold["held"] is False]
    unknown = [
        {"zh": f"未测得：{threshold['zh']}", "en": f"not measured: {threshold['en']}"}
        for threshold in result["thresholds"]
        if threshold["held"] is None
    ]
    unfinished = result["why"] if result["verdict"] == "incomplete" else []
    if unfinished or (unknown and not failed):
        result["verdict"] = "incomplete"
    else:
        result["verdict"] = "fail" if failed else "pass"
    result["why"] = [*unfinished, *failed, *unknown]


def _read(file: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = tomllib.loads(file.read_text("utf-8"))["threshold"]
    return found


def _asked(given: dict[str, Any], result: Result) -> bool:
    """What belongs to a part that was not asked for is not held against the run."""
    return "needs" not in given or bool(result.get(given["needs"]))


def _held(name: str, given: dict[str, Any], profile: str, result: Result) -> dict[str, Any]:
    limit = given.get("limits", {}).get(profile, given["limit"])
    measured = _measured(given["measure"], result)
    held = None
    if measured is not None:
        held = measured <= limit if given["better"] == "lower" else measured >= limit
    kept = {key: given[key] for key in ("zh", "en", "unit", "better", "why_zh", "why_en")}
    return {"name": name, **kept, "limit": limit, "measured": measured, "held": held}


def _measured(what: str, result: Result) -> float | None:
    if what in _MADE:
        return _MADE[what](result)
    found: Any = result
    for part in what.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return float(found) if isinstance(found, int | float) else None


def _errors(result: Result) -> float | None:
    """Per cent of the answers of the day, that is outside drills and steps."""
    days = [phase for phase in result["run"]["phases"] if phase["name"] not in ("drills", "steps")]
    seconds = [s for s in result["series"] if any(p["from"] <= s["t"] <= p["to"] for p in days if p["to"] is not None)]
    done = sum(s["done"] for s in seconds)
    return 100 * sum(s["errors"] for s in seconds) / done if done else None


def _ledger(result: Result) -> float | None:
    ledger = result["ledger"]
    if any(ledger.get(name) is None for name in _LEDGER):
        return None
    told = sum(ledger[name] for name in ("created", "unchanged", "conflict", "rejected"))
    gaps = [abs(ledger["sent"] - told), abs(ledger["created"] - ledger["rows"])]
    gaps.append(abs(ledger["rows"] - ledger["counters"]))
    return float(max(*gaps, 0 if ledger["balanced"] else 1))


def _most(values: Iterable[float | None]) -> float | None:
    """The largest; None where one is missing: what never became normal has no time to normal."""
    known = list(values)
    if not known or any(value is None for value in known):
        return None
    return float(max(value for value in known if value is not None))


def _refusals(result: Result) -> float | None:
    """0 where no step was refused anything: nothing that was slow to refuse."""
    slow = [step["p99_of_503"] for step in result["steps"] if step.get("refused_503")]
    return _most(slow) if slow else 0.0


_MADE: dict[str, Callable[[Result], float | None]] = {
    "errors": _errors,
    "wrong": lambda result: float(len(result["wrong"])),
    "ledger": _ledger,
    "drills.stale": lambda result: _most(drill["stale"] for drill in result["drills"] if _ran(drill)),
    "drills.seconds_to_normal": lambda result: _most(d["seconds_to_normal"] for d in result["drills"] if _ran(d)),
    "steps.p99_of_503": _refusals,
}


def _ran(drill: dict[str, Any]) -> bool:
    """`held` is null for a drill that could not be made here; its notes say why."""
    return drill["held"] is not None


def _words(threshold: dict[str, Any]) -> dict[str, str]:
    unit = f" {threshold['unit']}" if threshold["unit"] else ""
    figures = f"{threshold['measured']:,.4g}{unit} ({'≤' if threshold['better'] == 'lower' else '≥'} "
    figures += f"{threshold['limit']:,.4g}{unit})"
    return {"zh": f"{threshold['zh']}：{figures}", "en": f"{threshold['en']}: {figures}"}
