"""`idnode dev`: embedded servers, a migrated and seeded database, and an `idnode serve` over them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import handle_codec
from node import compiled, embedded
from node import demo as demo_data
from node.config import Settings
from node.embedded_process import EmbeddedError, dropper, free_port
from node.migrate import migrate
from node.sealing import create_secret_file

_READY_SECONDS = 60.0
_CODEC = {
    "compiled": "compiled",
    "pure": "pure：没有 C 编译器，由 Python 版代替 · no C compiler: its Python twin serves",
}


async def run(data: Path, port: int, *, workers: int, demo: bool, ready_file: Path | None) -> int:
    """Run until SIGINT or SIGTERM, or until the served node ends; everything started is stopped."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    free_port(port)  # the node would find out too, but somebody else's answer there would look like ours
    _say("正在启动 · starting …")
    async with embedded.servers(data) as servers:
        env = _environment(data, port, servers)
        seeded = await _prepared(data, servers, env, demo)
        process = await _serve(env, port, workers, data / "node.log")
        try:
            ended = asyncio.create_task(process.wait())
            stopped = asyncio.create_task(stop.wait())
            if await _serving(port, ended, stopped, data / "node.log"):
                _announce(seeded, env, ready_file)
                await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            status = await process.wait()
    if ready_file:
        ready_file.unlink(missing_ok=True)
    _say("已停止，数据保留 · stopped; the data stays in " + str(data))
    return 0 if stop.is_set() else status


def _environment(data: Path, port: int, servers: embedded.Servers) -> dict[str, str]:
    """What an `idnode serve` beside this one needs; set variables of the caller win where they are choices."""
    secret = data / "secret"
    create_secret_file(secret)
    return {
        "DATABASE_URL": servers.database_url,
        "REDIS_URL": servers.redis_url,
        "NODE_SECRET_FILE": str(secret.resolve()),
        "PUBLIC_URL": os.environ.get("PUBLIC_URL") or f"http://127.0.0.1:{port}",
        "NODE_PREFIX": os.environ.get("NODE_PREFIX") or Settings.node_prefix,
        "NODE_ENVIRONMENT": "dev",
        "NODE_DEV": "1",
        "METRICS_PORT": "0",
        "LOG_LEVEL": os.environ.get("LOG_LEVEL") or "INFO",
        "POOL_SIZE": os.environ.get("POOL_SIZE") or str(Settings.pool_size),
    }


async def _prepared(data: Path, servers: embedded.Servers, env: dict[str, str], wanted: bool) -> dict[str, Any]:
    """A migrated and seeded database; keys and links of the first start, kept for those that follow.

    A first start that was interrupted has served nobody yet: its half-filled database is made anew.
    """
    path = data / "dev.json"
    kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"seeded": False}
    if path.exists() and not kept["seeded"]:
        await servers.recreate_database()
    await migrate(servers.database_url)
    if not kept["seeded"]:
        _write_private(path, kept)
        kept = {"seeded": True, **await demo_data.seed(Settings.from_env(env), wanted)}
        _write_private(path, kept)
    return kept


def _write_private(path: Path, document: dict[str, Any]) -> None:
    """Write JSON that only the owner can read, whole or not at all."""
    scratch = path.with_name(path.name + ".new")
    scratch.unlink(missing_ok=True)
    scratch.touch(0o600)
    scratch.write_text(json.dumps(document, ensure_ascii=False, indent=1))
    scratch.rename(path)


async def _serve(env: dict[str, str], port: int, workers: int, log: Path) -> asyncio.subprocess.Process:
    # METRICS_PORT of the environment wins here: the served node may be watched, the one beside it may not clash.
    with log.open("ab") as output:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "node.cli", "serve", "--port", str(port), "--workers", str(workers)),
            env={**os.environ, **env, "METRICS_PORT": os.environ.get("METRICS_PORT", "0")},
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=dropper(None, signal.SIGTERM),
        )


async def _serving(port: int, ended: asyncio.Task[int], stopped: asyncio.Task[bool], log: Path) -> bool:
    """Wait until requests are served; False when stopped before. EmbeddedError with the log's end when it failed."""
    deadline = asyncio.get_running_loop().time() + _READY_SECONDS
    while not await _ready(port):
        if stopped.done():
            return False
        if ended.done() or asyncio.get_running_loop().time() > deadline:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-8:])
            raise EmbeddedError(f"the node did not start; the end of {log}:\n{tail}")
        await asyncio.wait({ended, stopped}, timeout=0.05, return_when=asyncio.FIRST_COMPLETED)
    return True


async def _ready(port: int) -> bool:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.write(b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    status = await reader.readline()
    writer.close()
    return b" 200 " in status


def _announce(seeded: dict[str, Any], env: dict[str, str], ready_file: Path | None) -> None:
    url = env["PUBLIC_URL"]
    lines = ["", f"节点已就绪 · the node is ready   {url}/", ""]
    lines += [f"  {link['title']}\n    {url}/{link['handle']}" for link in seeded["links"]]
    operator = seeded["operator"]
    lines += [
        "",
        f"  接口文档 · API                    {url}/api/docs",
        f"  编解码器 · codec                  {_CODEC[handle_codec.IMPLEMENTATION]}",
        f"  扫码处理 · scans                  {_CODEC[compiled.state()]}",
        f"  企业前缀 · prefix                 {seeded['prefix']}",
        f"  企业密钥 · API key                {seeded['api_key']}",
        f"  操作员   · operator               {operator['login']} / {operator['password']}",
        "",
        "  Ctrl-C 停止 · stops it; the data is kept",
        "",
    ]
    _say("\n".join(lines))
    if ready_file:
        document = {
            "url": url,
            "prefix": seeded["prefix"],
            "api_key": seeded["api_key"],
            "operator": operator,
            "database_url": env["DATABASE_URL"],
            "redis_url": env["REDIS_URL"],
            "env": env,
            "handle_port": None,
            "handle_admin": None,
        }
        _write_private(ready_file, document)


def _say(text: str) -> None:
    print(text, flush=True)
