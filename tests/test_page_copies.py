"""Pages shown from a worker's memory: never older than a change, an event or a first scan that was acknowledged."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from serve_env import serve_env
from wire import Serving, deleted, get, registered, wire

from node import scan_tokens, sketch
from node.embedded_process import free_port
from node.http import pages
from node.http.begun_pages import ready, told_lately
from node.http.frames import Kept, Showing
from node.http.known_heads import split
from node.http.negotiation import CHINESE
from node.http.scan_claims import IMAGE
from node.model import Kind
from node.scan_memory import ScanMemory, Scanned
from node.scan_tokens import Claims, DeviceToken
from node.scanning import Scans
from node.sealing import Sealer, create_secret_file

HTML = "Accept: text/html"
CLAIM = re.compile(rb"(/s/[A-Za-z0-9_-]+\.gif)")
EVENT = {"eventTime": "2026-09-01T08:00:00+08:00"}


@pytest.fixture
def sealer(tmp_path: Path) -> Sealer:
    create_secret_file(tmp_path / "secret")
    return Sealer.from_file(tmp_path / "secret")


async def test_a_copied_page_shows_events_and_changes_at_once(
    settings: Any, serving: Any, client: Any, firm: Any
) -> None:
    """Made by another worker than the one that shows it; the page has a trace before it is copied."""
    handle = await registered(client, firm, "COPIED-1")
    event = EVENT | {"handle": handle, "bizStep": "storing"}
    assert (await client.post("/api/v1/events", json=event, headers=firm.headers)).is_success
    port, metrics = free_port(0), free_port(0)
    async with serving(serve_env(settings) | {"METRICS_PORT": str(metrics)}, port, 1), wire(port) as there:
        page = await there.ask(get(f"/{handle}", HTML))
        image = CLAIM.search(page.body)
        assert image is not None
        assert (await there.ask(get(image[1].decode()))).body == IMAGE
        await Serving(port, metrics, firm, settings.database_url).heat(there, f"/{handle}", HTML)
        page = await there.ask(get(f"/{handle}", HTML))
        assert "入库" in page.body.decode()
        assert b"<b>1</b>" in page.body
        event = EVENT | {"handle": handle, "bizStep": "shipping"}
        before = CLAIM.sub(b"", page.body)
        assert (await client.post("/api/v1/events", json=event, headers=firm.headers)).is_success
        assert CLAIM.sub(b"", (await there.ask(get(f"/{handle}", HTML))).body) != before
        for _ in range(200):
            await there.ask(get(f"/{handle}", HTML))
        await deleted(client, firm, handle)
        assert (await there.ask(get(f"/{handle}", HTML))).status == 410


@asynccontextmanager
async def two_workers(settings: Any, serving: Any) -> AsyncIterator[tuple[Any, Any]]:
    """A connection to each, on ports of their own: so it is known who answers."""
    ports = [free_port(0), free_port(0)]
    async with (
        serving(serve_env(settings), ports[0], 1),
        serving(serve_env(settings), ports[1], 1),
        wire(ports[0]) as one,
        wire(ports[1]) as two,
    ):
        yield one, two


async def test_a_first_scan_shows_on_the_next_page_of_every_worker(
    settings: Any, serving: Any, client: Any, firm: Any
) -> None:
    handle = await registered(client, firm, "COPIED-2")
    async with two_workers(settings, serving) as (one, two):
        for there in (one, two):
            for _ in range(100):  # as hot as it gets: what says "never scanned" is asked anew each time
                page = await there.ask(get(f"/{handle}", HTML))
        assert "第一次" in page.body.decode()
        image = CLAIM.search(page.body)
        assert image is not None
        assert (await two.ask(get(image[1].decode(), "Cookie: other=1"))).body == IMAGE
        for there in (one, two):
            assert b"<b>1</b>" in (await there.ask(get(f"/{handle}", HTML))).body


def test_of_two_counts_the_larger_is_told() -> None:
    """A read that ended before a settlement of this worker's may have been asked for after it began."""
    memory, now = ScanMemory(), time.monotonic()
    of = Scanned(b"88.999.1/A", ("88.999.1", "A"), "", "")
    showing = Showing(None, of, b"", b"", b"", b"", b"", 0)  # type: ignore[arg-type]
    kept = Kept(None, None, (), None, scans=Scans(3, 1.0, "宿州"), counted=now, showing=showing)  # type: ignore[arg-type]
    node: Any = SimpleNamespace(scan_memory=memory)
    for settled, told in ((5, 5), (4, 5), (6, 6)):
        memory.tell({("88.999.1", "A"): (settled, now - 0.1)})
        assert told_lately(node, kept, now + 0.9)
        assert kept.scans == Scans(told, 1.0, "宿州")
    assert not told_lately(node, kept, now + 1.1)
    memory.looked("nobody else", now - 0.2, now - 0.1)
    memory.looked("nobody else", now + 1.0, now + 1.1)
    assert told_lately(node, kept, now + 1.9)
    memory.looked("another", now + 1.5, now + 1.6)
    assert not told_lately(node, kept, now + 1.9)


