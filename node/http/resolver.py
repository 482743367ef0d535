"""The small ASGI callable in front: resolves handles, hands everything else on.

`GET /{prefix}/{suffix}` and `GET /api/handles/{handle}`: no Pydantic, no Depends, no middleware on the way. The path is
decoded once, from the raw bytes. A request with credentials is answered from PostgreSQL and never meets what is kept
for the public. A plain request of a record needs not even a task: the protocol class calls `begin` and `finish`.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState

from node import catalogue, metrics, suspicions
from node.config import Settings
from node.errors import ForgedHandle, HandleNotFound, HeadTooLarge, NodeError, Overloaded
from node.http import answers, begun_pages, owners, pages, refusals, scan_pages
from node.http.answers import Answer, Wire
from node.http.copies import Copies
from node.http.copy_groups import CopyGroups
from node.http.crowd import Crowd
from node.http.frames import Kept
from node.http.handle_api import api_answer
from node.http.negotiation import CHINESE, LANGUAGES, Reader, reader_of, wants_page
from node.http.page_copies import PageCopies, PageCopy
from node.http.queries import Query, query_of
from node.http.requests import MAX_HEADERS, client_address, decoded_path
from node.joining import Found, Waiter
from node.kept import Form, View
from node.reads import reads_of
from node.records import gone_again
from node.resolution import ask, resolve
from node.runtime import Node

_PREFIX = re.compile(rb"^/\d{2}\.\d{3,5}\.\d+(/|%2[fF])")
# A path and no more (RFC 3986 pchar): uvicorn's own parsing of it changes nothing, and refuses nothing.
_RECORD = re.compile(rb"/\d{2}\.\d{3,5}\.\d+(?:/|%2[fF])[!$%&'()*+,\-./0-9:;=@A-Z_a-z~]*")
_API = b"/api/handles/"
_BUSY = Overloaded.of(retry_after=1)
_PRIVATE = (b"authorization", b"cookie")
_log = logging.getLogger(__name__)


class Begun(Waiter, Protocol):
    """A plain request under way: its target, who asked when (perf_counter), the handle as it was given, and its place
    among those in hand. It is told what was found."""

    target: bytes
    address: str
    begin: float
    handle: str
    place: int


class FrontDoor:
    """ASGI application: the resolver's own paths, else `app`."""

    node: Node  # while the lifespan runs

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self.groups = CopyGroups(settings.copies)
        self.copies, self.page_copies = Copies(self.groups, settings.cache_ttl), PageCopies(self.groups)
        self.records, self.pages = Crowd(settings.overload_seconds), Crowd(settings.overload_seconds)
        self._busy: dict[Reader | None, Answer] = {}  # what those are told who are not taken in
        self.settings = settings  # for the protocol class
        self.state: ServerState | None = None  # uvicorn's, from the protocol class: it counts what was answered

    def open(self, node: Node) -> None:
        """From here on it may be asked; called by the lifespan."""
        self.node = node
        reads_of(node).answered = lambda: self.state.total_requests if self.state else 0
        self.groups.open(node)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not ours(scope["method"], scope["raw_path"]):
            await self._app(scope, receive, send)
            return
        crowd = self.pages if _page_asked(scope) else self.records
        place = crowd.begin()
        try:
            answer = await self._answer(scope)
        finally:
            crowd.end(place)
        await answers.send_answer(send, answer, scope["method"] == "HEAD")

    def begin(self, request: Begun) -> Answer | bool:
        """Begin to answer a plain request for a record: True where it will be told, or a refusal; False for the
        ordinary way, which waits for what has to be known first."""
        target = request.target
        try:
            if target.startswith(_API) or b"%" in target:
                request.handle = decoded_path(target, "/api/handles/" if target.startswith(_API) else "/")
            else:  # what `plain` lets through is ASCII
                request.handle = target[1:].decode()
            begun = ask(self.node, request.handle, request)
            if begun:
                request.place = self.records.begin()
            return begun
        except NodeError as error:
            self._count(request.handle, error, "memory", request.begin, request.address)
            return self._refusal(target, error, None)

    def full(self) -> bool:
        """Whether what is not a resolution is refused too: it takes as much of the worker."""
        return self.records.full or self.pages.full

    def stuck(self) -> bool:
        """The same for a change, which may wait for PostgreSQL besides."""
        return self.full() or self.node.queue.stands(self.settings.short_patience)

    def refuse(self, target: bytes, reader: Reader | None, address: str) -> Answer:
        """The answer to a resolution that is not taken in, counted as one that failed."""
        begin = time.perf_counter()
        (self.records if reader is None else self.pages).refuse("record" if reader is None else "page")
        answer = self._busy.get(reader)
        if answer is None or target.startswith(_API):
            answer = self._refusal(target, _BUSY, reader)
            if not target.startswith(_API):
                self._busy[reader] = answer
        self._count(target[1:].decode("ascii", "replace"), _BUSY, "none", begin, address)
        return answer

    def finish(self, request: Begun, found: Found | None, error: BaseException | None) -> Answer | Wire:
        """The answer to what was begun."""
        self.records.end(request.place)
        source, view = "pg", None
        try:
            if found is None:
                raise error or NodeError()
            view = found.view()
            if view is None:
                raise HandleNotFound.of(handle=request.handle)
            source = view.source
            answer = self._found(request.target, view, found)
            node = self.node
            metrics.resolved.count("hit", source)
            seconds = time.perf_counter() - request.begin
            node.tally.count(view.prefix_id, True, seconds, request.address, time.time())
            return answer
        except NodeError as failure:
            refused = failure
        except (Exception, asyncio.CancelledError):  # nobody cancels a read but a node that is closed
            _log.exception("resolution failed")
            refused = NodeError()
        self._count(request.handle, refused, source, request.begin, request.address)
        if type(refused) is HandleNotFound and not request.target.startswith(_API):
            return answers.unknown_wire(request.handle)
        return self._refusal(request.target, refused, None)

    def _found(self, target: bytes, view: View, found: Found) -> Answer | Wire:
        if view.source == "pg" and view.form is Form.RECORD and not target.startswith(_API):
            return answers.public_wire(view, self.settings.max_age)
        answer = self._public(view, {}, target)
        if view.source == "cache":
            self.copies.put(target, answer, view, found)
        return answer

    def begin_page(
        self,
        target: bytes,
        reader: Reader,
        address: str,
        send: Callable[[Kept | Answer], None],
        copy: PageCopy | None = None,
    ) -> bool:
        """Begin to show a plain request its page: `send` is told which. False for the ordinary way. `copy` is the page
        where it is right but for its scans."""
        begin = time.perf_counter()
        try:
            handle = decoded_path(target, "/")

            def shows(kept: Kept) -> None:
                self.pages.end(place)
                self._count(handle, None, "pg", begin, address)
                send(kept)

            def answers(what: Answer | BaseException) -> None:
                self.pages.end(place)
                refused = None
                if isinstance(what, BaseException):
                    refused = what if isinstance(what, NodeError) else NodeError()
                    if refused is not what:
                        _log.error("a page failed", exc_info=what)
                    what = self._refusal(target, refused, reader)
                self._count(handle, refused, "pg", begin, address)
                send(what)

            keeps = partial(self.page_copies.keep, target, reader)
            if copy is not None:
                begun_pages.recount(self.node, copy.kept, handle, reader, shows, answers, keeps)
            elif not begun_pages.begin(self.node, handle, reader, shows, answers, keeps):
                return False
            place = self.pages.begin()  # nobody is told before this returns
            return True
        except NodeError:
            return False  # said there

    def _count(self, handle: str, refused: NodeError | None, source: str, begin: float, address: str) -> None:
        """Count a resolution, whatever door it came through."""
        node: Node = self.node
        metrics.resolved.count(refused.code if refused else "hit", source)
        prefix_text, _, suffix = handle.partition("/")
        prefix = node.fence.prefixes.get(prefix_text)
        now = time.time()
        node.tally.count(prefix.id if prefix else 0, refused is None, time.perf_counter() - begin, address, now)
        if prefix is not None and isinstance(refused, HandleNotFound):
            suspicions.note_miss(node, prefix.id, suffix, now, forged=isinstance(refused, ForgedHandle))

    async def _answer(self, scope: Scope) -> Answer:
        begin = time.perf_counter()
        target: bytes = scope["raw_path"]
        headers = dict(scope["headers"])
        reader = None  # of a page
        if not target.startswith(_API) and wants_page(headers.get(b"accept", b"").decode("latin-1")):
            reader = reader_of(headers.get(b"accept-language", b"").decode("latin-1"))
        refused: NodeError | None = None
        source, handle = "none", ""
        try:
            if sum(len(k) + len(v) for k, v in scope["headers"]) > MAX_HEADERS:
                raise HeadTooLarge.of()
            handle = decoded_path(target, "/api/handles/" if target.startswith(_API) else "/")
            query = query_of(scope["query_string"])
            if reader is not None and query.get("lang", [""])[0] in LANGUAGES:
                reader = reader_of("", query["lang"][0])
            answer, source = await self._resolved(scope, headers, handle, query, reader)
        except NodeError as error:
            refused = error
            answer = self._refusal(target, error, reader)
        except Exception:
            _log.exception("resolution failed")
            refused = NodeError()
            answer = self._refusal(target, refused, reader)
        self._count(handle, refused, source, begin, client_address(scope, self.node.settings))
        metrics.resolve_seconds.observe(time.perf_counter() - begin)
        return answer

    async def _resolved(
        self, scope: Scope, headers: dict[bytes, bytes], handle: str, query: Query, reader: Reader | None
    ) -> tuple[Answer, str]:
        """(answer, the tier that gave it)."""
        node: Node = self.node
        target: bytes = scope["raw_path"]
        api = target.startswith(_API)
        if any(name in headers for name in _PRIVATE):
            return await owners.answer(node, scope, headers, handle, query, api=api, reader=reader), "pg"
        if "qr" in query:
            await resolve(node, handle)
            return pages.as_answer(pages.qr(node, handle, query)), "pg"
        if query.get("redirect") == ["1"] and not api:
            return await scan_pages.leave(node, handle, reader or CHINESE), "pg"
        if reader is not None:
            keeps = partial(self.page_copies.keep, target, reader) if plain(target) and not query else None
            return await scan_pages.public(node, handle, reader, keeps), "pg"
        conditional = headers.get(b"if-none-match")
        view = await resolve(node, handle)
        if api and view.form == Form.RECORD:
            await catalogue.learn(node, view.document()["template"])
        answer = self._public(view, query, target)
        if conditional is not None:
            answer = answers.not_modified(answer, conditional.decode("latin-1"))
        return answer, view.source

    def _public(self, view: View, query: Query, target: bytes) -> Answer:
        node: Node = self.node
        if target.startswith(_API):
            return api_answer(node, view, query)
        if view.form == Form.GONE:
            raise gone_again(view.document())
        return answers.public_json(view, view.body, view.etag, node.settings.max_age)

    def _refusal(self, target: bytes, error: NodeError, reader: Reader | None) -> Answer:
        if reader is not None:
            return pages.as_answer(refusals.problem(self.node, error, reader))
        if target.startswith(_API):
            return answers.api_refusal(error, target[len(_API) :].decode("ascii", "replace"))
        return answers.refusal(error)


def ours(method: str, target: bytes) -> bool:
    """Whether the resolver answers this."""
    return method in ("GET", "HEAD") and (_PREFIX.match(target) is not None or target.startswith(_API))


def _page_asked(scope: Scope) -> bool:
    accept = next((value for name, value in scope["headers"] if name == b"accept"), b"")
    return not scope["raw_path"].startswith(_API) and wants_page(accept.decode("latin-1"))


def plain(target: bytes) -> bool:
    """Whether a request for this may be begun by the protocol class."""
    return _RECORD.fullmatch(target) is not None
