"""A node with something in every state, served to a browser: what tests/test_browser.py opens."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx
import uvicorn

from node import demo
from node.app import create_app
from node.config import Settings

INDUSTRIES = demo.INDUSTRIES
STATES = (
    "active", "lot", "bare", "recalled", "void", "unshipped", "suspended", "tombstone", "unknown", "forged", "foreign",
    "malformed", "gtin", "doi", "nowhere", "front", "docs",
)  # fmt: skip


@dataclass
class Site:
    """Base address, and the path of each page by its name."""

    url: str
    app: Any
    paths: dict[str, str]

    def address(self, name: str, lang: str) -> str:
        path = self.paths[name]
        return f"{self.url}{path}{'&' if '?' in path else '?'}lang={lang}"


@asynccontextmanager
async def served(settings: Settings) -> AsyncIterator[Site]:
    """The application on a free port of this machine, under a PUBLIC_URL that is its own address."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        app: Any = create_app(replace(settings, public_url=url, dev=True))
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on", timeout_graceful_shutdown=2))
        task = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            async with httpx.AsyncClient(base_url=url) as client:
                await _answers(client, task)
            yield Site(url, app, {})
        finally:
            server.should_exit = True
            await task


async def _answers(client: httpx.AsyncClient, task: asyncio.Task[None]) -> None:
    while True:
        if task.done():
            task.result()
            raise RuntimeError("the server ended before it answered")
        try:
            await client.get("/health/live")
        except httpx.ConnectError:
            await asyncio.sleep(0.02)  # uvicorn tells nobody when it listens
        else:
            return


async def fill(site: Site, settings: Settings, firm: Any) -> None:
    """The demo's seven enterprises; items of the first one's lot in every state; `firm` gets suspended."""
    made = await demo.seed(replace(settings, public_url=site.url, dev=True), demo=True)
    handles = [link["handle"] for link in made["links"]]
    site.paths |= {industry: f"/{handle}" for industry, handle in zip(INDUSTRIES, handles, strict=True)}
    prefix, lot = made["prefix"], handles[0].rpartition("-")[0]
    async with httpx.AsyncClient(base_url=site.url, timeout=60) as client:
        client.headers["Authorization"] = f"Bearer {made['api_key']}"
        await _serials(client, site, lot)
        await _tombstone(client, site, prefix)
        login = await client.post("/api/v1/operators:login", json=made["operator"])
        await _suspended(client, site, firm, login.json()["token"])
    site.paths |= {
        "lot": f"/{lot}",
        "unknown": f"/{prefix}/NOBODY-0001",
        "forged": f"/{prefix}/V0123456789ABC",
        "foreign": "/88.999.77777/A",
        "malformed": f"/{prefix}/a%3Fb",
        "gtin": "/find?id=6901234567892",
        "doi": "/find?id=10.1000/182",
        "nowhere": "/nothing/here",
        "front": "/",
        "docs": "/api/docs",
    }


async def _serials(client: httpx.AsyncClient, site: Site, lot: str) -> None:
    """Minted: one left as printed, the others activated, void and recalled."""
    minted = (await client.post(f"/api/v1/lots/{lot}:mint", json={"count": 4})).json()
    printed = await client.get(minted["serials"])
    serials = [line.split(",")[0] for line in printed.text.split("\r\n")[1:5]]
    for number, (action, reason) in enumerate((("activate", ""), ("void", "标签印坏"), ("recall", "抽检不合格")), 1):
        chosen = {"run": minted["run"], "from": number, "to": number}
        if action == "recall":
            await _done(client, f"/api/v1/lots/{lot}:activate", chosen)
        await _done(client, f"/api/v1/lots/{lot}:{action}", {**chosen, "reason": reason} if reason else chosen)
    prefix = lot.partition("/")[0]
    names = ("active", "void", "recalled", "unshipped")
    site.paths |= {name: f"/{prefix}/{serial}" for name, serial in zip(names, serials, strict=True)}


async def _tombstone(client: httpx.AsyncClient, site: Site, prefix: str) -> None:
    for suffix in ("OLD-1", "NEW-1"):
        await _done(client, "/api/v1/handles", {"handle": f"{prefix}/{suffix}"})
    answer = await client.delete(f"/api/v1/handles/{prefix}/OLD-1?reason=换标&successor={prefix}/NEW-1")
    assert answer.status_code == 200, answer.text
    site.paths |= {"tombstone": f"/{prefix}/OLD-1", "bare": f"/{prefix}/NEW-1"}


async def _suspended(client: httpx.AsyncClient, site: Site, firm: Any, operator: str) -> None:
    handle = f"{firm.prefix}/S-1"
    await _done(client, "/api/v1/handles", {"handle": handle}, firm.key)
    await _done(client, f"/api/v1/prefixes/{firm.prefix}:suspend", {"reason": "欠费"}, operator)
    site.paths["suspended"] = f"/{handle}"


async def _done(client: httpx.AsyncClient, path: str, body: Any, key: str = "") -> None:
    headers = {"Authorization": f"Bearer {key}"} if key else None
    answer = await client.post(path, json=body, headers=headers)
    assert answer.status_code in (200, 201), answer.text
