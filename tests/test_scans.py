"""Scans claimed by the image of a page: once per claim, device and window; refused silently; the first committed."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import httpx
import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from node import scan_reads, scan_tokens, scans, suspicions
from node.config import ConfigError
from node.counted_scans import add
from node.counting import Counting
from node.http import scan_claims
from node.model import Prefix
from node.places import Place, Places, kilometres
from node.runtime import Node, close_node, in_transaction, open_node, reading
from node.scan_memory import Claim, Scanned, Scans, Told
from node.scan_tokens import SHIPPED
from node.sealing import Sealer
from node.settling import settle
from node.sketch import SIZE, estimate, merged
from node.store import prefixes

NOW = 1_800_000_000.0


class Phone:
    """A browser: opens images, keeps the cookie."""

    def __init__(self, node: Node, address: str = "192.0.2.1") -> None:
        self.node, self.cookie, self.address = node, b"", address

    async def open(self, path: str, now: float, **headers: str) -> int:
        token = path.rpartition("/")[2].removesuffix(".gif")
        sent = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
        if self.cookie:
            sent[b"cookie"] = b"scan_device=" + self.cookie
        status, answered, body = await scan_claims.answer(self.node, token, sent, self.address, now)
        if status == 200:
            assert body == scan_claims.IMAGE
            assert (b"cache-control", b"no-store") in answered
        for name, value in answered:
            if name == b"set-cookie":
                self.cookie = value.split(b";")[0].partition(b"=")[2]
        return status


class Counter:
    """One worker's turn of each second, at will."""

    def __init__(self, node: Node) -> None:
        self.ledger = scans.ledger(node)
        self.node = node

    async def settle(self, now: float = NOW) -> None:
        await settle(self.node, self.ledger, now)


@pytest.fixture(scope="module")
def counter(node: Node) -> Counter:
    return Counter(node)


@pytest.fixture(scope="module")
async def prefix(node: Node, firm: Any) -> Prefix:
    async with reading(node) as conn:
        found = await prefixes.fetch(conn, firm.prefix)
    assert found is not None
    return found


@pytest.fixture
def item(firm: Any, request: pytest.FixtureRequest) -> str:
    return f"{firm.prefix}/{request.node.name.replace('[', '-').replace(']', '')[:100]}"


async def count(node: Node, prefix: Prefix, item: str) -> Scans:
    found = await scan_reads.scans_of(node, prefix, item.partition("/")[2])
    assert found is not None
    return found


def forget(node: Node) -> None:
    """As another worker, which knows nothing of what this one saw."""
    node.scan_memory.known.clear()
    node.scan_memory.prefixes.clear()


async def test_first_is_committed_before_the_image_answers(
    node: Node, counter: Counter, prefix: Prefix, item: str
) -> None:
    assert await count(node, prefix, item) == Scans()
    await Phone(node).open(scans.claim_address(node, item, NOW), NOW + 1.25)
    assert await count(node, prefix, item) == Scans(1, NOW + 1.25, "")
    await Phone(node).open(scans.claim_address(node, item, NOW), NOW + 2)
    assert (await count(node, prefix, item)).before == 1  # gathered, and settled within the second
    await counter.settle()
    assert await count(node, prefix, item) == Scans(2, NOW + 1.25, "")


@pytest.mark.parametrize("other_worker", [False, True])
async def test_a_claim_is_worth_one_scan(
    node: Node, counter: Counter, prefix: Prefix, item: str, other_worker: bool
) -> None:
    claim = scans.claim_address(node, item, NOW)
    phone, known = Phone(node), Phone(node)
    await known.open(scans.claim_address(node, f"{prefix.prefix}/ELSEWHERE", NOW), NOW)
    assert known.cookie
    for again in (phone, phone, Phone(node), known, Phone(node)):  # with its cookie, with none, with another's
        if other_worker:
            forget(node)
        assert await again.open(claim, NOW + 1) == 200
    await counter.settle()
    assert (await count(node, prefix, item)).before == 1


