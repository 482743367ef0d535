"""Hosts that an enterprise has proved to be its own: only to these lead live links, redirects and webhooks.

A proof holds for exactly one host and for nothing below it. So no list of public suffixes is needed (one goes
stale, and 二级域名 are given away under many names): whoever proves `shop.example.com.cn` gains nothing over its
neighbours, and `com.cn` or `github.io` can be proved only by those who run them. Several enterprises may prove one
host, each by a token of its own: a group shares its site, and a proof left behind does not shut out a new owner.

Proofs are checked again each day. A clear no (name gone, other content) lapses after 3 days and 4 checks: a mistake
made on a Friday evening is mended on Monday, and a domain that ran out is in its registrar's redemption of 30 days,
not yet somebody else's. No answer at all lapses after 14 days: the fault may be the server's, the way's or ours.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Any
from urllib.parse import urlsplit

import orjson

from node import audit, metrics, proofs
from node.access import require_scope
from node.errors import HostNotProved, InvalidRow, NotFound, RowError, TooManyAttempts, TooManyHosts, Unavailable
from node.links import link_ok, normal_host, safe_link
from node.model import Identity
from node.proofs import Finding
from node.runtime import Connection, Node, reading
from node.store import hosts as store
from node.writing import Change, Claim, change

__all__ = ["MAX_HOSTS", "claim", "link_ok", "listed", "proved", "recheck", "release", "safe_link", "verify"]

MAX_HOSTS = 50
CHECKS_AN_HOUR = 60  # each sends three requests to a host of the caller's choice
_KEPT_SECONDS = 0.5  # a proof taken back is dead as soon as a revoked key (architecture.md 6)
_KEPT_REGISTRANTS = 4096
_LATELY = 5.0  # s
_DAY = timedelta(days=1)
_AGAIN = timedelta(hours=6)  # after a failed check
_LAPSE_CHECKS = 4
_LAPSE_CLEAR, _LAPSE_SILENT = timedelta(days=3), timedelta(days=14)


class State(IntEnum):
    PENDING = 0
    PROVED = 1
    LAPSED = 2

    @property
    def word(self) -> str:
        return self.name.lower()


@dataclass(slots=True)
class _Known:
    """An enterprise's proved hosts, good until then; `asked` for last. Both in monotonic s."""

    until: float
    hosts: frozenset[str]
    asked: float


async def proved(node: Node, registrant_id: int) -> frozenset[str]:
    """The hosts that this enterprise has proved, at most half a second old; none while PostgreSQL is away, so that
    a page is still shown then, with text in place of links."""
    begun = time.monotonic()
    known: dict[int, _Known] = node.proved_hosts
    kept = known.get(registrant_id)
    if kept is not None and begun < kept.until:
        kept.asked = begun
        return kept.hosts
    # With all that were asked for lately: their pages would each need a query of their own half a second later.
    asked = {r: k.asked for r, k in known.items() if k.asked > begun - _LATELY} | {registrant_id: begun}
    try:
        async with reading(node) as conn:
            found = await store.proved_of(conn, list(asked))
    except Unavailable:
        asked, found = {registrant_id: begun}, {}
    if len(known) >= _KEPT_REGISTRANTS:
        known.clear()
    for registrant, at in asked.items():
        known[registrant] = _Known(begun + _KEPT_SECONDS, frozenset(found.get(registrant, ())), at)
    return known[registrant_id].hosts


async def claim(node: Node, identity: Identity, text: str, claimed: Claim | None) -> tuple[dict[str, Any], bool]:
    """(the claim with what to publish, whether it is new); InvalidRow where this can be nobody's host."""
    registrant, host = _allowed(identity), _host(node, text)

    async def work(doing: Change) -> tuple[Any, bool]:
        held = await store.hold_count(doing.conn, registrant)
        row = await store.fetch(doing.conn, registrant, host)
        if row is not None:
            return _document(row), False
        if held >= MAX_HOSTS:
            raise TooManyHosts.of(limit=MAX_HOSTS)
        row = await store.insert(doing.conn, registrant, host, secrets.token_urlsafe(24))
        await audit.record(doing.conn, identity.actor, "host.claim", host, {"registrant": registrant})
        return _document(row), True

    made: tuple[dict[str, Any], bool] = await change(node, work, claim=claimed)
    return made


async def verify(node: Node, identity: Identity, text: str) -> dict[str, Any]:
    """Look for the proof now; HostNotProved says what was found in its place, TooManyAttempts over 60 an hour."""
    registrant, host = _allowed(identity), normal_host(text)

    async def begin(doing: Change) -> Any:
        row = await store.fetch(doing.conn, registrant, host) if host else None
        if row is None:
            raise NotFound.of(what=f"host {text[:253]!r}")
        await allow_check(doing.conn, registrant)
        return row

    row = await change(node, begin)
    finding = await proofs.look(node.settings, row["host"], row["token"])
    settled = await _settle(node, row, finding, identity.actor)
    if settled is None:
        raise NotFound.of(what=f"host {text[:253]!r}")
    if not finding.method:
        raise HostNotProved.of(*finding.faults, host=host)
    return settled


async def allow_check(conn: Connection, registrant_id: int) -> None:
    """Count a request that the caller makes the node send; TooManyAttempts over the hour's number."""
    checks, seconds = await store.allow_check(conn, registrant_id)
    if checks > CHECKS_AN_HOUR:
        raise TooManyAttempts.of(retry_after=seconds)


