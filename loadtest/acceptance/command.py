"""`idnode acceptance`: one command against a node, ours or yours, and a report that says whether it carries the
load."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

import httpx

from loadtest.acceptance.book import Book, command, now
from loadtest.acceptance.profiles import DRILLS, PROFILES, profile_of
from loadtest.acceptance.progress import Progress
from loadtest.acceptance.rest import Incomplete
from loadtest.acceptance.run import Options, Run

_EXIT = {"pass": 0, "fail": 1, "incomplete": 2}
_EPILOG = """profiles:
  smoke      20,000 rows, about two minutes: does it work at all, and is every answer right
  city       over 5,000,000 identifiers in under 20 minutes on two cores, the node beside its load
  province   as many rows as half of the free disk and of the memory hold

examples:
  idnode acceptance                                            smoke, on a node that it starts itself
  idnode acceptance --profile city --drills --steps            the whole run
  idnode acceptance --drills flooding,cache_killed             smoke with two of the seven faults
  idnode acceptance --url https://id.example.com --key iid_... --profile smoke
  idnode acceptance --resume reports/acceptance-20260912-0830  go on after a break
  idnode acceptance compare reports/A reports/B                two runs side by side

It ends with result.json in its directory, and the report beside it. Exit status: 0 pass, 1 fail, 2 incomplete.
A run against a node of yours registers goods under the key's prefix, and leaves them there.
"""


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="idnode acceptance",
        description="验收测试：在一条命令里登记、解析、扫码，并逐条核对应答 · "
        "a day of a node as load, each answer checked, with a report to sign",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    where = parser.add_argument_group("which node")
    where.add_argument("--url", default="", help="a node that runs already; without it one is started and stopped")
    where.add_argument("--key", default=os.environ.get("IDNODE_KEY", ""), help="API key there (or IDNODE_KEY)")
    where.add_argument(
        "--ca",
        type=Path,
        metavar="FILE",
        help="PEM of the authority that issued the node's certificate, if a private one",
    )
    where.add_argument("--workers", type=int, default=0, help="worker processes of the own node (one for each core)")
    what = parser.add_argument_group("what")
    what.add_argument("--profile", choices=(*PROFILES, "province"), default="smoke")
    what.add_argument("--seed", type=int, default=1, help="the same seed asks the same things at the same times (1)")
    what.add_argument(
        "--drills", nargs="?", const=",".join(DRILLS), default="", metavar="NAMES",
        help=f"with faults, all or some of: {', '.join(DRILLS)}",
    )  # fmt: skip
    what.add_argument("--steps", action="store_true", help="raise the rate until it saturates, and beyond")
    what.add_argument("--rows", type=int, default=0, help="instead of the profile's")
    what.add_argument("--seconds", type=float, default=0.0, help="of the day, instead of the profile's")
    what.add_argument("--rate", type=float, default=0.0, help="resolutions a second, instead of the profile's")
    what.add_argument("--generators", type=int, default=0, help="Locust workers (one for two cores)")
    what.add_argument("--users", type=Path, help="a locustfile of yours that extends loadtest/acceptance/locustfile.py")
    out = parser.add_argument_group("where the results go")
    out.add_argument("--out", type=Path, help="directory (reports/acceptance-<time>)")
    out.add_argument("--resume", type=Path, metavar="DIR", help="go on with the run of this directory")
    out.add_argument("--quiet", action="store_true", help="no progress view")
    given = parser.parse_args(argv)
    if given.url and not given.key:
        parser.error("--url needs --key (or IDNODE_KEY)")
    if unknown := set(filter(None, given.drills.split(","))) - set(DRILLS):
        parser.error(f"--drills: no such drill: {', '.join(sorted(unknown))}; there are {', '.join(DRILLS)}")
    if given.url and given.drills:
        parser.error("--drills: only on a node that the run starts itself, without --url")
    if given.ca and not given.ca.is_file():
        parser.error(f"--ca: {given.ca} is no file")
    if given.resume and not (given.resume / "state.json").exists():
        parser.error(f"--resume: {given.resume} has no state.json")
    if min(given.rows, given.seconds, given.rate, given.generators, given.workers) < 0:
        parser.error("numbers must not be negative")
    return given


def main(argv: Sequence[str] | None = None) -> int:
    """Run; the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["compare"]:
        return _compare(words[1:])
    given = _arguments(words)
    if given.ca:
        os.environ["SSL_CERT_FILE"] = str(given.ca.resolve())  # OpenSSL's own name for it: the generators heed it too
    folder = given.resume or given.out or Path("reports") / f"acceptance-{now():%Y%m%d-%H%M%S}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)  # the servers' unprivileged uid passes through
        book = Book.open(folder, _fresh(given))
    except OSError as error:
        print(f"idnode acceptance: {folder}: {error}", file=sys.stderr)
        return _EXIT["incomplete"]
    given = _as_begun(given, book.state)
    return _run(given, book)


