# cython: annotation_typing=False
"""Scans: claimed by the image of a page, counted once, the first one committed before that image answers.

A claim of an item that this worker has not seen scanned waits for a commit, in a group with whatever came meanwhile;
all others are gathered and settled each second. Both go through `add`: a claim is used up and a device is met by
rows whose keys PostgreSQL holds unique, so no worker and no repetition counts a scan twice.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

import handle_codec
from node import metrics, scan_tokens
from node.counted_scans import add
from node.errors import NodeError
from node.places import Place
from node.runtime import Connection, Node, in_transaction, reading
from node.scan_memory import MAX_LATER, PART, Claim, Counts, ScanMemory, Scanned, apart
from node.scan_tokens import CLAIM_SECONDS, SHIPPED, DeviceToken, Refused, mark, read_device
from node.settling import Ledger
from node.store import scans as store
from node.store import settling

# Once its window of ten minutes is over a device counts on an item again; by then its claim is over too.
_MARK_SECONDS = CLAIM_SECONDS + 60
# s between two commits of first scans: five round trips, a tenth of the loop where there were 200 a second.
_APART = 0.01
_MAX_MERGED = 20_000  # claims in the last of many settlements that wait while PostgreSQL is away: a second's worth
_became = metrics.claims.counts
_log = logging.getLogger(__name__)


def claim_address(node: Node, handle: str, now: float, *, lot: str = "", state: str = SHIPPED) -> str:
    """The path of an image that is worth one scan of this handle, for a page made now.

    `lot` is the suffix of the item's lot; `state` one of SHIPPED, UNSHIPPED, VOID and LOT (of a lot's own page). A page
    that says that a handle does not exist has no such image.
    """
    token = scan_tokens.claim_token(node.sealer, handle, now, lot, state)
    return f"{urlsplit(node.settings.public_url).path}/s/{token}.gif"


@dataclass(slots=True, frozen=True)
class Accepted:
    """What became of a claim: a cookie to set ("" for none), and a future to wait for before the image answers."""

    cookie: str = ""
    committed: asyncio.Future[None] | None = None


NOTHING = Accepted()


def accept(
    node: Node, token: str, cookie: str, now: float, place: Place | None = None, registrant: int = 0
) -> Accepted | None:
    """Take a claim; None where claim or cookie was forged, altered or is over: then nothing is counted.

    `cookie` is the device's token, "" for none; `registrant` the enterprise whose key came with the request.
    """
    try:
        claim = scan_tokens.read_claim(node.sealer, token, now)
        item = handle_codec.parse(claim.handle)
        of = Scanned(claim.handle.encode(), item, claim.lot, claim.state)
        return accept_read(node, of, claim.nonce, cookie.encode("ascii"), now, place, registrant)
    except (Refused, handle_codec.InvalidHandle, UnicodeEncodeError):
        refuse()
        return None


def refuse() -> None:
    """Count a claim that is refused: nothing else becomes of it."""
    _became["refused"] += 1


def accept_read(
    node: Node, of: Scanned, nonce: bytes, cookie: bytes, now: float, place: Place | None = None, registrant: int = 0
) -> Accepted | None:
    """The same of a claim that was read and is not over."""
    sealer = node.sealer
    try:
        device = read_device(sealer, cookie, now) if cookie else None
    except Refused:
        refuse()
        return None
    nonce_mark = device_mark = mark(sealer, nonce, of.handle)
    set_cookie, scanner = "", 0
    if isinstance(device, DeviceToken):
        device_mark = mark(sealer, device.device, of.handle)
        if registrant == 0:
            registrant, scanner = device.registrant, device.scanner
    else:
        set_cookie = scan_tokens.device_token(sealer, scan_tokens.fresh_device(nonce, now))
    committed = _take(node, Claim(of, nonce_mark, device_mark, now, place, registrant, scanner))
    return Accepted(set_cookie, committed) if set_cookie or committed is not None else NOTHING


def _take(node: Node, claim: Claim) -> asyncio.Future[None] | None:
    memory: ScanMemory = node.scan_memory
    if claim.of.told is not None or claim.of.item in memory.known:
        # PostgreSQL is away for long: better a scan that is not counted than a worker without memory.
        if len(memory.later) < MAX_LATER:
            memory.later.append(claim)
            _became["gathered"] += 1
        else:
            _became["dropped"] += 1
        return None
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    memory.first.append((claim, future))
    _became["committed"] += 1
    if not memory.committing:
        memory.committing = True
        memory.start(_commit(node))
    return future


async def _commit(node: Node) -> None:
    """Commit what waits, in groups: while one commits the next gathers."""
    memory = node.scan_memory
    try:
        while memory.first:
            memory.committed_at = await apart(memory.committed_at, _APART)
            group, memory.first = memory.first[:PART], memory.first[PART:]
            claims = [claim for claim, _ in group]
            try:
                memory.commits += 1
                known = await in_transaction(node, lambda conn, c=claims: _add_first(node, conn, c))  # type: ignore[misc]
            except Exception as error:
                refusal = error if isinstance(error, NodeError) else NodeError()
                if refusal is not error:
                    _log.exception("a group of first scans failed")
                for _, future in group:
                    if not future.done():
                        future.set_exception(refusal)
            else:
                for item in known:
                    memory.know(item)
                memory.tell(known)
                for _, future in group:
                    if not future.done():
                        future.set_result(None)
    finally:
        memory.committing = False


async def _add_first(node: Node, conn: Connection, claims: list[Claim]) -> Counts:
    """Numbered as settlements are, though never sent again: so others see that something was committed."""
    memory = node.scan_memory
    await settling.begin(conn, memory.worker, "first", memory.commits, time.time())
    return await add(node, conn, claims)


async def look_at_others(node: Node) -> None:
    """See whether another worker has committed scans since this was last looked at; raises Unavailable."""
    memory, asked = node.scan_memory, time.monotonic()
    async with reading(node) as conn:
        others = await settling.others(conn, [memory.worker, *memory.own])
    memory.looked(others, asked, time.monotonic())


def ledger(node: Node) -> Ledger[list[Claim]]:
    """How this worker's later scans are settled."""

    async def apply(conn: Connection, claims: list[Claim]) -> None:
        # After an outage of ten minutes another worker may have let go of the marks that these were counted under:
        # better a scan that is lost than one that is counted twice.
        since = time.time() - CLAIM_SECONDS
        live = [claim for claim in claims if claim.at > since]
        node.scan_memory.settled = await add(node, conn, live)

    def merge(kept: list[Claim], more: list[Claim]) -> None:
        kept.extend(more[: max(0, _MAX_MERGED - len(kept))])

    def take() -> list[list[Claim]]:
        # While PostgreSQL is away nothing is spread, and what may wait is so many parts.
        return memory.take(whole=bool(found.waiting))

    memory = node.scan_memory
    found: Ledger[list[Claim]] = Ledger("scan", take, apply, merge, memory.settlement_committed)
    memory.own.append(found.worker)
    return found


async def tidy(node: Node, now: float | None = None) -> None:
    """Let go of marks that can no longer be met: every claim of their time is over, and every window."""
    before = (time.time() if now is None else now) - _MARK_SECONDS
    await in_transaction(node, lambda conn: store.expire_marks(conn, before))
