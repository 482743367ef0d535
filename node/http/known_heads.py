# cython: annotation_typing=False
"""What comes on a connection, and of that heads that are known: a record, a page from memory, then the image that the
page shows, without a parser.

There is no second parser: a head is known where what follows its target was parsed before, byte for byte, behind
another plain target (node/http/protocol.py, node/http/scan_protocol.py). Apart from the protocol class because a class
of uvicorn's cannot be compiled to a structure, and this one is: known_heads.pxd.
"""

from __future__ import annotations

import re
from time import monotonic
from time import time as wall_clock
from typing import TYPE_CHECKING

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from node import metrics, scans
from node.http import scan_claims
from node.http.answers import request_id
from node.http.begun_pages import ready, told_lately
from node.http.copy_groups import Grouped
from node.http.frames import Kept, Showing
from node.http.negotiation import Reader
from node.http.page_copies import PageCopy
from node.http.resolver import FrontDoor, plain
from node.scan_tokens import CLAIM_SECONDS
from node.scans import Accepted, accept_read

if TYPE_CHECKING:
    from node.http.scan_protocol import ScanProtocol

_IMAGES, _GIF, _DEVICE = b"/s/", b".gif", b"ookie: scan_device="
_COOKIE = re.compile(rb"\r\n[Cc]" + _DEVICE)
_AS_LETTERS = bytes.maketrans(b"-_", b"aa")  # what a signed token has besides letters and digits
_TOKEN = re.compile(rb"[A-Za-z0-9_-]+")
_OK = STATUS_LINE[200]
VERSION = b" HTTP/1.1\r\n"
LONGEST_HEAD = 2048
_RESTS = 4096  # of parsed heads what came after the target; of 2 KiB at the most: 8 MiB
# Of the process, by what follows the target in heads that were parsed: records; for whom a page is, and how the keys
# of its copies begin; images, where what follows the cookie's name and its value are taken out.
_records: set[bytes] = set()
_pages: dict[bytes, tuple[Reader, bytes]] = {}
_images: set[bytes] = set()
_resolved = metrics.resolved
_CLAIM_LASTS = CLAIM_SECONDS  # the same as a C number


class Lines:
    """Of the process: what is on the wire alike in each answer of a second."""

    def __init__(self) -> None:
        self.defaults: object = None  # uvicorn's headers, of which these are
        self.head = b""  # a page's first lines
        self.pixel = self.after = b""  # the image, around its request's id
        # The last known head of an image that had a phone's token, around that: no other head begins and ends so.
        self.before = self.behind = b"\n"


_lines = Lines()


