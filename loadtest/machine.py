"""The machine under a benchmark, weighed as a server's is."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

_SMALL = 1 << 20  # bytes
_MAP_LOCKED = 0x2000  # mmap(2), on x86 and ARM
_AUTOGROUPS = Path("/proc/sys/kernel/sched_autogroup_enabled")


@contextmanager
def without_autogroups() -> Iterator[bool]:
    """Processes weigh the same while the block runs, whatever session they belong to; whether it is so.

    Linux weighs the sessions of a terminal against each other (sched(7), autogroups), and each backend of PostgreSQL
    is a session of its own: it would weigh as much as the node and Valkey together, for slices of some milliseconds.
    Under systemd or in a container there are no autogroups, so this is what a server has. Needs root, else left as is.
    """
    before = ""
    with suppress(OSError):
        before = _AUTOGROUPS.read_text()
        _AUTOGROUPS.write_text("0")
    try:
        yield _now() == "0"
    finally:
        if before.strip() == "1":
            with suppress(OSError):
                _AUTOGROUPS.write_text(before)


@contextmanager
def in_memory(folder: Path) -> Iterator[int]:
    """The large files below a folder stay in the page cache while the block runs; how many bytes that are.

    A benchmark of reads would else measure the disk whenever the host takes back pages that nobody read for a while:
    within a minute of reads here and there 600 MB of 8 GB were gone, and a p99 of 5 ms became 500. Where the limit of
    locked memory (mlock(2)) does not allow it, nothing is held."""
    held = 0
    with ExitStack() as maps:
        for place, folders, names in os.walk(folder):
            if "pg_wal" in folders:  # written, not read
                folders.remove("pg_wal")
            for path in (Path(place, name) for name in names):
                # PostgreSQL is at work: any of them may be gone, or have been cut to nothing, since it was listed.
                with suppress(OSError, ValueError):
                    if path.stat().st_size >= _SMALL:
                        kept = maps.enter_context(_locked(path))
                        held += len(kept)
        yield held


def _locked(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, flags=mmap.MAP_SHARED | _MAP_LOCKED, prot=mmap.PROT_READ)


def stolen() -> float:
    """Seconds that the host has taken from this machine's cores since it started (proc_stat(5), steal)."""
    with suppress(OSError, IndexError, ValueError):
        return int(Path("/proc/stat").read_text().split(maxsplit=9)[8]) / os.sysconf("SC_CLK_TCK")
    return 0.0


def _now() -> str:
    with suppress(OSError):
        return _AUTOGROUPS.read_text().strip()
    return "0"  # a kernel without them
