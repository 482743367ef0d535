"""Rendered scan pages with holes for what each scan has of its own: what came before it, and its claim.

A page is kept with all that it was made of and used again only for the same: the same record, trace, language and
proved hosts, compared and not guessed from a clock. So a kept page is never older than what was just read.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup
from starlette.responses import Response

from node.http.negotiation import Reader
from node.model import Event
from node.records import Resolved
from node.shown_links import LinkOk

# In the place of each hole while a page is rendered. Random, so that nothing registered can hold one.
HOLES = {name: Markup("<!--{}-->").format(secrets.token_hex(16)) for name in ("scans", "claim")}
_KEPT = 1000  # pages of a worker, about 15 KB each with what they are made of

Key = tuple[str, ...]


@dataclass(slots=True, frozen=True)
class Frame:
    """A page in three pieces with the two holes between them."""

    pieces: tuple[bytes, bytes, bytes]
    headers: dict[str, str]

    @classmethod
    def of(cls, rendered: Response) -> Frame:
        body = bytes(rendered.body)
        before, _, rest = body.partition(HOLES["scans"].encode())
        between, _, after = rest.partition(HOLES["claim"].encode())
        headers = {k: v for k, v in rendered.headers.items() if k != "content-length"}
        return cls((before, between, after), headers)

    def filled(self, scans: str, claim: str) -> Response:
        """The whole page; both are markup."""
        before, between, after = self.pieces
        return Response(b"".join((before, scans.encode(), between, claim.encode(), after)), 200, self.headers)


@dataclass(slots=True, frozen=True)
class _Kept:
    resolved: Resolved
    events: Sequence[Event] | None
    links: tuple[tuple[str, bool], ...]  # what was asked about hosts, and the answers
    frame: Frame


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
        self._kept: dict[Key, _Kept] = {}

    def get(self, key: Key, resolved: Resolved, events: Sequence[Event] | None, link_ok: LinkOk) -> Frame | None:
        kept = self._kept.get(key)
        if kept is None or kept.resolved != resolved or kept.events != events:
            return None
        return kept.frame if all(link_ok(url) == live for url, live in kept.links) else None

    def put(self, key: Key, resolved: Resolved, events: Sequence[Event] | None, asked: Asked, frame: Frame) -> None:
        if len(self._kept) >= _KEPT:  # the oldest put: a page in demand comes back with its next scan
            del self._kept[next(iter(self._kept))]
        self._kept[key] = _Kept(resolved, events, tuple(asked.answers.items()), frame)


def key_of(public_url: str, node_name: str, resolved: Resolved, reader: Reader) -> Key:
    return (public_url, node_name, resolved.handle, reader.lang, reader.query)
