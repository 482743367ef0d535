"""Who is asking: enterprises by API key, operators by login and session.

A key is `iid_<environment>_<id>_<secret>_<check>`: the check lets a scanner for leaked secrets, or a typist,
see a slip before any look-up. PostgreSQL is asked at every request, so a revoked key is dead at once.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
import string
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any

import argon2

from node import audit, metrics
from node.errors import (
    AlreadyExists,
    InvalidRow,
    KeyRevoked,
    NodeError,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    RowError,
    TooManyAttempts,
    TooManyKeys,
)
from node.model import Identity
from node.runtime import Connection, Node, reading
from node.store import access as store
from node.writing import Change, change

SCOPES = ("register", "resolve", "keys")
ROLES = ("reviewer", "auditor", "admin")
MAX_LIVE_KEYS = 2  # the old and the new one while a key is being changed

_ALPHABET = string.digits + string.ascii_letters
_ID_LENGTH, _SECRET_LENGTH, _CHECK_LENGTH = 10, 43, 6  # 43 digits of base 62 hold 256 bits
_KEY = re.compile(r"(iid_[0-9A-Za-z]{1,32}_([0-9A-Za-z]{10})_[0-9A-Za-z]{43})_([0-9A-Za-z]{6})")
_LABEL = "api-key"
_SESSION_HOURS = 8
_LOCK_AFTER, _LOCK_MINUTES = 5, 15
_MIN_PASSWORD = 12
_hasher = argon2.PasswordHasher()
_NO_OPERATOR = _hasher.hash(secrets.token_hex(16))  # an unknown login must cost what a known one costs


def new_key(environment: str) -> tuple[str, str]:
    """(id, full key)."""
    key_id = "".join(secrets.choice(_ALPHABET) for _ in range(_ID_LENGTH))
    secret = "".join(secrets.choice(_ALPHABET) for _ in range(_SECRET_LENGTH))
    body = f"iid_{environment}_{key_id}_{secret}"
    return key_id, f"{body}_{_check(body)}"


def is_key_id(text: str) -> bool:
    return len(text) == _ID_LENGTH and set(text) <= set(_ALPHABET)


def _check(body: str) -> str:
    number, digits = zlib.crc32(body.encode()), ""
    for _ in range(_CHECK_LENGTH):
        number, digit = divmod(number, 62)
        digits = _ALPHABET[digit] + digits
    return digits


async def issue_key(
    conn: Connection,
    node: Node,
    registrant_id: int,
    name: str,
    *,
    actor: str,
    scopes: Sequence[str] = SCOPES,
    networks: Sequence[str] = (),
    expires_at: datetime | None = None,
) -> tuple[str, str]:
    """Make a key inside a change; (id, full key). The full key is not stored: it is shown once."""
    if await store.live_keys(conn, registrant_id) >= MAX_LIVE_KEYS:
        raise TooManyKeys.of(limit=MAX_LIVE_KEYS)
    key_id, key = new_key(node.settings.environment)
    generation = node.sealer.current
    digest = node.sealer.digest(_LABEL, key.encode(), generation)
    await store.insert_key(
        conn,
        key_id,
        registrant_id,
        name=name,
        digest=digest,
        generation=generation,
        scopes=scopes,
        networks=networks,
        expires_at=expires_at,
    )
    detail = {"registrant": registrant_id, "scopes": list(scopes), "networks": list(networks)}
    await audit.record(conn, actor, "key.issue", key_id, detail)
    return key_id, key


async def revoke_key(conn: Connection, identity: Identity, key_id: str) -> None:
    """Revoke one of the caller's keys, or as an operator any; NotFound where it is neither."""
    key = await store.fetch_key(conn, key_id)
    if key is None or (identity.role is None and key["registrant_id"] != identity.registrant_id):
        raise NotFound.of(what=f"key {key_id}")
    if await store.revoke(conn, key_id) is not None:
        await audit.record(conn, identity.actor, "key.revoke", key_id)


async def enterprise(node: Node, token: str, address: str) -> Identity:
    """The enterprise that holds this key; NotAuthenticated, or KeyRevoked for a key that was good once."""
    key_id = key_id_in(token)
    async with reading(node) as conn:
        key = await store.fetch_key(conn, key_id)
    return holder(node, token, address, key)


def key_id_in(token: str) -> str:
    """The id in a well-formed key; NotAuthenticated for what cannot be one."""
    key_id = _well_formed(token)
    if not key_id:
        raise _refused(NotAuthenticated.of(), "malformed" if token else "missing")
    return key_id


# Form only: it never changes. That 256 tokens stay in memory tells nobody more than the requests that bring them.
@lru_cache(256)
def _well_formed(token: str) -> str:
    """The key's id; "" where it cannot be a key."""
    form = _KEY.fullmatch(token)
    return str(form[2]) if form and _check(form[1]) == form[3] else ""


