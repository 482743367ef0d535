"""What a row says: its own content, with its lot's merged in, as the record that one reader may see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import orjson

from node.errors import HandleGone
from node.model import Interval, IntervalState, Kind, Prefix, PrefixStatus, Row, Status
from node.templates import Compiled

DEFAULT_TTL = 86_400  # s; Handle.Net's default
DEFAULT_PERMISSIONS = "1110"  # admin read, admin write, public read, public write


Parts = tuple[dict[str, Any], list[dict[str, Any]]]  # attributes, other values; read, never changed
_NO_PARTS: Parts = ({}, [])

_INTERVAL_WORDS = {
    IntervalState.RESERVED: "unshipped",
    IntervalState.ACTIVATED: "active",
    IntervalState.VOID: "void",
    IntervalState.RECALLED: "recalled",
}
_STRICTEST = ("tombstone", "recalled", "void", "unshipped", "suspended", "active")


def pack(attributes: Mapping[str, Any], values: Sequence[dict[str, Any]]) -> bytes:
    """Canonical content: sorted keys, empty members left out. Equal content is equal bytes."""
    content: dict[str, Any] = {}
    if attributes:
        content["attributes"] = attributes
    if values:
        content["values"] = values
    return orjson.dumps(content, option=orjson.OPT_SORT_KEYS) if content else b""


def unpack(content: bytes) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    loaded = orjson.loads(content) if content else {}
    return loaded.get("attributes", {}), loaded.get("values", [])


def is_public(value: Mapping[str, Any]) -> bool:
    """Whether a handle value may be read by anybody: the third permission, public read."""
    return bool(value.get("permissions", DEFAULT_PERMISSIONS)[2] == "1")


@dataclass(slots=True)
class Resolved:
    """A handle that exists, with all that its record is made of. `level` is what the reader may see."""

    handle: str
    prefix: Prefix
    row: Row
    lot: Row | None
    compiled: Compiled | None
    level: str = "public"
    interval: Interval | None = None  # that holds a minted serial
    # Contents, where they are parsed already: the same row is the same record, whether or not anybody looked at it.
    lot_parts: Parts | None = field(default=None, repr=False, compare=False)
    _own: Parts | None = field(default=None, repr=False, compare=False)

    @property
    def status(self) -> str:
        """The strictest of item, lot, interval and prefix: a recalled lot recalls its items."""
        words = {self.row.status.word}
        if self.lot is not None:
            words.add(self.lot.status.word)
        if self.interval is not None:
            words.add(_INTERVAL_WORDS[self.interval.state])
        if self.prefix.status != PrefixStatus.ENABLED:
            words.add("suspended")
        return words.pop() if len(words) == 1 else next(word for word in _STRICTEST if word in words)

    @property
    def reason(self) -> str:
        """Why the strictest of them is not active, in the words of who decided it."""
        if self.status in ("active", "suspended", "unshipped"):
            return ""
        if self.status == self.row.status.word:
            return self.row.reason
        if self.lot and self.status == self.lot.status.word:
            return self.lot.reason
        return self.interval.reason if self.interval else ""

    @property
    def parts(self) -> tuple[Parts, Parts]:
        """(own attributes and values, the lot's), parsed once."""
        if self._own is None:
            self._own = unpack(self.row.content)
        if self.lot_parts is None:
            self.lot_parts = unpack(self.lot.content) if self.lot else _NO_PARTS
        return self._own, self.lot_parts

    @property
    def attributes(self) -> dict[str, Any]:
        """The lot's attributes with the item's own over them, in template order, as far as they may be seen."""
        (own, _), (lots, _) = self.parts
        merged = {**lots, **own} if lots else own
        return self.compiled.view(merged, self.level) if self.compiled else merged

    @property
    def values(self) -> list[dict[str, Any]]:
        """Handle values other than attributes; an index of the item hides the same one of its lot."""
        (_, own), (_, lots) = self.parts
        if lots:
            merged = {v["index"]: v for v in (*lots, *own)}
            own = [merged[i] for i in sorted(merged)]
        stamp = iso(self.row.updated_at)
        return [value_document(v, stamp) for v in own if self.level == "private" or is_public(v)]

    def record(self) -> dict[str, Any]:
        """The record as architecture.md 4 gives it; what the reader may not see is absent."""
        return {
            "handle": self.handle,
            "kind": "lot" if self.row.kind == Kind.LOT else "item",
            "status": self.status,
            "template": self.compiled.template.name if self.compiled else None,
            "attributes": self.attributes,
            "values": self.values,
            "lot": f"{self.prefix.prefix}/{self.row.lot}" if self.row.lot else None,
            "registrant": {
                "name": self.prefix.registrant_name,
                "industry": self.prefix.industry,
                "county": self.prefix.county,
            },
            "version": self.row.version,
            "updated_at": iso(self.row.updated_at),
        }

    @property
    def is_gone(self) -> bool:
        return self.row.status == Status.TOMBSTONE


def values_of_record(record: Mapping[str, Any], compiled: Compiled | None) -> list[dict[str, Any]]:
    """All values of a record as Handle.Net's JSON has them: attributes from index 2000 on, the others beside them."""
    stamp = record["updated_at"]
    indexed = compiled.indexed(record["attributes"]) if compiled else []
    attributes = [value_document({**v, "data": {"format": "string", "value": v["data"]}}, stamp) for v in indexed]
    return sorted([*record["values"], *attributes], key=lambda v: int(v["index"]))


def value_document(value: Mapping[str, Any], stamp: str) -> dict[str, Any]:
    """A handle value in the form of Handle.Net's HTTP JSON API (handle-protocol.md 4.8)."""
    document = {
        "index": value["index"],
        "type": value["type"],
        "data": value["data"],
        "ttl": value.get("ttl", DEFAULT_TTL),
        "timestamp": stamp,
    }
    permissions = value.get("permissions", DEFAULT_PERMISSIONS)
    if permissions != DEFAULT_PERMISSIONS:
        document["permissions"] = permissions
    return document


def iso(seconds: float) -> str:
    """RFC 3339 in UTC, to the second."""
    return _iso(int(seconds))


@lru_cache(4096)  # rows of one import share a few seconds, and a look-up costs a tenth of writing one
def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def gone(handle: str, row: Row) -> HandleGone:
    """The refusal that a tombstone is answered with."""
    return HandleGone.of(
        handle=handle,
        reason=row.reason,
        successor=row.successor or None,
        deleted_at=iso(row.updated_at),
        version=row.version,
    )


def gone_again(datum: Mapping[str, Any]) -> HandleGone:
    """The same from what was kept of it."""
    return HandleGone.of(**datum)
