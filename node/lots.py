"""Lots and their serials: mint, stream to the printer, activate at shipping, void, recall. Intervals change, not items.

Printed is not shipped: a serial is reserved when it is minted, and registered (counted, once) when its interval is
activated or a row of its own arrives.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec

import handle_codec
from handle_codec import SerialKey
from node import audit, serials
from node.drafts import decoded, issued_handle
from node.errors import HandleNotFound, InvalidRow, LoopbackAddress, NodeError, NotFound, RowError, UnknownLot
from node.fence import keys_name, lot_name
from node.intervals import Action, Moved, act, runs_of
from node.model import Identity, Kind, Prefix, Row, Run, Status
from node.records import iso
from node.registration import fetch_lots, owned_prefix
from node.revision import visible_prefix
from node.runtime import Connection, Node, reading
from node.store import handles, intervals, prefixes
from node.templates import plain_text
from node.writing import Change, Claim, change

MAX_MINT = 10_000_000  # serials of one request: 150 MB at the printer, under a second to make
_SLICE = 8192  # lines of a stream at a time: 8 ms over SM4, less over AES
_MAX_LIST = 2000


class Minting(msgspec.Struct, forbid_unknown_fields=True):
    """What :mint takes."""

    count: Annotated[int, msgspec.Meta(ge=1, le=MAX_MINT)]


class Selection(msgspec.Struct, forbid_unknown_fields=True, rename={"first": "from", "last": "to"}):
    """Which serials: a run, its numbers `from` to `to` (from 1, as they were printed), or a list. Nothing: the lot."""

    run: Annotated[int, msgspec.Meta(ge=1, le=2**62)] | None = None
    first: Annotated[int, msgspec.Meta(ge=1, le=2**40)] | None = None
    last: Annotated[int, msgspec.Meta(ge=1, le=2**40)] | None = None
    serials: Annotated[list[str], msgspec.Meta(min_length=1, max_length=_MAX_LIST)] | None = None
    reason: str = ""


_minting = msgspec.json.Decoder(Minting)
_selection = msgspec.json.Decoder(Selection)


@dataclass(slots=True, frozen=True)
class Printing:
    """A run with the key that makes its serials."""

    handle: str  # of the lot
    prefix: str
    run: Run
    key: SerialKey

    def document(self) -> dict[str, Any]:
        return {
            "run": self.run.id,
            "lot": self.handle,
            "count": self.run.count,
            "first": self.key.mint(self.run.first),
            "last": self.key.mint(self.run.last),
            "minted_at": iso(self.run.minted_at),
            "serials": f"/api/v1/lots/{self.handle}/runs/{self.run.id}/serials",
        }


async def mint(node: Node, identity: Identity, handle: str, body: bytes, claim: Claim | None) -> Printing:
    """Reserve a run of the prefix's counter for a lot; its serials are never called forged from here on."""
    form: Minting = decoded(_minting, body)
    prefix_text, lot = issued_handle(handle)
    if not node.settings.dev and _is_loopback(node.settings.public_url):
        raise LoopbackAddress.of(url=node.settings.public_url)

    async def work(doing: Change) -> Printing:
        prefix = await owned_prefix(doing.conn, identity, prefix_text)
        await intervals.hold(doing.conn, prefix)
        await _usable_lot(doing.conn, prefix, lot)
        key, first = await serials.reserve(node, doing.conn, prefix, form.count)
        last = first + form.count - 1
        run = await intervals.insert_run(doing.conn, prefix, first, last, lot, key.letter, identity.actor)
        if not prefix.used:
            await prefixes.mark_used(doing.conn, prefix.id)
        detail = {"run": run.id, "count": form.count}
        await audit.record(doing.conn, identity.actor, "serials.mint", f"{prefix_text}/{lot}", detail)
        return Printing(f"{prefix_text}/{lot}", prefix_text, run, key)

    return await change(node, work, dependents=[keys_name(prefix_text)], claim=claim)


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


async def _usable_lot(conn: Connection, prefix: Prefix, lot: str) -> Row:
    row = (await fetch_lots(conn, prefix, {lot})).get(lot)
    if row is None:
        raise UnknownLot.of(RowError("lot", "unknown_lot", "没有此批次", "no such lot"), lot=lot)
    return row


async def runs(node: Node, identity: Identity, handle: str) -> list[dict[str, Any]]:
    """The lot's runs, oldest first, each with its intervals."""
    prefix_text, lot = issued_handle(handle)
    async with reading(node) as conn:
        prefix = await visible_prefix(conn, identity, prefix_text)
        keys = await serials.keyring(node, conn, prefix)
        found = []
        for run in await intervals.runs_of_lot(conn, prefix, lot):
            document = Printing(handle, prefix_text, run, keys.keys[run.letter][0]).document()
            parts = await intervals.overlapping(conn, prefix, run.first, run.last)
            document["intervals"] = [
                {
                    "from": part.first - run.first + 1,
                    "to": part.last - run.first + 1,
                    "state": part.state.word,
                    "reason": part.reason or None,
                    "since": iso(part.since),
                }
                for part in parts
            ]
            found.append(document)
    return found


