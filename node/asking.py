"""What a command asks of a node, tried again while network or server are away."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

import httpx

_T = TypeVar("_T")
_BUSY = 20  # tries with 429 that count as one: the node is there, and says when to come again
_TRIES = 30  # a quarter of a second to fifteen apart: about five minutes of a server that is away
_AWAY = (429, 500, 502, 503, 504)


class AskError(Exception):
    """The node refused, or cannot be reached; the message is for the user."""


class _Away(Exception):
    """The server says that it will answer later; datum: status, seconds."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__(str(answer.status_code))
        self.busy = answer.status_code == 429
        self.seconds = 0.0
        with suppress(ValueError):  # a date, which a proxy may send: then the usual wait
            self.seconds = float(answer.headers.get("retry-after", 0))


async def persist(url: object, work: Callable[[], Awaitable[_T]]) -> _T:
    """Do `work` until it gets through; it has to begin anew each time. Raises AskError where it never does."""
    attempt = 0.0
    while attempt < _TRIES:
        wait, spent = min(0.25 * 2**attempt, 15), 1.0
        try:
            return await work()
        except httpx.TransportError as error:
            reason = str(error) or type(error).__name__
        except _Away as error:
            reason, wait = str(error), max(wait, error.seconds)
            spent = 1 / _BUSY if error.busy else 1.0
        attempt += spent
        if attempt < _TRIES:
            print(f"{url} {reason}; {wait:.1f} s ...", file=sys.stderr)
            await asyncio.sleep(wait)
    raise AskError(f"{url} 无法连接，稍后以同一命令继续 / cannot be reached; run the same command later: {reason}")


async def ask(client: httpx.AsyncClient, method: str, route: str, **request: Any) -> Any:
    """One request and its JSON; AskError with the server's own words."""

    async def once() -> Any:
        answer = await client.request(method, route, **request)
        check(answer)
        return answer.json()

    return await persist(client.base_url, once)


def check(answer: httpx.Response) -> None:
    """Raises what an answer (read, unless it is a success) says against going on."""
    if answer.status_code in _AWAY:
        raise _Away(answer)
    if answer.is_success:
        return
    with suppress(ValueError):
        body = answer.json()
        named = [f"{e['field']}: {e['detail']}" for e in body.get("errors", [])[:20]]
        raise AskError("\n  ".join([str(body.get("detail", answer.status_code)), *named]))
    raise AskError(f"{answer.status_code} {answer.reason_phrase}: {answer.text[:200]}")
