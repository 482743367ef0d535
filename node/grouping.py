"""Single registrations under load: what arrives while a transaction is under way shares the next one.

Each caller is answered after the commit. Keys and prefixes are read inside the transaction, once for all. An error
stays with its own row; of two callers with one handle the first wins, and the other is compared in the next group.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from node import access
from node.drafts import Draft, draft_of
from node.errors import NodeError, Unavailable
from node.model import Identity
from node.outcomes import Outcome, ReadRows, tally
from node.registration import store_rows
from node.runtime import Connection, Node
from node.store import access as store_access
from node.writing import Change, change

_FLIGHTS = 2  # groups under way: while one waits for the disk the other is put together
_MOST = 256  # rows of a group: its transaction stays under some 20 ms
_QUEUE = 2048  # callers that wait; beyond, 503
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Single:
    """One caller: whose key, what row (or why it cannot be read), and where the outcome goes."""

    token: str
    key_id: str
    address: str
    draft: Draft | None
    refusal: NodeError | None
    done: asyncio.Future[Outcome]

    @property
    def handle(self) -> str:
        return self.draft.handle if self.draft else ""


class Groups:
    """Of one worker."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._waiting: list[Single] = []
        self._flying: set[asyncio.Task[None]] = set()
        self._held: set[str] = set()  # handles of groups under way: the next caller waits for what becomes of them

    async def register(self, token: str, address: str, body: bytes) -> Outcome:
        """The outcome of one row; raises what is wrong with the key, with the scope, or Unavailable."""
        key_id = access.key_id_in(token)
        if len(self._waiting) >= _QUEUE:
            raise Unavailable.of(what="registrations", retry_after=1)
        draft, refusal = None, None
        try:
            draft = draft_of(body)
        except NodeError as error:
            refusal = error
        single = Single(token, key_id, address, draft, refusal, asyncio.get_running_loop().create_future())
        self._waiting.append(single)
        self._start()
        return await single.done  # a caller that goes away takes nothing from the others

    def _start(self) -> None:
        while self._waiting and len(self._flying) < _FLIGHTS:
            group = self._take()
            if not group:
                return  # all that wait have the handle of one under way
            task = asyncio.get_running_loop().create_task(self._run(group))
            self._flying.add(task)
            task.add_done_callback(self._landed)

    def _take(self) -> list[Single]:
        group: list[Single] = []
        left: list[Single] = []
        for single in self._waiting:
            if len(group) < _MOST and single.handle not in self._held:
                group.append(single)
                if single.handle:
                    self._held.add(single.handle)
            else:
                left.append(single)
        self._waiting = left
        return group

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._flying.discard(task)
        self._start()

    async def _run(self, group: list[Single]) -> None:
        try:
            await self._commit(group)
        finally:
            self._held.difference_update(single.handle for single in group)
            for single in group:
                _fail(single, Unavailable.of(what="registrations", retry_after=1))  # where it was cancelled

    async def _commit(self, group: Sequence[Single]) -> None:
        """One transaction; what the database refuses is sought by halves, so that only its own row fails."""

        async def work(doing: Change) -> list[Outcome | NodeError]:
            answers = await _stored(self._node, doing.conn, group)
            found = [a for a in answers if isinstance(a, Outcome)]
            doing.created += [outcome.handle for outcome in found if outcome.outcome != "rejected"]
            return answers

        try:
            answers = await change(self._node, work)
        except NodeError as error:
            for single in group:
                _fail(single, error)
        except Exception:
            if len(group) == 1:
                _log.exception("a registration was refused by the database")
                _fail(group[0], NodeError())
                return
            half = len(group) // 2
            await self._commit(group[:half])
            await self._commit(group[half:])
        else:
            tally([answer for answer in answers if isinstance(answer, Outcome)])
            for single, answer in zip(group, answers, strict=True):
                if isinstance(answer, NodeError):
                    _fail(single, answer)
                elif not single.done.done():
                    single.done.set_result(answer)


def _fail(single: Single, error: NodeError) -> None:
    if not single.done.done():
        single.done.set_exception(error)


async def _stored(node: Node, conn: Connection, group: Sequence[Single]) -> list[Outcome | NodeError]:
    """What becomes of each row, or of its caller; one look-up of keys, one storing for each enterprise."""
    keys = await store_access.fetch_keys(conn, sorted({single.key_id for single in group}))
    answers: dict[int, Outcome | NodeError] = {}
    by_owner: dict[int, tuple[Identity, list[int]]] = {}
    for n, single in enumerate(group):
        try:
            identity = access.holder(node, single.token, single.address, keys.get(single.key_id))
            access.require_scope(identity, "register")
        except NodeError as error:
            answers[n] = error
            continue
        if single.refusal is not None:
            answers[n] = Outcome(0, "", "rejected", error=single.refusal)
            continue
        assert identity.registrant_id is not None
        by_owner.setdefault(identity.registrant_id, (identity, []))[1].append(n)
    for _, (identity, numbers) in sorted(by_owner.items()):  # locks are taken in one order
        drafts = {i: draft for i, n in enumerate(numbers) if (draft := group[n].draft)}
        outcomes = await store_rows(node, conn, identity, ReadRows(len(numbers), drafts))
        for n, outcome in zip(numbers, outcomes, strict=True):
            outcome.row = 0
            answers[n] = outcome
    return [answers[n] for n in range(len(group))]


def groups_of(node: Node) -> Groups:
    """The worker's own, made by the first registration."""
    if node.groups is None:
        node.groups = Groups(node)
    found: Groups = node.groups
    return found