async def _settle(node: Node, asked: Mapping[str, Any], finding: Finding, actor: str) -> dict[str, Any] | None:
    """Write a finding down; None where the claim was given up, or made anew, while the check was under way."""
    registrant, host = asked["registrant_id"], asked["host"]
    metrics.host_checks_total.labels(finding.method or "not_found").inc()

    async def work(doing: Change) -> Any:
        conn = doing.conn
        row = await store.hold(conn, registrant, host)
        if row is None or row["token"] != asked["token"]:
            return None
        after = judge(row, finding, await store.now(conn))
        settled = await store.judged(conn, registrant, host, **after)
        if after["state"] != row["state"]:
            doing.dependents.append(_name(registrant))
            detail = {"registrant": registrant, "method": after["method"]}
            action = "host.prove" if after["state"] == State.PROVED else "host.lapse"
            await audit.record(conn, actor, action, host, detail)
        return settled

    settled = await change(node, work)
    node.proved_hosts.pop(registrant, None)
    return settled and _document(settled)


def judge(row: Mapping[str, Any], finding: Finding, now: datetime) -> dict[str, Any]:
    """The columns of a host after a check, by the rule at the head of this file."""
    if finding.method:
        return {
            "state": State.PROVED,
            "method": finding.method,
            "proved_at": row["proved_at"] if row["state"] == State.PROVED else now,
            "failing_since": None,
            "failures": 0,
            "last_error": "",
            # Spread over two hours, so that hosts proved in one morning do not all come back at once.
            "next_at": now + _DAY + timedelta(minutes=random.randint(-60, 60)),  # noqa: S311
        }
    since, failures = row["failing_since"] or now, row["failures"] + 1
    patience = _LAPSE_CLEAR if finding.definite else _LAPSE_SILENT
    over = row["state"] == State.PROVED and failures >= _LAPSE_CHECKS and now - since >= patience
    state = State.LAPSED if over else State(row["state"])
    told = [{"field": f.field, "code": f.code, "zh": f.zh, "en": f.en} for f in finding.faults]
    return {
        "state": state,
        "method": row["method"],
        "proved_at": row["proved_at"],
        "failing_since": since,
        "failures": failures,
        "last_error": orjson.dumps(told).decode(),
        "next_at": now + _AGAIN if state == State.PROVED else None,
    }


async def listed(node: Node, identity: Identity) -> list[dict[str, Any]]:
    """The caller's hosts, by name, whatever their state."""
    assert identity.registrant_id is not None
    async with reading(node) as conn:
        return [_document(row) for row in await store.of_registrant(conn, identity.registrant_id)]


async def release(node: Node, identity: Identity, text: str) -> None:
    """Give a host up: links to it are text from now on, a webhook to it waits; NotFound."""
    registrant, host = _allowed(identity), normal_host(text)

    async def work(doing: Change) -> None:
        if host is None or not await store.delete(doing.conn, registrant, host):
            raise NotFound.of(what=f"host {text[:253]!r}")
        doing.dependents.append(_name(registrant))
        await audit.record(doing.conn, identity.actor, "host.release", host, {"registrant": registrant})

    await change(node, work)
    node.proved_hosts.pop(registrant, None)


def _name(registrant: int) -> str:
    """No view is made from it, but its change is acknowledged after what workers know of hosts has run out."""
    return f"h:{registrant}"


async def recheck(node: Node, limit: int = 4) -> int:
    """Look again at proofs whose day is over; how many there were. No transaction is open during a look."""

    async def take(doing: Change) -> list[Any]:
        return await store.take_due(doing.conn, limit)

    async def again(row: Mapping[str, Any]) -> None:
        await _settle(node, row, await proofs.look(node.settings, row["host"], row["token"]), "node")

    due = await change(node, take)
    await asyncio.gather(*map(again, due))
    return len(due)


def _allowed(identity: Identity) -> int:
    """A key that may issue keys may say where the enterprise's links lead; a production line's may not."""
    require_scope(identity, "keys")
    assert identity.registrant_id is not None  # only an enterprise's key has scopes
    return identity.registrant_id


def _host(node: Node, text: str) -> str:
    host = normal_host(text)
    if host is None:
        zh, en = "须为完整域名，不能是 IP、通配符或内部名称", "a full domain name: no IP, wildcard, port or inner name"
        raise InvalidRow.of(RowError("host", "not_a_host", zh, en))
    if host == normal_host(urlsplit(node.settings.public_url).hostname or ""):
        raise InvalidRow.of(RowError("host", "own_host", "这是本节点自己的域名", "this is the node's own host"))
    return host


def _document(row: Mapping[str, Any]) -> dict[str, Any]:
    times = ("claimed_at", "proved_at", "checked_at", "failing_since")
    return {
        "host": row["host"],
        "state": State(row["state"]).word,
        "token": row["token"],
        "dns": {
            "name": proofs.record_name(row["host"]),
            "type": "TXT",
            "value": proofs.record_value(row["token"]),
        },
        "file": {"url": f"https://{row['host']}{proofs.FILE}", "content": row["token"]},
        "method": row["method"] or None,
        "failures": row["failures"],
        "errors": orjson.loads(row["last_error"]) if row["last_error"] else [],
        **{name: row[name] and row[name].isoformat() for name in times},
    }


async def require_proved(conn: Connection, registrant_id: int, host: str) -> None:
    """HostNotProved unless the host is the enterprise's at this moment."""
    if host not in await store.proved(conn, registrant_id):
        raise HostNotProved.of(host=host)
