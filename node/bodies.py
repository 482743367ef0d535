"""Bodies of public records, put together from what the items of a lot share and what is the item's own.

Most records that are read from PostgreSQL are an item's of a lot, and differ from its neighbours' in a handle, a few
attributes, version and time: all else is kept as bytes with gaps. 2 us instead of 11; what is out of the ordinary is
made by `Resolved.record`, and so is the first of each kind, which the gaps are then cut from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from node.kept import Form, View, etag_of
from node.model import Kind, Prefix, PrefixStatus, Row, Status
from node.records import Resolved, gone, iso, unpack
from node.showing import Transform

_MOST = 4096  # of about 2 KB each
_LONGEST = 16 * 1024  # bytes of a frame: what an enterprise puts into its lots does not fill the worker's memory
_GAP = "\ue000gap\ue000"  # private use: stands where no record that is cut has it, for it is looked for


@dataclass(slots=True, frozen=True)
class Frame:
    """`text` with a gap for the handle, each shown attribute of the item's own, version and time."""

    prefix: Prefix
    lot: Row | None
    text: bytes
    own: tuple[tuple[str, Transform | None], ...]

    def fill(self, resolved: Resolved, own: dict[str, Any]) -> bytes | None:
        """The body; None where a value must not be shown."""
        row, parts = resolved.row, [orjson.dumps(resolved.handle)]
        for code, transform in self.own:
            value = own[code] if transform is None else transform(own[code])
            if value is None:
                return None
            parts.append(orjson.dumps(value))
        return self.text % (*parts, row.version, iso(row.updated_at).encode())


class Bodies:
    """Frames by prefix, lot, template and the codes of an item's own attributes. Good for exactly the prefix and the
    lot, as objects, that they were cut from: what is read again is another object."""

    def __init__(self) -> None:
        self._frames: dict[tuple[object, ...], Frame] = {}

    def view(self, resolved: Resolved) -> View:
        """The finished public view of what was read."""
        row = resolved.row
        if row.status is Status.TOMBSTONE:
            form, body = Form.GONE, orjson.dumps(dict(gone(resolved.handle, row).datum))
        else:
            form, body = Form.RECORD, self._body(resolved)
        return View(resolved.handle, resolved.prefix.id, form, body, etag_of(body), row.version)

    def _body(self, resolved: Resolved) -> bytes:
        row, compiled = resolved.row, resolved.compiled
        if not _is_usual(resolved) or compiled is None:
            return orjson.dumps(resolved.record())
        own, values = unpack(row.content)
        if values:
            return orjson.dumps(resolved.record())
        key = (resolved.prefix.id, row.lot, row.template_id, *own)
        frame = self._frames.get(key)
        if frame is None or frame.prefix is not resolved.prefix or frame.lot is not resolved.lot:
            body = orjson.dumps(resolved.record())
            self._keep(key, resolved, own, body)
            return body
        return frame.fill(resolved, own) or orjson.dumps(resolved.record())

    def _keep(self, key: tuple[object, ...], resolved: Resolved, own: dict[str, Any], body: bytes) -> None:
        frame = _cut(resolved, own)
        if frame is None or len(frame.text) > _LONGEST:
            return
        if frame.fill(resolved, own) != body:  # whatever the reason: such items go the long way
            return
        if len(self._frames) >= _MOST:
            self._frames.clear()
        self._frames[key] = frame


def _is_usual(resolved: Resolved) -> bool:
    """Nothing but its attributes tells the item from an ordinary one: no state, no other values, no interval."""
    row, lot = resolved.row, resolved.lot
    return (
        resolved.level == "public"
        and row.status is Status.ACTIVE
        and row.kind is Kind.ITEM
        and resolved.interval is None
        and resolved.prefix.status is PrefixStatus.ENABLED
        and (lot is None or lot.status is Status.ACTIVE)
        and (resolved.lot_parts is None or not resolved.lot_parts[1])
    )


def _cut(resolved: Resolved, own: dict[str, Any]) -> Frame | None:
    record, plan = resolved.record(), resolved.compiled.public_plan if resolved.compiled else ()
    shown = tuple((code, transform) for code, transform in plan if code in own)
    if any(code not in record["attributes"] for code, _ in shown):
        return None
    gaps: dict[str, Any] = {code: _GAP for code, _ in shown}
    record |= {"handle": _GAP, "version": _GAP, "updated_at": _GAP}
    record["attributes"] = {**record["attributes"], **gaps}
    text = orjson.dumps(record).replace(b"%", b"%%")
    gap = orjson.dumps(_GAP)
    if text.count(gap) != 3 + len(shown):
        return None
    *heads, time, end = text.split(gap)
    text = b"%b".join(heads) + b"%d" + time + b'"%b"' + end
    return Frame(resolved.prefix, resolved.lot, text, shown)
