"""How much of a day is put on a node: smoke (two minutes), city (5,000,000 identifiers), province (what it holds)."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from loadtest.acceptance.arrivals import Stream

# By name, as `--drills` takes them.
DRILLS = (
    "cache_killed", "cache_slow", "database_restarted", "worker_killed", "network_cut", "flooding", "disk_nearly_full"
)  # fmt: skip
_ITEM_BYTES = 700  # of disk for an item with indexes, log and history to come; measured 380 to 520 on five million
_MEMORY_ROWS = 2_000_000  # a GiB keeps the index pages of so many rows warm


@dataclass(frozen=True, slots=True)
class Profile:
    """`rows` of all imports; `rate` is the day's plain resolutions a second; a wave lifts scans to `peak` a second."""

    name: str
    rows: int
    firms: int
    day_seconds: float
    rate: float
    peak: float
    single_rate: float  # registrations from production lines a second
    step_seconds: float = 5.0
    step_first: float = 500.0
    drill_seconds: float = 20.0
    sweep_all: bool = True  # by resolving; else a sample besides the export

    @property
    def streams(self) -> list[Stream]:
        """The day by call. Scans come in three waves, harvest, festival and sale: the last is the steepest."""
        t, rate, peak = self.day_seconds, self.rate, self.peak
        calm = peak / 8
        waves = [(0.0, calm), (0.10, calm), (0.22, peak * 0.6), (0.34, calm), (0.46, calm), (0.56, peak * 0.8),
                 (0.66, calm), (0.76, calm), (0.79, peak), (0.85, peak), (0.92, calm), (1.0, calm)]  # fmt: skip
        scans = [(share * t, value) for share, value in waves]
        flat = [
            ("resolve", rate),
            ("batch_resolve", rate / 50),
            ("unknown", rate * 0.02),
            ("malformed", rate * 0.01),
            ("register", self.single_rate),
            ("update", self.single_rate / 2),
            ("replay", self.single_rate / 10),
            ("recall", max(0.2, self.single_rate / 50)),
        ]
        made = [Stream(call, [(0.0, value), (t, value)]) for call, value in flat]
        made.append(Stream("scan", scans))
        made.append(Stream("claim", [(at, value * 0.6) for at, value in scans]))
        return made


PROFILES = {
    "smoke": Profile("smoke", 20_000, 9, 60.0, 120.0, 120.0, 6.0, step_seconds=4.0, step_first=200.0,
                     drill_seconds=14.0),
    # An average node has 5.8 requests a second (90 million a day over 180 nodes); 400 with waves of 400 scans besides
    # are the load of a burst, held for eight minutes. Imports give way to readers, so what of the day an
    # import may touch is a twentieth and not a fifth; with all else the run stays under 20 minutes.
    # Of the rows 3.8 % are repeated, contradict others or are wrong: 5,000,000 of them left 4,820,062 identifiers.
    "city": Profile("city", 5_250_000, 60, 480.0, 400.0, 400.0, 20.0, step_seconds=8.0, drill_seconds=25.0,
                    sweep_all=False),
}  # fmt: skip


def province(folder: Path) -> Profile:
    """As many rows as half of the free disk and of the memory hold; at least a city's tenth, for small machines."""
    free = shutil.disk_usage(folder).free
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    rows = int(min(free / 2 / _ITEM_BYTES, memory / 2 / 2**30 * _MEMORY_ROWS))
    cores = os.cpu_count() or 1
    rows = max(500_000, min(rows, 400_000_000))
    return replace(
        PROFILES["city"], name="province", rows=rows, firms=200, day_seconds=900.0, rate=200.0 * cores,
        peak=200.0 * cores, single_rate=10.0 * cores,
    )  # fmt: skip


def profile_of(name: str, folder: Path, rows: int = 0, seconds: float = 0.0, rate: float = 0.0) -> Profile:
    """The named profile; `rows`, `seconds` of the day and `rate` replace its own where they are given."""
    found = province(folder) if name == "province" else PROFILES[name]
    if rows:
        found = replace(found, rows=rows)
    if seconds:
        found = replace(found, day_seconds=seconds)
    if rate:
        found = replace(found, rate=rate, peak=rate, single_rate=max(1.0, rate / 20), step_first=rate)
    return found
