"""An enterprise's webhook: one address under a host that it has proved, and messages signed with a secret it holds.

A message is a POST of JSON with these headers; a 2xx within 10 seconds means received, anything else is tried again:
    Idnode-Message: msg_...                     the same at every try: receive it twice, act once
    Idnode-Signature: t=<unix seconds>,v1=<hex> HMAC-SHA256 with the secret over "<t>." and the body, byte for byte
Receivers refuse a t that is more than five minutes off, and compare in constant time.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping
from typing import Any

import orjson

from node import audit, hosts, outgoing
from node.access import require_scope
from node.config import Settings
from node.errors import InvalidRow, NotFound, NotReached, RowError
from node.links import split_link
from node.model import Identity
from node.runtime import Node, reading
from node.store import hosts as store_hosts
from node.store import webhooks as store
from node.writing import Change, change

LABEL = "webhook-secret"  # of the sealed column
_SHOWN = 100  # parked messages in GET


def signature(secret: str, at: int, body: bytes) -> str:
    """The value of Idnode-Signature."""
    digest = hmac.new(secret.encode(), b"%d." % at + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


async def send(settings: Settings, url: str, secret: str, message_id: str, body: bytes) -> None:
    """One try to deliver; NotReached unless it was answered with 2xx in time."""
    parts = split_link(url)
    assert parts is not None  # checked when it was put
    host, rest = parts
    headers = {
        "Content-Type": "application/json",
        "Idnode-Message": message_id,
        "Idnode-Signature": signature(secret, int(time.time()), body),
    }
    await outgoing.request(settings, "POST", host, target(rest), body=body, headers=headers)


def target(rest: str) -> str:
    """The path and query of an address's rest: no fragment, and at least a slash."""
    path = rest.partition("#")[0]
    return path if path.startswith("/") else f"/{path}"


async def put(node: Node, identity: Identity, url: str, rotate: bool) -> tuple[dict[str, Any], bool]:
    """(the webhook, whether it is new or changed): with its secret then, this once. HostNotProved, InvalidRow."""
    registrant = _allowed(identity)
    parts = split_link(url)
    if parts is None:
        zh = "须为 https 地址，端口 443，无用户信息和控制字符，至多 2048 个字符"
        en = "an https address on port 443 without userinfo or control characters, at most 2,048 characters"
        raise InvalidRow.of(RowError("url", "not_an_address", zh, en))
    url, secret = "https://" + "".join(parts), "whsec_" + secrets.token_urlsafe(32)

    async def work(doing: Change) -> tuple[Any, bool]:
        await hosts.require_proved(doing.conn, registrant, parts[0])
        row = await store.hold(doing.conn, registrant)
        if row is not None and row["url"] == url and not rotate:
            return row, False
        row = await store.put(doing.conn, registrant, url, parts[0], node.sealer.seal(LABEL, secret.encode()))
        detail = {"registrant": registrant, "host": parts[0]}
        await audit.record(doing.conn, identity.actor, "webhook.put", str(registrant), detail)
        return row, True

    row, renewed = await change(node, work)
    return _document(row) | ({"secret": secret} if renewed else {}), renewed


async def shown(node: Node, identity: Identity) -> dict[str, Any]:
    """The webhook, how it does, what is on its way and what was parked; NotFound."""
    registrant = _allowed(identity)
    async with reading(node) as conn:
        row = await store.fetch(conn, registrant)
        if row is None:
            raise NotFound.of(what="webhook")
        waiting, kept = await store.pending(conn, registrant)
        parked = await store.parked(conn, registrant, _SHOWN)
        proved = row["host"] in await store_hosts.proved(conn, registrant)
    messages = [
        {
            "id": message["id"],
            "message": orjson.loads(message["body"]),
            "created_at": message["created_at"].isoformat(),
            "parked_at": message["parked_at"].isoformat(),
            "attempts": message["attempts"],
            "error": message["last_error"],
        }
        for message in parked
    ]
    counts = {"pending": waiting, "parked_count": kept}
    return _document(row) | {"host_proved": proved} | counts | {"parked": messages}


async def remove(node: Node, identity: Identity) -> None:
    """Delete the webhook and what was still to be delivered; alarms stay readable by the API. NotFound."""
    registrant = _allowed(identity)

    async def work(doing: Change) -> None:
        if not await store.delete(doing.conn, registrant):
            raise NotFound.of(what="webhook")
        await audit.record(doing.conn, identity.actor, "webhook.delete", str(registrant))

    await change(node, work)


async def redeliver(node: Node, identity: Identity) -> int:
    """Queue again what was parked, with the same ids; how many messages."""
    registrant = _allowed(identity)
    return await change(node, lambda doing: store.redeliver(doing.conn, registrant))


async def test(node: Node, identity: Identity) -> dict[str, Any]:
    """Send a message of type "test" now, once, and tell how it went; counted as a check of a host."""
    registrant = _allowed(identity)

    async def begin(doing: Change) -> Any:
        row = await store.fetch(doing.conn, registrant)
        if row is None:
            raise NotFound.of(what="webhook")
        await hosts.require_proved(doing.conn, registrant, row["host"])
        await hosts.allow_check(doing.conn, registrant)
        return row

    row = await change(node, begin)
    message_id = f"msg_{secrets.token_hex(16)}"
    body = orjson.dumps({"id": message_id, "type": "test"})
    secret = node.sealer.open(LABEL, row["secret"]).decode()
    begun = time.perf_counter()
    try:
        await send(node.settings, row["url"], secret, message_id, body)
    except NotReached as error:
        told = {name: error.datum[name] for name in ("why", "reason_zh", "reason")}
        return {"id": message_id, "delivered": False, **told}
    return {"id": message_id, "delivered": True, "milliseconds": round((time.perf_counter() - begun) * 1000)}


def _allowed(identity: Identity) -> int:
    require_scope(identity, "keys")
    assert identity.registrant_id is not None  # only an enterprise's key has scopes
    return identity.registrant_id


def _document(row: Mapping[str, Any]) -> dict[str, Any]:
    times = ("created_at", "delivered_at", "failed_at")
    return {
        "url": row["url"],
        "failures": row["failures"],
        "error": row["last_error"] or None,
        **{name: row[name] and row[name].isoformat() for name in times},
    }
