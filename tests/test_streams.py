"""Imports in one request: how a body is cut, that it may break anywhere and come again, and each bad input."""

from __future__ import annotations

import asyncio
import csv
import gzip
import io
import itertools
import json
import zlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from node import imports, streams
from node.cutting import ROWS, Cut, Cutter
from node.embedded_process import free_port
from node.errors import BodyTooLarge, ImportRefused, Unavailable
from node.runtime import Node

NDJSON = {"Content-Type": "application/x-ndjson"}
CSV = {"Content-Type": "text/csv"}
JSON = {"Content-Type": "application/json"}
ROUTE = "/api/v1/imports:stream"


def cut(form: str, pieces: list[bytes], **most: int) -> list[Cut]:
    cutter = Cutter(form, **most)
    found = [one for piece in pieces for one in cutter.feed(piece)]
    return found + list(cutter.finish())


def split(body: bytes, at: list[int]) -> list[bytes]:
    places = [0, *sorted(n % (len(body) + 1) for n in at), len(body)]
    return [body[a:b] for a, b in itertools.pairwise(places)]


@given(st.lists(st.sampled_from([b"{}", b"", b" ", b"x" * 30, b"7\r"]), max_size=30), st.lists(st.integers(0, 10**6)))
def test_a_body_is_cut_alike_however_it_arrives(lines: list[bytes], at: list[int]) -> None:
    body = b"\n".join(lines)
    whole = cut("ndjson", [body], rows=3, size=50)
    assert cut("ndjson", split(body, at), rows=3, size=50) == whole
    rows = [line for line in lines if line.strip()]
    assert [line for one in whole for line in one.body.split(b"\n")] == rows
    assert [one.first for one in whole] == [
        sum(len(before.body.split(b"\n")) for before in whole[:n]) for n in range(len(whole))
    ]


CELLS = st.text(st.sampled_from('",;\n\r a梨'), max_size=6)


def rows_of(text: str) -> list[list[str]] | None:
    try:
        rows = list(csv.reader(io.StringIO(text, newline="")))
    except csv.Error:
        return None
    return [row for row in rows if any(cell.strip() for cell in row)]


@settings(max_examples=400)
@given(st.lists(CELLS, min_size=1, max_size=12), st.lists(st.integers(0, 10**6)), st.sampled_from(["utf-8", "gb18030"]))
@example(['"a\n', 'b"', '"c""', '""\n"'], [], "utf-8")
@example(['a"b\n', '"\r"\n'], [1], "utf-8")
def test_csv_is_cut_between_rows(cells: list[str], at: list[int], encoding: str) -> None:
    """Whatever stands in the cells: the chunks read one by one have the rows of the whole."""
    text = "suffix,lot,x\n" + ",".join(cells)
    body = text.encode(encoding)
    whole = cut("csv", [body], rows=1)
    assert cut("csv", split(body, at), rows=1) == whole
    expected = rows_of(text)
    found = [rows_of(one.body.decode(encoding)) for one in whole]
    if expected is not None and None not in found:
        assert [row for rows in found if rows for row in rows[1:]] == expected[1:]


def test_lines_and_quotes_without_end() -> None:
    long = cut("ndjson", [b'{"a":"' + b"x" * 3_000_000, b'"}\n{}'])
    assert [len(line) < 2**20 + 10 for line in long[0].body.split(b"\n")] == [True, True]
    assert long[0].body.endswith(b"\n{}")
    with pytest.raises(BodyTooLarge):
        cut("ndjson", [bytes(2**20)] * 65)
    with pytest.raises(ImportRefused) as refused:
        cut("csv", [b"handle,lot\n", b"a,b\n", b'"c,d\n', b"x" * 50 + b"\n"] + [b"y" * 1000 + b"\n"] * 1100)
    assert refused.value.errors[0].code == "broken_csv"
    assert "row 1" in refused.value.detail


def lines(firm: Any, first: int, count: int, text: str = "a") -> bytes:
    return b"".join(
        json.dumps(
            {"handle": f"{firm.prefix}/ST-{n:06d}", "values": [{"index": 1, "type": "DESC", "data": text}]}
        ).encode()
        + b"\n"
        for n in range(first, first + count)
    )


async def parts(body: bytes, size: int = 65_536) -> AsyncIterator[bytes]:
    for at in range(0, len(body), size):
        yield body[at : at + size]


async def send(client: Any, firm: Any, body: bytes, query: str = "", **headers: str) -> httpx.Response:
    answer: httpx.Response = await client.post(
        f"{ROUTE}{query}", content=parts(body), headers=firm.headers | NDJSON | headers
    )
    return answer


