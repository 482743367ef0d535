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
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from node import catalogue, metrics, suspicions
from node.config import Settings
from node.errors import ForgedHandle, HandleNotFound, HeadTooLarge, NodeError
from node.http import answers, owners, pages, refusals, scan_pages
from node.http.answers import Answer
from node.http.copies import Copies, Copy
from node.http.handle_api import api_answer
from node.http.negotiation import CHINESE, LANGUAGES, Reader, reader_of, wants_page
from node.http.queries import Query, query_of
from node.http.requests import MAX_HEADERS, client_address, decoded_path
from node.joining import Found
from node.kept import Form, View
from node.records import gone_again
from node.resolution import ask, resolve_timed, view_in
from node.runtime import Node

_PREFIX = re.compile(rb"^/\d{2}\.\d{3,5}\.\d+(/|%2[fF])")
_API = b"/api/handles/"
_PRIVATE = (b"authorization", b"cookie")
_log = logging.getLogger(__name__)


@dataclass(slots=True, frozen=True)
class Begun:
    """A resolution under way: the handle as it was given, what will be found, and who asked when."""

    handle: str
    asked: asyncio.Future[Found]
    begin: float  # perf_counter
    address: str


@dataclass(slots=True, frozen=True)
class BegunPage:
    """A page under way, and for whom."""

    handle: str
    asked: asyncio.Future[Answer]
    begin: float  # perf_counter
    address: str
    reader: Reader


