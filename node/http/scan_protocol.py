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

from node.http import scan_claims
from node.http.answers import Answer
from node.http.negotiation import Reader, reader_of, wants_page
from node.http.protocol import Direct, Protocol
from node.http.requests import MAX_HEADERS
from node.http.resolver import FrontDoor, plain

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

    def on_headers_complete(self) -> None:
        door = self._door
        if door is not None and self.idle_before() and (self._image(door) or self._page(door)):
            self._answered, self._target = True, b""
            self.head_done()
            return
        super().on_headers_complete()

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
        node = door.node
        accepted = scan_claims.taken(node, found[1].decode(), headers, self.client_address(), time.time())
        if accepted.committed is None:
            self.send(scan_claims.bare(node, accepted))
            self.server_state.total_requests += 1
        else:
            self._wait_for(accepted.committed, lambda: scan_claims.bare(node, accepted), accepted)
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
        if door.pages.full:
            return self._shed(door.refuse(target, reader, self.client_address()))
        begun = door.begin_page(target, reader, self.client_address())
        if begun is None:
            return False
        self._wait_for(begun.asked, lambda: door.finish_page(target, begun), begun)
        return True

    def _wait_for(self, future: asyncio.Future[Any], answer: Callable[[], Answer], begun: object) -> None:
        """Send what `answer` makes once the future is done; until then this is the connection's cycle."""
        cycle = Direct(self, self.url, self._address)
        self.cycle = cycle  # type: ignore[assignment]
        future.add_done_callback(lambda done: self._conclude(cycle, answer()))