async def test_claim_first_used_with_a_cookie_is_not_worth_another_without(
    node: Node, counter: Counter, prefix: Prefix, item: str
) -> None:
    known = Phone(node)
    await known.open(scans.claim_address(node, f"{prefix.prefix}/ELSEWHERE-2", NOW), NOW)
    claim = scans.claim_address(node, item, NOW)
    for phone in (known, Phone(node), known):
        await phone.open(claim, NOW + 1)
    await counter.settle()
    assert (await count(node, prefix, item)).before == 1


async def test_window_of_a_device(node: Node, counter: Counter, prefix: Prefix, item: str) -> None:
    phone = Phone(node)
    seen = []
    # Counted at 0; not within 600 s of the last that counted; again from 600 s on, whatever lay between.
    for after in (0, 1, 599.999, 600, 1199.9, 1200, 1200.1):
        await phone.open(scans.claim_address(node, item, NOW + after), NOW + after)
        await counter.settle()
        seen.append((await count(node, prefix, item)).before)
    assert seen == [1, 1, 1, 2, 2, 3, 3]
    await Phone(node).open(scans.claim_address(node, item, NOW + 1201), NOW + 1201)  # another phone has its own
    await counter.settle()
    assert (await count(node, prefix, item)).before == 4


async def test_window_of_a_device_within_one_settlement(
    node: Node, counter: Counter, prefix: Prefix, item: str
) -> None:
    await Phone(node).open(scans.claim_address(node, item, NOW), NOW)
    phone = Phone(node)
    await phone.open(scans.claim_address(node, item, NOW), NOW)
    for _ in range(3):
        await phone.open(scans.claim_address(node, item, NOW), NOW)
    await counter.settle()
    assert (await count(node, prefix, item)).before == 2


@pytest.mark.parametrize(("after", "counted"), [(1, 2), (601, 3)])
async def test_a_device_and_who_made_it_in_one_batch_of_a_new_item(
    node: Node, prefix: Prefix, item: str, after: int, counted: int
) -> None:
    """Row and device are as new to the second statement as they were to the first, and are not taken for new again."""
    row, marks = (prefix.prefix, item.partition("/")[2]), [bytes([n, after % 256]) * 6 for n in range(5)]
    of = Scanned(item.encode(), row, "", SHIPPED)

    def claim(nonce: int, device: int, at: float) -> Claim:
        return Claim(of, marks[nonce], marks[device], NOW + at)

    # A phone, the same once more, another one; the first again.
    claims = [claim(0, 0, 0), claim(1, 0, after), claim(2, 3, 0), claim(0, 0, 2)]
    counts = await in_transaction(node, lambda conn: add(node, conn, claims))
    assert [n for n, _ in counts.values()] == [counted]
    devices = await node.pool.fetchval("SELECT devices FROM scan WHERE shard >= 0 AND suffix = $1", row[1])
    assert devices == marks[0][:4] + marks[3][:4]
    assert await count(node, prefix, item) == Scans(counted, NOW, "")


async def test_a_clock_that_is_set_within_one_settlement(
    node: Node, counter: Counter, prefix: Prefix, item: str
) -> None:
    await Phone(node).open(scans.claim_address(node, item, NOW), NOW)
    for at in (NOW + 1, NOW + 2 * 86_400, NOW + 2):
        await Phone(node).open(scans.claim_address(node, item, at), at)
    await counter.settle()
    assert await count(node, prefix, item) == Scans(4, NOW, "")


async def test_marks_are_kept_as_long_as_they_matter(node: Node, counter: Counter, prefix: Prefix, item: str) -> None:
    phone, claim = Phone(node), scans.claim_address(node, item, NOW)
    await phone.open(claim, NOW)
    await scans.tidy(node, NOW + 600)
    await Phone(node).open(claim, NOW + 600)  # its last second: still known as used
    await phone.open(scans.claim_address(node, item, NOW), NOW + 599)
    await counter.settle()
    assert (await count(node, prefix, item)).before == 1
    await scans.tidy(node, NOW + 100_000)
    assert await node.pool.fetchval("SELECT count(*) FROM scan_mark WHERE shard >= 0 AND at < $1", NOW + 1) == 0