class KnownHeads:
    """Of one connection."""

    def __init__(self, protocol: ScanProtocol, door: FrontDoor) -> None:
        self._protocol, self._door, self._node = protocol, door, door.node
        self._state, self._served = protocol.server_state, False
        self._records, self._pages, self._tally = door.copies.by_target, door.page_copies.by_target, door.node.tally
        self._showing: Showing | None = None  # of the last page, with the claim that it showed
        self._token, self._nonce, self._second = b"", b"", 0
        self._lines, self.transport, self.flow = _lines, protocol.transport, protocol.flow

    def data_received(self, data: bytes) -> None:
        """What has come on the connection."""
        protocol = self._protocol
        cycle = protocol.cycle
        # No request is under way, and the client reads what it is sent. In one piece: each hot answer asks.
        clean = (
            not protocol.in_message
            and not protocol.refused
            and (cycle is None or cycle.response_complete)
            and not self.flow.write_paused
        )
        if clean and data.startswith(b"GET "):
            # One whole head that differs from a known one only in its target?
            end = data.find(VERSION, 4, LONGEST_HEAD)
            if end > 0:
                rest = data[end:]
                if rest in _records:
                    if self.record(data[4:end]):
                        return
                elif self._scan(data, end, rest):
                    return
        protocol.parse(data, clean)

    def record(self, target: bytes) -> bool:
        """Answer a plain request for a record, or begin to; False for the ordinary way."""
        now, copy = self._begun(), self._records.get(target)
        if copy is None or copy.group.until <= now:
            return self._protocol.begin_record(self._door, target)
        wire, defaults = copy.wire, self._state.default_headers
        if wire is None or wire[0] is not defaults:  # uvicorn's, new each second
            wire = copy.wire = defaults, *self._protocol.around_id(copy.answer)
        self.transport.write(b"".join((wire[1], request_id(), wire[2])))
        self._answered(copy, now, wall_clock())
        return True

    def _answered(self, copy: Grouped, begun: float, now: float) -> None:
        """Count an answer from memory; `begun` (monotonic s) when it was asked for."""
        self._state.total_requests += 1
        copy.asked = begun
        _resolved.copies += 1
        self._tally.count(copy.prefix_id, True, monotonic() - begun, self._protocol.address, now)

    def _scan(self, data: bytes, end: int, rest: bytes) -> bool:
        """Answer a page or an image, or begin to; False for the ordinary way. The target ends at `end`."""
        known = _pages.get(rest)
        if known is None:
            return data.startswith(_IMAGES, 4, end) and self._image(data, end)
        reader, language = known
        now = self._begun()
        target = data[4:end]
        copy: PageCopy | None = self._pages.get(language + target)
        if copy is None or copy.group.until <= now:
            return plain(target) and self._protocol.begin_page(self._door, target, reader)
        kept = copy.kept
        if not told_lately(self._node, kept, now):
            return self._protocol.begin_page(self._door, target, reader, copy)
        if (showing := kept.showing) is None or showing.scans is not kept.scans:
            ready(self._node, kept, copy.reader)
        self._answered(copy, now, self.write(kept, b""))
        return True

    def write(self, kept: Kept, closing: bytes) -> float:
        """Send a page; `closing` are lines for the end of its head. The time of its claim, s since the epoch."""
        showing, now = kept.showing, wall_clock()
        assert showing is not None
        second = int(now)
        self._nonce, self._token = showing.claims.sign(second)
        self.transport.write(showing.page(self._fresh().head, request_id(), closing, self._token))
        self._second, self._showing = second, showing
        return now

    def _begun(self) -> float:
        """A request is here and known; monotonic s."""
        protocol, now = self._protocol, monotonic()
        if protocol.timeout_keep_alive_task is not None:
            protocol.begun()
        protocol.since = now
        if not self._served:
            self._served, protocol.idle_seconds = True, float(protocol.timeout_keep_alive)
        return now

    def _fresh(self) -> Lines:
        """uvicorn makes its headers anew each second."""
        lines = self._lines
        if lines.defaults is not self._state.default_headers:
            lines.defaults = self._state.default_headers
            lines.head = _OK + self._protocol.date_lines()
            lines.pixel, lines.after = self._protocol.around_id(scan_claims.PIXEL)
        return lines

    def _image(self, data: bytes, end: int) -> bool:
        if not data.startswith(_GIF, end - len(_GIF)) or (cookie := self._cookie(data, end)) is None:
            return False
        token, now, showing = data[4 + len(_IMAGES) : end - len(_GIF)], wall_clock(), self._showing
        if showing is not None and token == self._token:  # signed here for this connection: nobody can have altered it
            accepted = self._taken(showing, cookie, now)
        elif _TOKEN.fullmatch(token) is not None:
            accepted = scan_claims.taken_cookie(self._node, token.decode(), cookie, self._protocol.address, now)
        else:
            return False
        self._begun()
        if accepted is scans.NOTHING:
            lines = self._fresh()
            self.transport.write(b"".join((lines.pixel, request_id(), lines.after)))
            self._state.total_requests += 1
        else:
            self._protocol.accepted(self._door, accepted, data[4:end])
        return True

    def _cookie(self, data: bytes, end: int) -> bytes | None:
        """The phone's token in an image's head, b"" where that has none; None where the head is not known."""
        lines = self._lines
        around = len(lines.before) + len(lines.behind)
        if len(data) - end >= around and data.startswith(lines.before, end) and data.endswith(lines.behind):
            cookie = data[end + len(lines.before) : len(data) - len(lines.behind)]
            if cookie.translate(_AS_LETTERS).isalnum():
                return cookie
        cookie, rest = split(data, end)
        if rest not in _images:
            return None
        if cookie:  # the next image's head is mostly the same
            at = data.index(cookie, end)
            lines.before, lines.behind = data[end:at], data[at + len(cookie) :]
        return cookie

    def _taken(self, showing: Showing, cookie: bytes, now: float) -> Accepted:
        """Take the claim that this connection's last page showed: only its age is left to look at."""
        if not now - _CLAIM_LASTS <= self._second:
            scans.refuse()
            return scans.NOTHING
        places = self._node.places
        place = places.of(self._protocol.address) if places.known else None
        return accept_read(self._node, showing.of, self._nonce, cookie, now, place) or scans.NOTHING


def split(data: bytes, end: int) -> tuple[bytes, bytes]:
    """(the phone's token, what is left of the head from `end` on without it). Only of characters that end nothing, so
    that they change nothing in the meaning of the rest; where it has others the rest is one that nobody remembers."""
    at = data.find(_DEVICE, end) + len(_DEVICE)
    if at < len(_DEVICE):
        return b"", data[end:]
    stop = data.find(b"\r\n", at)
    cookie = data[at:stop]
    if cookie and not cookie.translate(_AS_LETTERS).isalnum():
        return b"", b""
    return cookie, data[end:at] + data[stop:]


def remember_record(rest: bytes) -> None:
    """These bytes after a target ask for a record."""
    _make_room()
    _records.add(rest)


def remember_page(rest: bytes, reader: Reader) -> None:
    """These bytes after a target ask for a page, for this reader."""
    _make_room()
    _pages[rest] = reader, reader.lang.encode()


def remember_image(data: bytes, end: int, cookie: bytes) -> None:
    """This head, whose target ends at `end`, asks for an image and has this phone's token, b"" for none. Only where
    that stands where `split` finds it."""
    found, rest = split(data, end)
    if found == cookie and len(_COOKIE.findall(data)) == data.count(_DEVICE) == bool(cookie):
        _make_room()
        _images.add(rest)


def _make_room() -> None:
    if len(_records) + len(_pages) + len(_images) >= _RESTS:
        for known in (_records, _pages, _images):
            known.clear()
