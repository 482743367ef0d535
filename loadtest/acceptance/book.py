"""What a run knows, on disk after each phase: state.json to go on with, result.json for the report."""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from loadtest.acceptance.tally import Spread, Tally

FORMAT = "idnode-acceptance/1"
_BALLAST = 4 * 2**20  # bytes kept free for the last word of a run whose disk got full


@dataclass
class Book:
    """`done` has what each finished phase found; only a phase that is whole gets there."""

    folder: Path
    state: dict[str, Any] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)
    resources: list[dict[str, Any]] = field(default_factory=list)
    phases: list[dict[str, Any]] = field(default_factory=list)
    why: list[dict[str, str]] = field(default_factory=list)  # that it is incomplete

    @classmethod
    def open(cls, folder: Path, fresh: dict[str, Any]) -> Book:
        """A book that was begun before goes on where it stopped; else a new one."""
        folder.mkdir(parents=True, exist_ok=True)
        ballast = folder / ".ballast"
        if not ballast.exists():
            ballast.write_bytes(bytes(_BALLAST))
        path = folder / "state.json"
        if not path.exists():
            return cls(folder, {"done": {}, "elapsed": 0.0, **fresh})
        state = json.loads(path.read_text("utf-8"))
        book = cls(folder, state)
        book.resources, book.phases = state.pop("resources", []), state.pop("phases", [])
        if (folder / "tally.json").exists():
            book.tally = Tally.unpacked(json.loads((folder / "tally.json").read_text("utf-8")))
        return book

    def finish(self, name: str, found: Any, elapsed: float) -> None:
        """A phase is whole. Raises OSError where the disk is full."""
        self.state["done"][name] = found
        self.state["elapsed"] = elapsed
        _write(self.folder / "tally.json", self.tally.packed())
        self._keep(self.phases)

    def _keep(self, phases: list[dict[str, Any]]) -> None:
        _write(self.folder / "state.json", {**self.state, "resources": self.resources, "phases": phases}, 0o600)

    def break_off(self, elapsed: float) -> None:
        """A phase was not finished: when it is done again its times count from then, its wrong answers from now."""
        path = self.folder / "tally.json"
        before = Tally.unpacked(json.loads(path.read_text("utf-8"))) if path.exists() else Tally()
        before.wrong, before.wrong_count = self.tally.wrong, self.tally.wrong_count
        self.state["elapsed"] = elapsed
        _write(path, before.packed())
        self._keep([p for p in self.phases if p["name"] in self.state["done"]])

    def incomplete(self, zh: str, en: str) -> None:
        self.why.append({"zh": f"未完成：{zh}", "en": f"Incomplete: {en}"})

    def result(self, ended: datetime) -> dict[str, Any]:
        """The document of the contract; what is not known is empty or null."""
        done, tally = self.state["done"], self.tally
        drills, steps = done.get("drills", {}), done.get("steps", {})
        faults = _faults(tally.wrong_count, done.get("sweep", {}).get("ledger", {}), drills.get("drills", []))
        return {
            "format": FORMAT,
            "verdict": "incomplete" if self.why else "fail" if faults else "pass",
            "why": [*self.why, *faults] if "sweep" in done or tally.wrong_count else list(self.why) or faults,
            "run": {
                **{k: self.state.get(k) for k in ("profile", "seed", "command", "started", "url", "own_node")},
                "ended": ended.isoformat(timespec="seconds"),
                "phases": self.phases,
            },
            "machine": machine(self.folder),
            "versions": versions() | done.get("prepare", {}).get("versions", {}),
            "generator": {
                **(done.get("calibrate") or {"requests_per_core": None, "wanted": 5000}),
                "late": tally.late,
                "latest_ms": round(tally.latest * 1000, 1),
                "stalls": self.state.get("stalls", []),
            },
            "thresholds": [],
            "series": tally.series(),
            "calls": {call: s.figures(True) for call, s in tally.calls().items()},
            "day": {call: s.figures(True) for call, s in self._day().items()},
            "industries": {name: s.figures(True) for name, s in tally.industries.items() if name != "none"},
            "errors": [
                {"cause": cause, "call": call, "n": n, "example": example}
                for (cause, call), (n, example) in sorted(tally.errors.items())
            ],
            "wrong": tally.wrong,
            "ledger": done.get("sweep", {}).get("ledger", _EMPTY_LEDGER),
            "sweep": done.get("sweep", {}).get("sweep", {"checked": None, "wrong": None}),
            "resources": self.resources,
            "database": done.get("sweep", {}).get("database", _EMPTY_DATABASE),
            "drills": drills.get("drills", []),
            "steps": steps.get("steps", []),
            "knee": steps.get("knee"),
            "chapters": [],
        }

    def _day(self) -> dict[str, Spread]:
        """By call, over the day alone: what its limits are held against."""
        found: dict[str, Spread] = {}
        for phase in self.phases:
            if phase["name"] == "day":
                last = phase["to"]
                found = self.tally.calls(int(phase["from"]), 2**31 if last is None else math.ceil(last))
        return found

    def write(self, result: dict[str, Any]) -> None:
        """result.json; where the disk is full, in the room that was kept for it."""
        path = self.folder / "result.json"
        try:
            _write(path, result)
        except OSError as error:
            (self.folder / ".ballast").unlink(missing_ok=True)
            result["verdict"] = "incomplete"
            result["why"].insert(0, {"zh": f"未完成：发生器无法写盘（{error}）",
                                     "en": f"Incomplete: the generator cannot write ({error})"})  # fmt: skip
            short = {**result, "series": [], "resources": []} if len(json.dumps(result)) > _BALLAST / 2 else result
            _write(path, short)


