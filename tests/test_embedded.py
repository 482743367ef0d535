"""The embedded servers: passwords, private files, outages, locks, and children that die with their parent."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import stat
import sys
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import redis.asyncio as redis

from node import embedded
from node.embedded_process import EmbeddedError, free_port


async def test_data_survives_a_restart_and_the_cache_does_not(scratch: Path) -> None:
    async with embedded.servers(scratch) as first:
        conn = await asyncpg.connect(first.database_url)
        await conn.execute("CREATE TABLE kept (n integer)")
        await conn.close()
        valkey = redis.Redis.from_url(first.redis_url)
        await valkey.set("k", "v")
        await valkey.aclose()
    async with embedded.servers(scratch) as second:
        conn = await asyncpg.connect(second.database_url)
        assert await conn.fetchval("SELECT count(*) FROM kept") == 0
        await conn.close()
        valkey = redis.Redis.from_url(second.redis_url)
        assert await valkey.get("k") is None
        await valkey.aclose()


async def test_passwords_are_demanded_and_private(servers: embedded.Servers) -> None:
    wrong = servers.database_url.replace(servers.passwords["node"], "wrong")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(wrong)
    valkey = redis.Redis.from_url(servers.redis_url.replace(servers.passwords["valkey"], "wrong"))
    with pytest.raises(redis.RedisError):
        await valkey.ping()
    await valkey.aclose()
    assert stat.S_IMODE(servers.directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((servers.directory / "passwords.json").stat().st_mode) == 0o600


async def test_the_node_role_is_no_superuser(servers: embedded.Servers) -> None:
    conn = await asyncpg.connect(servers.database_url)
    assert not await conn.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
    assert await conn.fetchval("SHOW data_checksums") == "on"
    await conn.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has something to drop")
async def test_servers_of_root_run_as_somebody_else(servers: embedded.Servers) -> None:
    for pid in (servers.postgres_pid, servers.valkey_pid):
        assert Path(f"/proc/{pid}").stat().st_uid != 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can close a directory to the servers' uid")
async def test_root_in_a_closed_home_still_starts(scratch: Path) -> None:
    home = scratch / "home"
    home.mkdir(0o700)
    async with embedded.servers(home / "data") as running:
        assert str(running.directory).startswith("/var/lib/idnode/")
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
    shutil.rmtree(running.directory)


async def test_a_directory_serves_one_at_a_time(scratch: Path) -> None:
    async with embedded.servers(scratch):
        with pytest.raises(EmbeddedError, match=f"in use by another idnode.*{os.getpid()}"):
            async with embedded.servers(scratch):
                pytest.fail("two on one directory")


def test_a_free_port_is_none_that_an_outgoing_connection_may_be_given() -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert all(10_000 <= free_port(0) < lowest for _ in range(50))


async def test_a_taken_port_is_named(servers: embedded.Servers, scratch: Path) -> None:
    with pytest.raises(EmbeddedError, match=f"port {servers.postgres_port} .* is taken"):
        async with embedded.servers(scratch, postgres_port=servers.postgres_port):
            pytest.fail("two on one port")


_PARENT = """
import asyncio, sys
from pathlib import Path
from node import embedded
async def main():
    async with embedded.servers(Path(sys.argv[1])) as s:
        print(s.postgres_pid, s.valkey_pid, flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


async def gone(pid: int) -> None:
    """Wait until a process that is not our child has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await asyncio.wait_for(ended.wait(), 15)
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def test_servers_die_with_a_killed_parent_and_start_again(scratch: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _PARENT, str(scratch), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    pids: list[Any] = [int(pid) for pid in (await process.stdout.readline()).split()]
    process.send_signal(signal.SIGKILL)
    await process.wait()
    await asyncio.gather(*map(gone, pids))
    async with embedded.servers(scratch) as again:
        assert again.postgres_pid not in pids
