"""What every route needs of a request: its body under a limit, its handle, who is asking, its idempotency key."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Annotated, Any, TypeVar
from urllib.parse import unquote_to_bytes

import msgspec
import orjson
from fastapi import Depends, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Scope

from node import access
from node.config import Settings
from node.errors import (
    BadRequest,
    BodyTooLarge,
    BrokenBody,
    InvalidHandleError,
    InvalidRow,
    RowError,
    VersionRequired,
    WrongContentType,
)
from node.model import Identity
from node.runtime import Node
from node.writing import Claim

_T = TypeVar("_T")
MAX_HEADERS = 16 * 1024  # bytes; httptools itself took 1 MiB
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_FIELD = re.compile(r" - at `\$\.?(.*)`$")


def node_of(request: Request) -> Node:
    node: Node = request.app.state.node
    return node


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    body = value if isinstance(value, bytes) else orjson.dumps(value)
    return Response(body, status, headers, "application/json")


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body; BodyTooLarge as soon as it is known to be over `limit` bytes."""
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > limit:
        raise BodyTooLarge.of(limit=limit)
    body = bytearray()
    try:
        async for part in request.stream():
            body += part
            if len(body) > limit:
                raise BodyTooLarge.of(limit=limit)
    except ClientDisconnect:  # nobody reads the answer; it is no fault of ours to be logged as one
        raise BadRequest.of(reason="the body ended early", reason_zh="请求体不完整") from None
    return bytes(body)


async def read_json(request: Request) -> bytes:
    """The body of a request that says it is JSON."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise WrongContentType.of(expected="application/json", got=kind or "nothing")
    return await read_body(request, node_of(request).settings.max_body)


def decode(body: bytes, decoder: msgspec.json.Decoder[_T]) -> _T:
    """Decode JSON; BrokenBody where it is not JSON or not UTF-8, InvalidRow naming the field where it does not fit."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        text = str(error)
        found = _FIELD.search(text)
        field = found.group(1) if found else ""
        reason = _FIELD.sub("", text)
        raise InvalidRow.of(RowError(field, "wrong_type", f"类型不符：{reason}", reason)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BrokenBody.of(reason=str(error)) from None


def path_after(scope: Scope, start: str) -> str:
    """The rest of the path after `start`, decoded once from the raw bytes as strict UTF-8 (RFC 3986, RFC 3629)."""
    return decoded_path(scope["raw_path"], start)


def decoded_path(raw: bytes, start: str) -> str:
    """The same of a request target."""
    raw = raw.split(b"?", 1)[0]
    try:
        path = (unquote_to_bytes(raw) if b"%" in raw else raw).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidHandleError.of(
            reason="path is not UTF-8", reason_zh="路径不是 UTF-8", position=error.start
        ) from None
    if not path.startswith(start):
        raise BadRequest.of(reason="unexpected path", reason_zh="路径不符")
    return path[len(start) :]


def client_address(scope: Mapping[str, Any], settings: Settings) -> str:
    """The client's address; X-Forwarded-For is believed only from TRUSTED_PROXIES, and only as far as they reach."""
    address = scope["client"][0] if scope.get("client") else "127.0.0.1"
    if not settings.trusted_proxies:
        return str(address)
    forwarded = [v.decode("latin-1") for k, v in scope["headers"] if k == b"x-forwarded-for"]
    hops = [part.strip() for line in forwarded for part in line.split(",")]
    while hops and _trusted(address, settings):
        address = hops.pop()
    return str(address)


def _trusted(address: str, settings: Settings) -> bool:
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    return any(ip in network for network in settings.trusted_proxies)


def bearer(request: Request) -> str:
    """The token of `Authorization: Bearer`, empty where there is none."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


async def _enterprise(request: Request) -> Identity:
    node = node_of(request)
    return await access.enterprise(node, bearer(request), client_address(request.scope, node.settings))


async def _operator(request: Request) -> Identity:
    return await access.operator(node_of(request), bearer(request))


Enterprise = Annotated[Identity, Depends(_enterprise)]
Operator = Annotated[Identity, Depends(_operator)]


def claim_of(
    request: Request, scope: str, body: bytes, render: Callable[[Any], tuple[int, bytes | None]]
) -> Claim | None:
    """The request's Idempotency-Key, if it has one."""
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not _IDEMPOTENCY_KEY.fullmatch(key):
        raise BadRequest.of(
            reason="Idempotency-Key must be 1 to 255 printable ASCII characters",
            reason_zh="Idempotency-Key 须为 1 至 255 个可打印 ASCII 字符",
        )
    return Claim(scope, key, request.method, request.url.path, hashlib.sha256(body).digest(), render)


def if_match(request: Request) -> int | None:
    """The version named by If-Match, None for `*`; VersionRequired where there is none."""
    text = request.headers.get("if-match", "").strip()
    if not text:
        raise VersionRequired.of()
    if text == "*":
        return None
    number = text.removeprefix("W/").strip('"')
    if not number.isascii() or not number.isdigit() or len(number) > 9:
        raise BadRequest.of(reason='If-Match must be a version such as "3"', reason_zh='If-Match 须为版本号，如 "3"')
    return int(number)
