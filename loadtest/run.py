"""`make loadtest`: Locust, headless, against a node that it starts itself or one that is named; two reports.

examples:
  python -m loadtest.run                                  a minute against a node of its own
  python -m loadtest.run --seconds 10 --users 5
  python -m loadtest.run --season 100000                  the season of the seven industries, until it is in and sampled
  python -m loadtest.run --url http://127.0.0.1:8000 --key iid_dev_... --prefix 88.999.1001
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import os
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from loadtest.servers import dev_node

_LOCUSTFILE = Path(__file__).with_name("locustfile.py")
_SEASON = Path(__file__).with_name("season_locustfile.py")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", help="a node that runs already; without it one is started and stopped")
    parser.add_argument("--key", help="API key of an enterprise of that node")
    parser.add_argument("--prefix", help="its prefix")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--users", type=int, default=22)
    parser.add_argument(
        "--season", type=int, metavar="ROWS", help="send so many rows instead; no --seconds, no --users"
    )
    parser.add_argument("--report-dir", type=Path, default=Path("reports"))
    arguments = parser.parse_args()
    if arguments.url and not (arguments.key and arguments.prefix):
        parser.error("--url needs --key and --prefix")
    return arguments


async def run(arguments: argparse.Namespace) -> int:
    """Run the load; 0 only when no request failed and no answer was wrong."""
    arguments.report_dir.mkdir(parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        url, key, prefix = arguments.url, arguments.key, arguments.prefix
        if not url:
            node = await stack.enter_async_context(dev_node())
            url, key, prefix = node["url"], node["api_key"], node["prefix"]
        status = await _locust(arguments, url, {"NODE_KEY": key, "NODE_PREFIX_UNDER_TEST": prefix})
    report = _report(arguments)
    (arguments.report_dir / "loadtest.json").write_text(json.dumps(report, indent=1, ensure_ascii=False))
    _print(report, arguments.report_dir)
    return status or (1 if report["failures"] else 0)


async def _locust(arguments: argparse.Namespace, url: str, env: dict[str, str]) -> int:
    folder = arguments.report_dir
    users = [
        "--users",
        str(arguments.users),
        "--spawn-rate",
        str(arguments.users),
        "--run-time",
        f"{arguments.seconds}s",
    ]
    if arguments.season:  # its shape says how many, and when it is over
        users, env = [], env | {"SEASON_ROWS": str(arguments.season)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "locust", "-f", str(_SEASON if arguments.season else _LOCUSTFILE)),
        *("--headless", "--host", url, *users, "--stop-timeout", "10", "--only-summary"),
        *("--html", str(folder / "loadtest.html"), "--csv", str(folder / "loadtest")),
        *("--loglevel", "WARNING", "--exit-code-on-error", "1"),
        env={**os.environ, **env, "IDNODE_WRONG_ANSWERS": str(folder / "wrong.json")},
        stdout=asyncio.subprocess.DEVNULL,
    )
    return await process.wait()


def _report(arguments: argparse.Namespace) -> dict[str, Any]:
    folder = arguments.report_dir
    requests = []
    with (folder / "loadtest_stats.csv").open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            requests.append(
                {
                    "name": line["Name"],
                    "count": int(line["Request Count"]),
                    "failures": int(line["Failure Count"]),
                    "per_second": round(float(line["Requests/s"]), 1),
                    "p50_ms": _milliseconds(line["50%"]),
                    "p95_ms": _milliseconds(line["95%"]),
                    "p99_ms": _milliseconds(line["99%"]),
                }
            )
    wrong = json.loads((folder / "wrong.json").read_text("utf-8"))
    for leftover in [*folder.glob("loadtest_*.csv"), folder / "wrong.json"]:
        leftover.unlink()
    how = {"season": arguments.season} if arguments.season else {"seconds": arguments.seconds, "users": arguments.users}
    return {
        **how,
        "failures": sum(r["failures"] for r in requests if r["name"] == "Aggregated"),
        "wrong_answers": wrong,
        "requests": requests,
    }


def _milliseconds(text: str) -> float | None:
    return float(text) if text not in ("", "N/A") else None


def _print(report: dict[str, Any], folder: Path) -> None:
    print(f"{'':<20}{'count':>9}{'failed':>8}{'/s':>9}{'p50 ms':>9}{'p95':>8}{'p99':>8}")
    for r in report["requests"]:
        times = "".join(
            f"{r[p] if r[p] is not None else '–':>{w}}" for p, w in (("p50_ms", 9), ("p95_ms", 8), ("p99_ms", 8))
        )
        print(f"{r['name']:<20}{r['count']:>9,}{r['failures']:>8}{r['per_second']:>9,.1f}{times}")
    verdict = "FAILED" if report["failures"] or report["wrong_answers"] else "passed"
    print(f"\n{verdict}: {len(report['wrong_answers'])} wrong answers; reports in {folder}/loadtest.html and .json")


if __name__ == "__main__":
    sys.exit(asyncio.run(run(_arguments())))