COUNTS = ("chunks", "rows", "created", "unchanged", "conflict", "rejected")


def counts(answer: httpx.Response) -> tuple[int, ...]:
    assert answer.status_code == 200, answer.text
    return tuple(answer.json()[name] for name in COUNTS)


@pytest.fixture
async def own(make_firm: Any) -> Any:
    return await make_firm()


async def test_one_request_is_a_whole_import(client: Any, own: Any) -> None:
    there = await client.post("/api/v1/handles", content=lines(own, 15_000, 1), headers=own.headers | JSON)
    assert there.status_code == 201, there.text
    body = lines(own, 0, 10_050) + b"\n" + lines(own, 15_000, 1, "other") + b"7\n" + lines(own, 20_000, 8)
    answer = await send(client, own, body)
    assert counts(answer) == (2, 10_060, 10_058, 0, 1, 1)
    found = answer.json()
    assert (found["state"], found["again"]) == ("committed", 0)
    assert [(e["row"], e["chunk"], e["code"]) for e in found["errors"]] == [
        (10_050, 1, "handle_conflict"), (10_051, 1, "wrong_type"),
    ]  # fmt: skip
    assert answer.headers["location"].endswith(f"/api/v1/imports/{found['id']}")
    assert (await client.get(f"/{own.prefix}/ST-020007")).status_code == 200
    again = await send(client, own, body, f"?id={found['id']}")
    assert counts(again) == counts(answer)
    assert (again.json()["again"], again.json()["errors"]) == (2, found["errors"])
    more = await send(client, own, body + lines(own, 30_000, 20_000), f"?id={found['id']}")
    # Two chunks are under way at a time: the first differs, the one behind it comes after :commit.
    assert more.status_code == 409
    assert more.json()["code"] in ("chunk_differs", "import_closed")


async def test_an_idempotency_key_finds_its_import_again(client: Any, own: Any) -> None:
    key = {"Idempotency-Key": "harvest-1"}
    body = lines(own, 0, 30)
    first = await send(client, own, body, "?name=harvest", **key)
    second = await send(client, own, gzip.compress(body), "?name=harvest", **key, **{"Content-Encoding": "gzip"})
    assert (first.json()["id"], first.json()["again"]) == (second.json()["id"], 0)
    assert (counts(second), second.json()["again"]) == ((1, 30, 30, 0, 0, 0), 1)
    other = await send(client, own, body, "?name=other", **key)
    assert other.json()["code"] == "idempotency_mismatch"
    new = await send(client, own, body, "?name=harvest")
    assert new.json()["id"] != first.json()["id"]
    assert counts(new) == (1, 30, 0, 30, 0, 0)


async def test_csv_check_and_atomic(client: Any, own: Any) -> None:
    body = "后缀,批次\r\n" + "".join(f"CS-{n},\r\n" for n in range(10_020)) + 'CS-"x,\r\n'
    query = f"?prefix={own.prefix}&check=true"
    checked = await send(client, own, body.encode("gb18030"), query, **CSV)
    assert counts(checked)[:3] == (2, 10_021, 10_020)
    assert (checked.json()["errors"][0]["row"], checked.json()["encoding"]) == (10_020, "gb18030")
    assert (await client.get(f"/{own.prefix}/CS-1")).status_code == 404
    refused = await send(client, own, lines(own, 0, 10_010) + b"7\n", "?atomic=true")
    assert (refused.status_code, refused.json()["code"]) == (422, "import_refused")
    assert "chunk 1, row 10" in refused.json()["detail"]
    assert (await client.get(f"/{own.prefix}/ST-000001")).status_code == 404
    whole = await send(client, own, lines(own, 0, 10_010), "?atomic=true")
    assert counts(whole) == (2, 10_010, 10_010, 0, 0, 0)


