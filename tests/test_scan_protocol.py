"""Pages and claims that need no task: the same answers as the ordinary way, and never older than what was said."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from serve_env import serve_env
from wire import PATIENCE, Serving, deleted, get, registered, wire

from node.embedded_process import free_port
from node.http.scan_claims import IMAGE

HTML = "Accept: text/html"
_CLAIM = re.compile(rb"/s/([A-Za-z0-9_-]+)\.gif")


async def test_a_kept_page_shows_each_change_at_once(settings: Any, serving: Any, client: Any, firm: Any) -> None:
    handle = await registered(client, firm, "KEPT-1")
    port = free_port(0)
    async with serving(serve_env(settings), port, 1), wire(port) as there:
        pages = [await there.ask(get(f"/{handle}", HTML)) for _ in range(6)]  # rendered, admitted, kept
        ordinary = await there.ask(get(f"/{handle}", HTML, "Content-Length: 0"))
        assert {_CLAIM.sub(b"", page.body) for page in [*pages, ordinary]} == {_CLAIM.sub(b"", ordinary.body)}
        tokens = [_CLAIM.search(page.body)[1] for page in pages]  # type: ignore[index]
        assert len(set(tokens)) == len(tokens)
        image = await there.ask(get(f"/s/{tokens[0].decode()}.gif"))
        assert (image.status, image.body) == (200, IMAGE)
        again = await there.ask(get(f"/{handle}", HTML))
        assert b"<b>1</b>" in again.body
        event = {"handle": handle, "eventTime": "2026-09-01T08:00:00+08:00", "bizStep": "storing"}
        said = await client.post("/api/v1/events", json=event, headers=firm.headers)
        assert said.is_success
        assert "入库" in (await there.ask(get(f"/{handle}", HTML))).body.decode()
        await deleted(client, firm, handle)
        assert (await there.ask(get(f"/{handle}", HTML))).status == 410


async def test_a_kept_page_of_a_lot_is_never_older_than_its_recall(
    settings: Any, serving: Any, client: Any, firm: Any
) -> None:
    """Changed by another worker than the one that shows it; that the page was kept is read from the metrics."""
    lot, handle = f"{firm.prefix}/KEPT-LOT", f"{firm.prefix}/KEPT-2"
    for route, body in (("lots", {"handle": lot}), ("handles", {"handle": handle, "lot": "KEPT-LOT"})):
        made = await client.post(f"/api/v1/{route}", json=body, headers=firm.headers)
        assert made.status_code == 201, made.text
    port, metrics = free_port(0), free_port(0)
    async with serving(serve_env(settings) | {"METRICS_PORT": str(metrics)}, port, 1), wire(port) as there:

        async def show() -> str:
            return (await there.ask(get(f"/{handle}", HTML))).body.decode()

        await until_kept(show, Serving(port, metrics, firm, settings.database_url))
        for action, recalled in (("recall", True), ("restore", False), ("recall", True)):
            done = await client.post(f"/api/v1/lots/{lot}:{action}", json={"reason": "霉变"}, headers=firm.headers)
            assert done.is_success, done.text
            assert ("霉变" in await show()) == recalled
        event = {"handle": lot, "eventTime": "2026-09-01T08:00:00+08:00", "bizStep": "storing"}
        assert (await client.post("/api/v1/events", json=event, headers=firm.headers)).is_success
        assert "入库" in await show()


async def until_kept(show: Any, there: Serving) -> None:
    """Ask until ten pages in a row went no ordinary way; what went that way is observed in resolve_seconds."""
    async with asyncio.timeout(PATIENCE):
        while True:
            before = await there.metric("resolve_seconds_count")
            for _ in range(10):
                await show()
            if await there.metric("resolve_seconds_count") == before:
                return