def holder(node: Node, token: str, address: str, key: Any) -> Identity:
    """As `enterprise`, for a key whose record (None: there is none) was read by the caller just now."""
    if key and key["generation"] not in node.sealer.secrets:
        key = None  # its generation of the master secret was withdrawn, and with it every key of that time
    digest = node.sealer.digest(_LABEL, token.encode(), key["generation"] if key else node.sealer.current)
    # Compared also where there is no such key, so that time does not tell which ids exist.
    if not hmac.compare_digest(digest, key["digest"] if key else bytes(32)) or key is None:
        raise _refused(NotAuthenticated.of(), "unknown")
    if not key["live"]:
        raise _refused(KeyRevoked.of(), "revoked")
    if key["networks"] and not _within(address, key["networks"]):
        raise _refused(NotAllowed.of(action=f"this key from {address}"), "network")
    node.used_keys.add(key["id"])
    return Identity(f"key:{key['id']}", key["registrant_id"], frozenset(key["scopes"]))


def _within(text: str, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    """Whether one of them holds the address; IPv4 also as a dual-stack socket shows it, ::ffff:a.b.c.d."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    plain = getattr(address, "ipv4_mapped", None) or address
    return any(plain in network for network in networks)


def _refused(error: NodeError, reason: str) -> NodeError:
    metrics.auth_failures_total.labels(reason).inc()
    return error


def require_scope(identity: Identity, scope: str) -> None:
    if scope not in identity.scopes:
        raise NotAllowed.of(action=f"this key has no scope {scope!r}")


def require_role(identity: Identity, *roles: str) -> None:
    """An admin may do what any operator may."""
    if identity.role not in (*roles, "admin"):
        raise NotAllowed.of(action=f"needs the role {' or '.join(roles)}")


async def add_operator(node: Node, login: str, password: str, role: str, *, actor: str) -> None:
    """Add an operator; InvalidRow names what is wrong, AlreadyExists where the login is taken."""
    errors = []
    if not (1 <= len(login) <= 64 and login.isprintable() and " " not in login):
        errors.append(RowError("login", "pattern", "1 至 64 个可见字符", "1 to 64 printable characters"))
    if not _MIN_PASSWORD <= len(password) <= 200:
        errors.append(RowError("password", "too_short", "至少 12 个字符", "at least 12 characters"))
    if role not in ROLES:
        words = ", ".join(ROLES)
        errors.append(RowError("role", "not_in_enum", f"须为其一：{words}", f"one of {words}"))
    if errors:
        raise InvalidRow.of(*errors)
    hashed = await asyncio.to_thread(_hasher.hash, password)

    async def work(doing: Change) -> None:
        if not await store.insert_operator(doing.conn, login, hashed, role):
            raise AlreadyExists.of(what=f"operator {login}")
        await audit.record(doing.conn, actor, "operator.add", login, {"role": role})

    await change(node, work)


async def login(node: Node, name: str, password: str) -> tuple[str, datetime]:
    """(session token, when it ends); NotAuthenticated, or TooManyAttempts while the account is locked."""
    if len(name) > 64 or len(password) > 200 or "\0" in name:
        raise _refused(NotAuthenticated.of(), "login")
    found = await change(node, lambda doing: store.attempt(doing.conn, name, _LOCK_AFTER, _LOCK_MINUTES))
    if found is None:
        async with reading(node) as conn:
            locked = await store.locked_for(conn, name)
        if locked is not None:
            raise _refused(TooManyAttempts.of(retry_after=locked), "locked")
    right = await asyncio.to_thread(_verified, found["password_hash"] if found else _NO_OPERATOR, password)
    if not right or found is None:
        if found and found["last"]:
            await _enter(node, name, "operator.lock")
        raise _refused(NotAuthenticated.of(), "login")
    token, ends = "ops_" + secrets.token_urlsafe(32), datetime.now(UTC) + timedelta(hours=_SESSION_HOURS)

    async def work(doing: Change) -> None:
        await store.login_succeeded(doing.conn, name)
        await store.open_session(doing.conn, _session_digest(token), name, ends)
        await audit.record(doing.conn, f"operator:{name}", "operator.login", name)

    await change(node, work)
    return token, ends


async def _enter(node: Node, name: str, action: str) -> None:
    await change(node, lambda doing: audit.record(doing.conn, f"operator:{name}", action, name))


def _verified(hashed: str, password: str) -> bool:
    try:
        return _hasher.verify(hashed, password)
    except argon2.exceptions.VerificationError:
        return False


def _session_digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()  # the token is 256 random bits: no dictionary holds it


async def operator(node: Node, token: str) -> Identity:
    """The operator of this session; NotAuthenticated where it is unknown or over."""
    if not token.startswith("ops_") or len(token) > 100:
        raise _refused(NotAuthenticated.of(), "session")
    async with reading(node) as conn:
        found = await store.session(conn, _session_digest(token))
    if found is None:
        raise _refused(NotAuthenticated.of(), "session")
    return Identity(f"operator:{found['login']}", role=found["role"])


async def logout(node: Node, identity: Identity, token: str) -> None:
    """End this session; at once, for PostgreSQL is asked at every request."""

    async def work(doing: Change) -> None:
        await store.close_session(doing.conn, _session_digest(token))
        await audit.record(doing.conn, identity.actor, "operator.logout", identity.actor.partition(":")[2])

    await change(node, work)
