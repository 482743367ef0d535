"""Single registrations under load: what arrives while a transaction is under way shares the next one.

Each caller is answered after the commit. Keys and prefixes are read inside the transaction, once for all. An error
stays with its own row; of two callers with one handle the first wins, and the other is compared in the next group.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from node import access, metrics
from node.drafts import Draft, draft_of
from node.errors import NodeError, TooManyRequests, Unavailable
from node.model import Identity
from node.outcomes import Outcome, ReadRows, tally
from node.registration import Insert, store_rows
from node.runtime import Connection, Node
from node.store import access as store_access
from node.store import prefixes
from node.store.handles import NewRow, insert_counted, insert_last
from node.writing import Change, change

_FLIGHTS = 2  # groups under way at the most
_FULL = 64  # callers that wait before a second group begins beside one under way: few large groups cost least
_PATIENCE = 0.05  # s; a group that takes longer (a lock, a slow disk) holds nobody up
_TURNS = 3  # turns of the event loop that bring no more callers before a group is put together: some 50 us
_MOST = 256  # rows of a group: its transaction stays under some 20 ms
_QUEUE = 2048  # callers that wait; beyond, 503
_OWN = 1024  # of one enterprise; beyond, 429
_OWNERS = 10_000  # keys whose enterprise is remembered
_log = logging.getLogger(__name__)


Tell = Callable[["Outcome | NodeError"], None]


@dataclass(slots=True)
class Single:
    """One caller: whose key, what row (or why it cannot be read), and who is told what became of it."""

    token: str
    key_id: str
    address: str
    draft: Draft | None
    refusal: NodeError | None
    handle: str  # "" where it cannot be read
    tell: Tell | None  # None: was told
    owner: int = 0  # whose turn it takes: of the enterprise whose good key this was before, 0 for all others

    def answer(self, what: Outcome | NodeError) -> None:
        """Tell the caller, once; what is wrong on its side stays there."""
        tell, self.tell = self.tell, None
        if tell is not None:
            try:
                tell(what)
            except Exception:
                _log.exception("a registration could not be answered")


class Groups:
    """Of one worker."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._waiting: list[Single] = []
        self._flying: dict[asyncio.Task[None], float] = {}  # since when, in the loop's time
        self._counts: Counter[int] = Counter()  # of those that wait, by whose turn they take
        # Whose a key was when it last proved good. It chooses whose turn a caller waits for, and permits nothing: who
        # makes keys up shares one turn with all new ones.
        self.owners: dict[str, int] = {}
        self._held: set[str] = set()  # handles of groups under way: the next caller waits for what becomes of them
        self._gathering = False
        self._loop = asyncio.get_running_loop()

    async def register(self, token: str, address: str, body: bytes) -> Outcome:
        """The outcome of one row; raises what is wrong with the key, with the scope, or Unavailable."""
        done: asyncio.Future[Outcome] = self._loop.create_future()
        self.post(token, address, body, lambda what: _settle(done, what))
        return await done  # a caller that goes away takes nothing from the others

    def post(self, token: str, address: str, body: bytes, tell: Tell) -> None:
        """Have one row registered; `tell` is called once, after the commit. Raises what is known to be wrong now."""
        key_id = access.key_id_in(token)
        if len(self._waiting) >= _QUEUE:
            raise Unavailable.of(what="registrations", retry_after=1)
        owner = self.owners.get(key_id, 0)
        if self._counts[owner] >= _OWN:
            metrics.refused_turns_total.labels("registrations", "own").inc()
            raise TooManyRequests.of(what="registrations", limit=_OWN, retry_after=1)
        try:
            draft = draft_of(body)
        except NodeError as error:
            single = Single(token, key_id, address, None, error, "", tell, owner)
        else:
            single = Single(token, key_id, address, draft, None, draft.handle, tell, owner)
        self._waiting.append(single)
        self._counts[owner] += 1
        self._gather()

    def _gather(self) -> None:
        """Put the next group together once no more callers come: answered together, they come back together."""
        if not self._gathering and self._waiting and self._may_start():
            self._gathering = True
            self._loop.call_soon(self._look, len(self._waiting), 0)

    def _look(self, before: int, turns: int) -> None:
        now = len(self._waiting)
        turns = turns + 1 if now == before else 0
        if turns < _TURNS and now < _MOST:
            self._loop.call_soon(self._look, now, turns)
            return
        self._gathering = False
        self._start()

    def _may_start(self) -> bool:
        if not self._flying:
            return True
        if len(self._flying) >= _FLIGHTS:
            return False
        return len(self._waiting) >= _FULL or self._loop.time() - min(self._flying.values()) >= _PATIENCE

    def _start(self) -> None:
        while self._waiting and self._may_start():
            group = self._take()
            if not group:
                return  # all that wait have the handle of one under way
            task = self._loop.create_task(self._run(group))
            self._flying[task] = self._loop.time()
            task.add_done_callback(self._landed)
            self._loop.call_later(1.1 * _PATIENCE, self._gather)

    def _take(self) -> list[Single]:
        group: list[Single] = []
        left: list[Single] = []
        for single in self._waiting if len(self._waiting) <= _MOST else _in_turns(self._waiting):
            if len(group) < _MOST and single.handle not in self._held:
                group.append(single)
                if single.handle:
                    self._held.add(single.handle)
            else:
                left.append(single)
        self._waiting = left
        self._counts.subtract(single.owner for single in group)
        self._counts = +self._counts
        return group

    def remember(self, key_id: str, owner: int) -> None:
        """A key proved good."""
        if key_id not in self.owners and len(self.owners) >= _OWNERS:
            del self.owners[next(iter(self.owners))]
        self.owners[key_id] = owner

    def _landed(self, task: asyncio.Task[None]) -> None:
        del self._flying[task]
        self._gather()

    async def _run(self, group: list[Single]) -> None:
        try:
            await self._commit(group)
        finally:
            self._held.difference_update(single.handle for single in group)
            for single in group:
                single.answer(Unavailable.of(what="registrations", retry_after=1))  # where it was cancelled

    async def _commit(self, group: Sequence[Single]) -> None:
        """One transaction; what the database refuses is sought by halves, so that only its own row fails."""

        async def work(doing: Change) -> list[Outcome | NodeError]:
            answers = await _stored(self._node, doing, group)
            found = [a for a in answers if isinstance(a, Outcome)]
            doing.created += [outcome.handle for outcome in found if outcome.outcome != "rejected"]
            return answers

        try:
            answers = await change(self._node, work)
        except NodeError as error:
            for single in group:
                single.answer(error)
        except Exception:
            if len(group) == 1:
                _log.exception("a registration was refused by the database")
                group[0].answer(NodeError())
                return
            half = len(group) // 2
            await self._commit(group[:half])
            await self._commit(group[half:])
        else:
            tally([answer for answer in answers if isinstance(answer, Outcome)])
            for single, answer in zip(group, answers, strict=True):
                single.answer(answer)