async def test_a_foreign_prefix_in_a_late_row_costs_that_row_alone(client: Any, own: Any, stranger: Any) -> None:
    body = lines(own, 0, 30_000) + lines(stranger, 0, 1) + lines(own, 30_000, 5)
    answer = await send(client, own, body)
    assert counts(answer) == (4, 30_006, 30_005, 0, 0, 1)
    error = answer.json()["errors"][0]
    assert (error["row"], error["code"]) == (30_000, "foreign_prefix")


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"", NDJSON, 422, "empty"),
        (b"\n \n", NDJSON, 422, "empty"),
        (b"handle,lot\n", CSV, 422, "empty"),
        (b"handle,nonsense\n88.999.1/x,1\n", CSV, 422, "unknown_column"),
        (b'handle,lot\n88.999.1/x,"' + b"a" * 200_000 + b'"\n', CSV, 422, "broken_csv"),
        ("handle,lot\n88.999.1/x,砀山\n".encode() + "88.999.1/y,萧县\n".encode("gb18030"), CSV, 422, "mixed_encoding"),
        (b"x", {"Content-Type": "text/plain"}, 415, "wrong_content_type"),
        (b"x", NDJSON | {"Content-Encoding": "br"}, 400, "bad_request"),
        (b"x" * 100, NDJSON | {"Content-Encoding": "gzip"}, 400, "bad_request"),
        (gzip.compress(b"7\n" * 5000)[:-9], NDJSON | {"Content-Encoding": "gzip"}, 400, "bad_request"),
        (gzip.compress(b"7\n") + b"x", NDJSON | {"Content-Encoding": "gzip"}, 400, "bad_request"),
    ],
)
async def test_bodies_that_are_refused(
    client: Any, own: Any, body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    answer = await send(client, own, body, **headers)
    assert answer.status_code == status, answer.text
    found = answer.json()
    assert code in (found["code"], *(e["code"] for e in found.get("errors", ())))


async def test_a_bomb_takes_no_memory(client: Any, own: Any) -> None:
    bomb = zlib.compressobj(9, wbits=31)
    packed = b"".join(bomb.compress(b"\n" * 2**20) for _ in range(200)) + bomb.flush()
    answer = await send(client, own, packed, **{"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


async def test_what_a_stream_does_not_take(client: Any, own: Any, stranger: Any) -> None:
    assert (await send(client, own, b"{}", "?colour=red")).status_code == 400
    assert (await send(client, own, b"{}", "?check=maybe")).status_code == 400
    opened = await client.post("/api/v1/imports", json={}, headers=own.headers)
    query = f"?id={opened.json()['id']}"
    assert (await send(client, own, b"{}", query + "&lot=x")).status_code == 400
    assert (await send(client, stranger, b"{}", query)).json()["code"] == "not_found"
    assert (await send(client, own, b"{}", "?prefix=88")).status_code == 422
    bare = await client.post(ROUTE, content=b"{}", headers=NDJSON)
    assert bare.status_code == 401


async def test_the_body_is_read_no_faster_than_it_is_stored(node: Node, client: Any, own: Any) -> None:
    opened = await client.post("/api/v1/imports", json={}, headers=own.headers)
    working, held = imports.slots(node).working, AsyncExitStack()
    while working.free:
        await held.enter_async_context(working.turn(None))
    read = 0

    async def source() -> AsyncIterator[bytes]:
        nonlocal read
        for read in range(1, 7):  # noqa: B007
            yield b"7\n" * ROWS

    task = asyncio.create_task(streams.take(node, own.identity, opened.json()["id"], source(), "ndjson"))
    while working.waiting < 2:
        assert not task.done()
        await asyncio.sleep(0)
    for _ in range(200):
        await asyncio.sleep(0)
    assert read == 3  # two wait for their turn, the third is whole
    await held.aclose()
    assert (await task)["rejected"] == 6 * ROWS


async def test_more_streams_than_a_worker_can_hold_are_sent_away(node: Node, own: Any) -> None:
    slots = imports.slots(node)
    slots.streams += slots.limit
    with pytest.raises(Unavailable) as refused:
        await streams.take(node, own.identity, "imp_x", parts(b"{}"), "ndjson")
    slots.streams -= slots.limit
    assert refused.value.datum["retry_after"] > 0


async def test_it_goes_on_after_the_connection_broke(make_serve: Any, own: Any) -> None:
    """A body that ends in the middle of the second chunk, then a whole one."""
    port = free_port(0)
    body = lines(own, 0, 25_000)
    async with make_serve(port) as client:
        opened = (await client.post("/api/v1/imports", json={}, headers=own.headers)).json()["id"]
        head = "".join(f"{k}: {v}\r\n" for k, v in (own.headers | NDJSON).items())
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        request = f"POST {ROUTE}?id={opened} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n{head}\r\n"
        writer.write(request.encode() + body[: len(body) // 2])
        await writer.drain()

        async def state() -> Any:
            return (await client.get(f"/api/v1/imports/{opened}", headers=own.headers)).json()

        async with asyncio.timeout(60):
            while not (await state())["chunks"]:
                pass
        writer.transport.abort()
        assert (await state())["state"] == "open"
        answer = await send(client, own, body, f"?id={opened}")
    assert counts(answer) == (3, 25_000, 25_000, 0, 0, 0)
    assert answer.json()["again"] == 1
