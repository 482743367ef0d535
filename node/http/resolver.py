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
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from node import catalogue, metrics
from node.config import Settings
from node.errors import HeadTooLarge, NodeError
from node.http import answers, owners, pages
from node.http.answers import Answer
from node.http.copies import Copies
from node.http.handle_api import api_answer
from node.http.negotiation import wants_page
from node.http.queries import Query, query_of
from node.http.requests import MAX_HEADERS, decoded_path
from node.joining import Found
from node.kept import Form, View
from node.records import gone, gone_again
from node.resolution import ask, resolve_for_page, resolve_timed, view_in
from node.runtime import Node

_PREFIX = re.compile(rb"^/\d{2}\.\d{3,5}\.\d+(/|%2[fF])")
_API = b"/api/handles/"
_PRIVATE = (b"authorization", b"cookie")
_log = logging.getLogger(__name__)

Begun = tuple[str, asyncio.Future[Found]]  # the handle as it was given, and what will be found of it


class FrontDoor:
    """ASGI application: the resolver's own paths, else `app`."""

    def __init__(self, app: ASGIApp, state: Any, settings: Settings) -> None:
        self._app = app
        self._state = state  # state.node is set while the lifespan runs
        self.copies = Copies(settings.copies, self._ask_again)
        self.limits = (settings.header_seconds, settings.body_seconds)  # for the protocol class

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not ours(scope["method"], scope["raw_path"]):
            await self._app(scope, receive, send)
            return
        await answers.send_answer(send, await self._answer(scope), scope["method"] == "HEAD")

    def begin(self, target: bytes) -> Begun | Answer | None:
        """Begin to answer a plain request for a record: what is to be awaited, or a refusal; None for the ordinary
        way, which waits for what has to be known first."""
        try:
            handle = decoded_path(target, "/api/handles/" if target.startswith(_API) else "/")
            asked = ask(self._state.node, handle)
        except NodeError as error:
            metrics.resolved.count(error.code, "memory")
            return self._refusal(target, error, page=False)
        return (handle, asked) if asked is not None else None

    def finish(self, target: bytes, begun: Begun) -> Answer:
        """The answer, once the future is done."""
        handle, asked = begun
        result, source = "hit", "pg"
        try:
            found = asked.result()
            view = view_in(found, handle)
            source = view.source
            answer = self._public(view, {}, target)
            if source == "cache":
                self.copies.put(target, answer, view, found.started)
        except NodeError as error:
            result, answer = error.code, self._refusal(target, error, page=False)
        except (Exception, asyncio.CancelledError):  # nobody cancels the future but a node that is closed
            _log.exception("resolution failed")
            result, answer = "internal", self._refusal(target, NodeError(), page=False)
        metrics.resolved.count(result, source)
        return answer

    def _ask_again(self, handle: str) -> asyncio.Future[Found] | None:
        try:
            return ask(self._state.node, handle)
        except NodeError:
            return None

    async def _answer(self, scope: Scope) -> Answer:
        begin = time.perf_counter()
        target: bytes = scope["raw_path"]
        headers = dict(scope["headers"])
        page = not target.startswith(_API) and wants_page(headers.get(b"accept", b"").decode("latin-1"))
        result, source = "hit", "none"
        try:
            if sum(len(k) + len(v) for k, v in scope["headers"]) > MAX_HEADERS:
                raise HeadTooLarge.of()
            answer, source = await self._resolved(scope, headers, page)
        except NodeError as error:
            result = error.code
            answer = self._refusal(target, error, page)
        except Exception:
            _log.exception("resolution failed")
            result = "internal"
            answer = self._refusal(target, NodeError(), page)
        metrics.resolved.count(result, source)
        metrics.resolve_seconds.observe(time.perf_counter() - begin)
        return answer

    async def _resolved(self, scope: Scope, headers: dict[bytes, bytes], page: bool) -> tuple[Answer, str]:
        """(answer, the tier that gave it)."""
        node: Node = self._state.node
        target: bytes = scope["raw_path"]
        api = target.startswith(_API)
        handle = decoded_path(target, "/api/handles/" if api else "/")
        query = query_of(scope["query_string"])
        if any(name in headers for name in _PRIVATE):
            return await owners.answer(node, scope, headers, handle, query, api=api, page=page), "pg"
        if "qr" in query:
            await resolve_timed(node, handle)
            return pages.as_answer(pages.qr(node, handle, query["qr"][0])), "pg"
        if page:
            return await public_page(node, handle), "pg"
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

    def _refusal(self, target: bytes, error: NodeError, page: bool) -> Answer:
        if page:
            return pages.as_answer(pages.problem(self._state.node, error))
        if target.startswith(_API):
            return answers.api_refusal(error, target[len(_API) :].decode("ascii", "replace"))
        return answers.refusal(error)


def ours(method: str, target: bytes) -> bool:
    """Whether the resolver answers this."""
    return method in ("GET", "HEAD") and (_PREFIX.match(target) is not None or target.startswith(_API))


def plain(target: bytes) -> bool:
    """Whether a request for this may be begun by the protocol class."""
    return _PREFIX.match(target) is not None


async def public_page(node: Node, handle: str) -> Answer:
    """The page that anybody sees."""
    resolved = await resolve_for_page(node, handle)
    if resolved.is_gone:
        raise gone(resolved.handle, resolved.row)
    return pages.as_answer(await pages.scan(node, resolved))
