"""Two pytest processes that share the suite (`make test`): each takes the next file that the other has not taken.

A test waits for servers and processes half of its time, so two of them side by side end in little more than half the
time on two cores. Each process has servers of its own: nothing is shared but the list of what was taken.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import pytest

_ALWAYS = "test_zz_"  # about all that this process has done


# Taken out: a pytest that a test starts is none of the two.
_NAMED = os.environ.pop("TESTS_SHARED", "")


def folder() -> Path | None:
    """Where the two tell each other what they took; None for a process that runs all."""
    return Path(_NAMED) if _NAMED else None


def run(session: pytest.Session, taken: Path) -> bool:
    """In the place of pytest's own loop over all that was collected."""
    items = _ours(session.items, taken)
    item = next(items, None)
    while item is not None:
        following = next(items, None)  # whose fixtures it is that stay open
        session.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)
        item = following
    return True


def _ours(items: Sequence[pytest.Item], taken: Path) -> Iterator[pytest.Item]:
    for path, group in groupby(items, lambda item: item.path):
        if path.name.startswith(_ALWAYS) or _take(taken / path.name):
            yield from group


def _take(mark: Path) -> bool:
    try:
        os.close(os.open(mark, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        return False
    return True
