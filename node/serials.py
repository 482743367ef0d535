"""Serial keys of prefixes: made from the master secret, kept for ever, and asked whether a suffix was minted.

PostgreSQL is the truth for keys and counters. A key is derived (HMAC-SHA256) from the current generation of the master
secret, and stored sealed under it, so that a later generation does not change what is printed.
"""

from __future__ import annotations

from dataclasses import dataclass

from handle_codec import FAMILIES, InvalidCode, SerialKey
from handle_codec.serials import KEY_BYTES
from node import audit
from node.access import require_role
from node.errors import ForgedSerial, SerialsExhausted, UnknownPrefix
from node.fence import keys_name
from node.model import Identity, Prefix
from node.runtime import Connection, Node, ReadConnection, reading
from node.store import prefixes
from node.store import serials as store
from node.store.serials import StoredKey
from node.writing import Change, change

_LABEL = "serial key"


@dataclass(slots=True, frozen=True)
class Keyring:
    """All keys of a prefix, each with the counters that it minted, and how many counters were issued."""

    prefix: str
    keys: dict[str, tuple[SerialKey, range]]

    def counter_of(self, suffix: str) -> int:
        """The counter that a serial stands for; raises ForgedSerial where it was not minted under this prefix."""
        key, minted = self.keys.get(suffix[:1], (None, range(0)))
        try:
            counter = key.counter_of(suffix) if key else -1
        except InvalidCode:
            counter = -1
        # A counter that another key minted, or none yet: a stolen retired key makes nothing new.
        if counter not in minted:
            raise ForgedSerial.of(prefix=self.prefix, suffix=suffix[:64])
        return counter

    def key_at(self, counter: int) -> SerialKey:
        """The key that minted a counter."""
        return next(key for key, minted in self.keys.values() if counter in minted)


async def keyring(node: Node, conn: ReadConnection, prefix: Prefix) -> Keyring:
    """The prefix's keys, opened."""
    stored = await store.keys(conn, prefix.id)
    issued = await store.issued(conn, prefix.id) if stored else 0
    return Keyring(
        prefix.prefix,
        {
            key.letter: (_opened(node, prefix, key), range(key.first, issued if key.until is None else key.until))
            for key in stored
        },
    )


async def known_keyring(node: Node, prefix: Prefix) -> Keyring:
    """The prefix's keys from memory, read again once they moved: for readers, whose fence is fresh."""
    name = keys_name(prefix.prefix)
    known: tuple[Keyring, int] | None = node.keyrings.get(prefix.prefix)
    if known is not None and node.fence.stamp(name) <= known[1]:
        return known[0]
    turn, stamp = node.fence.turn, node.fence.stamp(name)
    async with reading(node) as conn:
        ring = await keyring(node, conn, prefix)
    if not node.fence.moved_since([name], turn):
        node.keyrings[prefix.prefix] = (ring, stamp)
    return ring


def counter_in_memory(node: Node, prefix: Prefix, suffix: str) -> int | None:
    """The counter of a serial that was resolved before; None where the keys would have to be read."""
    known: tuple[Keyring, int] | None = node.keyrings.get(prefix.prefix)
    if known is None or node.fence.stamp(keys_name(prefix.prefix)) > known[1]:
        return None
    try:
        return known[0].counter_of(suffix)
    except ForgedSerial:
        return None


async def reserve(node: Node, conn: Connection, prefix: Prefix, count: int) -> tuple[SerialKey, int]:
    """Hand out `count` counters of the prefix, whose key is made with the first of them: (key, first counter).

    Serials of these counters are not forged from the commit on. Raises SerialsExhausted beyond 32^8.
    """
    first = await store.reserve(conn, prefix.id, prefix.prefix, count)
    stored = await store.keys(conn, prefix.id)
    if not stored:
        await _make(node, conn, prefix, _letters(node)[0], first)
        stored = await store.keys(conn, prefix.id)
    return _opened(node, prefix, stored[-1]), first


async def rotate(node: Node, operator: Identity, prefix_text: str) -> dict[str, object]:
    """Retire the prefix's key, for one that was stolen: what it minted stays right, nothing new of it will be.

    Raises SerialsExhausted when the prefix has had all keys of its cipher; it then needs a second prefix.
    """
    require_role(operator, "admin")

    async def work(doing: Change) -> dict[str, object]:
        prefix = await prefixes.hold(doing.conn, prefix_text, alone=True)
        if prefix is None:
            raise UnknownPrefix.of(prefix=prefix_text[:64])
        had = {key.letter for key in await store.keys(doing.conn, prefix.id)}
        unused = [letter for letter in _letters(node) if letter not in had]
        if not unused:
            raise SerialsExhausted.of(prefix=prefix_text)
        issued = await store.issued(doing.conn, prefix.id)
        await store.retire(doing.conn, prefix.id, issued)
        await _make(node, doing.conn, prefix, unused[0], issued)
        shown = _shown(StoredKey(unused[0], b"", issued, None))
        await audit.record(doing.conn, operator.actor, "serial_key.rotate", prefix_text, shown)
        return shown

    return await change(node, work, dependents=[keys_name(prefix_text)])


async def listed(node: Node, operator: Identity, prefix_text: str) -> list[dict[str, object]]:
    """The prefix's keys without their secrets, the current one last."""
    require_role(operator, "reviewer", "auditor")
    async with reading(node) as conn:
        prefix = await prefixes.fetch(conn, prefix_text)
        if prefix is None:
            raise UnknownPrefix.of(prefix=prefix_text[:64])
        return [_shown(key) for key in await store.keys(conn, prefix.id)]


def _shown(key: StoredKey) -> dict[str, object]:
    cipher, number = FAMILIES[key.letter]
    return {
        "letter": key.letter,
        "cipher": cipher,
        "number": number,
        "first_counter": key.first,
        "until_counter": key.until,
    }


def _letters(node: Node) -> list[str]:
    """The letters of the configured cipher, in the order in which keys take them."""
    return [letter for letter, (cipher, _) in FAMILIES.items() if cipher == node.settings.serial_cipher]


async def _make(node: Node, conn: Connection, prefix: Prefix, letter: str, first: int) -> None:
    secret = node.sealer.digest(_LABEL, f"{prefix.prefix}/{letter}".encode(), node.sealer.current)[:KEY_BYTES]
    await store.insert(conn, prefix.id, letter, node.sealer.seal(_LABEL, secret), first)


def _opened(node: Node, prefix: Prefix, key: StoredKey) -> SerialKey:
    return SerialKey(prefix.prefix, key.letter, node.sealer.open(_LABEL, key.wrapped))