class FrontDoor:
    """ASGI application: the resolver's own paths, else `app`."""

    def __init__(self, app: ASGIApp, state: Any, settings: Settings) -> None:
        self._app = app
        self._state = state  # state.node is set while the lifespan runs
        self.copies = Copies(settings.copies, self._ask_again)
        self.settings = settings  # for the protocol class

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not ours(scope["method"], scope["raw_path"]):
            await self._app(scope, receive, send)
            return
        await answers.send_answer(send, await self._answer(scope), scope["method"] == "HEAD")

    def begin(self, target: bytes, address: str) -> Begun | Answer | None:
        """Begin to answer a plain request for a record: what is to be awaited, or a refusal; None for the ordinary
        way, which waits for what has to be known first."""
        handle, begin = "", time.perf_counter()
        try:
            handle = decoded_path(target, "/api/handles/" if target.startswith(_API) else "/")
            asked = ask(self._state.node, handle)
        except NodeError as error:
            self._count(handle, error, "memory", begin, address)
            return self._refusal(target, error, None)
        return Begun(handle, asked, begin, address) if asked is not None else None

    def finish(self, target: bytes, begun: Begun) -> Answer:
        """The answer, once the future is done."""
        handle, asked = begun.handle, begun.asked
        refused, source = None, "pg"
        try:
            found = asked.result()
            view = view_in(found, handle)
            source = view.source
            answer = self._public(view, {}, target)
            if source == "cache":
                self.copies.put(target, answer, view, found.started)
        except NodeError as error:
            refused, answer = error, self._refusal(target, error, None)
        except (Exception, asyncio.CancelledError):  # nobody cancels the future but a node that is closed
            _log.exception("resolution failed")
            refused = NodeError()
            answer = self._refusal(target, refused, None)
        self._count(handle, refused, source, begun.begin, begun.address)
        return answer

    def begin_page(self, target: bytes, reader: Reader, address: str) -> BegunPage | None:
        """Begin to show a plain request its page; None for the ordinary way."""
        begin = time.perf_counter()
        try:
            handle = decoded_path(target, "/")
            asked = scan_pages.begin(self._state.node, handle, reader)
        except NodeError:
            return None  # said there
        return BegunPage(handle, asked, begin, address, reader) if asked is not None else None

    def finish_page(self, target: bytes, begun: BegunPage) -> Answer:
        """The page, once the future is done."""
        refused = None
        try:
            answer = begun.asked.result()
        except NodeError as error:
            refused, answer = error, self._refusal(target, error, begun.reader)
        except (Exception, asyncio.CancelledError):
            _log.exception("a page failed")
            refused = NodeError()
            answer = self._refusal(target, refused, begun.reader)
        self._count(begun.handle, refused, "pg", begun.begin, begun.address)
        return answer

    @property
    def node(self) -> Node:
        found: Node = self._state.node
        return found

    def count_copy(self, copy: Copy, seconds: float, address: str) -> None:
        """A hot record was answered from memory."""
        metrics.resolved.count("hit", "copy")
        self._state.node.tally.count(copy.prefix_id, True, seconds, address, time.time())

    def _count(self, handle: str, refused: NodeError | None, source: str, begin: float, address: str) -> None:
        """Count a resolution, whatever door it came through."""
        node: Node = self._state.node
        metrics.resolved.count(refused.code if refused else "hit", source)
        prefix_text, _, suffix = handle.partition("/")
        prefix = node.fence.prefixes.get(prefix_text)
        now = time.time()
        node.tally.count(prefix.id if prefix else 0, refused is None, time.perf_counter() - begin, address, now)
        if prefix is not None and isinstance(refused, HandleNotFound):
            suspicions.note_miss(node, prefix.id, suffix, now, forged=isinstance(refused, ForgedHandle))

    def _ask_again(self, handle: str) -> asyncio.Future[Found] | None:
        try:
            return ask(self._state.node, handle)
        except NodeError:
            return None

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
        self._count(handle, refused, source, begin, client_address(scope, self._state.node.settings))
        metrics.resolve_seconds.observe(time.perf_counter() - begin)
        return answer

    async def _resolved(
        self, scope: Scope, headers: dict[bytes, bytes], handle: str, query: Query, reader: Reader | None
    ) -> tuple[Answer, str]:
        """(answer, the tier that gave it)."""
        node: Node = self._state.node
        target: bytes = scope["raw_path"]
        api = target.startswith(_API)
        if any(name in headers for name in _PRIVATE):
            return await owners.answer(node, scope, headers, handle, query, api=api, reader=reader), "pg"
        if "qr" in query:
            await resolve_timed(node, handle)
            return pages.as_answer(pages.qr(node, handle, query)), "pg"
        if query.get("redirect") == ["1"] and not api:
            return await scan_pages.leave(node, handle, reader or CHINESE), "pg"
        if reader is not None:
            return await scan_pages.public(node, handle, reader), "pg"
        conditional = headers.get(b"if-none-match")
        shared = not query and conditional is None
        if shared and (copy := self.copies.get(target)) is not None:
            return copy.answer, "copy"
        view, started = await resolve_timed(node, handle)
        if api and view.form == Form.RECORD:
            await catalogue.learn(node, view.document()["template"])
        answer = self._public(view, query, target)
        if shared and view.source == "cache" and not view.stale:
            self.copies.put(target, answer, view, started)
        if conditional is not None:
            answer = answers.not_modified(answer, conditional.decode("latin-1"))
        return answer, view.source

    def _public(self, view: View, query: Query, target: bytes) -> Answer:
        node: Node = self._state.node
        if target.startswith(_API):
            return api_answer(node, view, query)
        if view.form == Form.GONE:
            raise gone_again(view.document())
        return answers.public_json(view, view.body, view.etag, node.settings.max_age)

    def _refusal(self, target: bytes, error: NodeError, reader: Reader | None) -> Answer:
        if reader is not None:
            return pages.as_answer(refusals.problem(self._state.node, error, reader))
        if target.startswith(_API):
            return answers.api_refusal(error, target[len(_API) :].decode("ascii", "replace"))
        return answers.refusal(error)


def ours(method: str, target: bytes) -> bool:
    """Whether the resolver answers this."""
    return method in ("GET", "HEAD") and (_PREFIX.match(target) is not None or target.startswith(_API))


def plain(target: bytes) -> bool:
    """Whether a request for this may be begun by the protocol class."""
    return _PREFIX.match(target) is not None
