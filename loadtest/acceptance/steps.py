"""The rate raised step by step until the node saturates; the knee; and what it does beyond."""

from __future__ import annotations

from typing import Any

from loadtest.acceptance.arrivals import Stream
from loadtest.acceptance.generators import Generators, Phase
from loadtest.acceptance.profiles import Profile
from loadtest.acceptance.progress import Progress
from loadtest.acceptance.tally import Tally

_MOST = 14
_GROWTH = 1.5
_SLOW_MS = 250.0  # a person who scans does not notice less
_ERRORS = 0.01
_CONNECTIONS = 4096  # opened where none is free: what is more than the node can do is to wait there, not here
_BEYOND = (1.5, 2.0)  # of the first rate that was too much


def streams(rate: float, seconds: float) -> list[Stream]:
    """Resolutions and scans as they come in a wave, with a line that registers beside."""
    shares = {"resolve": 0.75, "scan": 0.2, "unknown": 0.02, "register": 0.02, "update": 0.01}
    return [Stream(call, [(0.0, rate * share), (seconds, rate * share)]) for call, share in shares.items()]


async def climb(generators: Generators, profile: Profile, progress: Progress) -> dict[str, Any]:
    """{"steps", "knee"}."""
    found: list[dict[str, Any]] = []
    rate, first_bad = profile.step_first, 0.0
    for _ in range(_MOST):
        found.append(await _step(generators, profile, progress, rate))
        if saturated(found[-1]):  # once more: a moment of something else on the machine is no saturation
            found.append(await _step(generators, profile, progress, rate))
            if saturated(found[-1]):
                first_bad = rate
                break
        rate *= _GROWTH
    for factor in _BEYOND if first_bad else ():
        found.append(await _step(generators, profile, progress, first_bad * factor))
    knee = knee_of(found)
    if first_bad and knee:  # does it come back?
        found.append(await _step(generators, profile, progress, knee["rate"] / 2))
    return {"steps": found, "knee": knee}


async def _step(generators: Generators, profile: Profile, progress: Progress, rate: float) -> dict[str, Any]:
    seconds = profile.step_seconds
    progress.phase("逐级加压", f"step {rate:,.0f}/s", seconds)
    began = [0.0]
    phase = Phase(
        "steps", streams(rate, seconds), seconds, _CONNECTIONS, timeout=10.0, grace=2.0, patient=True, apart=True
    )
    tally = await generators.run(phase, progress.load, lambda at: began.__setitem__(0, at - generators.start))
    return figures(tally, rate, int(began[0]) + 1, seconds)


def figures(tally: Tally, rate: float, first: int, seconds: float) -> dict[str, Any]:
    """Of the step's whole seconds; what was answered only afterwards counts for the latency."""
    last = first + max(1, int(seconds) - 1)
    within, whole = tally.whole(first, last), tally.whole()
    good = within.n - within.errors
    refused = tally.refused
    return {
        "offered": round(rate, 1), "done": round(good / (last - first), 1),
        "p50": whole.percentile(0.5), "p99": whole.percentile(0.99), "errors": whole.errors,
        "refused_503": refused.n, "p99_of_503": refused.percentile(0.99),
    }  # fmt: skip


def saturated(step: dict[str, Any]) -> bool:
    """It does not answer what is asked, or not soon enough. A Poisson stream of n arrivals strays by sqrt(n): a
    share of 0.9 is beyond that from some hundred a second on."""
    slow = step["p99"] is None or step["p99"] > _SLOW_MS * 4
    return bool(step["done"] < 0.9 * step["offered"] or slow or step["errors"] > _ERRORS * step["offered"])


def knee_of(steps: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The highest rate that was still served in time, and why it is that one."""
    good = [s for s in steps if not saturated(s)]
    bad = [s for s in steps if saturated(s)]
    if not good:
        return None
    best = max(good, key=lambda s: s["offered"])
    above = [s for s in bad if s["offered"] > best["offered"]]
    if not above:
        return {"rate": best["offered"], "why_zh": "最高一级仍未饱和，拐点更高",
                "why_en": "not saturated at the highest step: the knee lies above"}  # fmt: skip
    worse = min(above, key=lambda s: s["offered"])
    p99 = f"{worse['p99']:,.0f} ms" if worse["p99"] is not None else "–"
    return {
        "rate": best["offered"],
        "why_zh": f"到 {worse['offered']:,.0f}/s 时完成 {worse['done']:,.0f}/s，p99 {p99}，错误 {worse['errors']}",
        "why_en": f"at {worse['offered']:,.0f}/s it does {worse['done']:,.0f}/s, p99 {p99}, errors {worse['errors']}",
    }
