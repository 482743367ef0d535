# cython: annotation_typing=False
"""Connections of a node on which a scan, the page and then its image, needs neither a task nor FastAPI.

Whatever is not a plain request of a browser goes the ordinary way, with the same answer.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from node import scans
from node.http import scan_claims
from node.http.answers import Answer, request_id
from node.http.begun_pages import ready, told_lately
from node.http.frames import Kept, Showing
from node.http.negotiation import Reader, reader_of, wants_page
from node.http.page_copies import PageCopy
from node.http.protocol import CLOSE, LONGEST_HEAD, RESTS, VERSION, Direct, Protocol
from node.http.requests import MAX_HEADERS
from node.http.resolver import FrontDoor, plain
from node.runtime import Node
from node.scan_tokens import CLAIM_SECONDS, ClaimToken
from node.scans import Accepted

_IMAGE = re.compile(rb"/s/([A-Za-z0-9_-]+)\.gif")
# A page's request with one of these is not for everybody, or asks for more; an image's has its phone's cookie.
_NOT_PAGE = frozenset(
    b"authorization cookie if-none-match if-match if-modified-since range expect upgrade"
    b" content-length transfer-encoding connection te trailer".split()
)
_NOT_IMAGE = _NOT_PAGE - {b"cookie", b"if-none-match", b"if-modified-since"}
_PATH = re.compile(rb"/[!$%&'()*+,\-./0-9:;=@A-Z_a-z~]{1,2048}")
_IMAGES, _GIF, _DEVICE = b"/s/", b".gif", b"ookie: scan_device="
_COOKIE = re.compile(rb"\r\n[Cc]" + _DEVICE)
_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"  # of a signed token
_TOKEN = re.compile(rb"[A-Za-z0-9_-]+")
_OK = STATUS_LINE[200]
_Shown = tuple[bytes, bytes, int, Showing]  # the claim of a page, its nonce and second, and of what it is
_page = lru_cache(256)(wants_page)
_reader = lru_cache(256)(reader_of)


class ScanProtocol(Protocol):
    """One connection."""

    # Of the process, by what follows the target in heads that were parsed: for whom a page is; images, where what
    # follows the cookie's name and its value are taken out.
    page_rests: dict[bytes, Reader] = {}  # noqa: RUF012
    image_rests: set[bytes] = set()  # noqa: RUF012
    pixel: tuple[object, bytes, bytes] = (None, b"", b"")  # the image on the wire around a request's id

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._pages: dict[bytes, PageCopy] = self._door.page_copies.by_target if self._door else {}
        self._head: tuple[bytes | Reader, bytes] | None = None  # the message at hand: its reader or cookie, its target
        self._shown: _Shown | None = None  # the last page

    def on_message_begin(self) -> None:
        self._head = None
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        door = self._door
        if door is not None and self.idle_before() and (self._image(door) or self._page(door)):
            self._answered, self._target = True, b""
            self.head_done()
            return
        super().on_headers_complete()

    def _known_else(self, data: bytes, end: int) -> bool:
        """Answer a page or an image, or begin to; False for the ordinary way."""
        reader, door = ScanProtocol.page_rests.get(data[end:]), self._door
        if door is None:
            return False
        if reader is None:
            return data.startswith(_IMAGES, 4, end) and self._known_image(door, data, end)
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        self._since = now = time.monotonic()
        self._idle_seconds = self._keep_alive
        target = data[4:end]
        copy = self._pages.get(reader.lang.encode() + target)
        if copy is None or copy.group.until <= now:
            return plain(target) and self._begin_page(door, target, reader)
        if not told_lately(door.node, copy.kept, now):
            return self._begin_page(door, target, reader, copy)
        self._show(door, copy, now)
        return True

    def _show(self, door: FrontDoor, copy: PageCopy, now: float) -> None:
        """Send a page from memory; `now`: monotonic s."""
        kept = copy.kept
        if (showing := kept.showing) is None or showing.scans is not kept.scans:
            ready(door.node, kept, copy.reader)
        self._write_page(kept)
        self.server_state.total_requests += 1
        if not copy.uses:
            door.groups.used.append(copy)
        copy.uses[self._address] = copy.uses.get(self._address, 0) + 1
        copy.took += time.monotonic() - now

    def _write_page(self, kept: Kept, closing: bytes = b"") -> None:
        showing, second = kept.showing, int(time.time())
        assert showing is not None
        nonce, token = showing.claims.sign(second)
        self.transport.write(kept.page(_OK + self.date_lines(), request_id(), closing, token))
        self._shown = (token, nonce, second, showing)

    def _known_image(self, door: FrontDoor, data: bytes, end: int) -> bool:
        cookie, rest = _split(data, end)
        if rest not in ScanProtocol.image_rests:
            return False
        token, shown, now = data[4 + len(_IMAGES) : end - len(_GIF)], self._shown, time.time()
        if not data.startswith(_GIF, end - len(_GIF)):
            return False
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        self._since, self._idle_seconds = time.monotonic(), self._keep_alive
        if shown is not None and shown[0] == token:  # signed here for this connection: nobody can have altered it
            accepted = _taken_here(door.node, shown, cookie, self._address, now)
        elif _TOKEN.fullmatch(token) is not None:
            accepted = scan_claims.taken_cookie(door.node, token.decode(), cookie, self._address, now)
        else:
            return False
        self._accepted(door, accepted, data[4:end])
        return True

    def _accepted(self, door: FrontDoor, accepted: Accepted, target: bytes) -> None:
        """Answer an image, once its scan is committed where it is a first one."""
        node = door.node
        if accepted.committed is not None:
            self._wait_for(accepted.committed, target, lambda: scan_claims.bare(node, accepted))
            return
        if accepted.cookie:
            self.send(scan_claims.bare(node, accepted))
        else:
            wire = ScanProtocol.pixel
            if wire[0] is not self.server_state.default_headers:
                ends = self._wire(scan_claims.PIXEL)
                wire = ScanProtocol.pixel = ends
            self.transport.write(b"".join((wire[1], request_id(), wire[2])))
        self.server_state.total_requests += 1

    def _remember(self, data: bytes) -> None:
        """These bytes were one whole head and nothing else."""
        head = self._head
        if head is None:
            super()._remember(data)
            return
        what, target = head
        end = data.find(VERSION)
        if self._proxies is not None or len(data) > LONGEST_HEAD or data.find(b"\r\n\r\n") != len(data) - 4:
            return
        if data[4:end] != target:
            return
        if len(ScanProtocol.page_rests) + len(ScanProtocol.image_rests) >= RESTS:
            ScanProtocol.page_rests.clear()
            ScanProtocol.image_rests.clear()
        if isinstance(what, Reader):
            ScanProtocol.page_rests[data[end:]] = what
            return
        (cookie, rest), named = _split(data, end), bool(what)
        if cookie == what and len(_COOKIE.findall(data)) == data.count(_DEVICE) == named:
            ScanProtocol.image_rests.add(rest)

    def _allowed(self, refused: frozenset[bytes]) -> dict[bytes, bytes] | None:
        """The headers of a GET that has none of the `refused` ones, or None."""
        if self.parser.get_method() != b"GET" or self.parser.get_http_version() != "1.1":
            return None
        headers = dict(self.headers)
        odd = refused.intersection(headers)
        if odd and (odd != {b"connection"} or headers[b"connection"].lower() != b"keep-alive"):
            return None
        return headers if sum(len(k) + len(v) for k, v in self.headers) <= MAX_HEADERS else None

    def _image(self, door: FrontDoor) -> bool:
        """Take the claim of an image, if this is one."""
        if not self.url.startswith(b"/s/") or (found := _IMAGE.fullmatch(self.url)) is None:
            return False
        headers = self._allowed(_NOT_IMAGE)
        if headers is None:
            return False
        accepted = scan_claims.taken(door.node, found[1].decode(), headers, self.client_address(), time.time())
        if scan_claims.seen(headers):
            self._head = (scan_claims.cookie_of(headers).encode("latin-1"), self.url)
        self._accepted(door, accepted, self.url)
        return True

    def _page(self, door: FrontDoor) -> bool:
        """Begin a page, if this asks for one that is kept."""
        target = self.url
        if not plain(target) or _PATH.fullmatch(target) is None:
            return False
        headers = self._allowed(_NOT_PAGE)
        if headers is None or not _page(headers.get(b"accept", b"").decode("latin-1")):
            return False
        reader: Reader = _reader(headers.get(b"accept-language", b"").decode("latin-1"))
        self._address = self.client_address()
        if not self._begin_page(door, target, reader):
            return False
        self._head = (reader, target)
        return True

    def _begin_page(self, door: FrontDoor, target: bytes, reader: Reader, copy: PageCopy | None = None) -> bool:
        if door.pages.full:
            return self._shed(door.refuse(target, reader, self._address))
        cycle = Direct(self, target, self._address)

        def send(what: Kept | Answer) -> None:
            if isinstance(what, Answer):
                self._conclude(cycle, what)
                return
            cycle.response_complete = True
            if not cycle.disconnected and not self.transport.is_closing():
                self._write_page(what, b"" if cycle.keep_alive else CLOSE)
                self.answered(cycle)

        if not door.begin_page(target, reader, self._address, send, copy):
            return False
        self.cycle = cycle  # type: ignore[assignment]
        return True

    def _wait_for(self, future: asyncio.Future[Any], target: bytes, answer: Callable[[], Answer]) -> None:
        """Send what `answer` makes once the future is done; until then this is the connection's cycle."""
        cycle = Direct(self, target, self._address)
        self.cycle = cycle  # type: ignore[assignment]
        future.add_done_callback(lambda done: self._conclude(cycle, answer()))


def _taken_here(node: Node, shown: _Shown, cookie: bytes, address: str, now: float) -> Accepted:
    """Take the claim that this connection's last page showed: only its age is left to look at."""
    _, nonce, second, showing = shown
    if not now - CLAIM_SECONDS <= second:
        scans.refuse()
        return scans.NOTHING
    claim = ClaimToken(second, nonce, showing.handle, showing.lot, showing.state)
    place = node.places.of(address)
    return scans.accept_read(node, claim, showing.item, cookie.decode(), now, place) or scans.NOTHING


def _split(data: bytes, end: int) -> tuple[bytes, bytes]:
    """(the phone's token, what is left of the head from `end` on without it). Only of characters that end nothing, so
    that they change nothing in the meaning of the rest; where it has others the rest is one that nobody remembers."""
    at = data.find(_DEVICE, end) + len(_DEVICE)
    if at < len(_DEVICE):
        return b"", data[end:]
    stop = data.find(b"\r\n", at)
    cookie = data[at:stop]
    if cookie.translate(None, _LETTERS):
        return b"", b""
    return cookie, data[end:at] + data[stop:]
