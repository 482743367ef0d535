"""Recording events, one or thousands in one transaction of a few statements; a bad one does not spoil the rest.

One id is one event in an enterprise: the same again is "unchanged" however often an offline line sends it, other
content under it is refused. An event with an errorDeclaration withdraws the one of the same id and content.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson

import handle_codec
from node import presence
from node.epcis import EventDraft, is_standard, loaded, read_event
from node.epcis_rules import refusal
from node.errors import EventConflict, NodeError, NotFound, TooManyRows
from node.fence import events_name
from node.model import Identity, Prefix
from node.outcomes import TURN
from node.registration import owned_prefix
from node.runtime import Connection, Node
from node.short_events import read_short
from node.store import events
from node.store.events import Place
from node.writing import Change, Claim, change

MAX_EVENTS = 5000  # in one post
_ACKNOWLEDGED = ("created", "unchanged", "withdrawn")
MAX_MENTIONS = 20_000  # handles named by the events of one post: rows to write


@dataclass(slots=True)
class Recorded:
    """What became of one event: created, unchanged, withdrawn (by its declaration), conflict or rejected."""

    row: int
    outcome: str
    event_id: str = ""
    error: NodeError | None = None


class _Post:
    """The events of one post on their way: those not yet decided, and what became of the others."""

    def __init__(self, identity: Identity) -> None:
        self.registrant = identity.registrant_id or 0
        self.actor = identity.actor
        self.open: dict[int, EventDraft] = {}
        self.done: dict[int, Recorded] = {}
        self.prefixes: dict[str, Prefix] = {}

    def close(self, row: int, outcome: str, error: NodeError | None = None) -> None:
        draft = self.open.pop(row, None)
        self.done[row] = Recorded(row, outcome, draft.event_id if draft else "", error)

    def place(self, prefix: str, suffix: str) -> Place:
        known = self.prefixes[prefix]
        return Place(handle_codec.shard_of(suffix, known.home, known.spread), known.id, suffix)


async def record(
    node: Node,
    identity: Identity,
    rows: Sequence[bytes | msgspec.Raw],
    context: Any = None,
    claim: Claim | None = None,
) -> list[Recorded]:
    """Store events (JSON, standard or short); one outcome for each, in order. `context`: @context of their document.

    Raises TooManyRows for more events or handles than one post may hold; nothing is stored then.
    """
    if len(rows) > MAX_EVENTS:
        raise TooManyRows.of(limit=MAX_EVENTS, got=len(rows))
    read, refused = await _read(rows, node.settings.public_url, context)
    if (named := sum(len(draft.mentions) for draft in read.values())) > MAX_MENTIONS:
        raise TooManyRows.of(limit=MAX_MENTIONS, got=named)

    async def work(doing: Change) -> list[Recorded]:
        post = _Post(identity)
        post.open = dict(read)
        for row, error in refused.items():
            post.close(row, "rejected", error)
        await _hold_prefixes(doing.conn, identity, post)
        await _refuse_absent(node, doing.conn, post)
        await _refuse_unknown_corrections(doing.conn, post)
        await _store(doing.conn, post)
        # "unchanged" acknowledges too, maybe what another has committed and not yet acknowledged.
        if any(done.outcome in _ACKNOWLEDGED for done in post.done.values()):
            doing.handles.append(events_name(post.registrant))  # forgotten like a handle's entry, and as surely
        return [post.done[row] for row in range(len(rows))]

    return await change(node, work, claim=claim)


async def _read(
    rows: Sequence[bytes | msgspec.Raw], base: str, context: Any
) -> tuple[dict[int, EventDraft], dict[int, NodeError]]:
    """(drafts, refusals) by row."""
    read: dict[int, EventDraft] = {}
    refused: dict[int, NodeError] = {}
    for row, raw in enumerate(rows):
        if row % TURN == TURN - 1:
            await asyncio.sleep(0)
        try:
            event = loaded(raw)
            read[row] = read_event(event, base, context) if is_standard(event) else read_short(event)
        except NodeError as error:
            refused[row] = error
    return read, refused


async def _hold_prefixes(conn: Connection, identity: Identity, post: _Post) -> None:
    """Every handle of an event must be the caller's (promise 4), and its prefix enabled."""
    refused: dict[str, NodeError] = {}
    for text in sorted({mention.prefix for draft in post.open.values() for mention in draft.mentions}):
        try:
            post.prefixes[text] = await owned_prefix(conn, identity, text)
        except NodeError as error:
            refused[text] = error
    for row, draft in list(post.open.items()):
        wrong = next((m for m in draft.mentions if m.prefix in refused), None)
        if wrong:
            post.close(row, "rejected", _at(refused[wrong.prefix], wrong.field))


def _at(error: NodeError, field: str) -> NodeError:
    """The same refusal with the field that it is about."""
    named = refusal(field, error.code, *error.detail.split(" / ", 1)).errors
    return type(error)(dict(error.datum), named)


async def _refuse_absent(node: Node, conn: Connection, post: _Post) -> None:
    wanted: dict[str, set[str]] = {}
    for draft in post.open.values():
        for mention in draft.mentions:
            wanted.setdefault(mention.prefix, set()).add(mention.suffix)
    absent: dict[str, NodeError] = {}
    for text, suffixes in sorted(wanted.items()):
        found = await presence.missing(node, conn, post.prefixes[text], sorted(suffixes))
        absent |= {f"{text}/{suffix}": error for suffix, error in found.items()}
    for row, draft in list(post.open.items()) if absent else ():
        wrong = next((m for m in draft.mentions if m.handle in absent), None)
        if wrong:
            post.close(row, "rejected", _at(absent[wrong.handle], wrong.field))


