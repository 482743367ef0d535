# cython: annotation_typing=False
"""Answers without Starlette's Response: status, headers as ASGI has them, body. For the short way."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import orjson
from starlette.types import Send

from node.errors import HandleNotFound, NodeError
from node.http import problems
from node.kept import View

Headers = list[tuple[bytes, bytes]]
Wire = tuple[int, bytes, bytes]  # status, the lines of the head from the first header on, the body

_JSON = (b"content-type", b"application/json")
_PROBLEM = (b"content-type", problems.CONTENT_TYPE.encode())
_NOSNIFF = (b"x-content-type-options", b"nosniff")
_VARY = (b"vary", b"Accept")
_ANY_ORIGIN = (b"access-control-allow-origin", b"*")
_NO_CACHE = b"no-cache"
_ENDS = b"content-length: %d\r\nx-request-id: %b\r\nx-content-type-options: nosniff\r\n\r\n"  # as in `complete`
_WIRE = b"content-type: application/json\r\netag: %b\r\ncache-control: %b\r\nvary: Accept\r\n" + _ENDS
_GAP = "\ue000"  # private use: in no text of ours
# A request's id: random for the process, counted within it; a random one each costs as much as the rest of the head.
_run = secrets.token_hex(4).encode()
_LAST = [b"%02x" % n for n in range(256)]


def _ids(number: int) -> list[bytes]:
    """256 of them at once: a third of the price."""
    first = _run + b"%06x" % number
    return [first + last for last in _LAST]


# The id of a request, unique over workers and restarts.
request_id: Callable[[], bytes] = itertools.chain.from_iterable(map(_ids, itertools.count())).__next__


@dataclass(slots=True)
class Answer:
    """What is sent. `headers` are without content-length and request id."""

    status: int
    headers: Headers
    body: bytes


def cache_control(max_age: int) -> bytes:
    """Of a public answer: asked again each time, unless the operator allows a carton to look fine for `max_age` s."""
    return b"public, max-age=%d" % max_age if max_age else _NO_CACHE


def public_json(view: View, body: bytes, etag: str, max_age: int, *, api: bool = False) -> Answer:
    """A public record as it is kept; the same for everybody. `api`: Handle.Net's form, which any page may read."""
    headers = [_JSON, (b"etag", etag.encode()), (b"cache-control", cache_control(max_age)), _VARY]
    if api:
        headers.append(_ANY_ORIGIN)
    if view.stale:  # RFC 9111 dropped the Warning header; a name of our own says it
        headers[2] = (b"cache-control", b"no-store")
        headers.append((b"idnode-stale", b"?1"))
    return Answer(200, headers, body)


def public_wire(view: View, max_age: int) -> Wire:
    """The same as `public_json`, as it goes on the wire: of a record that is read once and never again, put together at
    a fifth of the price."""
    cache = cache_control(max_age) if max_age else _NO_CACHE
    return 200, _WIRE % (view.etag.encode(), cache, len(view.body), request_id()), view.body


def unknown_wire(handle: str) -> Wire:
    """The refusal of a handle that does not exist (`refusal`), in the same way: scanners ask for nothing else."""
    head, parts = _unknown()
    body = orjson.dumps(handle)[1:-1].join(parts)
    return 404, head % (len(body), request_id()), body


@lru_cache(1)
def _unknown() -> tuple[bytes, list[bytes]]:
    """(the head with gaps for length and id, the body's parts around the handle)."""
    answer = refusal(HandleNotFound.of(handle=_GAP))
    head = b"".join(b"%s: %s\r\n" % header for header in answer.headers).replace(b"%", b"%%")
    return head + _ENDS, answer.body.split(orjson.dumps(_GAP)[1:-1])


def private_json(document: object, extra: Headers) -> Answer:
    """What only its reader may see."""
    return Answer(200, [_JSON, (b"cache-control", b"private, no-store"), _VARY, *extra], orjson.dumps(document))


def refusal(error: NodeError) -> Answer:
    """A problem document (RFC 9457)."""
    return Answer(
        problems.status_of(error), [_PROBLEM, *lines(problems.headers(error)), _VARY], problems.encoded(error)
    )


def api_refusal(error: NodeError, handle: str) -> Answer:
    """Handle.Net's own codes: a tombstone is not found, a prefix that lives elsewhere a bad request."""
    status = {100: 404, 102: 400, 301: 400}.get(error.response_code, problems.status_of(error))
    document = {"responseCode": error.response_code, "handle": handle, "message": error.detail}
    return Answer(status, [_JSON, *lines(problems.headers(error))], orjson.dumps(document))


def not_modified(answer: Answer, if_none_match: str) -> Answer:
    """304 where the client has these bytes (RFC 9110 13.1.2, weak comparison), else the answer itself."""
    etag = next((value for name, value in answer.headers if name == b"etag"), None)
    if etag is None or not _matches(etag.decode(), if_none_match.split(",")):
        return answer
    return Answer(304, [h for h in answer.headers if h[0] != b"content-type"], b"")


def _matches(etag: str, candidates: Iterable[str]) -> bool:
    return any(one.strip().removeprefix("W/") in (etag, "*") for one in candidates)


def complete(answer: Answer) -> Headers:
    """All headers of an answer, as they go on the wire."""
    length = [] if answer.status == 304 else [(b"content-length", b"%d" % len(answer.body))]
    return [*answer.headers, *length, (b"x-request-id", request_id()), _NOSNIFF]


def lines(headers: Mapping[str, str]) -> Headers:
    """Headers as ASGI has them."""
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


def bare(answer: Answer) -> Headers:
    """Headers with nothing added but the length, where Starlette has it: before the content type, which is last."""
    return [*answer.headers[:-1], (b"content-length", b"%d" % len(answer.body)), *answer.headers[-1:]]


async def send_bare(send: Send, answer: Answer) -> None:
    """Send it with the headers of `bare`."""
    await send({"type": "http.response.start", "status": answer.status, "headers": bare(answer)})
    await send({"type": "http.response.body", "body": answer.body})


async def send_answer(send: Send, answer: Answer, head: bool) -> None:
    """Send it; `head`: without its body."""
    await send({"type": "http.response.start", "status": answer.status, "headers": complete(answer)})
    await send({"type": "http.response.body", "body": b"" if head else answer.body})
