"""Resolving: from a handle to what anybody may know of it. What memory can refuse is refused before any I/O."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import msgspec

import handle_codec
from node import polling, serials
from node.drafts import invalid_handle
from node.errors import (
    ForgedHandle,
    ForgedSerial,
    HandleNotFound,
    NodeError,
    Unavailable,
    UnknownPrefix,
    UnreadableRow,
)
from node.joining import Ask, Found, Waiter
from node.kept import View
from node.lookups import KnownLots, find_each
from node.model import Identity, Prefix
from node.reads import reads_of
from node.records import Resolved
from node.runtime import Node, ReadConnection, reading
from node.store import prefixes

ANYBODY = Identity("anonymous")


def parsed(text: str) -> tuple[str, str]:
    """(prefix, suffix) of any well-formed handle, a minted serial folded; raises InvalidHandleError with position
    and reason."""
    try:
        prefix, suffix = handle_codec.parse(text)
    except handle_codec.InvalidHandle as error:
        raise invalid_handle(error, text=text) from None
    return prefix, handle_codec.fold_serial(suffix)


async def resolve(node: Node, text: str) -> View:
    """The public view of a handle, tombstones included.

    Raises UnknownPrefix, HandleNotFound, InvalidHandleError, or Unavailable when PostgreSQL is needed and away.
    """
    prefix_text, suffix = parsed(text)
    try:
        prefix, counter = await _known(node, prefix_text, suffix)
        found = await reads_of(node).ask(prefix, suffix, counter)
    except Unavailable:
        return await _stale(node, prefix_text, suffix)
    return view_in(found, f"{prefix_text}/{suffix}")


async def _known(node: Node, prefix_text: str, suffix: str) -> tuple[Prefix, int]:
    """(prefix, counter or -1) from memory, the fence being fresh; raises UnknownPrefix and ForgedHandle."""
    fence = node.fence
    if not fence.fresh():
        await polling.ensure(node)
    prefix = fence.prefixes.get(prefix_text)
    if prefix is None:
        raise UnknownPrefix.of(prefix=prefix_text)
    if not handle_codec.is_serial(suffix):
        return prefix, -1
    try:
        return prefix, (await serials.known_keyring(node, prefix)).counter_of(suffix)
    except ForgedSerial:
        raise ForgedHandle.of(handle=f"{prefix_text}/{suffix}") from None


def ask(node: Node, text: str, waiter: Waiter) -> bool:
    """Begin to resolve without waiting for anything: `waiter` is told. False where something has to be awaited first.

    Raises what `resolve` raises, and Unavailable where too many wait.
    """
    prefix_text, suffix = parsed(text)
    if not node.fence.fresh():
        return False
    prefix = node.fence.prefixes.get(prefix_text)
    if prefix is None:
        raise UnknownPrefix.of(prefix=prefix_text)
    counter = serials.counter_in_memory(node, prefix, suffix) if handle_codec.is_serial(suffix) else -1
    if counter is not None:
        reads_of(node).tell(waiter, prefix, suffix, counter)
    return counter is not None


def view_in(found: Found, text: str) -> View:
    """The view that was found; raises HandleNotFound."""
    view = found.view()
    if view is None:
        raise HandleNotFound.of(handle=text)
    return view


async def _stale(node: Node, prefix_text: str, suffix: str) -> View:
    """With PostgreSQL away and the operator's leave: what is kept, marked, for it may be older than a change."""
    fence, settings = node.fence, node.settings
    prefix = fence.prefixes.get(prefix_text)
    age = time.monotonic() - fence.polled
    if prefix is None or not fence.enabled or age > settings.stale_seconds:
        raise Unavailable.of(what="PostgreSQL", retry_after=2)
    view = await reads_of(node).kept(prefix, suffix)
    if view is None:
        raise Unavailable.of(what="PostgreSQL", retry_after=2)
    return msgspec.structs.replace(view, stale=True)