_EMPTY_LEDGER: dict[str, Any] = dict.fromkeys(
    ("sent", "created", "unchanged", "conflict", "rejected", "rows", "counters")
) | {"balanced": False}
_EMPTY_DATABASE: dict[str, Any] = dict.fromkeys(("before_mib", "after_mib", "items", "bytes_per_item"))


def _faults(wrong: int, ledger: dict[str, Any], drills: list[dict[str, Any]]) -> list[dict[str, str]]:
    """What no speed makes good."""
    found = []
    if wrong:
        found.append({"zh": f"{wrong} 个应答与事实不符", "en": f"{wrong} answers were not what the handles were"})
    if not ledger.get("balanced"):
        found.append({"zh": "账目不平", "en": "the ledger does not balance"})
    for drill in drills:
        if drill["held"] is False:
            found.append({"zh": f"演练未守住：{drill['zh']}", "en": f"the drill was not held: {drill['en']}"})
    return found


def _write(path: Path, document: Any, mode: int = 0o644) -> None:
    """Whole or not at all."""
    scratch = path.with_name(path.name + ".new")
    with suppress(FileNotFoundError):
        scratch.unlink()
    try:
        scratch.touch(mode)
        # Half a surrogate out of a node's answer is written as JSON's own escape: the run ends with what it knows.
        scratch.write_text(json.dumps(document, ensure_ascii=False), "utf-8", errors="backslashreplace")
    except OSError:
        with suppress(OSError):
            scratch.unlink()
        raise
    scratch.rename(path)


def machine(folder: Path) -> dict[str, Any]:
    """Where the run was made."""
    cpu = ""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {"cpus": os.cpu_count(), "cpu": cpu or platform.machine(), "memory_gib": round(memory, 1),
            "os": platform.platform(), "disk_free_gib": round(shutil.disk_usage(folder).free / 2**30, 1)}  # fmt: skip


def versions() -> dict[str, Any]:
    """Of what runs here; of the node's servers only the run that started them knows."""
    found: dict[str, Any] = {"python": platform.python_version(), "postgresql": None, "valkey": None}
    for name in ("idnode", "locust"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def now() -> datetime:
    return datetime.now(UTC).astimezone()


def command() -> str:
    """The command line, without its key."""
    words = list(sys.argv)
    for n, word in enumerate(words):
        if word == "--key" and n + 1 < len(words):
            words[n + 1] = "..."
        elif word.startswith("--key="):
            words[n] = "--key=..."
    return " ".join(["idnode acceptance", *words[1:]])
