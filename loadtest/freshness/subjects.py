"""What is read, and what an answer shows of each register: an item's record also shows its lot and its prefix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import orjson

from loadtest.freshness.history import History, Register, Seen
from loadtest.freshness.wire import Reply, request

Shown = list[tuple[Register, Seen]]


class Wrong(Exception):
    """An answer that nobody asked for, or that no state of anything gives."""


@lru_cache(maxsize=1 << 16)
def one(state: str | int) -> Seen:
    return frozenset((state,))


KNOWN = frozenset(("enabled", "suspended"))  # what a prefix is when it is not unknown
_NO_RECORD = frozenset(("absent", "gone"))  # what a 404 of the Handle API means


@dataclass(slots=True)
class Prefix:
    """A prefix and, where it has one, the key of its enterprise."""

    text: str
    state: Register
    key: str = ""


@dataclass(slots=True)
class Lot:
    """A lot whose `brand` carries the number of its version."""

    handle: str
    prefix: Prefix
    content: Register
    state: Register
    number: int = 0  # of the last content that was sent
    version: str = ""  # of its row, "" where it has to be read again
    doubt: Any = None  # the write of unknown outcome that was sent last


@dataclass(slots=True)
class Item:
    """An item whose first handle value carries the number of its version."""

    handle: str
    lot: Lot
    content: Register
    number: int = 0
    version: str = ""
    doubt: Any = None
    exists: bool = False
    busy: bool = False  # one writer at a time


@dataclass(slots=True)
class Slot:
    """A place among the popular ones: the item that lies there, the one before (deleted) and the one to come."""

    number: int
    items: list[Item] = field(default_factory=list)  # [before, now, next], "before" missing at first

    @property
    def now(self) -> Item:
        return self.items[-2]


@dataclass(slots=True, frozen=True)
class Target:
    """A request and how to read its answer."""

    request: bytes
    observe: Callable[[Reply], Shown]


def _document(reply: Reply, handle: str) -> dict[str, Any]:
    document: dict[str, Any] = orjson.loads(reply.body)
    if document.get("handle", handle) != handle:
        raise Wrong(f"asked for {handle}, told of {document['handle']}")
    return document


def _number(text: str, handle: str) -> int:
    """The version's number at the end of `https://goods.example.com/<handle>/<number>`."""
    start, _, number = text.rpartition("/")
    if start != f"https://goods.example.com/{handle}":
        raise Wrong(f"{handle} shows {text}")
    return int(number)


def item_address(handle: str, number: int) -> str:
    return f"https://goods.example.com/{handle}/{number}"


def brand(number: int) -> str:
    return f"梨晨 {number}"


def _status(lot: Lot, status: str) -> Shown:
    """What the strictest of item, lot and prefix says of the latter two."""
    if status == "recalled":
        return [(lot.state, one("recalled"))]
    if status in ("active", "suspended"):
        prefix = "enabled" if status == "active" else "suspended"
        return [(lot.state, one("active")), (lot.prefix.state, one(prefix))]
    raise Wrong(f"{lot.handle} has items with status {status}")


def _unknown(prefix: Prefix) -> Shown:
    return [(prefix.state, one("unknown"))]


def record_of(item: Item) -> Target:
    """`GET /{prefix}/{suffix}` as JSON."""

    def observe(reply: Reply) -> Shown:
        document = _document(reply, item.handle)
        code, prefix = document.get("code"), item.lot.prefix
        if reply.status == 200:
            number = _number(document["values"][0]["data"]["value"], item.handle)
            lot = int(document["attributes"]["brand"].split()[1])
            return [
                (item.content, one(number)),
                (item.lot.content, one(lot)),
                *_status(item.lot, document["status"]),
            ]
        if reply.status == 410:
            return [(item.content, one("gone")), (prefix.state, KNOWN)]
        if code == "handle_not_found":
            return [(item.content, one("absent")), (prefix.state, KNOWN)]
        if code == "unknown_prefix":
            return _unknown(prefix)
        raise Wrong(f"{item.handle}: {reply.status} {code}")

    return Target(request("GET", f"/{item.handle}"), observe)


def values_of(item: Item) -> Target:
    """`GET /api/handles/{handle}`, as Handle.Net's clients ask."""

    def observe(reply: Reply) -> Shown:
        document = _document(reply, item.handle)
        code, prefix = document["responseCode"], item.lot.prefix
        if reply.status == 200 and code == 1:
            values = {value["type"]: value["data"]["value"] for value in document["values"]}
            number = _number(values["URL"], item.handle)
            return [(item.content, one(number)), (item.lot.content, one(int(values["brand"].split()[1])))]
        if code == 100:
            return [(item.content, _NO_RECORD), (prefix.state, KNOWN)]
        if code == 301:
            return _unknown(prefix)
        raise Wrong(f"{item.handle}: {reply.status} {code}")

    return Target(request("GET", f"/api/handles/{item.handle}"), observe)


def record_of_lot(lot: Lot) -> Target:
    def observe(reply: Reply) -> Shown:
        document = _document(reply, lot.handle)
        if reply.status != 200:
            raise Wrong(f"{lot.handle}: {reply.status} {document.get('code')}")
        number = int(document["attributes"]["brand"].split()[1])
        return [(lot.content, one(number)), *_status(lot, document["status"])]

    return Target(request("GET", f"/{lot.handle}"), observe)


def anything_under(prefix: Prefix) -> Target:
    """A handle that nobody registers: whether its prefix is known."""
    handle = f"{prefix.text}/NOTHING"

    def observe(reply: Reply) -> Shown:
        code = _document(reply, handle).get("code")
        if code == "unknown_prefix":
            return _unknown(prefix)
        if code == "handle_not_found":
            return [(prefix.state, KNOWN)]
        raise Wrong(f"{handle}: {reply.status} {code}")

    return Target(request("GET", f"/{handle}"), observe)


def record_of_serial(handle: str, state: Register) -> Target:
    def observe(reply: Reply) -> Shown:
        document = _document(reply, handle)
        if reply.status == 200:
            return [(state, one(document["status"]))]
        if reply.status == 404 and document.get("code") in ("forged_serial", "handle_not_found"):
            return [(state, one("forged"))]
        raise Wrong(f"{handle}: {reply.status} {document.get('code')}")

    return Target(request("GET", f"/{handle}"), observe)


def presence_of(handle: str, state: Register) -> Target:
    """Whether there is such a handle."""

    def observe(reply: Reply) -> Shown:
        document = _document(reply, handle)
        if reply.status == 200:
            return [(state, one("there"))]
        if document.get("code") == "handle_not_found":
            return [(state, one("absent"))]
        raise Wrong(f"{handle}: {reply.status} {document.get('code')}")

    return Target(request("GET", f"/{handle}"), observe)


def use_of_key(key: str, state: Register, handle: str) -> Target:
    """A look-up that a key is shown with."""

    def observe(reply: Reply) -> Shown:
        if reply.status == 200:
            return [(state, one("live"))]
        if reply.status == 401:
            return [(state, one("dead"))]
        raise Wrong(f"a key gets {reply.status}")

    return Target(request("GET", f"/{handle}", key=key), observe)


def registers_of_lot(history: History, handle: str, prefix: Prefix, first: int) -> Lot:
    return Lot(
        handle, prefix, history.register(f"lot {handle}", first), history.register(f"state of {handle}", "active")
    )