async def test_forged_altered_and_late_tokens_count_nothing(
    node: Node, counter: Counter, prefix: Prefix, item: str
) -> None:
    right = scans.claim_address(node, item, NOW)
    foreign = scan_tokens.claim_token(Sealer({1: bytes(range(32))}), item, NOW)
    body = right.rpartition("/")[2].removesuffix(".gif")
    altered = body[:-2] + ("A" if body[-2] != "A" else "B") + body[-1]
    device = scan_tokens.device_token(node.sealer, scan_tokens.DeviceToken(int(NOW), bytes(12)))
    for token in (foreign, altered, "", "x", "!!!!", "A" * 3000, "é", device, body[:20]):
        phone = Phone(node)
        assert await phone.open(f"/s/{token}.gif", NOW) == 200
        assert not phone.cookie
    for late in (-61, 601):  # of the future beyond a clock's error, and over
        assert await Phone(node).open(scans.claim_address(node, item, NOW), NOW + late) == 200
    forger = Phone(node)
    for cookie in (device[:4] + ("B" if device[4] == "A" else "A") + device[5:], "AAAA", body):
        forger.cookie = cookie.encode()
        assert await forger.open(scans.claim_address(node, item, NOW), NOW) == 200
    await counter.settle()
    assert await count(node, prefix, item) == Scans()
    await Phone(node).open(right, NOW + 600)  # the last second of its life
    assert (await count(node, prefix, item)).before == 1


async def test_device_token_that_is_over_makes_a_new_device(
    node: Node, counter: Counter, prefix: Prefix, item: str
) -> None:
    phone = Phone(node)
    await phone.open(scans.claim_address(node, item, NOW), NOW)
    old = phone.cookie
    later = NOW + 401 * 86_400
    await phone.open(scans.claim_address(node, item, later), later)
    await counter.settle()
    assert phone.cookie != old
    assert (await count(node, prefix, item)).before == 2


async def test_what_no_person_sees_burns_no_claim(node: Node, counter: Counter, prefix: Prefix, item: str) -> None:
    claim, phone = scans.claim_address(node, item, NOW), Phone(node)
    await phone.open(claim, NOW, sec_purpose="prefetch;prerender")
    await phone.open(claim, NOW, purpose="prefetch")
    await phone.open(claim, NOW, sec_fetch_site="cross-site")
    assert await count(node, prefix, item) == Scans()
    await phone.open(claim, NOW, sec_fetch_site="same-origin")
    assert (await count(node, prefix, item)).before == 1


async def test_place_is_a_city_and_the_address_is_dropped(
    node: Node, counter: Counter, prefix: Prefix, item: str, scratch: Path
) -> None:
    node.places = Places.open(geo_file(scratch))
    try:
        await Phone(node, "198.51.100.9").open(scans.claim_address(node, item, NOW), NOW)
        await Phone(node, "203.0.113.9").open(scans.claim_address(node, item, NOW + 3600), NOW + 3600)
        await counter.settle()
    finally:
        node.places.close()
        node.places = Places()
    assert await count(node, prefix, item) == Scans(2, NOW, "宿州")
    row = await node.pool.fetchrow("SELECT * FROM scan WHERE shard >= 0 AND suffix = $1", item.partition("/")[2])
    assert row["travels"] == 1
    assert round(row["spot_lat"], 1) == 43.8
    assert not any(b"198.51" in bytes(v) if isinstance(v, bytes) else "198.51" in str(v) for v in row.values())


def geo_file(folder: Path) -> Path:
    """A data file of two invented networks."""
    writer = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type="Test-City", languages=["zh-CN", "en"])
    for network, name, lat, lon in (
        ("198.51.100.0/24", "宿州", 33.64612, 116.96391),
        ("203.0.113.0/24", "乌鲁木齐", 43.8256, 87.6168),
    ):
        record = {"city": {"names": {"zh-CN": name, "en": "x"}}, "location": {"latitude": lat, "longitude": lon}}
        writer.insert_network(IPSet([network]), record)
    writer.insert_network(IPSet(["192.0.2.0/25"]), {"country": {"iso_code": "CN"}})
    writer.insert_network(IPSet(["192.0.2.128/25"]), {"city": {"names": {"en": "Suzhou"}}})
    path = folder / "city.mmdb"
    writer.to_db_file(str(path))
    return path