def _in_turns(waiting: Sequence[Single]) -> list[Single]:
    """The first of each enterprise, then the second of each, and so on; those of one in the order of their coming."""
    places: Counter[int] = Counter()
    ranks = []
    for single in waiting:
        ranks.append(places[single.owner])
        places[single.owner] += 1
    return [waiting[n] for n in sorted(range(len(waiting)), key=ranks.__getitem__)]


def _settle(done: asyncio.Future[Outcome], what: Outcome | NodeError) -> None:
    if done.done():
        return  # the caller went away
    if isinstance(what, NodeError):
        done.set_exception(what)
    else:
        done.set_result(what)


async def _stored(node: Node, doing: Change, group: Sequence[Single]) -> list[Outcome | NodeError]:
    """What becomes of each row, or of its caller; one look-up of keys and prefixes, one storing for each enterprise."""
    names = sorted({single.draft.prefix for single in group if single.draft})  # locks are taken in one order
    keys = await store_access.keys_holding(doing.conn, sorted({single.key_id for single in group}), names)
    held = {prefix.prefix: prefix for prefix in await prefixes.fetch_each(doing.conn, names)} if keys and names else {}
    answers, by_owner = _judged(node, group, keys)
    # One prefix: its insert is the last statement that may wait, and can hold the fence too.
    insert = _last(doing) if len(names) == 1 and all(prefix.used for prefix in held.values()) else insert_counted
    for _, (identity, numbers) in sorted(by_owner.items()):
        drafts = {i: draft for i, n in enumerate(numbers) if (draft := group[n].draft)}
        read = ReadRows(len(numbers), drafts)
        outcomes = await store_rows(node, doing.conn, identity, read, insert=insert, held=held)
        for n, outcome in zip(numbers, outcomes, strict=True):
            outcome.row = 0
            answers[n] = outcome
    return [answers[n] for n in range(len(group))]


def _last(doing: Change) -> Insert:
    async def insert(conn: Connection, prefix_id: int, rows: Sequence[NewRow]) -> set[str]:
        created, doing.held = await insert_last(conn, prefix_id, rows)
        return created

    return insert


def _judged(
    node: Node, group: Sequence[Single], keys: Mapping[str, Any]
) -> tuple[dict[int, Outcome | NodeError], dict[int, tuple[Identity, list[int]]]]:
    """(answers of those that are refused before the look at the store, the others by their enterprise)."""
    answers: dict[int, Outcome | NodeError] = {}
    by_owner: dict[int, tuple[Identity, list[int]]] = {}
    good: dict[tuple[str, str], Identity] = {}  # by token and address: 32 callers with one key cost one digest
    for n, single in enumerate(group):
        identity = good.get((single.token, single.address))
        try:
            if identity is None:
                identity = access.holder(node, single.token, single.address, keys.get(single.key_id))
                access.require_scope(identity, "register")
                good[single.token, single.address] = identity
                groups_of(node).remember(single.key_id, identity.registrant_id or 0)
        except NodeError as error:
            answers[n] = error
            continue
        if single.refusal is not None:
            answers[n] = Outcome(0, "", "rejected", error=single.refusal)
            continue
        assert identity.registrant_id is not None
        by_owner.setdefault(identity.registrant_id, (identity, []))[1].append(n)
    return answers, by_owner


def groups_of(node: Node) -> Groups:
    """The worker's own, made by the first registration."""
    if node.groups is None:
        node.groups = Groups(node)
    found: Groups = node.groups
    return found
