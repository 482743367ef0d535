"""`make freshness`: no read older than an acknowledged write, whatever is killed, cut, paused or emptied.

examples:
  python -m loadtest.freshness.run                                   1,000,000 reads and 50,000 writes
  python -m loadtest.freshness.run --reads 100000 --writes 5000      the short form
  python -m loadtest.freshness.run --mutant fence                    a part of the protocol switched off: must fail
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import secrets
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from loadtest.freshness import workload
from loadtest.freshness.checker import Verdict, check
from loadtest.freshness.cluster import servers_of, workers_of
from loadtest.freshness.nemesis import Nemesis
from loadtest.freshness.workload import Plan
from loadtest.freshness.world import World

MUTANTS = ("lease", "fence", "wait", "marker")
_PLACE = re.compile(r'File "[^"]*/(\w+/\w+\.py)", line (\d+), in (\w+)')
_SHOWN = 10  # violations in full


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.freshness.run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--reads", type=int, default=1_000_000)
    parser.add_argument("--writes", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=0, help="0: a fresh one, printed")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4 * 3600.0, help="at the most")
    parser.add_argument("--mutant", default="", help=f"switch off: {', '.join(MUTANTS)} (this one breaks no promise)")
    parser.add_argument("--calm", action="store_true", help="without the nemesis")
    parser.add_argument("--quiet", action="store_true", help="no line every half a minute")
    parser.add_argument("--report", type=Path, default=Path("reports/freshness.json"))
    arguments = parser.parse_args()
    arguments.seed = arguments.seed or secrets.randbelow(2**31)
    if unknown := set(filter(None, arguments.mutant.split(","))) - set(MUTANTS):
        parser.error(f"no such mutant: {', '.join(sorted(unknown))}")
    return arguments


async def _tell(world: World) -> None:
    """How far it is."""
    begin = time.monotonic()
    while True:
        await asyncio.sleep(30)
        print(f"{time.monotonic() - begin:6.0f} s  {world.reads:,} reads  {world.acknowledged:,} writes", flush=True)


async def judge(plan: Plan, *, mutant: str = "", calm: bool = False, quiet: bool = True) -> dict[str, Any]:
    """Run a plan on servers and workers of its own; the report."""
    settings = {"NODE_SWITCH_OFF": mutant, "NODE_DEV": "1"} if mutant else {}
    with tempfile.TemporaryDirectory(prefix="idnode-freshness-", ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch)
        folder.chmod(0o755)
        async with servers_of(folder) as cluster, workers_of(cluster, folder, plan.workers, settings):
            world = await workload.prepare(cluster, plan)
            nemesis = Nemesis(cluster, plan.seed)
            telling = None if quiet else asyncio.create_task(_tell(world))
            begin = time.monotonic()
            try:
                await _both(world, plan, nemesis, calm)
            finally:
                if telling is not None:
                    telling.cancel()
            seconds = time.monotonic() - begin
            await asyncio.gather(*(worker.count() for worker in cluster.workers))
            report = _report(plan, mutant, world, nemesis, check(world.history), seconds)
            return report | {"logged_exceptions": _exceptions(folder)}


async def _both(world: World, plan: Plan, nemesis: Nemesis, calm: bool) -> None:
    """Load and nemesis side by side; when the load is done the nemesis heals what it hurt."""
    if calm:
        await workload.run(world, plan)
        return
    hurting = asyncio.create_task(nemesis.run())
    loading = asyncio.create_task(workload.run(world, plan))
    await asyncio.wait({hurting, loading}, return_when=asyncio.FIRST_COMPLETED)
    nemesis.stopped.set()
    try:
        await hurting  # fails where it could not go on
    finally:
        if not loading.done() and hurting.exception():
            loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)
    loading.result()


def _report(
    plan: Plan, mutant: str, world: World, nemesis: Nemesis, verdict: Verdict, seconds: float
) -> dict[str, Any]:
    tiers: dict[str, float] = {}
    for worker in world.cluster.workers:
        for tier, count in worker.resolved.items():
            tiers[tier] = tiers.get(tier, 0.0) + count
    return {
        "seed": plan.seed,
        "mutant": mutant or None,
        "workers": plan.workers,
        "seconds": round(seconds, 1),
        "reads": world.reads,
        "facts_judged": verdict.reads,  # a record shows its item, its lot and its prefix
        "facts_not_judged": verdict.unjudged,
        "acknowledged_writes": verdict.writes,
        "writes_not_acknowledged": verdict.unknown,
        "enough": world.reads >= plan.reads and verdict.writes >= plan.writes,
        "answers": dict(sorted(world.statuses.items())),
        "answered_by": {tier: int(count) for tier, count in sorted(tiers.items())},
        "nemesis": dict(sorted(nemesis.done.items())),
        "older_than_an_earlier_read": verdict.back,
        "wrong_answers": len(world.history.wrong),
        "violations": len(verdict.violations),
        "first_wrong_answers": world.history.wrong[:_SHOWN],
        "first_violations": [v.document() for v in verdict.violations[:_SHOWN]],
        "registers_violated": sorted({v.register for v in verdict.violations})[:50],
    }


def _exceptions(folder: Path) -> dict[str, int]:
    """What the workers' logs say of exceptions nobody foresaw: the last line of each, and where it came from."""
    found: Counter[str] = Counter()
    for log in folder.glob("worker-*.log"):
        for line in log.read_text(errors="replace").splitlines():
            if "Traceback" in line:
                text = line.replace("\\n", "\n").replace('\\"', '"')
                places = _PLACE.findall(text)
                last = [part for part in text.rstrip('"}').split("\n") if part.strip()][-1]
                found[f"{last[:160]} <- {' <- '.join(map(':'.join, reversed(places[-3:])))}"] += 1
    return dict(found.most_common(20))


def failed(report: dict[str, Any]) -> bool:
    return bool(report["violations"] or report["wrong_answers"])


def show(report: dict[str, Any]) -> str:
    """The report for people."""
    hidden = ("first_violations", "first_wrong_answers", "registers_violated", "logged_exceptions")
    lines = [f"{name:<28}{_plain(value)}" for name, value in report.items() if name not in hidden]
    for violation in report["first_violations"]:
        lines += ["", f"{violation['kind'].upper()}  {violation['register']}  worker {violation['worker']}"]
        lines.append(
            f"  read {violation['begun']} .. {violation['ended']} ms saw state {' or '.join(violation['seen'])};"
            f" version {violation['acknowledged']} was acknowledged: what was seen was over for {violation['late']} ms"
        )
        lines += [f"    {_plain(write)}" for write in violation["writes"]]
    lines += [f"LOGGED {count} x {text}" for text, count in report["logged_exceptions"].items()]
    lines += [f"WRONG  {text}" for text in report["first_wrong_answers"]]
    verdict = "FAILED" if failed(report) else "passed" if report["enough"] else "passed, but not enough was done"
    return "\n".join([*lines, "", verdict])


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return "  ".join(f"{k} {_plain(v)}" for k, v in value.items())
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def main() -> int:
    arguments = _arguments()
    plan = Plan(arguments.reads, arguments.writes, arguments.seed, workers=arguments.workers, limit=arguments.seconds)
    print(f"seed {plan.seed}", flush=True)
    report = asyncio.run(judge(plan, mutant=arguments.mutant, calm=arguments.calm, quiet=arguments.quiet))
    arguments.report.parent.mkdir(parents=True, exist_ok=True)
    arguments.report.write_text(json.dumps(report, indent=1, ensure_ascii=False))
    print(show(report))
    return 1 if failed(report) or not report["enough"] else 0


if __name__ == "__main__":
    sys.exit(main())