def test_places(scratch: Path) -> None:
    places = Places.open(geo_file(scratch))
    assert places.of("198.51.100.1") == Place("宿州", 33.6, 117.0, True)
    assert places.of("192.0.2.200") == Place("Suzhou")
    assert [places.of(a) for a in ("192.0.2.1", "10.0.0.1", "2001:db8::1", "unix", "")] == [None] * 5
    places.close()
    assert Places.open(None).of("198.51.100.1") is None
    (scratch / "broken").write_bytes(b"no database")
    for name in ("broken", "missing"):
        with pytest.raises(ConfigError, match="GEO_FILE"):
            Places.open(scratch / name)
    assert kilometres((33.6, 117.0), (31.3, 120.6)) == pytest.approx(425, abs=10)  # 宿州 is not 苏州


def test_sketch() -> None:
    sealer = Sealer({1: bytes(32)})
    marks = [scan_tokens.mark(sealer, n.to_bytes(12, "big"), b"88.999.1/A") for n in range(20_000)]
    for n in (0, 1, 12, SIZE - 1):
        assert estimate(merged(merged(b"", marks[:n]), marks[:n])) == n
    whole = merged(b"", marks)
    assert len(whole) == 256
    assert estimate(whole) == pytest.approx(20_000, rel=0.4)
    assert merged(merged(b"", marks[:9000]), marks[5000:]) == whole
    for mark in (
        whole[-4:] + bytes(8),
        whole[-4:] + bytes([255]) * 8,
        b"\xff" * 12,
    ):  # the largest again, and beyond it
        assert merged(whole, [mark]) == whole


async def test_over_http(client: httpx.AsyncClient, node: Node, prefix: Prefix, item: str) -> None:
    path = scans.claim_address(node, item, time.time())
    looked = await client.head(path)
    assert (looked.status_code, looked.content) == (200, b"")
    assert await count(node, prefix, item) == Scans()
    answer = await client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/gif"
    assert answer.headers["cache-control"] == "no-store"
    morsel = SimpleCookie(answer.headers["set-cookie"])["scan_device"]
    assert (morsel["path"], morsel["samesite"], morsel["httponly"]) == ("/s/", "Lax", True)
    assert int(morsel["max-age"]) == 365 * 86_400
    assert not morsel["secure"]
    assert (await count(node, prefix, item)).before == 1
    for odd in ("/s/.gif", "/s/%00.gif", "/s/%ff.gif", "/s/a%2Fb.gif", "/s/x", "/s/scanner/x", "/s/scanner/%e5%ae%bf"):
        assert (await client.get(odd)).status_code in (200, 404), odd


async def test_cookie_is_secure_where_the_node_is(node: Node, other_settings: Any) -> None:
    settings, node.settings = node.settings, other_settings(public_url="https://id.example.com/node")
    try:
        assert scans.claim_address(node, "88.999.1/A", NOW).startswith("/node/s/")
        cookie = scan_claims._set_cookie(node, "x")
    finally:
        node.settings = settings
    assert b"; Path=/node/s/; " in cookie
    assert cookie.endswith(b"; Secure")


