"""The nouns of the node: states, keys and records. Values only; no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Any

import msgspec

SHARDS = 1024
MAX_BATCH = 2000  # rows; the limit of the national SNMS interface (domain.md 3.1)


class Kind(IntEnum):
    """What a row of `handle` stands for. A lot is a handle whose values its items inherit."""

    ITEM = 0
    LOT = 1


class Status(IntEnum):
    """State of a handle."""

    ACTIVE = 1
    VOID = 2
    RECALLED = 3
    TOMBSTONE = 9

    @property
    def word(self) -> str:
        return self.name.lower()


class PrefixStatus(IntEnum):
    """The national enumeration of a prefix's state (domain.md 2.2); applications pass through the same states."""

    STOPPED = 0  # 停用
    ENABLED = 1  # 启用
    TO_DELETE = 2  # 待删除
    REJECTED = 3  # 被驳回
    PENDING = 4  # 待审核
    IN_REVIEW = 5  # 审核中: approved here, before the upper node

    @property
    def word(self) -> str:
        return self.name.lower()

    @property
    def zh(self) -> str:
        return ("停用", "启用", "待删除", "被驳回", "待审核", "审核中")[self]


@dataclass(slots=True, frozen=True)
class Prefix:
    """A prefix as allotted: who owns it, where its handles lie, and what its owner is called."""

    id: int
    prefix: str
    registrant_id: int
    home: int
    spread: int
    status: PrefixStatus
    used: bool  # has handles: home and spread are fixed
    registrant_name: str
    industry: str
    county: str


class IntervalState(IntEnum):
    """State of an interval of minted serials. Printed is not shipped: a serial is reserved until it is activated."""

    RESERVED = 0
    ACTIVATED = 1
    VOID = 2
    RECALLED = 3

    @property
    def word(self) -> str:
        return self.name.lower()


@dataclass(slots=True, frozen=True)
class Run:
    """One minting: the counters first..last, handed out to a lot."""

    id: int
    first: int
    last: int
    lot: str
    letter: str  # of the key
    actor: str
    minted_at: float

    @property
    def count(self) -> int:
        return self.last - self.first + 1


@dataclass(slots=True, frozen=True)
class Interval:
    """Serials first..last of one run that share lot and state. `counted`: they are registered."""

    first: int
    last: int
    state: IntervalState
    counted: bool
    lot: str
    run: int
    reason: str
    since: float


class Row(msgspec.Struct, frozen=True, gc=False):
    """One row of `handle`: an item, a lot or a tombstone. `content` is the canonical JSON of its own values:
    `{"attributes": {code: value}, "values": [handle values without timestamp]}`, empty members left out.
    Times are seconds since the epoch, so that a cached row is the same as a stored one."""

    suffix: str
    kind: Kind
    status: Status
    lot: str  # suffix of the lot under the same prefix, "" for none
    template_id: int  # 0 for none
    content: bytes
    reason: str
    successor: str
    version: int
    created_at: float
    updated_at: float

    def changed(self, **changes: Any) -> Row:
        """The same with other values."""
        return msgspec.structs.replace(self, **changes)


@dataclass(slots=True, frozen=True)
class Identity:
    """Who is asking: an enterprise's key or an operator's session."""

    actor: str  # "key:<id>" or "operator:<login>", for history and audit
    registrant_id: int | None = None
    scopes: frozenset[str] = frozenset()
    role: str | None = None  # operators: "reviewer", "auditor" or "admin"


@dataclass(slots=True, frozen=True)
class Event:
    """One step of a trace, in EPCIS 2.0 words; `body` holds the further EPCIS fields as given."""

    event_id: str
    event_type: str
    action: str
    biz_step: str
    disposition: str
    event_time: datetime
    recorded_at: datetime
    read_point: str
    biz_location: str
    body: dict[str, Any]
    corrects: str  # id of an earlier event that this one declares wrong, "" for none
    prefix_id: int = 0
    suffix: str = ""
    role: str = ""  # how the handle takes part (migrations/0020_events.sql), "" of events before there were roles
    parent: str = ""  # handle of what a child was put into or taken from
    withdrawn: bool = False  # a later event says that it is wrong
