"""create_app(): lifespan, routers, error handling, and the resolver in front."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import handle_codec
from node import catalogue, compiled, deliveries, logs, metrics, observing, polling
from node.collecting import keep_collecting
from node.config import Settings
from node.counting import Counting
from node.errors import BadRequest, HeadTooLarge, NodeError, NotFound
from node.http import (
    alarms,
    events,
    handles,
    health,
    home,
    hosts,
    imports,
    lots,
    onboarding,
    problems,
    refusals,
    resolving,
    scan_claims,
    statistics,
    streams,
)
from node.http.answers import request_id
from node.http.requests import MAX_HEADERS
from node.http.resolver import FrontDoor
from node.http.short_registration import ShortRegistration
from node.migrate import check
from node.runtime import close_node, open_node, reading
from node.standing import asked
from node.writing import Replayed, housekeeping

_log = logging.getLogger(__name__)


def worker_app() -> ASGIApp:
    """What a worker process serves: logging of its own, then the node by its environment."""
    settings = Settings.from_env()
    logs.setup(settings.log_level)
    app = create_app(settings)
    # What stands now stands as long as the worker: without it a full collection has only requests to walk.
    gc.collect()
    gc.freeze()
    return app


def create_app(settings: Settings | None = None) -> ASGIApp:
    """The whole node as one ASGI application; settings from the environment unless given."""
    known = settings or Settings.from_env()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        node = await open_node(known)
        counting = Counting(node)
        try:
            async with reading(node) as conn:
                await check(conn)
            await catalogue.every(node)
            await polling.start(node)
            lasting = (
                polling.keep_polling,
                polling.watch_cache,
                housekeeping,
                deliveries.errands,
                observing.keep_observing,
                keep_collecting,
            )
            node.tasks += [asyncio.create_task(work(node)) for work in lasting]
            node.tasks.append(asyncio.create_task(counting.keep()))
            app.state.node = node
            door.open(node)
            _log.info("serving with the %s codec, scans %s", handle_codec.IMPLEMENTATION, compiled.state())
            yield
        finally:
            await door.groups.close()
            await counting.close()
            await close_node(node)
            metrics.tell()

    app = _api(lifespan)
    door = FrontDoor(Guard(ShortRegistration(app, app.state)), known)
    return door


def _api(lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]]) -> FastAPI:
    """What is not answered in front of it: routes, and their refusals as problem documents."""
    app = FastAPI(
        title="宿州市工业互联网标识解析二级节点 · Suzhou secondary node",
        version="0.1.0",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
    )
    parts = (health, home, onboarding, lots, streams, imports, handles, events, hosts, alarms, statistics, scan_claims)
    for module in (*parts, resolving):  # the last has the widest paths
        app.include_router(module.router)
    app.add_exception_handler(Exception, _unforeseen)
    app.add_exception_handler(NodeError, _node_error)
    app.add_exception_handler(Replayed, _replayed)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    return app


async def _unforeseen(request: Request, error: Exception) -> Response:
    return problems.response(NodeError())  # no detail: it could hold anything; Guard logs it


async def _node_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, NodeError)
    return refusals.for_request(request, error)


async def _replayed(request: Request, answer: Exception) -> Response:
    assert isinstance(answer, Replayed)
    kind = "application/json" if answer.status < 400 else problems.CONTENT_TYPE
    return Response(answer.body, answer.status, {"Idempotency-Replayed": "true"}, kind)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return refusals.for_request(request, NotFound.of(what=request.url.path[:200]))
    response = problems.response(BadRequest.of(reason=str(error.detail), reason_zh=str(error.detail)))
    response.status_code = error.status_code
    if error.headers:
        response.headers.update(error.headers)
    return response


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return problems.response(BadRequest.of(reason=f"{where}: {first['msg']}", reason_zh=f"{where}：{first['msg']}"))


class Guard:
    """Around FastAPI: header limit, request id, metrics, and a problem document for what nobody foresaw."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        finished = False
        status = 500
        begin = time.perf_counter()
        number = request_id()

        async def observed(message: Message) -> None:
            nonlocal finished, status
            finished = message["type"] == "http.response.body" and not message.get("more_body")
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message["headers"],
                    (b"x-request-id", number),
                    (b"x-content-type-options", b"nosniff"),
                ]
            await send(message)

        try:
            if sum(len(k) + len(v) for k, v in scope["headers"]) > MAX_HEADERS:
                await problems.response(HeadTooLarge.of())(scope, receive, observed)
            else:
                with asked():
                    await self._app(scope, receive, observed)
        except Exception:
            # The application has answered with a problem document before it raised; an answer that broke off
            # must break the connection too, or the client would take it for whole.
            _log.exception("request %s failed", number.decode())
            if not finished:
                raise
        route = scope.get("route")
        label = getattr(route, "path", "other")
        metrics.http_requests_total.labels(label, str(status)).inc()
        metrics.http_request_seconds.labels(label).observe(time.perf_counter() - begin)