async def test_own_scanners_are_counted_apart(
    client: httpx.AsyncClient, node: Node, prefix: Prefix, item: str, firm: Any, stranger: Any
) -> None:
    made = await client.post("/api/v1/scanners", json={"name": "质检 1 号"}, headers=firm.headers)
    assert made.status_code == 201, made.text
    opened = await client.get(made.json()["address"].removeprefix(node.settings.public_url))
    cookie = SimpleCookie(opened.headers["set-cookie"])["scan_device"].value
    client.cookies.clear()

    async def scan(**headers: str) -> None:
        path = scans.claim_address(node, item, time.time())
        assert (await client.get(path, headers=headers)).status_code == 200
        client.cookies.clear()

    await scan(Cookie=f"scan_device={cookie}")
    await scan(Authorization=firm.headers["Authorization"])
    assert await count(node, prefix, item) == Scans()  # neither is the first scan
    await scan(Authorization="Bearer iid_test_nobody")
    assert await count(node, prefix, item) == Scans()  # a wrong key counts nothing
    await scan(Authorization=stranger.headers["Authorization"])
    assert (await count(node, prefix, item)).before == 1  # another enterprise is the public
    listed = (await client.get("/api/v1/scanners", headers=firm.headers)).json()["scanners"]
    assert [s["name"] for s in listed] == ["质检 1 号"]
    assert not listed[0]["revoked_at"]
    url = f"/api/v1/scanners/{listed[0]['id']}"
    assert (await client.delete(url, headers=stranger.headers)).status_code == 404
    assert (await client.delete(url, headers=firm.headers)).status_code == 204
    assert (await client.delete(url, headers=firm.headers)).status_code == 404
    forget(node)
    await scan(Cookie=f"scan_device={cookie}")
    report = f"/api/v1/scans?handle={item}"

    async def counted() -> tuple[int, int]:
        body = (await client.get(report, headers=firm.headers)).json()
        return body["scans"], body["own_scans"]

    async with asyncio.timeout(30):
        while await counted() != (2, 2):  # settled by the application's own turn
            await asyncio.sleep(0.05)
    assert (await client.get(report, headers=stranger.headers)).status_code == 403
    for bad in ({"name": ""}, {"name": "a\u202eb"}, {"name": "x" * 200}, {}, {"name": 1}, {"name": "a", "b": 1}):
        assert (await client.post("/api/v1/scanners", json=bad, headers=firm.headers)).status_code in (400, 422), bad


async def test_scanner_address_is_good_for_an_hour(node: Node) -> None:
    from node import scanners

    token = scan_tokens.scanner_token(node.sealer, scan_tokens.scanner_device(1, 2, NOW))
    assert scanners.opened(node, token, NOW + 3600) is not None
    assert scanners.opened(node, token, NOW + 3601) is None
    assert scanners.opened(node, token[:-2] + "AA", NOW) is None
    # Neither kind of token stands for the other.
    assert (
        scanners.opened(node, scan_tokens.device_token(node.sealer, scan_tokens.DeviceToken(int(NOW), b"x")), NOW)
        is None
    )


async def test_a_count_is_right_until_another_worker_commits(
    node: Node, counter: Counter, prefix: Prefix, item: str, settings: Any
) -> None:
    """Its own commits a worker knows; of others' it looks at the numbers that they commit under."""
    memory, other = node.scan_memory, await open_node(settings)
    theirs = Counter(other)
    try:

        async def right(after: float) -> bool:
            """Whether what was counted then is still right now."""
            before = time.monotonic()
            await scans.look_at_others(node)
            return memory.right_at(after) > before

        await right(0.0)
        for worker in (node, other):  # the item's first scan, and one by a worker that does not know of it
            asked = time.monotonic()
            assert [await right(asked) for _ in range(2)] == [True, True]
            await Phone(worker).open(scans.claim_address(node, item, NOW), NOW)
            assert await right(asked) == (worker is node)
        for mine in (True, False, True):
            asked = time.monotonic()
            await Phone(node if mine else other).open(scans.claim_address(node, item, NOW), NOW)
            assert await right(asked)  # it is in nobody's tables yet
            await (counter if mine else theirs).settle()
            assert await right(asked) == mine
        asked = time.monotonic()
        assert await right(asked)
        memory.counts = {("88.999", str(n)): Told(1, 0.0) for n in range(50_001)}
        memory.tell({})  # what this worker committed is forgotten
        assert not await right(asked)
        assert await right(time.monotonic())
    finally:
        await close_node(other)


async def test_reads_of_one_turn_go_as_one_query(node: Node, prefix: Prefix, firm: Any, statement_log: Path) -> None:
    items = [f"{firm.prefix}/READ-{n}" for n in range(50)]
    found = await asyncio.gather(*(count(node, prefix, i) for i in items * 4))
    assert found == [Scans()] * 200
    assert not node.scan_memory.reads
    await asyncio.gather(*node.scan_memory.tasks)  # its connection is given back
    assert not node.scan_memory.reading


