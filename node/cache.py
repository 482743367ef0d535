"""Look-aside cache in Valkey: finished public answers only, PostgreSQL is the truth.

Keys carry the fence's epoch: `<epoch>:r:<handle>` an entry, `<epoch>:l:<handle>` the lease of who may fill it,
`<epoch>:g:<prefix>` the generation of the prefix's negative entries, `<epoch>:g:c:<prefix>` that of changes under it,
`<epoch>:g:e:<number>` that of a registrant's events. A fill needs a token that a miss was given and that a change takes
away (leases, Nishtala et al., NSDI 2013): a reader that was overtaken by a change cannot put back what it read before.
Valkey may be away, slow or another one than before: reads then miss, and what has to be forgotten is reported as not
done, so that the caller shuts the epoch.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import redis.asyncio as redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from node import metrics
from node.config import Settings
from node.fence import changes_name

_LEASE_MS = 3_000  # a fill that takes longer is dropped
_ANNOUNCE_MS = 30_000  # longer than any transaction may take (statement_timeout); lapses if the writer died
_PACK = 1_000  # keys of one UNLINK: 1 ms of Valkey's one thread
_FAILURES, _PAUSE = 5, 1.0  # so many in a row, and reads leave Valkey alone for so many seconds
_AWAY = (RedisError, OSError, asyncio.TimeoutError, RuntimeError)  # the last: uvloop, of a connection just reset

# KEYS: lease keys, then generation keys; ARGV: token, lease ms, number of lease keys, a new generation. For each lease
# key 1 where it was granted, then for each prefix its generation, made where there is none: an evicted one must not
# come back as what it was.
_LEASE = """
local out = {}
local n = tonumber(ARGV[3])
for i, key in ipairs(KEYS) do
  if i <= n then
    out[i] = redis.call('SET', key, ARGV[1], 'NX', 'PX', ARGV[2]) and 1 or 0
  else
    redis.call('SET', key, ARGV[4], 'NX')
    out[i] = redis.call('GET', key)
  end
end
return out
"""
# KEYS: lease key and entry key in turn; ARGV: token, then entry and ttl ms in turn. Stored only while the reader's own
# lease stands.
_FILL = """
local kept = 0
for i = 1, #KEYS, 2 do
  if redis.call('GET', KEYS[i]) == ARGV[1] then
    redis.call('DEL', KEYS[i])
    redis.call('SET', KEYS[i + 1], ARGV[i + 1], 'PX', ARGV[i + 2])
    kept = kept + 1
  end
end
return kept
"""
_FILL_ANYHOW = _FILL.replace("redis.call('GET', KEYS[i]) == ARGV[1]", "true")  # the mutant without leases
# KEYS: entry key and lease key in turn; ARGV: writer's mark, ms. Until the writer forgets, nothing is served from or
# put into these.
_ANNOUNCE = """
for i = 1, #KEYS, 2 do
  redis.call('DEL', KEYS[i])
  redis.call('SET', KEYS[i + 1], ARGV[1], 'PX', ARGV[2])