def _fresh(given: argparse.Namespace) -> dict[str, Any]:
    return {
        "profile": given.profile, "seed": given.seed, "command": command(), "own_node": not given.url,
        "url": given.url, "started": now().isoformat(timespec="seconds"),
        "drills": given.drills,
        "steps": given.steps,
        "size": {"rows": given.rows, "seconds": given.seconds, "rate": given.rate},
        "generators": given.generators or max(1, (os.cpu_count() or 1) // 2),
    }  # fmt: skip


def _as_begun(given: argparse.Namespace, state: dict[str, Any]) -> argparse.Namespace:
    """A resumed run is of the size that it was begun with; its oracles belong to that many generators."""
    given.profile, given.seed, given.generators = state["profile"], state["seed"], state["generators"]
    given.drills, given.steps = given.drills or state["drills"], given.steps or state["steps"]
    for name, value in state["size"].items():
        setattr(given, name, value)
    if not state["own_node"]:
        given.url = given.url or state["url"]
    return given


def _run(given: argparse.Namespace, book: Book) -> int:
    start = monotonic() - book.state["elapsed"]
    progress = Progress(start, given.quiet)
    profile = profile_of(given.profile, book.folder, given.rows, given.seconds, given.rate)
    options = Options(
        given.url, given.key, profile, given.seed, tuple(filter(None, given.drills.split(","))), given.steps,
        given.generators, given.workers or (os.cpu_count() or 1), given.users, 1.0 if given.profile == "smoke" else 5.0,
    )  # fmt: skip
    try:
        asyncio.run(Run(options, book, progress).go())
    except Incomplete as error:
        book.incomplete(error.zh, error.en)
    except KeyboardInterrupt:
        book.incomplete("被人中断", "it was interrupted")
    except (OSError, httpx.HTTPError, RuntimeError, ExceptionGroup) as error:
        book.incomplete(f"{type(error).__name__}：{error}", f"{type(error).__name__}: {error}")
    if book.why:
        with suppress(OSError):  # then there is nothing to resume, and the report says why
            book.break_off(monotonic() - start)
    return _report(book, progress)


def _report(book: Book, progress: Progress) -> int:
    """Judge, write, say where it lies. Nothing that goes wrong here makes a pass of what was none."""
    result = book.result(now())
    _filled(result)
    try:
        book.write(result)
        written = _written(result, book.folder)
    except OSError as error:
        print(f"idnode acceptance: {book.folder}: {error}", file=sys.stderr)
        result["verdict"], written = "incomplete", []
    words = {"pass": "通过 PASS", "fail": "不通过 FAIL", "incomplete": "未完成 INCOMPLETE"}
    progress.end()
    print(words[result["verdict"]])
    for reason in result["why"]:
        print(f"  {reason['zh']} / {reason['en']}")
    for path in dict.fromkeys([book.folder / "result.json", *written]):
        print(f"  {path}")
    return _EXIT[result["verdict"]]


def _filled(result: dict[str, Any]) -> None:
    """Thresholds and chapters, where that part is installed. A run with a wrong answer or without its end never
    passes, whatever they say."""
    before = result["verdict"]
    why = list(result["why"])
    thresholds, chapters = _part("thresholds"), _part("chapters")
    if thresholds is None or chapters is None:
        return
    thresholds.judge(result)
    chapters.fill(result)
    if before == "incomplete" or (before == "fail" and result["verdict"] == "pass"):
        result["verdict"] = before
    result["why"] += [reason for reason in why if reason not in result["why"]]


def _written(result: dict[str, Any], folder: Path) -> list[Path]:
    report = _part("report")
    found: list[Path] = report.write(result, folder) if report else []
    return found


def _part(name: str) -> Any:
    """A module of the report, or None where it is not there."""
    try:
        return importlib.import_module(f"loadtest.acceptance.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"loadtest.acceptance.{name}":
            raise
        return None


def _compare(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="idnode acceptance compare", description="two runs side by side")
    parser.add_argument("a", metavar="A", help="directory or result.json of the first run")
    parser.add_argument("b", metavar="B", help="of the second")
    given = parser.parse_args(words)
    compare = _part("compare")
    if compare is None:
        print("idnode acceptance compare: not in this build", file=sys.stderr)
        return _EXIT["incomplete"]
    return int(compare.main(given.a, given.b))


if __name__ == "__main__":
    with suppress(BrokenPipeError):
        sys.exit(main())
