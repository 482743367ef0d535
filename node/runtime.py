"""Node: settings, pools and clock in one object, opened once a process and handed to functions as an argument."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import asyncpg
import hiredis
import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from node import metrics
from node.cache import Cache
from node.config import Settings
from node.errors import NodeError, Unavailable
from node.fence import Fence
from node.pace import Pace
from node.places import Places
from node.scan_memory import ScanMemory
from node.sealing import Sealer
from node.standing import Standing
from node.tally import Tally

_T = TypeVar("_T")


class ReadConnection(Protocol):
    """What may be done outside a change: mypy refuses a store function that writes on one of these."""

    async def fetch(self, query: str, *args: Any) -> list[Any]: ...
    async def fetchrow(self, query: str, *args: Any) -> Any: ...
    async def fetchval(self, query: str, *args: Any) -> Any: ...


class Connection(ReadConnection, Protocol):
    """A connection inside the transaction of a change."""

    async def execute(self, query: str, *args: Any) -> str: ...


# The server is away, or cannot take more: nothing is wrong with the request.
_AWAY = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InsufficientResourcesError,  # class 53: too many connections, out of memory, disk full
    asyncpg.QueryCanceledError,
    asyncpg.LockNotAvailableError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what asyncpg says when a session ends in the middle of a COPY
    ConnectionError,
    OSError,
    TimeoutError,
)
# Lost a race that the database resolved by refusing one side: the same work again is right.
_RETRY = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
_RETRIES = 3
# Ways to read a table that are not by key. Off, they cost a fine: what has no other way still goes that way.
_ONLY_BY_KEY = ("enable_seqscan", "enable_bitmapscan", "enable_hashjoin", "enable_mergejoin", "enable_material")


@dataclass(slots=True)
class Node:
    """What every function of the node may need. PostgreSQL is the truth; Valkey may be away at any time."""

    settings: Settings
    pool: asyncpg.Pool
    transactions: asyncio.Semaphore  # so many connections at the most: a quarter is left to those who only read
    cache: Cache
    sealer: Sealer
    fence: Fence
    pace: Pace  # of imports, beside readers
    name: str = field(default_factory=lambda: secrets.token_hex(6))  # of this worker, while it runs
    poll: asyncio.Future[None] | None = None  # the reading of the fence that is under way
    watcher: Any = None  # the connection that reads the fence, beside the pool: a busy pool must not stop the clock
    watching: asyncio.Lock = field(default_factory=asyncio.Lock)
    reads: Any = None  # batched reads of the public view; made by the first one
    keyrings: dict[str, Any] = field(default_factory=dict)  # (keyring, stamp) by prefix
    # Immutable once published, so kept for the life of the process: compiled by id, (id, compiled) by code@version.
    templates: dict[int, Any] = field(default_factory=dict)
    template_names: dict[str, Any] = field(default_factory=dict)
    used_keys: set[str] = field(default_factory=set)  # API keys seen since housekeeping last wrote them down
    import_slots: Any = None  # chunks in hand; made by the first one
    batch_turns: Any = None  # enterprises' turns at batches; made by the first one
    groups: Any = None  # single registrations on their way; made by the first one
    settled: list[int] = field(default_factory=list)  # outbox messages that need no relay any more
    proved_hosts: dict[int, Any] = field(default_factory=dict)  # by registrant; node.hosts
    tally: Tally = field(default_factory=Tally)  # resolutions counted since they were last settled
    scan_memory: ScanMemory = field(default_factory=ScanMemory)
    queue: Standing = field(default_factory=Standing)  # for a place among the transactions
    read_at: float = 0.0  # monotonic s, when PostgreSQL last answered a reader
    committed_at: float = 0.0  # and when it last committed
    places: Places = field(default_factory=Places)  # cities of addresses, where GEO_FILE is given
    tasks: list[asyncio.Task[None]] = field(default_factory=list)


async def open_node(settings: Settings) -> Node:
    """Open the pools; raises Unavailable where PostgreSQL cannot be reached. Valkey is not waited for."""
    sealer = Sealer.from_file(settings.secret_file)
    places = Places.open(settings.geo_file)
    try:
        pool = await asyncpg.create_pool(
            settings.database_url,
            min_size=min(2, settings.pool_size),
            max_size=settings.pool_size,
            command_timeout=settings.statement_timeout,
            reset=_nothing_to_reset,
            server_settings={
                "application_name": "idnode",
                "statement_timeout": str(int(settings.statement_timeout * 1000)),
                "idle_in_transaction_session_timeout": "60000",
                "lock_timeout": "5000",
                # Point reads by key: planning one for its own arrays costs 80 us each time and finds the same plan.
                "plan_cache_mode": "force_generic_plan",
                # Such a plan is kept until the next ANALYZE. Made while a table was small it read all of it, or of a
                # prefix, once for each statement: an import into a new node took twice PostgreSQL's time.
                **dict.fromkeys(_ONLY_BY_KEY, "off"),
            },
        )
    except _AWAY as error:
        raise Unavailable.of(what="PostgreSQL", retry_after=2) from error
    at_once = asyncio.Semaphore(max(1, settings.pool_size - max(1, settings.pool_size // 4)))
    cache, fence = Cache(_valkey, settings), Fence(settings.fence_lease)
    return Node(settings, pool, at_once, cache, sealer, fence, Pace(settings.import_share), places=places)


async def _nothing_to_reset(connection: Any) -> None:
    """asyncpg's own reset costs a round trip at each release. No session state is ever set here: SET is always LOCAL,
    advisory locks are the transaction's, nothing listens; and a transaction ends with its block."""