async def _refuse_unknown_corrections(conn: Connection, post: _Post) -> None:
    """The short form's `corrects` names an event of the same handle, stored or earlier in this post."""
    asked = [(row, draft) for row, draft in post.open.items() if draft.corrects]
    if not asked:
        return
    mine = {(d.mentions[0].handle, d.event_id): row for row, d in reversed(post.open.items())}
    places = [post.place(draft.mentions[0].prefix, draft.mentions[0].suffix) for _, draft in asked]
    there = await events.have(conn, places, [draft.corrects for _, draft in asked])
    for n, (row, draft) in enumerate(asked):
        if n not in there and mine.get((draft.mentions[0].handle, draft.corrects), row) >= row:
            post.close(row, "rejected", refusal("corrects", "unknown_event", "没有此事件", "there is no such event"))


async def _store(conn: Connection, post: _Post) -> None:
    """Insert first, then look at what was there already: the primary key decides races, not a check."""
    plain = {row: draft for row, draft in post.open.items() if not draft.declaration}
    declared = {row: draft for row, draft in post.open.items() if draft.declaration}
    created = await _insert(conn, post, plain, declaration=False)
    await events.insert(conn, post.actor, _rows(post, created))
    if declared:
        known = await _known(conn, post, declared)
        for row, draft in list(declared.items()):
            original = known.get((draft.event_id, False))
            if original is None:
                zh, en = f"没有事件 {draft.event_id}", f"there is no event {draft.event_id}"
                fields = refusal("eventID", "unknown_event", zh, en).errors
                post.close(row, "rejected", NotFound({"what": draft.event_id}, fields))
                del declared[row]
            elif original["digest"] != draft.digest:
                post.close(row, "conflict", _conflict(draft, original))
                del declared[row]
        stored = await _insert(conn, post, declared, declaration=True)
        await events.insert(conn, post.actor, _rows(post, stored, declaration=True))


async def _insert(
    conn: Connection, post: _Post, drafts: dict[int, EventDraft], *, declaration: bool
) -> list[EventDraft]:
    """Store the documents that are new, and decide every row; the drafts that were stored."""
    firsts: dict[str, EventDraft] = {}
    for draft in drafts.values():
        firsts.setdefault(draft.event_id, draft)
    if not firsts:
        return []
    columns: list[list[Any]] = [
        [events.shard_of(event_id) for event_id in firsts],
        list(firsts),
        [draft.event_time for draft in firsts.values()],
        [_digest(draft, declaration) for draft in firsts.values()],
        [draft.declaration if declaration else draft.content for draft in firsts.values()],
    ]
    new = await events.insert_documents(conn, post.registrant, declaration, post.actor, columns)
    known = await _known(conn, post, drafts) if len(new) < len(drafts) else {}
    fresh: list[EventDraft] = []
    for row, draft in drafts.items():
        if draft.event_id in new and firsts[draft.event_id] is draft:
            fresh.append(draft)
            post.close(row, "withdrawn" if declaration else "created")
        elif known[(draft.event_id, declaration)]["digest"] == _digest(draft, declaration):
            post.close(row, "unchanged")
        else:
            post.close(row, "conflict", _conflict(draft, known[(draft.event_id, declaration)]))
    return fresh


async def _known(conn: Connection, post: _Post, drafts: dict[int, EventDraft]) -> dict[tuple[str, bool], Any]:
    ids = sorted({draft.event_id for draft in drafts.values()})
    return await events.documents(conn, post.registrant, [events.shard_of(event_id) for event_id in ids], ids)


def _digest(draft: EventDraft, declaration: bool) -> bytes:
    return hashlib.sha256(draft.digest + draft.declaration).digest() if declaration else draft.digest


def _conflict(draft: EventDraft, stored: Any) -> NodeError:
    """Both are named: the one that was sent and the one that is there, by digest and time."""
    fields = refusal("eventID", "already_exists", "此编号已用于另一事件", "this id is another event's").errors
    datum = {
        "event_id": draft.event_id,
        "stored": f"{stored['event_time'].isoformat()} sha256:{stored['digest'].hex()[:16]}",
        "given": f"{draft.event_time.isoformat()} sha256:{draft.digest.hex()[:16]}",
    }
    return EventConflict(datum, fields)


def _rows(post: _Post, drafts: Sequence[EventDraft], *, declaration: bool = False) -> list[list[Any]]:
    """Columns of `event`: one row for each handle that a draft names."""
    columns: list[list[Any]] = [[] for _ in range(15)]
    for draft in drafts:
        body = orjson.dumps(draft.body)
        for mention in draft.mentions:
            place = post.place(mention.prefix, mention.suffix)
            # No id holds a blank: nobody's event can stand where a declaration will.
            event_id = f"{draft.event_id} declaration" if declaration else draft.event_id
            values = (
                *place[:3], event_id, draft.event_type, draft.action, "" if declaration else draft.biz_step,
                draft.disposition, draft.event_time, draft.read_point, draft.biz_location,
                draft.event_id if declaration else draft.corrects, body,
                "declaration" if declaration else mention.role, "" if declaration else mention.parent,
            )  # fmt: skip
            for column, value in zip(columns, values, strict=True):
                column.append(value)
    return columns
