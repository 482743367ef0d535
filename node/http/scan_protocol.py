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

from node.http import known_heads, scan_claims
from node.http.answers import Answer
from node.http.frames import Kept
from node.http.known_heads import LONGEST_HEAD, VERSION
from node.http.negotiation import Reader, reader_of, wants_page
from node.http.page_copies import PageCopy
from node.http.protocol import CLOSE, Direct, Protocol
from node.http.requests import MAX_HEADERS
from node.http.resolver import FrontDoor, plain
from node.scans import Accepted

_IMAGE = re.compile(rb"/s/([A-Za-z0-9_-]+)\.gif")
# A page's request with one of these is not for everybody, or asks for more; an image's has its phone's cookie.
_NOT_PAGE = frozenset(
    b"authorization cookie if-none-match if-match if-modified-since range expect upgrade"
    b" content-length transfer-encoding connection te trailer".split()
)
_NOT_IMAGE = _NOT_PAGE - {b"cookie", b"if-none-match", b"if-modified-since"}
_PATH = re.compile(rb"/[!$%&'()*+,\-./0-9:;=@A-Z_a-z~]{1,2048}")
_page = lru_cache(256)(wants_page)
_reader = lru_cache(256)(reader_of)


class ScanProtocol(Protocol):
    """One connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head: tuple[bytes | Reader, bytes] | None = None  # the message at hand: its reader or cookie, its target

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

    def accepted(self, door: FrontDoor, accepted: Accepted, target: bytes) -> None:
        """Answer an image, once its scan is committed where it is a first one."""
        node = door.node
        if accepted.committed is not None:
            self._wait_for(accepted.committed, target, lambda: scan_claims.bare(node, accepted))
            return
        self.send(scan_claims.bare(node, accepted))
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
        if isinstance(what, Reader):
            known_heads.remember_page(data[end:], what)
        else:
            known_heads.remember_image(data, end, what)

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
        self.accepted(door, accepted, self.url)
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
        self.address = self.client_address()
        if not self.begin_page(door, target, reader):
            return False
        self._head = (reader, target)
        return True

    def begin_page(self, door: FrontDoor, target: bytes, reader: Reader, copy: PageCopy | None = None) -> bool:
        known = self.known
        assert known is not None
        if door.pages.full:
            return self._shed(door.refuse(target, reader, self.address))
        cycle = Direct(self, target, self.address)

        def send(what: Kept | Answer) -> None:
            if isinstance(what, Answer):
                self._conclude(cycle, what)
                return
            cycle.response_complete = True
            if not cycle.disconnected and not self.transport.is_closing():
                known.write(what, b"" if cycle.keep_alive else CLOSE)
                self.answered(cycle)

        if not door.begin_page(target, reader, self.address, send, copy):
            return False
        self.cycle = cycle  # type: ignore[assignment]
        return True

    def _wait_for(self, future: asyncio.Future[Any], target: bytes, answer: Callable[[], Answer]) -> None:
        """Send what `answer` makes once the future is done; until then this is the connection's cycle."""
        cycle = Direct(self, target, self.address)
        self.cycle = cycle  # type: ignore[assignment]
        future.add_done_callback(lambda done: self._conclude(cycle, answer()))