def test_words_around_a_number_are_made_anew_where_they_change() -> None:
    of = Scanned(b"88.999.1/A", ("88.999.1", "A"), "", "")
    showing = Showing(None, of, b"", b"", b"", b"", b"", 100)  # type: ignore[arg-type]
    resolved: Any = SimpleNamespace(row=SimpleNamespace(kind=Kind.ITEM))
    kept = Kept(resolved, None, (), None, showing=showing)  # type: ignore[arg-type]
    node: Any = None
    day = 86_400.0
    for scans in (None, Scans(0), Scans(1, day), Scans(2, day), Scans(7, day), Scans(7, day, "宿州"), Scans(8, day, "宿州"),
                  Scans(9, 2 * day, "宿州"), Scans(3), Scans(4), Scans(1), None):  # fmt: skip
        kept.scans = scans
        ready(node, kept, CHINESE)
        whole = str(scans.before).encode().join(pages.around_number(False, "zh", scans)) if scans else b""
        assert showing.said == whole
        assert showing.lines.startswith(b"content-length: %d\r\n" % (100 + len(whole)))
        assert not scans or not scans.before or f"<b>{scans.before}</b>".encode() in whole


async def test_scans_of_another_worker_show(settings: Any, serving: Any, client: Any, firm: Any) -> None:
    """Of a page that is hot, whose worker settles nothing of it: the first scan and all later ones were elsewhere."""
    handle = await registered(client, firm, "COPIED-6")
    async with two_workers(settings, serving) as (one, two):
        for number in range(1, 4):
            image = CLAIM.search((await two.ask(get(f"/{handle}", HTML))).body)
            assert image is not None
            assert (await two.ask(get(image[1].decode()))).body == IMAGE
            async with asyncio.timeout(20):
                while f"<b>{number}</b>".encode() not in (await one.ask(get(f"/{handle}", HTML))).body:
                    await asyncio.sleep(0.01)


async def test_copies_outlive_changes_of_others_and_never_their_own(
    settings: Any, serving: Any, client: Any, firm: Any
) -> None:
    """Changed by another worker: an item, then the lot of both, then an enterprise's event of another item."""
    lot, one, two = (f"{firm.prefix}/{name}" for name in ("COPIED-LOT", "COPIED-4", "COPIED-5"))
    for route, body in (
        ("lots", {"handle": lot}),
        *(("handles", {"handle": h, "lot": "COPIED-LOT"}) for h in (one, two)),
    ):
        made = await client.post(f"/api/v1/{route}", json=body, headers=firm.headers)
        assert made.status_code == 201, made.text
    port, metrics = free_port(0), free_port(0)
    async with serving(serve_env(settings) | {"METRICS_PORT": str(metrics)}, port, 1), wire(port) as there:

        async def show(handle: str) -> str:
            return (await there.ask(get(f"/{handle}", HTML))).body.decode()

        there_too = Serving(port, metrics, firm, settings.database_url)
        for handle in (one, two):
            image = CLAIM.search((await there.ask(get(f"/{handle}", HTML))).body)
            assert image is not None
            assert (await there.ask(get(image[1].decode()))).body == IMAGE
        await there_too.heat(there, f"/{one}", HTML)
        for number in range(3):
            for handle in (one, two) * 20:
                await show(handle)
            values = [{"index": 1, "type": "DESC", "data": f"changed {number}"}]
            done = await client.patch(
                f"/api/v1/handles/{two}", json={"values": values}, headers=firm.headers | {"If-Match": "*"}
            )
            assert done.is_success, done.text
            assert f"changed {number}" in await show(two)
            assert "changed" not in await show(one)
        done = await client.post(f"/api/v1/lots/{lot}:recall", json={"reason": "霉变"}, headers=firm.headers)
        assert done.is_success, done.text
        assert all(["霉变" in await show(handle) for handle in (one, two)])
        event = EVENT | {"handle": two, "bizStep": "storing"}
        assert (await client.post("/api/v1/events", json=event, headers=firm.headers)).is_success
        assert "入库" in await show(two)
        assert "入库" not in await show(one)


