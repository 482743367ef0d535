"""The commands as their users run them: first and second start, Ctrl-C, kill -9, and clear words for what is wrong."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from serve_env import serve_env

import handle_codec
from node.embedded_process import free_port


@pytest.fixture
def data(scratch: Path) -> Path:
    return scratch / "data"


async def start(*arguments: str, env: dict[str, str] | None = None) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "node.cli", *arguments),
        env=os.environ | (env or {}),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )


async def said(*arguments: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    process = await start(*arguments, env=env)
    output, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, (output + errors).decode()


async def ready(process: asyncio.subprocess.Process, file: Path) -> tuple[dict[str, Any], str]:
    """What the ready file says, and what was printed up to then."""
    assert process.stdout is not None
    printed = ""
    async with asyncio.timeout(60):
        while "Ctrl-C" not in printed:
            line = await process.stdout.readline()
            assert line, (await process.stderr.read()).decode() if process.stderr else ""
            printed += line.decode()
        while not file.exists():
            await asyncio.sleep(0.01)
    return json.loads(file.read_text()), printed


async def test_dev_starts_twice_keeps_its_data_and_stops(data: Path) -> None:
    file, port = data.parent / "ready.json", str(free_port(0))
    arguments = ("dev", "--port", port, "--data", str(data), "--ready-file", str(file), "--no-demo")
    first = await start(*arguments)
    told, printed = await ready(first, file)
    assert told["url"] == f"http://127.0.0.1:{port}"
    assert told["api_key"] in printed
    assert told["operator"]["password"] in printed
    assert handle_codec.IMPLEMENTATION in next(line for line in printed.splitlines() if "· codec" in line)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert {"DATABASE_URL", "REDIS_URL", "NODE_SECRET_FILE", "PUBLIC_URL"} <= told["env"].keys()
    assert (told["handle_port"], told["handle_admin"]) == (None, None)
    headers = {"Authorization": f"Bearer {told['api_key']}"}
    handle = f"{told['prefix']}/kept"
    async with httpx.AsyncClient(base_url=told["url"]) as client:
        made = await client.post("/api/v1/handles", json={"handle": handle}, headers=headers)
        assert made.status_code == 201
        live = await client.get("/health/live")
        assert live.json()["codec"] == handle_codec.IMPLEMENTATION
    async with httpx.AsyncClient(base_url=f"http://[::1]:{port}") as client:
        assert (await client.get(f"/{handle}")).status_code == 200
    first.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(first.wait(), 30) == 0
    assert not file.exists()

    second = await start(*arguments)
    again, _ = await ready(second, file)
    assert (again["api_key"], again["prefix"]) == (told["api_key"], told["prefix"])
    async with httpx.AsyncClient(base_url=again["url"]) as client:
        assert (await client.get(f"/{handle}")).status_code == 200
    group = descendants(second.pid)
    assert len(group) >= 3
    second.send_signal(signal.SIGKILL)
    await second.wait()
    async with asyncio.timeout(20):  # nothing that it started outlives it
        while any(alive(pid) for pid in group):
            await asyncio.sleep(0.05)


def descendants(pid: int) -> list[int]:
    found = [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return found + [d for child in found for d in descendants(child)]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_an_interrupted_first_start_is_made_good(data: Path) -> None:
    data.mkdir()
    file, port = data.parent / "ready.json", str(free_port(0))
    arguments = ("dev", "--port", port, "--data", str(data), "--ready-file", str(file), "--no-demo")
    process = await start(*arguments)
    await ready(process, file)
    process.send_signal(signal.SIGINT)
    await process.wait()
    (data / "dev.json").write_text('{"seeded": false}')  # as a kill in the middle of seeding leaves it
    process = await start(*arguments)
    told, _ = await ready(process, file)
    async with httpx.AsyncClient(base_url=told["url"]) as client:
        answer = await client.get("/api/v1/prefixes", headers={"Authorization": f"Bearer {told['api_key']}"})
    assert [p["prefix"] for p in answer.json()["prefixes"]] == [told["prefix"]]
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 30) == 0


async def test_a_taken_port_is_said_in_one_line(data: Path) -> None:
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    status, text = await said("dev", "--port", str(port), "--data", str(data))
    assert status == 2
    assert f"port {port}" in text
    assert "Traceback" not in text
    server.close()


WRONG: list[tuple[str, dict[str, str], str]] = [
    ("nothing set", {}, "DATABASE_URL, REDIS_URL, NODE_SECRET_FILE, PUBLIC_URL"),
    ("public url", {"PUBLIC_URL": "example.com"}, "PUBLIC_URL must be"),
    ("number", {"POOL_SIZE": "many"}, "POOL_SIZE must be a number"),
    ("choice", {"UPPER_APPROVAL": "perhaps"}, "UPPER_APPROVAL must be one of"),
    ("proxies", {"TRUSTED_PROXIES": "10.0.0.0/40"}, "TRUSTED_PROXIES"),
]


@pytest.mark.parametrize(("what", "changes", "words"), WRONG, ids=[w[0] for w in WRONG])
async def test_serve_names_the_setting_that_is_wrong(
    what: str, changes: dict[str, str], words: str, settings: Any
) -> None:
    env = dict.fromkeys(("DATABASE_URL", "REDIS_URL", "NODE_SECRET_FILE", "PUBLIC_URL"), "")
    if changes:
        env = {
            "DATABASE_URL": settings.database_url,
            "REDIS_URL": settings.redis_url,
            "NODE_SECRET_FILE": str(settings.secret_file),
            "PUBLIC_URL": settings.public_url,
        } | changes
    status, text = await said("serve", "--port", str(free_port(0)), env=env)
    assert status == 2
    assert words in text
    assert "Traceback" not in text


@pytest.mark.parametrize("command", ["", "dev", "serve", "operator add"])
async def test_help_helps(command: str) -> None:
    status, text = await said(*command.split(), "--help")
    assert status == 0
    assert "usage: idnode" in text


async def test_workers_share_one_metrics_address(settings: Any, make_serve: Callable[..., Awaitable[Any]]) -> None:
    port, metrics = free_port(0), free_port(0)
    async with make_serve(port, workers=2, METRICS_PORT=str(metrics)):
        for _ in range(40):  # a connection each, so that both workers answer some
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
                assert (await client.get("/88.999.9/none")).status_code == 404
        async with asyncio.timeout(30), httpx.AsyncClient(base_url=f"http://127.0.0.1:{metrics}") as client:
            line = ""
            while not line.endswith(" 40.0"):  # workers tell once a second
                text = (await client.get("/metrics")).text
                found = (x for x in text.splitlines() if x.startswith("resolve_total{") and "unknown_prefix" in x)
                line = next(found, "")
        assert "88.999.9" not in text
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            assert (await client.get("/metrics")).status_code == 404


async def test_a_request_under_way_is_answered_before_the_node_stops(settings: Any, make_firm: Any) -> None:
    firm, port = await make_firm(), free_port(0)
    env = serve_env(settings)
    process = await start("serve", "--port", str(port), env=env)
    assert process.stderr is not None
    started = b""
    while b"startup complete" not in (line := await process.stderr.readline()):
        assert line
        started += line
    assert f"serving with the {handle_codec.IMPLEMENTATION} codec" in started.decode()
    body = json.dumps([{"handle": f"{firm.prefix}/G-{n}"} for n in range(500)]).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST /api/v1/handles:batch HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {firm.key}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body[:1000])
    await writer.drain()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        for _ in range(3):  # once these are answered, the worker's loop has read what was written before them
            assert (await client.get("/health/live")).status_code == 200
    process.send_signal(signal.SIGTERM)
    while b"Waiting for connections" not in (line := await process.stderr.readline()):
        assert line
    writer.write(body[1000:])
    assert b" 200 " in await asyncio.wait_for(reader.readline(), 20)
    assert b'"created":500' in await asyncio.wait_for(reader.readuntil(b"results"), 20)
    writer.close()
    assert await asyncio.wait_for(process.wait(), 30) in (0, -signal.SIGTERM)
