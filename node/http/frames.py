# cython: annotation_typing=False
"""Rendered scan pages with holes for what each scan has of its own: what came before it, and its claim.

A page is kept with all that it was made of and used again only for the same: the same record, trace, language and
proved hosts, compared and not guessed from a clock. So a kept page is never older than what was just read.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup
from starlette.responses import Response

from node.fence import Fence
from node.http.answers import Headers
from node.http.negotiation import Reader
from node.kept import View
from node.model import Event
from node.records import Resolved
from node.scan_memory import Scanned
from node.scan_tokens import Claims
from node.scanning import Scans
from node.shown_links import LinkOk

# In the place of each hole while a page is rendered. Random, so that nothing registered can hold one.
HOLES = {name: Markup("<!--{}-->").format(secrets.token_hex(16)) for name in ("scans", "claim")}
_NOSNIFF = b"\r\nx-content-type-options: nosniff\r\n"
_NOSNIFF_ENDS = _NOSNIFF + b"\r\n"
_KEPT = 16_000  # pages of a worker, and bytes of them: 3 to 15 KB each; what they are made of is about as much again
_BYTES = 48 * 2**20

Key = tuple[str, ...]


@dataclass(frozen=True)
class Frame:
    """A page in three pieces with the two holes between them."""

    pieces: tuple[bytes, bytes, bytes]
    headers: dict[str, str]
    lines: Headers  # the same as ASGI has them; for nobody to change

    @classmethod
    def of(cls, rendered: Response) -> Frame:
        body = bytes(rendered.body)
        before, _, rest = body.partition(HOLES["scans"].encode())
        between, _, after = rest.partition(HOLES["claim"].encode())
        headers = {k: v for k, v in rendered.headers.items() if k != "content-length"}
        lines = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in headers.items()]
        return cls((before, between, after), headers, lines)

    @property
    def size(self) -> int:
        return sum(len(piece) for piece in self.pieces)

    def filled(self, scans: bytes, claim: str) -> Response:
        """The whole page; both are markup."""
        before, between, after = self.pieces
        return Response(b"".join((before, scans, between, claim.encode(), after)), 200, self.headers)


@dataclass(slots=True, frozen=True)
class Proof:
    """By what a page is known to be of today's record and trace without reading these from PostgreSQL: the entity tag
    and version of its public view, the stamps that its dependents had (node/kept.py has the rule), and what was the
    generation of its enterprise's events before the trace was read, b"" for unknown. `until` (monotonic s): a stamp is
    remembered no longer."""

    etag: str
    version: int
    stamps: tuple[tuple[str, int], ...]
    until: float
    events: bytes

    def holds(self, view: View, fence: Fence) -> bool:
        """Whether `view`, as Valkey keeps it now, is of that record."""
        return (view.etag, view.version) == (self.etag, self.version) and self.stands(fence)

    def stands(self, fence: Fence) -> bool:
        """The same where the view is known to be the one it was."""
        return self.until > time.monotonic() and fence.stand(self.stamps)


@dataclass
class Showing:
    """What each showing of a kept page needs, in one place, for a page that was not shown lately is nowhere near: its
    pieces, the claim's image `between` them up to its token and at the `end` from there; what its claims are `of`;
    `head`, `lines` with the length and up to the request's id, `said` of these scans with their number put in
    `around` it; `rest` is the length of all but that."""

    claims: Claims
    of: Scanned
    head: bytes
    before: bytes
    between: bytes
    end: bytes
    after: bytes
    rest: int
    scans: Scans | None = None
    around: list[bytes] = field(default_factory=list)
    said: bytes = b""
    lines: bytes = b""

    def page(self, begin: bytes, number: bytes, closing: bytes, token: bytes) -> bytes:
        """The page as it goes on the wire: `begin` its status line and date, `number` its request's id, `closing` lines
        for the end of the head."""
        ends = _NOSNIFF + closing + b"\r\n" if closing else _NOSNIFF_ENDS
        lines, said = self.lines, self.said
        # Not one tuple put in another: that would be made first.
        return b"".join(
            (begin, self.head, lines, number, ends, self.before, said, self.between, token, self.end, self.after)
        )


@dataclass
class Kept:
    resolved: Resolved
    events: Sequence[Event] | None
    links: tuple[tuple[str, bool], ...]  # what was asked about hosts, and the answers
    frame: Frame
    proof: Proof | None = None
    scans: Scans | None = None  # before the last showing, and when (monotonic s) they were asked for
    counted: float = float("-inf")
    showing: Showing | None = None


class Asked:
    """A link_ok that remembers what it was asked."""

    def __init__(self, link_ok: LinkOk) -> None:
        self._link_ok = link_ok
        self.answers: dict[str, bool] = {}

    def __call__(self, url: str) -> bool:
        return self.answers.setdefault(url, self._link_ok(url))


class Frames:
    """The pages last rendered by this worker."""

    def __init__(self) -> None:
        self._kept: dict[Key, Kept] = {}
        self._bytes = 0

    def known(self, key: Key) -> Kept | None:
        """The page last rendered, whatever has changed since."""
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._kept[key] = kept  # the last to go
        return kept

    def prove(self, key: Key, resolved: Resolved, proof: Proof) -> Kept | None:
        """Note by what the page of just this is known, and give it; None where it is not kept."""
        kept = self._kept.get(key)
        if kept is None or (kept.resolved is not resolved and kept.resolved != resolved):
            return None
        kept.proof = proof
        return kept

    def get(self, key: Key, resolved: Resolved, events: Sequence[Event] | None, link_ok: LinkOk) -> Frame | None:
        kept = self.known(key)
        if kept is None or kept.resolved != resolved or kept.events != events:
            return None
        return kept.frame if all(link_ok(url) == live for url, live in kept.links) else None

    def put(self, key: Key, resolved: Resolved, events: Sequence[Event] | None, asked: Asked, frame: Frame) -> None:
        if (before := self._kept.pop(key, None)) is not None:
            self._bytes -= before.frame.size
        self._kept[key] = Kept(resolved, events, tuple(asked.answers.items()), frame)
        self._bytes += frame.size
        while len(self._kept) > _KEPT or self._bytes > _BYTES:  # first whom nobody asked for the longest
            self._bytes -= self._kept.pop(next(iter(self._kept))).frame.size


def key_of(public_url: str, node_name: str, handle: str, reader: Reader) -> Key:
    return (public_url, node_name, handle, reader.lang, reader.query)