async def resolve_many(node: Node, texts: Sequence[str]) -> list[View | NodeError]:
    """The public views of many handles, in order, each refusal in its place: one MGET and one query for all."""
    answers: list[View | NodeError | None] = [None] * len(texts)
    waiting = []
    for n, text in enumerate(texts):
        try:
            prefix_text, suffix = parsed(text)
            prefix, counter = await _known(node, prefix_text, suffix)
            waiting.append((n, prefix_text, suffix, reads_of(node).ask(prefix, suffix, counter)))
        except NodeError as error:
            answers[n] = error
    for n, prefix_text, suffix, future in waiting:
        try:
            answers[n] = view_in(await future, f"{prefix_text}/{suffix}")
        except NodeError as error:
            answers[n] = error
    return [answer for answer in answers if answer is not None]


async def resolve_for_page(node: Node, text: str) -> Resolved:
    """The public view in its parts, for a page; from PostgreSQL, where its trace is too."""
    prefix_text, suffix = parsed(text)
    prefix, counter = await _known(node, prefix_text, suffix)
    found = await reads_of(node).ask_stored(prefix, suffix, counter)
    if found.resolved is None:
        raise HandleNotFound.of(handle=f"{prefix_text}/{suffix}")
    return found.resolved


async def resolve_as(node: Node, identity: Identity, text: str) -> Resolved:
    """A handle for a caller with a key, from PostgreSQL alone: the owner sees all, others the public view."""
    (found,) = await resolve_many_as(node, identity, [text])
    if isinstance(found, NodeError):
        raise found
    return found


async def resolve_many_as(node: Node, identity: Identity, texts: Sequence[str]) -> list[Resolved | NodeError]:
    """The same for many, in order, each refusal in its place: a query for all prefixes, one for all rows, and one each
    for the lots and the intervals of these."""
    names = [_parsed_or_refused(text) for text in texts]
    known = [name for name in names if not isinstance(name, NodeError)]
    if not known:
        return [name for name in names if isinstance(name, NodeError)]
    async with reading(node) as conn:
        found = await prefixes.fetch_each(conn, sorted({prefix for prefix, _ in known}))
        owned = {prefix.prefix: prefix for prefix in found}
        asks = [name if isinstance(name, NodeError) else await _asked(node, conn, owned, *name) for name in names]
        wanted = [ask for ask in asks if isinstance(ask, Ask)]
        try:
            rows = iter(await find_each(node, conn, wanted, KnownLots(node.fence)))
        except UnreadableRow as error:
            if len(texts) == 1:
                return [error]
            rows = None
    if rows is None:  # of one of them: it alone is refused
        return [(await resolve_many_as(node, identity, [text]))[0] for text in texts]
    return [ask if isinstance(ask, NodeError) else _seen_by(identity, ask, next(rows)) for ask in asks]


def _parsed_or_refused(text: str) -> tuple[str, str] | NodeError:
    try:
        return parsed(text)
    except NodeError as error:
        return error


async def _asked(
    node: Node, conn: ReadConnection, owned: Mapping[str, Prefix], prefix_text: str, suffix: str
) -> Ask | NodeError:
    """What is to be read, or why nothing is."""
    handle, prefix = f"{prefix_text}/{suffix}", owned.get(prefix_text)
    if prefix is None:
        return UnknownPrefix.of(prefix=prefix_text)
    if not handle_codec.is_serial(suffix):
        return Ask(handle, prefix, suffix, -1)
    try:
        return Ask(handle, prefix, suffix, (await serials.keyring(node, conn, prefix)).counter_of(suffix))
    except ForgedSerial:
        return ForgedHandle.of(handle=handle)


def _seen_by(identity: Identity, ask: Ask, resolved: Resolved | None) -> Resolved | NodeError:
    if resolved is None:
        return HandleNotFound.of(handle=ask.handle)
    resolved.level = "private" if identity.registrant_id == ask.prefix.registrant_id else "public"
    return resolved
