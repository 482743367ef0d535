"""What each handle must be at a moment. A read that began after a write was acknowledged shows nothing older; a read
beside a write may show both; what nobody sent, nothing shows.

Versions count from 1 (as imported or registered); 0 is a handle that does not exist yet. One writer at a time for each
handle, in the generator that owns its lot: the order of its writes is known.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import orjson

from loadtest.acceptance.firms import PUBLIC, Batch, Firm

NEVER = float("inf")


@dataclass(slots=True)
class Written:
    """One register: the times (s, monotonic) of its writes after the first state. `acknowledged` may be never."""

    first: int  # the version before all writes
    writes: list[list[float]] = field(default_factory=list)  # [invoked, acknowledged] of versions first + 1, ...
    frozen: bool = False  # a write of unknown outcome: nobody writes it again

    @property
    def latest(self) -> int:
        """The highest version that was sent."""
        return self.first + len(self.writes)

    def sent(self, now: float) -> int:
        """A write begins; its version."""
        self.writes.append([now, NEVER])
        return self.latest

    def acknowledged(self, version: int, now: float) -> None:
        self.writes[version - self.first - 1][1] = now

    def refused(self, version: int) -> None:
        """It is certain that the last write was not carried out."""
        assert version == self.latest
        self.writes.pop()

    def allowed(self, begun: float, ended: float) -> tuple[int, int]:
        """The least and the highest version that a read of this time may show."""
        low = high = self.first
        for n, (invoked, acknowledged) in enumerate(self.writes, self.first + 1):
            if acknowledged < begun:
                low = n
            if invoked <= ended:
                high = n
        return low, high


Fault = tuple[str, object, object]  # kind, expected, got
Key = tuple[int, int] | str


class Oracle:
    """Of one generator. Items never written here are version 1, lots never recalled are active."""

    def __init__(self) -> None:
        self.items: dict[tuple[int, int], Written] = {}
        self.lots: dict[str, Written] = {}
        self.lot_of: dict[tuple[int, int], str] = {}  # of items that were registered one by one
        self.journal: TextIO | None = None  # what is sent is written down before, so that a resumed run knows it

    def item(self, firm: Firm, number: int, first: int = 1) -> Written:
        return self.items.setdefault((firm.index, number), Written(first))

    def lot(self, batch: Batch) -> Written:
        return self.lots.setdefault(batch.lot, Written(0))

    def sent(self, key: Key, known: Written, now: float) -> int:
        """A write begins, of an item (firm, number) or a lot; its version."""
        version = known.sent(now)
        self._note("sent", key, version, known.first, self.lot_of.get(key, "") if isinstance(key, tuple) else "")
        return version

    def acknowledged(self, key: Key, known: Written, version: int, now: float) -> None:
        known.acknowledged(version, now)
        self._note("acknowledged", key, version, known.first, "")

    def _note(self, *line: object) -> None:
        if self.journal is not None:
            self.journal.write(orjson.dumps(line).decode() + "\n")
            self.journal.flush()

    def replay(self, lines: Iterable[str]) -> None:
        """What a phase wrote that was broken off: acknowledged is certain, sent is one or the other."""
        touched = []
        for line in lines:
            what, key, version, first, lot = orjson.loads(line)
            if isinstance(key, str):
                known = self.lots.setdefault(key, Written(first))
            else:
                known = self.items.setdefault((key[0], key[1]), Written(first))
                if lot:
                    self.lot_of[key[0], key[1]] = lot
            while known.latest < version:
                known.writes.append([0.0, NEVER])
            if what == "acknowledged":
                known.acknowledged(version, 0.0)
            touched.append(known)
        for known in touched:
            known.frozen = bool(known.writes) and known.writes[-1][1] == NEVER

    def may_be(self, firm: Firm, number: int, begun: float, ended: float, first: int = 1) -> tuple[int, int]:
        known = self.items.get((firm.index, number))
        return known.allowed(begun, ended) if known else (first, first)

    def absent(self, firm: Firm, number: int, begun: float, ended: float, first: int = 1) -> Fault | None:
        """Judges an answer that there is no such handle."""
        low, high = self.may_be(firm, number, begun, ended, first)
        return None if low == 0 else ("lost", f"version {low} to {high}", "no such handle")

    def record(
        self, firm: Firm, number: int, lot: str, record: dict[str, Any], begun: float, ended: float, first: int = 1
    ) -> Fault | None:
        """Judges a public record: whose it is, which version, whether that version's content, and its lot's state."""
        handle = firm.handle(number)
        if record.get("handle") != handle:
            return "wrong", handle, record.get("handle")
        version = record.get("version")
        if not isinstance(version, int):
            return "wrong", "a version", version
        if fault := self.version(firm, number, version, begun, ended, first):
            return fault
        own = {k: v for k, v in firm.content(number, version).items() if k in PUBLIC[firm.trade]}
        shown = record.get("attributes", {})
        if not own or any(shown.get(k) != v for k, v in own.items()):
            return "wrong", own, {k: shown.get(k) for k in own}
        values = [v["data"].get("value") for v in record.get("values", []) if v.get("type") == "URL"]
        if values != ([firm.address(number, version)] if version > 1 else []):
            return "wrong", firm.address(number, version) if version > 1 else "no URL", values
        return self.state(lot, str(record.get("status")), begun, ended)

    def version(
        self, firm: Firm, number: int, version: int, begun: float, ended: float, first: int = 1
    ) -> Fault | None:
        low, high = self.may_be(firm, number, begun, ended, first)
        if version < low:
            return "stale", f"version {low} to {high}", f"version {version}"
        return None if version <= high else ("wrong", f"version {low} to {high}", f"version {version}")

    def state(self, lot: str, status: str, begun: float, ended: float) -> Fault | None:
        """A lot is active at even versions and recalled at odd ones."""
        known = self.lots.get(lot)
        low, high = known.allowed(begun, ended) if known else (0, 0)
        expected = {("active", "recalled")[v % 2] for v in range(low, high + 1)}
        if status in expected:
            return None
        kind = "stale" if status in ("active", "recalled") and known and known.writes else "wrong"
        return kind, " or ".join(sorted(expected)), status

    def dump(self) -> bytes:
        """What the next phase, the sweep and a resumed run must know; moments are over by then."""
        return orjson.dumps(
            {
                "items": [[*key, *_kept(w), self.lot_of.get(key, "")] for key, w in self.items.items()],
                "lots": [[lot, *_kept(w)] for lot, w in self.lots.items()],
            }
        )

    @classmethod
    def load(cls, raw: bytes) -> Oracle:
        made, kept = cls(), orjson.loads(raw)
        for firm, number, low, high, lot in kept["items"]:
            made.items[firm, number] = _again(low, high)
            if lot:
                made.lot_of[firm, number] = lot
        for lot, low, high in kept["lots"]:
            made.lots[lot] = _again(low, high)
        return made


def _kept(written: Written) -> tuple[int, int]:
    return written.allowed(NEVER, NEVER) if written.writes else (written.first, written.first)


def _again(low: int, high: int) -> Written:
    """Long ago: between `low` and `high` nobody knows; that one is not written again."""
    return Written(low, [[0.0, NEVER] for _ in range(high - low)], frozen=high > low)


def kept_part(folder: Path, number: int) -> Oracle:
    """What generator `number` knows: of the phases that it finished, and by its journal of one that was broken off."""
    path = folder / f"oracle-{number}.json"
    found = Oracle.load(path.read_bytes()) if path.exists() else Oracle()
    journal = folder / f"journal-{number}.ndjson"
    if journal.exists():
        lines = journal.read_text("utf-8").split("\n")
        found.replay(lines[:-1])  # the last is empty, or was being written when it ended: then nothing was sent
    return found


def keep_part(folder: Path, number: int, oracle: Oracle) -> None:
    """A phase is whole. Raises OSError where the disk is full; the journal stays then."""
    path = folder / f"oracle-{number}.json"
    scratch = path.with_suffix(".new")
    scratch.write_bytes(oracle.dump())
    scratch.rename(path)
    (folder / f"journal-{number}.ndjson").unlink(missing_ok=True)
