"""What happened to a handle, and to what it was in while it was in it: a carton on a pallet in a container.

An AggregationEvent ADD puts a child into its parent, DELETE takes it out; without children it empties the parent. What
happens to the parent between the two, [ADD, DELETE), happened to the child. An OBSERVE opens and closes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import handle_codec
from node.model import Event, Prefix
from node.runtime import ReadConnection
from node.store import events, prefixes
from node.store.events import BEGIN, END, Place

MAX_DEPTH = 8  # parents of parents; a cycle ends here too
MAX_PARENTS = 64  # of one level, the newest
PER_HANDLE = 200  # events of one handle, the newest
_LINKS = 400  # times that one handle was put in and taken out

Span = tuple[datetime, datetime]


@dataclass(slots=True)
class _Inside:
    """A handle and the times in which what happens to it counts."""

    prefix: Prefix
    suffix: str
    spans: list[Span]

    def place(self) -> Place:
        shard = handle_codec.shard_of(self.suffix, self.prefix.home, self.prefix.spread)
        return Place(shard, self.prefix.id, self.suffix, self.spans[0][0], max(until for _, until in self.spans))


async def events_around(conn: ReadConnection, prefix: Prefix, suffixes: Sequence[str]) -> list[Event]:
    """The events of these handles and of all that they were in meanwhile, each once, in the order in which they
    happened; withdrawn ones among them."""
    level = [_Inside(prefix, suffix, [(BEGIN, END)]) for suffix in suffixes]
    found: dict[str, Event] = {}
    for depth in range(MAX_DEPTH + 1):
        places = [inside.place() for inside in level]
        happened = await events.of_each(conn, places, PER_HANDLE)
        links = happened  # all of them, unless they are more than were read
        if depth or any(len(each) == PER_HANDLE for each in happened):
            links = await events.contained(conn, places, _LINKS)
        wanted: dict[str, list[Span]] = {}
        for inside, own, linked in zip(level, happened, links, strict=True):
            if depth:
                emptied = sorted(e.event_time for e in linked if e.role == "emptied" and not e.withdrawn)
                inside.spans = _cut(inside.spans, emptied)
            for event in own:
                if not depth or (_passes_on(event) and _within(event.event_time, inside.spans)):
                    found.setdefault(event.event_id, event)
            for parent, spans in _parents(linked, inside.spans).items():
                wanted.setdefault(parent, []).extend(spans)
        if not wanted or depth == MAX_DEPTH:
            break
        level = await _known(conn, prefix, wanted)
        if not level:
            break
    return sorted(found.values(), key=lambda e: (e.event_time, e.recorded_at, e.event_id))


def _passes_on(event: Event) -> bool:
    """Not what put other children into it: that one carton was packed says nothing of its neighbour."""
    return not (event.role in ("parent", "emptied") and event.event_type != "TransactionEvent")


def _within(when: datetime, spans: Sequence[Span]) -> bool:
    return any(since <= when < until for since, until in spans)


def _cut(spans: Sequence[Span], emptied: Sequence[datetime]) -> list[Span]:
    """Each span ends when its parent was emptied; at the same moment as it began, it began after."""
    return [(since, min([until, *(t for t in emptied if t > since)])) for since, until in spans]


def _parents(links: Sequence[Event], spans: Sequence[Span]) -> dict[str, list[Span]]:
    """When a handle was in each of its parents, within `spans`."""
    moves: dict[str, list[tuple[datetime, bool]]] = {}
    for event in links:
        if event.role == "child" and event.parent and not event.withdrawn and event.action in ("ADD", "DELETE"):
            moves.setdefault(event.parent, []).append((event.event_time, event.action == "ADD"))
    found: dict[str, list[Span]] = {}
    for parent, times in moves.items():
        inside = [
            (max(since, first), min(until, last)) for since, until in _spans_of(sorted(times)) for first, last in spans
        ]
        if inside := sorted((since, until) for since, until in inside if since < until):
            found[parent] = inside
    return found


def _spans_of(moves: Sequence[tuple[datetime, bool]]) -> list[Span]:
    """[(in, out)] of moves in order, True for in; in again while in, and out while out, say nothing."""
    spans: list[Span] = []
    since: datetime | None = None
    for when, entered in moves:
        if entered and since is None:
            since = when
        elif entered and since is not None:
            # Put in again without having been taken out: its parent may have been emptied between.
            spans.append((since, when))
            since = when
        elif since is not None:
            spans.append((since, when))
            since = None
    return [*spans, *([(since, END)] if since is not None else [])]


async def _known(conn: ReadConnection, root: Prefix, wanted: dict[str, list[Span]]) -> list[_Inside]:
    """The parents to read next, those of the same enterprise alone."""
    newest = sorted(wanted, key=lambda handle: max(wanted[handle]), reverse=True)[:MAX_PARENTS]
    known = {root.prefix: root}
    others = sorted({handle.partition("/")[0] for handle in newest} - known.keys())
    if others:
        known |= {p.prefix: p for p in await prefixes.fetch_each(conn, others)}
    level = []
    for handle in newest:
        prefix_text, _, suffix = handle.partition("/")
        prefix = known.get(prefix_text)
        if prefix is not None and prefix.registrant_id == root.registrant_id:
            level.append(_Inside(prefix, suffix, sorted(wanted[handle])))
    return level