async def print_again(node: Node, identity: Identity, handle: str, run_id: int) -> Printing:
    """A run of the lot, to be streamed once more; that it was is audited."""
    prefix_text, lot = issued_handle(handle)

    async def work(doing: Change) -> Printing:
        prefix = await owned_prefix(doing.conn, identity, prefix_text)
        run = await intervals.run(doing.conn, prefix, run_id)
        if run is None or run.lot != lot:
            raise NotFound.of(what=f"run {run_id}")
        keys = await serials.keyring(node, doing.conn, prefix)
        await audit.record(doing.conn, identity.actor, "serials.print", f"{prefix_text}/{lot}", {"run": run_id})
        return Printing(f"{prefix_text}/{lot}", prefix_text, run, keys.keys[run.letter][0])

    return await change(node, work)


def stream(printing: Printing, public_url: str, form: str) -> Iterator[bytes]:
    """The run's serials for a printer, with the address that goes into the QR code: `form` is csv or ndjson."""
    address = f"{public_url}/{printing.prefix}/".encode()
    if form == "csv":
        yield b"suffix,url\r\n"
    before, between, after = (b"", b",", b"\r\n") if form == "csv" else (b'{"suffix":"', b'","url":"', b'"}\n')
    run = printing.run
    for start in range(run.first, run.last + 1, _SLICE):
        lines = printing.key.mint_lines(start, min(_SLICE, run.last + 1 - start)).split()
        yield b"".join([before + line + between + address + line + after for line in lines])


async def set_state(
    node: Node, identity: Identity, handle: str, action: Action, body: bytes, claim: Claim | None
) -> dict[str, Any]:
    """Activate, void, recall or restore serials of a lot; recall and restore without a selection mean the lot itself.

    All of the selection or none: raises with the first serial that cannot.
    """
    form: Selection = decoded(_selection, body or b"{}")
    prefix_text, lot = issued_handle(handle)
    reason = plain_text(form.reason, "reason", 500) if form.reason else ""
    if action in (Action.VOID, Action.RECALL) and not reason:
        raise InvalidRow.of(RowError("reason", "required", "必填", "is required"))
    whole = form.run is None and form.serials is None
    lot_too = whole and action in (Action.RECALL, Action.RESTORE)

    async def work(doing: Change) -> dict[str, Any]:
        prefix = await owned_prefix(doing.conn, identity, prefix_text)
        await intervals.hold(doing.conn, prefix, alone=True)
        if lot_too:
            moved = await _set_lot(doing.conn, prefix, lot, action, reason, identity.actor)
        else:
            await _usable_lot(doing.conn, prefix, lot)
            parts = await _parts(node, doing.conn, prefix, lot, form)
            moved = await act(doing.conn, prefix, lot, parts, action, reason, identity.actor, time.time())
        document = moved.document(action) | {"lot": f"{prefix_text}/{lot}"}
        detail = {"changed": moved.changed, "reason": reason}
        await audit.record(doing.conn, identity.actor, f"serials.{action.value}", f"{prefix_text}/{lot}", detail)
        return document

    name = f"{prefix_text}/{lot}"
    return await change(node, work, handles=[name], dependents=[lot_name(name)], claim=claim)


async def _set_lot(conn: Connection, prefix: Prefix, lot: str, action: Action, reason: str, actor: str) -> Moved:
    """Recall a whole lot, or take that back: its row says so for all items, those with rows and those without."""
    await prefixes.hold_lots(conn, prefix.id, [lot], alone=True)
    shard = handle_codec.shard_of(lot, prefix.home, prefix.spread)
    row = await handles.lock(conn, shard, prefix.id, lot)
    if row is None or row.kind != Kind.LOT or row.status == Status.TOMBSTONE:
        raise HandleNotFound.of(handle=f"{prefix.prefix}/{lot}")
    then = Status.RECALLED if action == Action.RECALL else Status.ACTIVE
    if row.status == then:
        return Moved(unchanged=1)
    await handles.replace(conn, shard, prefix.id, row.changed(status=then, reason=reason), actor)
    return Moved(changed=1)


async def _parts(node: Node, conn: Connection, prefix: Prefix, lot: str, form: Selection) -> list[tuple[int, int]]:
    """The counters that were selected, as (first, last)."""
    if form.serials is not None:
        return await _listed(node, conn, prefix, form.serials)
    if form.run is None:
        return [(run.first, run.last) for run in await intervals.runs_of_lot(conn, prefix, lot)]
    run = await intervals.run(conn, prefix, form.run)
    if run is None or run.lot != lot:
        raise NotFound.of(what=f"run {form.run}")
    first, last = form.first or 1, form.last or run.count
    if not first <= last <= run.count:
        zh, en = f"须为 1 至 {run.count}，且起不大于止", f"must be 1 to {run.count}, from <= to"
        raise InvalidRow.of(RowError("from" if first > run.count else "to", "out_of_range", zh, en))
    return [(run.first + first - 1, run.first + last - 1)]


async def _listed(node: Node, conn: Connection, prefix: Prefix, texts: list[str]) -> list[tuple[int, int]]:
    keys = await serials.keyring(node, conn, prefix)
    errors: list[RowError] = []
    counters: list[int] = []
    for number, text in enumerate(texts):
        try:
            own, suffix = issued_handle(text if "/" in text else f"{prefix.prefix}/{text}")
            if own != prefix.prefix:
                raise NotFound.of(what=text[:64])
            counters.append(keys.counter_of(suffix))
        except NodeError as error:
            errors.append(RowError(f"serials[{number}]", error.code, error.zh.format_map(error.datum), str(error)))
    if errors:
        raise InvalidRow.of(*errors[:100])
    return list(runs_of(counters))
