"""The machine under a benchmark, weighed as a server's is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

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


def stolen() -> float:
    """Seconds that the host has taken from this machine's cores since it started (proc_stat(5), steal)."""
    with suppress(OSError, IndexError, ValueError):
        return int(Path("/proc/stat").read_text().split(maxsplit=9)[8]) / os.sysconf("SC_CLK_TCK")
    return 0.0


def _now() -> str:
    with suppress(OSError):
        return _AUTOGROUPS.read_text().strip()
    return "0"  # a kernel without them