class _Packed:
    """Commands packed by hiredis in C: an MGET of 256 takes 30 us of redis-py's 350."""

    def pack_command(self, *args: Any) -> list[bytes]:
        name, *rest = args
        words = name.encode().split() if isinstance(name, str) else name.split()  # CLIENT SETINFO, SCRIPT LOAD
        return [hiredis.pack_command((*words, *rest))]


def _valkey(settings: Settings, connected: Callable[[Any], Awaitable[None]] | None) -> redis.Redis:
    # redis-py's own defaults wait 5 s and try again: up to 10 s for each GET on a black-holed server.
    client = redis.Redis.from_url(
        settings.redis_url,
        socket_timeout=settings.cache_timeout,
        socket_connect_timeout=settings.cache_timeout,
        retry=Retry(NoBackoff(), 0),
        max_connections=64,
        redis_connect_func=connected,
    )
    pool = client.connection_pool
    pool.connection_class = type("Packed", (_Packed, pool.connection_class), {})  # TCP, TLS or a Unix socket
    return client


async def cancelled(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks until they have ended. Once is not enough: what is cancelled in the moment of its own time-out or of
    its answer may lose that (seen of a probe of Valkey; asyncio.wait_for does before Python 3.12), and would run on."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        done, pending = await asyncio.wait(pending, timeout=1.0)
        for task in done:
            if not task.cancelled():
                task.exception()  # looked at: it was said when it happened, if at all


async def close_node(node: Node) -> None:
    await cancelled(node.tasks)
    await node.cache.close()
    if node.watcher is not None:
        node.watcher.terminate()
    node.places.close()
    try:
        await asyncio.wait_for(node.pool.close(), 10)
    except TimeoutError:
        node.pool.terminate()


@asynccontextmanager
async def _acquire(node: Node) -> AsyncIterator[Any]:
    """A connection for a statement or a transaction; Unavailable after `pool_timeout` s or when the server is away."""
    start = time.perf_counter()
    try:
        async with node.pool.acquire(timeout=node.settings.pool_timeout) as connection:
            metrics.pool_wait_seconds.observe(time.perf_counter() - start)
            yield connection
        node.read_at = time.monotonic()
    except NodeError:
        raise
    except _AWAY as error:
        raise Unavailable.of(what="PostgreSQL", retry_after=2) from error


@asynccontextmanager
async def _writing(node: Node) -> AsyncIterator[None]:
    """A place among the transactions; Unavailable after `pool_timeout` s, as for a connection, and sooner where many
    wait and go on waiting."""
    settings = node.settings
    try:
        async with node.queue.patience(settings.pool_timeout, settings.short_patience):
            await node.transactions.acquire()
    except TimeoutError:
        raise Unavailable.of(what="PostgreSQL", retry_after=2) from None
    try:
        yield
    finally:
        node.transactions.release()


@asynccontextmanager
async def reading(node: Node) -> AsyncIterator[ReadConnection]:
    """A connection to read from; each statement sees what was committed before it began."""
    async with _acquire(node) as connection:
        yield connection


@asynccontextmanager
async def watching(node: Node, limit: float) -> AsyncIterator[ReadConnection]:
    """The worker's own connection for reading the fence; one reader at a time. Unavailable where it does not answer
    within `limit` s; it is then made anew."""
    async with node.watching:
        try:
            async with asyncio.timeout(limit):
                if node.watcher is None or node.watcher.is_closed():
                    node.watcher = await asyncpg.connect(
                        node.settings.database_url, server_settings={"application_name": "idnode fence"}
                    )
                yield node.watcher
        except BaseException as error:
            # Also where it was cancelled: what is half read on it must not be the next one's answer.
            if node.watcher is not None:
                node.watcher.terminate()
                node.watcher = None
            if isinstance(error, _AWAY):
                raise Unavailable.of(what="PostgreSQL", retry_after=1) from error
            raise


async def in_transaction(node: Node, work: Callable[[Connection], Awaitable[_T]]) -> _T:
    """Run `work` in one transaction; it is run again when PostgreSQL resolved a deadlock against it."""
    for attempt in range(_RETRIES):
        try:
            async with _writing(node), _acquire(node) as connection:
                async with connection.transaction():
                    done = await work(connection)
                node.committed_at = time.monotonic()
                return done
        except _RETRY:
            if attempt == _RETRIES - 1:
                raise Unavailable.of(what="PostgreSQL", retry_after=1) from None
    raise AssertionError("unreachable")
