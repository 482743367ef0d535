"""What is kept of a handle in Valkey: the finished bytes of its public record, or that there is none, with the numbers
of the dependents it was made from. An entry is good while none of these has moved since."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import msgspec
import orjson

from node.fence import Fence


class Form(IntEnum):
    """What an entry says of its handle."""

    ABSENT = 0
    RECORD = 1
    GONE = 2  # a tombstone


class Kept(msgspec.Struct, array_like=True, gc=False):
    """An entry. `body` is the record's JSON; of a tombstone what the refusal says; of an absent handle nothing."""

    form: int
    version: int
    dependents: list[tuple[str, int]]  # (name, stamp) of prefix and lots
    generation: bytes  # of an absent one: the prefix's when it was looked for
    body: bytes
    etag: str


class View(msgspec.Struct, frozen=True, gc=False):
    """The public view of a handle that exists or existed. `source`: which tier answered; `entry`: what Valkey had."""

    handle: str
    prefix_id: int
    form: Form
    body: bytes
    etag: str
    version: int
    source: str = "pg"
    stale: bool = False
    entry: bytes = b""

    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = orjson.loads(self.body)
        return found


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Kept).decode


def etag_of(body: bytes) -> str:
    """The entity tag of public bytes: 64 bits of their BLAKE2b digest."""
    return f'"{hashlib.blake2b(body, digest_size=8).hexdigest()}"'


def packed(view: View, dependents: Sequence[tuple[str, int]]) -> bytes:
    return _encode(Kept(view.form, view.version, list(dependents), b"", view.body, view.etag))


def packed_absent(dependents: Sequence[tuple[str, int]], generation: bytes) -> bytes:
    return _encode(Kept(Form.ABSENT, 0, list(dependents), generation, b"", ""))


def opened(entry: bytes) -> Kept | None:
    """An entry as it was packed; None for one of another version of this code."""
    try:
        return _decode(entry)
    except msgspec.DecodeError:
        return None


def is_good(kept: Kept, fence: Fence, generation: bytes | None) -> bool:
    """Whether what the entry was made from is still so: no dependent has a higher number, and for an absent handle
    nothing was registered in bulk under its prefix."""
    if kept.form == Form.ABSENT and (generation is None or kept.generation != generation):
        return False
    return fence.stand(kept.dependents)
