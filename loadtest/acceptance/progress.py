"""The view while a run lasts: phase, seconds left, rate, p99, errors, wrong answers; one line, on standard error."""

from __future__ import annotations

import sys
from time import monotonic
from typing import TextIO

from loadtest.acceptance.tally import Tally

_EVERY = 10.0  # s between lines where nobody looks at a terminal


class Progress:
    """`quiet` says nothing."""

    def __init__(self, start: float, quiet: bool = False, out: TextIO = sys.stderr) -> None:
        self._out, self._quiet, self.start = out, quiet, start
        self._live = out.isatty()
        self._told = 0.0
        self._phase, self._ends = "", 0.0

    def phase(self, zh: str, en: str, seconds: float = 0.0) -> None:
        """A phase begins, which takes about so long (0: nobody knows)."""
        self._phase, self._ends = f"{zh} {en}", monotonic() + seconds if seconds else 0.0
        self._told = 0.0
        self._line(f"{self._phase} …", whole=True)

    def load(self, tally: Tally) -> None:
        """How the load stands: figures of the last whole seconds."""
        last = max(tally.seconds, default=0)
        now = tally.whole(last - 5, last)
        seconds = min(5, max(1, len([t for t in tally.seconds if last - 5 <= t < last])))
        p99 = f"{now.percentile(0.99):.0f}" if now.n else "–"
        errors = sum(count for count, _ in tally.errors.values())
        self._line(
            f"{self._phase} · 剩 left {self._left()} · {now.n / seconds:,.0f}/s · p99 {p99} ms"
            f" · 错误 errors {errors} · 错答 wrong {tally.wrong_count}"
        )

    def count(self, what: str, done: int, total: int, seconds: float) -> None:
        """How an import stands."""
        rate = done / seconds if seconds else 0.0
        left = f"{(total - done) / rate:,.0f} s" if rate else "?"
        self._line(f"{self._phase} · {done:,}/{total:,} {what} · {rate:,.0f}/s · 剩 left {left}")

    def end(self) -> None:
        """The last line stays."""
        if self._live and not self._quiet:
            self._out.write("\n")

    def _left(self) -> str:
        return f"{max(0.0, self._ends - monotonic()):.0f} s" if self._ends else "?"

    def _line(self, text: str, whole: bool = False) -> None:
        if self._quiet:
            return
        now = monotonic()
        at = f"{now - self.start:6.0f} s  "
        if self._live:
            self._out.write("\r\x1b[K" + at + text + ("\n" if whole else ""))
        elif whole or now - self._told >= _EVERY:
            self._told = now
            self._out.write(at + text + "\n")
        self._out.flush()