async def test_a_stopped_node_settles_what_it_holds(node: Node, prefix: Prefix, item: str) -> None:
    for n in range(5):
        await Phone(node).open(scans.claim_address(node, item, NOW), NOW + n)
    node.tally.count(prefix.id, True, 0.001, "192.0.2.1", NOW)
    assert (await count(node, prefix, item)).before == 1
    await Counting(node).close()
    assert (await count(node, prefix, item)).before == 5
    day = datetime.fromtimestamp(NOW + 8 * 3600, UTC).date()
    held = "SELECT requests FROM resolution_day WHERE prefix_id = $1 AND day = $2"
    assert await node.pool.fetchval(held, prefix.id, day) == 1


async def scanned(node: Node, item: str, number: int) -> None:
    """So many scans by as many phones."""
    for n in range(number):
        await Phone(node).open(scans.claim_address(node, item, NOW), NOW + n / 1000)


async def test_a_settlement_is_spread(node: Node, prefix: Prefix, item: str) -> None:
    await scanned(node, item, 251)
    ledger, applied = scans.ledger(node), list[float]()
    ledger.applied = lambda: applied.append(time.monotonic())
    assert await settle(node, ledger, NOW, spread=0.3) == 3
    assert applied[-1] - applied[0] >= 0.15  # the parts have their times, however fast they are
    assert (await count(node, prefix, item)).before == 251


async def test_what_is_said_to_be_settled_is_whole(node: Node, prefix: Prefix, item: str) -> None:
    """A kill between two parts of a gathering loses what the last ones hold: it must not be said to be in the tables."""
    ledger, began = scans.ledger(node), time.time()
    ledger.gathered_at, whole, told = began, ledger.apply, list[float | None]()

    async def told_now() -> None:  # beside the part's transaction: what is committed
        row = "SELECT extract(epoch FROM taken_at)::float8 FROM settler WHERE worker = $1"
        told.append(await node.pool.fetchval(row, ledger.worker))

    async def apply(conn: Any, part: Any) -> None:
        await told_now()
        await whole(conn, part)

    ledger.apply = apply
    for turn in (1, 2):
        await scanned(node, item, 251)
        assert await settle(node, ledger, NOW + turn) == 3
    await told_now()
    first, second, third, *rest = told
    assert first is None
    assert [second, third] == pytest.approx([began] * 2, abs=1e-3)
    assert rest == [NOW + 1] * 3 + [NOW + 2]


async def test_what_comes_while_much_waits_is_few_parts(node: Node, prefix: Prefix, item: str) -> None:
    """So many parts may wait while PostgreSQL is away, whatever is in them."""
    ledger = scans.ledger(node)
    await scanned(node, item, 251)
    ledger.gather(NOW)
    assert len(ledger.waiting) == 3
    await scanned(node, item, 250)
    ledger.gather(NOW)
    assert len(ledger.waiting) == 4
    assert await settle(node, ledger, NOW) == 4
    assert (await count(node, prefix, item)).before == 501


async def test_a_node_that_stops_between_two_parts_loses_none_and_counts_none_twice(
    node: Node, prefix: Prefix, item: str
) -> None:
    await scanned(node, item, 251)
    counting = Counting(node)
    turn = asyncio.create_task(counting._settle_scans(30.0))
    async with asyncio.timeout(30):
        while (await count(node, prefix, item)).before < 101:
            await asyncio.sleep(0.01)
    turn.cancel()
    await counting.close()
    assert (await count(node, prefix, item)).before == 251


async def test_misses_are_noted_and_settled(node: Node, prefix: Prefix) -> None:
    for n in range(8):
        suspicions.note_miss(node, prefix.id, f"LC-{n:04d}", NOW + 86_400)
    suspicions.note_miss(node, prefix.id, "VAAAAAAAAAAAAA", NOW + 86_400, forged=True)
    await Counting(node).close()
    day = datetime.fromtimestamp(NOW + 86_400 + 8 * 3600, UTC).date()
    row = await node.pool.fetchrow(
        "SELECT forged, guessed FROM resolution_day WHERE prefix_id = $1 AND day = $2", prefix.id, day
    )
    assert tuple(row) == (1, 4)
