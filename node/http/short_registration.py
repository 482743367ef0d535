"""`POST /api/v1/handles` without Pydantic, Depends or Request: a single registration goes into a group.

In front of FastAPI, which documents the route and answers what is out of the ordinary with the same bytes: a request
with an Idempotency-Key (its answer is stored in its own transaction, and equal keys wait for one another), of another
content type, or over the limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from node.errors import NodeError
from node.grouping import groups_of
from node.http.answers import Answer, lines, send_bare
from node.http.handles import created_headers, rendered
from node.http.problems import CONTENT_TYPE, encoded, status_of
from node.http.problems import headers as problem_headers
from node.http.requests import client_address
from node.outcomes import Outcome
from node.runtime import Node

PATH = b"/api/v1/handles"
_JSON = (b"content-type", b"application/json")
_PROBLEM = (b"content-type", CONTENT_TYPE.encode())


class _Route:
    path = "/api/v1/handles"  # the label of FastAPI's own route


class ShortRegistration:
    """ASGI application: plain single registrations, else `app`."""

    def __init__(self, app: ASGIApp, state: Any) -> None:
        self._app, self._state = app, state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or scope["raw_path"] != PATH or scope["query_string"]:
            await self._app(scope, receive, send)
            return
        token = token_of(dict(scope["headers"]), self._state.node.settings.max_body)
        if token is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = _Route
        await send_bare(send, await self._answer(scope, receive, token))

    async def _answer(self, scope: Scope, receive: Receive, token: str) -> Answer:
        node = self._state.node
        body, more = bytearray(), True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":  # nobody reads the answer; nothing was registered
                return Answer(400, [], b"")
            body += message.get("body", b"")
            more = message.get("more_body", False)
        what: Outcome | NodeError
        try:
            what = await groups_of(node).register(token, client_address(scope, node.settings), bytes(body))
        except NodeError as error:
            what = error
        return answer_of(node, what)


def token_of(headers: Mapping[bytes, bytes], limit: int) -> str | None:
    """The token of a plain registration with a body of at most `limit` bytes; None for any other request."""
    length = headers.get(b"content-length", b"")
    plain = headers.get(b"content-type") == b"application/json" and length.isdigit() and int(length) <= limit
    scheme, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if not plain or b"idempotency-key" in headers or scheme.lower() != "bearer":
        return None
    return token.strip()


def answer_of(node: Node, what: Outcome | NodeError) -> Answer:
    """What became of a row, or what is wrong with its caller, as FastAPI's route says it."""
    error = what if isinstance(what, NodeError) else what.error
    if error is not None:
        return Answer(status_of(error), [*lines(problem_headers(error)), _PROBLEM], encoded(error))
    assert isinstance(what, Outcome)
    status, document = rendered([what])
    return Answer(status, [*lines(created_headers(node, what)), _JSON], document)