async def test_a_head_that_is_known_is_answered_as_one_that_is_parsed(
    settings: Any, serving: Any, client: Any, firm: Any
) -> None:
    """Claims with cookies that were, were not and cannot have been signed, twice each: parsed, then known."""
    handle = await registered(client, firm, "COPIED-3")
    sealer = Sealer.from_file(settings.secret_file)
    cookie = scan_tokens.device_token(sealer, DeviceToken(int(time.time()), bytes(12)))
    port = free_port(0)
    async with serving(serve_env(settings), port, 1), wire(port) as there:
        for value, sets in ((cookie, False), ("", True), (cookie[:-4] + "AAAA", False), (f"{cookie}; b=1", False)):
            lines = [f"Cookie: scan_device={value}"] if value else []
            for _ in range(3):
                image = CLAIM.search((await there.ask(get(f"/{handle}", HTML))).body)
                assert image is not None
                answer = await there.ask(get(image[1].decode(), *lines))
                assert (answer.status, answer.body) == (200, IMAGE)
                assert (answer.header(b"set-cookie") is not None) == sets


def test_only_a_cookie_of_plain_characters_is_taken_out_of_a_head() -> None:
    head = b"GET /s/x.gif HTTP/1.1\r\nHost: a\r\nCookie: scan_device=%b\r\n\r\n"
    end = head.index(b" HTTP")
    assert split(head % b"abc-_9", end) == (b"abc-_9", head[end:] % b"")
    for odd in (b"a; b=c", b"a b", b"a\tb", b"a\x00b", b"a=b", b"a\nX: y"):
        assert split(head % odd, end) == (b"", b"")
    plain = b"GET /s/x.gif HTTP/1.1\r\nHost: a\r\n\r\n"
    assert split(plain, end) == (b"", plain[end:])


def test_claims_are_signed_as_claim_token_signs_them(sealer: Sealer) -> None:
    now = time.time()
    nonces = set()
    for handle, lot, state in (("88.999.1/A", "", ""), ("88.999.1/梨-" + "x" * 300, "LOT", scan_tokens.VOID)):
        claims = Claims(sealer, handle, lot, state)
        for _ in range(3000):
            nonce, token = claims.sign(int(now))
            nonces.add(nonce)
        read = scan_tokens.read_claim(sealer, token.decode(), now)
        assert (read.issued, read.nonce, read.handle, read.lot, read.state) == (int(now), nonce, handle, lot, state)
        assert len(token) == len(scan_tokens.claim_token(sealer, handle, now, lot, state))
    assert len(nonces) == 6000


def test_a_sketch_is_the_smallest_hashes_however_they_come() -> None:
    pick = random.Random(5)
    seen: set[bytes] = set()
    held = b""
    for _ in range(400):
        marks = [pick.randbytes(12) for _ in range(pick.choice((0, 1, 2, 9)))]
        marks += pick.sample(sorted(seen), min(len(seen), 1))
        seen.update(marks)
        held = sketch.merged(held, marks)
        assert held == b"".join(sorted({mark[:4] for mark in seen})[: sketch.SIZE])