end
"""

Fill = tuple[str, bytes, float]  # handle, entry, seconds to keep it
Connected = Callable[[Any], Awaitable[None]]


class Cache:
    """The cache of one process. No method raises because Valkey is away."""

    def __init__(self, connect: Callable[[Settings, Connected | None], redis.Redis], settings: Settings) -> None:
        self._valkey = connect(settings, self._connected)
        self._prober = connect(settings, None)  # finds out who answers, whoever it is
        self._expected = ""
        self._off = settings.switched_off
        self._lease = self._valkey.register_script(_LEASE)
        self._put = self._valkey.register_script(_FILL_ANYHOW if "lease" in self._off else _FILL)
        self._mark = self._valkey.register_script(_ANNOUNCE)
        self._failures = 0
        self._paused_until = 0.0

    async def close(self) -> None:
        await self._valkey.aclose()
        await self._prober.aclose()

    async def _connected(self, connection: Any) -> None:
        """Refuse another run of the server than the epoch belongs to: it may have come back with old entries."""
        await connection.on_connect()
        await connection.send_command("INFO", "server")
        if _run_id(await connection.read_response()) != self._expected:
            raise RedisConnectionError("another run of Valkey than the fence names")

    def expect(self, server: str) -> None:
        """From here on only this run of Valkey is the cache."""
        if server != self._expected:
            self._expected = server
            self._failures, self._paused_until = 0, 0.0

    async def probe(self) -> str:
        """The run_id of the Valkey that answers now; "" where none does."""
        try:
            return str((await self._prober.info("server"))["run_id"])
        except _AWAY:
            return ""

    def _failed(self) -> None:
        metrics.cache_errors_total.inc()
        self._failures += 1
        if self._failures >= _FAILURES:
            self._paused_until = time.monotonic() + _PAUSE

    async def _reading(self, command: Awaitable[Any]) -> Any:
        try:
            answer = await command
        except _AWAY:
            self._failed()
            return None
        self._failures = 0
        return answer

    def paused(self) -> bool:
        """Whether reads leave Valkey alone: it did not answer several times in a row."""
        return time.monotonic() < self._paused_until

    async def get(
        self, epoch: int, handles: Sequence[str], prefixes: Sequence[str]
    ) -> tuple[list[bytes | None], list[bytes | None]] | None:
        """(entries, generations of the prefixes) at one instant; None where Valkey does not answer."""
        if self.paused():
            return None
        keys = [*(f"{epoch}:r:{h}" for h in handles), *(f"{epoch}:g:{p}" for p in prefixes)]
        answer = await self._reading(self._valkey.mget(keys))
        return (answer[: len(handles)], answer[len(handles) :]) if answer is not None else None

    async def lease(
        self, epoch: int, token: str, handles: Sequence[str], prefixes: Sequence[str]
    ) -> tuple[list[bool], list[bytes]]:
        """Ask for the right to fill these, before they are read: what was granted, and the prefixes' generations."""
        keys = [*(f"{epoch}:l:{h}" for h in handles), *(f"{epoch}:g:{p}" for p in prefixes)]
        arguments: list[str | int] = [token, _LEASE_MS, len(handles), secrets.token_hex(6)]
        answer = None if self.paused() else await self._reading(self._lease(keys=keys, args=arguments))
        if answer is None:
            return [False] * len(handles), [b""] * len(prefixes)
        return [one == 1 or "lease" in self._off for one in answer[: len(handles)]], answer[len(handles) :]

    async def fill(self, epoch: int, token: str, fills: Sequence[Fill]) -> None:
        """Keep what was read from PostgreSQL after `token` was granted; dropped where a change came between."""
        keys: list[str] = []
        arguments: list[str | bytes | int] = [token]
        for handle, entry, seconds in fills:
            keys += [f"{epoch}:l:{handle}", f"{epoch}:r:{handle}"]
            arguments += [entry, max(1, int(seconds * 1000))]
        await self._reading(self._put(keys=keys, args=arguments))

    async def announce(self, epoch: int, handles: Sequence[str]) -> None:
        """A change of these is about to commit: nothing may be served from or put into them until `forget`.

        Where Valkey does not answer nothing is lost: this only keeps readers from seeing new and old in turn.
        """
        if "marker" in self._off:
            return
        keys = [key for h in handles for key in (f"{epoch}:r:{h}", f"{epoch}:l:{h}")]
        await self._reading(self._mark(keys=keys, args=["W:" + secrets.token_hex(8), _ANNOUNCE_MS]))

    async def forget(
        self, epoch: int, handles: Sequence[str], grown: Sequence[str] = (), created: Sequence[str] = ()
    ) -> bool:
        """Drop the entries of `handles` and `created` with their leases, and all negative ones of the prefixes `grown`;
        of `handles`, which existed, the generation of their prefixes' changes. What has no slash is no handle but an
        enterprise's events (node/fence.py): their generation.

        False where Valkey did not answer: then nobody may trust this epoch.
        """
        keys = [key for names in (handles, created) for name in names for key in _forgotten(epoch, name)]
        generations = {*grown, *(changes_name(prefix) for prefix in {h.partition("/")[0] for h in handles if "/" in h})}
        try:
            for start in range(0, len(keys), _PACK):
                await self._valkey.unlink(*keys[start : start + _PACK])
            if generations:  # after the entries: who finds the old one may have found them
                new = secrets.token_hex(6)
                await self._valkey.mset({f"{epoch}:g:{name}": new for name in sorted(generations)})
        except _AWAY:
            self._failed()
            return False
        return True

    async def kept(self, epoch: int, handles: Sequence[str]) -> dict[str, bytes]:
        """What is kept of these now; for the observer."""
        entries: list[Any] = await self._valkey.mget([f"{epoch}:r:{h}" for h in handles])
        return {h: entry for h, entry in zip(handles, entries, strict=True) if entry is not None}

    async def sample(self, epoch: int, count: int) -> dict[str, bytes]:
        """Up to about `count` entries of the epoch, wherever the scan begins; for the observer."""
        found: dict[str, bytes] = {}
        cursor, start = 0, f"{epoch}:r:".encode()
        while len(found) < count:
            scanned: tuple[int, list[Any]] = await self._valkey.scan(cursor, match=start + b"*", count=1000)
            cursor, keys = scanned
            entries: list[Any] = await self._valkey.mget(keys) if keys else []
            for key, entry in zip(keys, entries, strict=True):
                if entry is not None:
                    found[bytes(key[len(start) :]).decode()] = entry
            if cursor == 0:
                break
        return found


def _forgotten(epoch: int, name: str) -> tuple[str, ...]:
    return (f"{epoch}:r:{name}", f"{epoch}:l:{name}") if "/" in name else (f"{epoch}:g:{name}",)


def _run_id(info: Any) -> str:
    """The run_id of an answer to INFO, which redis-py gives as text, bytes or a dict by protocol."""
    if isinstance(info, dict):
        return str(info.get("run_id", ""))
    text = info.decode() if isinstance(info, bytes) else str(info)
    return next((line[7:].strip() for line in text.splitlines() if line.startswith("run_id:")), "")
