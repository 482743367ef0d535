"""Connections that refuse, with their heads and before anything is made for them, requests that would wait too long.

What is not refused here goes on as if nothing was: node/http/crowd.py says when.
"""

from __future__ import annotations

import asyncio

from node import metrics
from node.errors import Overloaded
from node.http.answers import Answer, refusal
from node.http.negotiation import reader_of, wants_page
from node.http.posting import Posts, only_keep_alive
from node.http.requests import MAX_HEADERS
from node.http.resolver import ours

# In an overload: what is cheap and tells how things are is always answered, and what a head does not end is let in.
# Chunks of imports wait for their turns, and give way to readers by themselves.
_ALWAYS = (b"/health/", b"/static/", b"/s/", b"/api/v1/imports")
_SHEDDABLE = frozenset((b"GET", b"POST", b"PUT", b"PATCH", b"DELETE"))
_NOT_SHED = frozenset(b"connection expect te trailer transfer-encoding upgrade".split())
_BUSY = Overloaded.of(retry_after=1)


class _Shed:
    """Stands for the cycle of a request that was refused with its head."""

    message_event = asyncio.Event()  # nobody waits for it
    response_started = response_complete = True
    disconnected, keep_alive = False, True


_SHED = _Shed()


class Shedding(Posts):
    """One connection."""

    def _crowded(self) -> bool:
        """Refuse a request that would go the ordinary way, if too many wait; False for the ordinary way."""
        door, method = self._door, self.parser.get_method()
        if door is None or self.url.startswith(_ALWAYS) or not (door.full() if method == b"GET" else door.stuck()):
            return False
        headers = dict(self.headers)
        if method not in _SHEDDABLE or self.parser.get_http_version() != "1.1":
            return False
        if not _NOT_SHED.isdisjoint(headers) and not only_keep_alive(self.headers, _NOT_SHED):
            return False
        if self._head_size() > MAX_HEADERS or not _short(headers.get(b"content-length", b"0"), door.settings.max_body):
            return False
        path = self.url.partition(b"?")[0]
        if ours(method.decode(), path):
            accept = headers.get(b"accept", b"").decode("latin-1")
            page = not path.startswith(b"/api/") and wants_page(accept)
            if not (door.pages if page else door.records).full:
                return False
            reader = reader_of(headers.get(b"accept-language", b"").decode("latin-1")) if page else None
            return self._shed(door.refuse(path, reader, self.client_address()))
        metrics.shed.count("other" if method == b"GET" else "change")
        return self._shed(refusal(_BUSY))

    def _shed(self, answer: Answer) -> bool:
        """Refuse the request at hand, whose body may be still to come: it is read and not looked at."""
        self.cycle = _SHED  # type: ignore[assignment]
        self.send(answer)
        self.server_state.total_requests += 1
        return True


def _short(length: bytes, most: int) -> bool:
    """Whether a body of this length may be read for nothing."""
    return length.isdigit() and int(length) <= most
