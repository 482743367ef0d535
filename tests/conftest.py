"""Fixtures on real servers: one PostgreSQL and one Valkey for the session, a database of its own for each module."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
import redis.asyncio as redis
import sharing
from outside import Outside, world
from serve_env import serve_env
from stdnum.cn import uscc

from node import access, compiled, embedded, onboarding
from node.app import create_app
from node.config import Settings
from node.migrate import migrate
from node.model import Identity
from node.runtime import Node, close_node, open_node
from node.sealing import create_secret_file

# Every statement that any process of the suite sends goes to this log: test_zz_statements reads it.
_LOG_SETTINGS = {
    "log_min_duration_statement": "0",
    "log_parameter_max_length": "0",
    "logging_collector": "on",
    "log_destination": "jsonlog",
    "log_directory": "statements",
    "log_filename": "statements.log",
    "log_file_mode": "0600",
}


_status = pytest.StashKey[int]()


def pytest_configure() -> None:
    if old := compiled.stale():
        raise pytest.UsageError(
            f"compiled from older sources: {', '.join(old)}; `make lint`, as any target, compiles them again"
        )


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    session.config.stash[_status] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave without taking the interpreter down: msgspec frees its types' nodes wrongly in one such end of some dozens
    (msgspec#717; here in TypeNode_Free), and `make test` would fail for what no test has seen. All fixtures are closed
    and all is told by now."""
    if _status in config.stash:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(config.stash[_status])


def pytest_runtestloop(session: pytest.Session) -> bool | None:
    taken = sharing.folder()
    return None if taken is None or session.config.option.collectonly else sharing.run(session, taken)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The statement rule is held against the whole suite, so it is asked last."""
    items.sort(key=lambda item: "test_zz_statements" in item.nodeid)


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A directory that the servers' unprivileged uid can reach; pytest's own are closed to it."""
    with tempfile.TemporaryDirectory(prefix="idnode-test-", ignore_cleanup_errors=True) as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@pytest.fixture(scope="session")
async def servers() -> AsyncIterator[embedded.Servers]:
    with tempfile.TemporaryDirectory(prefix="idnode-test-", ignore_cleanup_errors=True) as directory:
        Path(directory).chmod(0o755)
        async with embedded.servers(Path(directory) / "data", postgres_settings=_LOG_SETTINGS) as running:
            await migrate(running.database_url)  # the template of all databases of the session
            yield running


@pytest.fixture(scope="session")
def statement_log(servers: embedded.Servers) -> Path:
    return servers.directory / "postgres" / "statements" / "statements.json"


@pytest.fixture(scope="module")
async def database_url(servers: embedded.Servers) -> str:
    """A fresh, migrated database."""
    name = f"test_{secrets.token_hex(4)}"
    conn = await asyncpg.connect(servers.admin_database_url)
    try:
        await conn.execute(f"CREATE DATABASE {name} TEMPLATE node OWNER node")
    finally:
        await conn.close()
    return servers.database_url.rpartition("/")[0] + f"/{name}"


