"""How long one may wait in a queue: long where it empties now and then, as after a moment's pause; short where it only
stands, for then everybody behind would wait as long and leave as empty-handed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

_STANDS = 2.0  # times the short patience without a moment in which nobody waited


class Standing:
    """Of one queue."""

    def __init__(self) -> None:
        self._waiting = 0
        self._since = 0.0  # when it was empty last

    def stands(self, short: float) -> bool:
        """Whether it has not been empty for so long that who joins now may wait `short` only."""
        return bool(short and self._waiting) and time.monotonic() - self._since > _STANDS * short

    @contextmanager
    def patience(self, most: float, short: float) -> Iterator[float]:
        """The seconds that one who joins now may wait: `most`, or `short` where it stands; 0 for `short`: never."""
        now = time.monotonic()
        if not self._waiting:
            self._since = now
        self._waiting += 1
        try:
            yield min(most, short) if self.stands(short) else most
        finally:
            self._waiting -= 1
