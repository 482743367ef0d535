"""Look-aside cache in Valkey: public facts only, PostgreSQL is the truth.

Keys: `h:<handle>` a row of `handle`, `p:<prefix>` a prefix. A fill needs a token that the miss was given and that a
change takes away (leases, Nishtala et al., NSDI 2013): a reader that was overtaken by a change cannot put back what
it read before. Nothing negative is kept. Valkey may be away: reads then miss, and `forget` reports what it could
not do, so that the relay does it later.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import msgspec
import redis.asyncio as redis
from redis.exceptions import RedisError

from node import metrics
from node.model import Prefix, Row

_LEASE_MS = 3_000  # a fill that takes longer is dropped
_ANNOUNCE_MS = 30_000  # longer than any transaction may take (statement_timeout); lapses if the writer died

# KEYS: entry keys; ARGV: token, lease ms. Entries, and for each miss a lease unless another holds it: "\0" + granted.
_GET_OR_LEASE = """
local out = {}
for i, key in ipairs(KEYS) do
  local entry = redis.call('GET', key)
  if entry then out[i] = entry
  elseif redis.call('SET', 'l:' .. key, ARGV[1], 'NX', 'PX', ARGV[2]) then out[i] = 1
  else out[i] = 0 end
end
return out
"""
# KEYS: one entry key; ARGV: token, entry, ttl s. Stored only while the reader's own lease stands.
_FILL = """
if redis.call('GET', 'l:' .. KEYS[1]) == ARGV[1] then
  redis.call('DEL', 'l:' .. KEYS[1])
  redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
  return 1
end
return 0
"""
# KEYS: entry keys; ARGV: writer's mark, ms. Until the writer forgets, nothing is served from or put into these.
_ANNOUNCE = """
for _, key in ipairs(KEYS) do
  redis.call('DEL', key)
  redis.call('SET', 'l:' .. key, ARGV[1], 'PX', ARGV[2])
end
"""

_row_encoder = msgspec.msgpack.Encoder()
_row_decoder = msgspec.msgpack.Decoder(Row)
_prefix_decoder = msgspec.msgpack.Decoder(Prefix)

Fact = Row | Prefix


def handle_key(handle: str) -> str:
    return "h:" + handle


def prefix_key(prefix: str) -> str:
    return "p:" + prefix


class Cache:
    """The cache of one process. No method raises because Valkey is away."""

    def __init__(self, valkey: redis.Redis, ttl: int) -> None:
        self._valkey = valkey
        self._ttl = ttl
        self._get = valkey.register_script(_GET_OR_LEASE)
        self._put = valkey.register_script(_FILL)
        self._mark = valkey.register_script(_ANNOUNCE)

    async def close(self) -> None:
        await self._valkey.aclose()

    async def alive(self) -> bool:
        try:
            return bool(await self._valkey.ping())
        except (RedisError, OSError):
            return False

    async def get(self, keys: Sequence[str]) -> tuple[list[Fact | None], list[str]]:
        """What is kept under each key, and for each a lease token to fill it with ("" where none was granted)."""
        token = secrets.token_hex(8)
        try:
            answers = await self._get(keys=list(keys), args=[token, _LEASE_MS])
        except (RedisError, OSError):
            metrics.cache_errors_total.inc()
            return [None] * len(keys), [""] * len(keys)
        facts: list[Fact | None] = []
        tokens: list[str] = []
        for key, answer in zip(keys, answers, strict=True):
            kept = isinstance(answer, bytes)
            facts.append((_prefix_decoder if key[0] == "p" else _row_decoder).decode(answer) if kept else None)
            tokens.append(token if answer == 1 else "")
        return facts, tokens

    async def fill(self, key: str, token: str, fact: Fact) -> None:
        """Keep what was read from PostgreSQL after `token` was granted; dropped if a change came between."""
        if not token:
            return
        try:
            await self._put(keys=[key], args=[token, _row_encoder.encode(fact), self._ttl])
        except (RedisError, OSError):
            metrics.cache_errors_total.inc()

    async def announce(self, keys: Sequence[str]) -> None:
        """A change of these is about to commit: nothing may be served from or put into them until `forget`."""
        if not keys:
            return
        try:
            await self._mark(keys=list(keys), args=["W:" + secrets.token_hex(8), _ANNOUNCE_MS])
        except (RedisError, OSError):
            metrics.cache_errors_total.inc()

    async def forget(self, keys: Sequence[str]) -> bool:
        """Drop the entries and their leases; False where Valkey did not answer and somebody must try again."""
        if not keys:
            return True
        try:
            await self._valkey.unlink(*keys, *("l:" + key for key in keys))
        except (RedisError, OSError):
            metrics.cache_errors_total.inc()
            return False
        return True