@pytest.fixture(scope="module")
async def settings(servers: embedded.Servers, database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    valkey = redis.Redis.from_url(servers.redis_url)
    await valkey.flushall()
    await valkey.aclose()
    secret = tmp_path_factory.mktemp("secret") / "secret"
    create_secret_file(secret)
    return Settings(
        database_url=database_url,
        redis_url=servers.redis_url,
        secret_file=secret,
        public_url="http://127.0.0.1:8000",
        environment="test",
        metrics_port=0,
        cache_timeout=1.0,
        # Each change of a lot or a prefix waits for these: long enough for a slow machine, short enough for a suite.
        fence_poll=0.05,
        fence_lease=0.1,
        copies=0.02,
    )


@pytest.fixture(scope="module")
async def outside(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Outside]:
    """A name server and an HTTPS server on loopback, for what the node asks of the world."""
    async with world(tmp_path_factory.mktemp("outside")) as made:
        yield made


@pytest.fixture(scope="module")
async def node(settings: Settings) -> AsyncIterator[Node]:
    opened = await open_node(settings)
    yield opened
    await close_node(opened)


@asynccontextmanager
async def running_app(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """The application with its lifespan, and a client that speaks to it."""
    app: Any = create_app(settings)
    started, stop = asyncio.Event(), asyncio.Event()
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive() -> dict[str, str]:
        message = next(messages)
        if message["type"] == "lifespan.shutdown":
            await stop.wait()
        return message

    async def send(message: dict[str, str]) -> None:
        assert "failed" not in message["type"], message
        started.set()

    task = asyncio.create_task(app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send))
    waiting = asyncio.create_task(started.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://node.test") as client:
            yield client
    finally:
        stop.set()
        await task


@pytest.fixture(scope="module")
async def client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with running_app(settings) as opened:
        yield opened


@dataclass
class Firm:
    """An enterprise with a prefix and a key."""

    prefix: str
    key: str
    identity: Identity

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}


def credit_code() -> str:
    """A well-formed 统一社会信用代码 of nobody."""
    body = f"91341300MA{secrets.randbelow(10**7):07d}"
    return body + str(uscc.calc_check_digit(body))


def application(**changes: Any) -> dict[str, Any]:
    return {
        "credit_code": credit_code(),
        "name": "砀山县示范果蔬专业合作社",
        "industry": "pear",
        "county": "341321",
        "contact": {"person": "李示范", "phone": "0557-8010001", "email": "li@example.com"},
        **changes,
    }


OPERATOR = Identity("operator:test", role="admin")


async def new_firm(node: Node, **changes: Any) -> Firm:
    applied = await onboarding.apply(node, json.dumps(application(**changes)).encode(), None)
    decision = json.dumps({"decision": "approve", "reason": "资料齐全", "spread": 4}).encode()
    decided = await onboarding.decide(node, OPERATOR, applied["id"], decision, None)
    identity = await access.enterprise(node, decided["api_key"], "127.0.0.1")
    return Firm(decided["prefix"], decided["api_key"], identity)


@pytest.fixture(scope="module")
def make_firm(node: Node) -> Callable[..., Awaitable[Firm]]:
    async def make(**changes: Any) -> Firm:
        return await new_firm(node, **changes)

    return make


@pytest.fixture(scope="module")
async def firm(node: Node) -> Firm:
    return await new_firm(node)


@pytest.fixture(scope="module")
async def stranger(node: Node) -> Firm:
    return await new_firm(node, name="萧县另一示范有限公司")


@pytest.fixture(scope="module")
async def operator_headers(node: Node, client: httpx.AsyncClient) -> dict[str, str]:
    password = secrets.token_urlsafe(12)
    await access.add_operator(node, "reviewer", password, "admin", actor="test")
    answer = await client.post("/api/v1/operators:login", json={"login": "reviewer", "password": password})
    return {"Authorization": f"Bearer {answer.json()['token']}"}


@pytest.fixture
def other_settings(settings: Settings) -> Callable[..., Settings]:
    def make(**changes: Any) -> Settings:
        return replace(settings, **changes)

    return make


@pytest.fixture(scope="session")
def make_application() -> Callable[..., dict[str, Any]]:
    return application


@pytest.fixture(scope="session")
def examples() -> dict[str, dict[str, dict[str, Any]]]:
    """The example lot and item of every industry."""
    folder = Path(__file__).parent.parent / "node" / "industries" / "examples"
    return {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))}


@pytest.fixture(scope="module")
def open_app() -> Callable[[Settings], Any]:
    return running_app


@asynccontextmanager
async def _serving(env: dict[str, str], port: int, workers: int) -> AsyncIterator[httpx.AsyncClient]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "node.cli", "serve", "--port", str(port), "--workers", str(workers)),
        env=os.environ | env,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    started = 0
    while started < workers:
        line = await asyncio.wait_for(process.stderr.readline(), 30)
        assert line, "the node ended before it served"
        started += b"Application startup complete" in line
    drain = asyncio.create_task(process.stderr.read())
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            yield client
    finally:
        process.send_signal(signal.SIGTERM)
        # Drained, then ended by the signal itself, as uvicorn does it.
        assert await asyncio.wait_for(process.wait(), 30) in (0, -signal.SIGTERM)
        await drain


@pytest.fixture(scope="session")
def serving() -> Callable[..., Any]:
    """`idnode serve` as a process, once all its workers have started, with a client that speaks to it."""
    return _serving


@pytest.fixture
def make_serve(settings: Settings) -> Callable[..., Any]:
    """`idnode serve` over the module's database."""

    def make(port: int, workers: int = 1, **changes: str) -> Any:
        env = serve_env(settings)
        return _serving(env | changes, port, workers)

    return make
