"""Imports over REST: chunks, replays, ledgers, CSV, encodings, checks, atomic ones, and each bad input."""

from __future__ import annotations

import asyncio
import csv
import gc
import gzip
import io
import json
import os
import zlib
from typing import Any

import pytest

from node.chunks import Result, read_chunk, store_chunk
from node.runtime import Node, reading
from node.store import imports, prefixes
from node.writing import Change, change

NDJSON = {"Content-Type": "application/x-ndjson"}
CSV = {"Content-Type": "text/csv"}


USUAL = "https://example.com/a"


class Import:
    """An import of a firm."""

    def __init__(self, client: Any, firm: Any) -> None:
        self.client, self.firm, self.id = client, firm, ""
        self.item: dict[str, Any] = {}  # attributes of items in LOT-1; without them rows hold a plain value

    async def begin(self, **options: Any) -> Import:
        answer = await self.client.post("/api/v1/imports", json=options, headers=self.firm.headers)
        assert answer.status_code == 201, answer.text
        self.id = answer.json()["id"]
        return self

    async def put(self, number: int, body: bytes, **headers: str) -> Any:
        return await self.client.put(
            f"/api/v1/imports/{self.id}/chunks/{number}", content=body, headers=self.firm.headers | NDJSON | headers
        )

    async def commit(self, chunks: int, **more: Any) -> Any:
        return await self.client.post(
            f"/api/v1/imports/{self.id}:commit", json={"chunks": chunks, **more}, headers=self.firm.headers
        )

    async def state(self) -> Any:
        return (await self.client.get(f"/api/v1/imports/{self.id}", headers=self.firm.headers)).json()

    async def errors(self, form: str = "ndjson") -> str:
        route = f"/api/v1/imports/{self.id}/errors?format={form}"
        return str((await self.client.get(route, headers=self.firm.headers)).text)

    def rows(self, first: int, count: int, text: str = USUAL, prefix: str = "") -> bytes:
        if self.item:
            own = self.item | ({} if text == USUAL else {"ssc_pct": 9.9})
            return "\n".join(
                json.dumps(
                    {
                        "handle": f"{prefix or self.firm.prefix}/IMP-{n:06d}",
                        "lot": f"{prefix or self.firm.prefix}/LOT-1",
                        "attributes": own,
                    },
                    ensure_ascii=False,
                )
                for n in range(first, first + count)
            ).encode()
        lines = [
            json.dumps(
                {
                    "handle": f"{prefix or self.firm.prefix}/IMP-{n:06d}",
                    "values": [{"index": 1, "type": "URL", "data": text}],
                }
            )
            for n in range(first, first + count)
        ]
        return "\n".join(lines).encode()


@pytest.fixture(params=["plain", "in a lot"])
async def given(client: Any, make_firm: Any, examples: Any, request: pytest.FixtureRequest) -> Import:
    """Plain rows are judged one by one; items of a lot are what the codec decodes and COPY carries."""
    found = await Import(client, await make_firm()).begin()
    if request.param != "plain":
        await lot_of(found, examples)
        found.item = {k: v for k, v in examples["pear"]["item"].items() if isinstance(v, (int, float))}
        found.item["carton_id"] = "CARTON-1"
    return found


async def created(node: Node, given: Import) -> int:
    """How many rows the counters say, the lot not among them."""
    async with reading(node) as conn:
        prefix = await prefixes.fetch(conn, given.firm.prefix)
        assert prefix is not None
        return (await prefixes.totals(conn, prefix.id))[0] - bool(given.item)


def summary(answer: Any) -> tuple[int, int, int, int]:
    body = answer.json()
    assert body["rows"] == body["created"] + body["unchanged"] + body["conflict"] + body["rejected"]
    return body["created"], body["unchanged"], body["conflict"], body["rejected"]


async def test_chunks_in_any_order_and_a_ledger_that_closes(node: Node, client: Any, given: Import) -> None:
    assert summary(await given.put(1, given.rows(100, 100))) == (100, 0, 0, 0)
    first = await client.get(f"/{given.firm.prefix}/IMP-000150")
    assert first.status_code == 200  # resolves once its chunk is acknowledged
    early = await given.commit(3)
    assert (early.status_code, early.json()["code"]) == (409, "import_incomplete")
    assert "lacks chunks: 0, 2" in early.json()["detail"]
    assert (await given.state())["next_chunk"] == 0
    await asyncio.gather(given.put(0, given.rows(0, 100)), given.put(2, given.rows(200, 50)))
    closed = await given.commit(3, rows=250)
    assert (closed.status_code, closed.json()["state"], closed.json()["rows"]) == (200, "committed", 250)
    assert (await given.commit(3)).json()["created"] == 250
    assert (await given.put(3, given.rows(300, 1))).json()["code"] == "import_closed"
    assert await created(node, given) == 250


async def test_the_same_chunk_again_is_answered_as_before(node: Node, given: Import) -> None:
    body = given.rows(0, 50) + b"\n" + given.rows(0, 1)
    once = await given.put(0, body)
    again = await given.put(0, gzip.compress(body), **{"Content-Encoding": "gzip"})
    assert summary(once) == summary(again) == (50, 0, 0, 1)
    assert (again.json()["again"], again.json()["errors"]) == (True, once.json()["errors"])
    other = await given.put(0, given.rows(0, 51))
    assert (other.status_code, other.json()["code"]) == (409, "chunk_differs")
    assert await created(node, given) == 50


async def test_one_chunk_sent_by_ten_is_done_once(node: Node, given: Import) -> None:
    body = given.rows(0, 300)
    answers = await asyncio.gather(*(given.put(0, body) for _ in range(6)))
    done = [a for a in answers if a.status_code == 200]
    assert all(summary(answer) == (300, 0, 0, 0) for answer in done)
    assert sum(not answer.json().get("again") for answer in done) == 1
    assert {a.status_code for a in answers} <= {200, 503}
    assert await created(node, given) == 300


async def test_a_chunk_and_the_closing_of_its_import_race(client: Any, make_firm: Any) -> None:
    """Whatever wins: what the closed ledger says is what was stored, and nothing is added to it afterwards."""
    firm, seen = await make_firm(), set()
    for turn in range(30):
        given = await Import(client, firm).begin()
        await given.put(0, given.rows(turn * 1000, 20))

        async def late(given: Import = given, turn: int = turn) -> Any:
            for _ in range(turn * 12):  # a little later at each turn
                await asyncio.sleep(0)
            return await given.commit(1)

        chunk, closed = await asyncio.gather(given.put(1, given.rows(turn * 1000 + 100, 20)), late())
        after = await given.state()
        if closed.status_code == 200:
            assert chunk.json()["code"] == "import_closed"
            assert (after["rows"], closed.json()["rows"]) == (20, 20)
        else:
            assert (closed.json()["code"], chunk.status_code, after["rows"]) == ("import_incomplete", 200, 40)
        seen.add(closed.status_code)
    assert seen == {200, 409}


async def test_duplicates_conflicts_and_foreign_rows_keep_the_good_ones(
    node: Node, given: Import, stranger: Any
) -> None:
    await given.put(0, given.rows(0, 100))
    mixed = b"\n".join(
        [
            given.rows(50, 60),  # 50 unchanged, 10 new
            given.rows(0, 5, "https://example.com/other"),  # conflict
            given.rows(0, 1, prefix=stranger.prefix),
            b'{"handle": 7}',
            b"no json",
            given.rows(109, 1),  # stands twice
        ]
    )
    answer = await given.put(1, mixed)
    assert summary(answer) == (10, 50, 5, 4)
    codes = [(error["row"], error["code"]) for error in answer.json()["errors"]]
    assert codes == [(60 + n, "handle_conflict") for n in range(5)] + [
        (65, "foreign_prefix"), (66, "wrong_type"), (67, "broken_body"), (68, "duplicate_in_batch"),
    ]  # fmt: skip
    assert "1" in answer.json()["errors"][0]["detail"]  # the stored version
    assert summary(await given.put(2, given.rows(110, 20))) == (20, 0, 0, 0)  # by staging now
    listed = [json.loads(line) for line in (await given.errors()).splitlines()]
    assert [(e["chunk"], e["row"], e["code"]) for e in listed] == [(1, row, code) for row, code in codes]
    assert await created(node, given) == 130


async def test_a_check_writes_nothing(node: Node, client: Any, make_firm: Any) -> None:
    given = await Import(client, await make_firm()).begin(check=True)
    assert summary(await given.put(0, given.rows(0, 30) + b"\n7")) == (30, 0, 0, 1)
    assert (await given.commit(1)).json()["state"] == "committed"
    assert await created(node, given) == 0
    assert (await client.get(f"/{given.firm.prefix}/IMP-000001")).status_code == 404


async def test_an_atomic_import_is_all_or_nothing(node: Node, client: Any, make_firm: Any) -> None:
    given = await Import(client, await make_firm()).begin(atomic=True)
    for number in range(2):
        assert (await given.put(number, given.rows(number * 40, 40))).json()["state"] == "kept"
    await given.put(2, given.rows(0, 1, "https://example.com/other"))
    assert (await client.get(f"/{given.firm.prefix}/IMP-000001")).status_code == 404
    refused = await given.commit(3)
    assert (refused.status_code, refused.json()["code"]) == (422, "import_refused")
    assert "chunk 2, row 0" in refused.json()["detail"]
    assert await created(node, given) == 0
    right = await Import(client, given.firm).begin(atomic=True)
    for number in range(2):
        await right.put(number, right.rows(number * 40, 40))
    assert (await right.commit(2)).json()["created"] == 80
    assert await created(node, given) == 80


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        ('{"handle": "88.999.987654/X"}', "unknown_prefix"),
        ('{"handle": "FOREIGN/X"}', "foreign_prefix"),
        ('{"handle": "OWN/N", "values": [{"index": 1, "type": "URL", "data": "a\\u0000b"}]}', "control_character"),
        ('{"handle": "OWN/S\\ud800"}', "broken_body"),
        ("no json", "broken_body"),
    ],
)
async def test_one_bad_row_of_an_atomic_import_keeps_all_out(
    node: Node, client: Any, make_firm: Any, stranger: Any, bad: str, code: str
) -> None:
    given = await Import(client, await make_firm()).begin(atomic=True)
    row = bad.replace("OWN", given.firm.prefix).replace("FOREIGN", stranger.prefix).encode()
    assert (await given.put(1, given.rows(40, 30) + b"\n" + row + b"\n" + given.rows(70, 5))).status_code == 200
    assert (await given.put(0, given.rows(0, 40))).status_code == 200
    refused = await given.commit(2)
    assert (refused.status_code, refused.json()["code"]) == (422, "import_refused")
    assert "chunk 1, row 30" in refused.json()["detail"]
    assert [e["code"] for e in refused.json()["errors"]] == [code]
    assert await created(node, given) == 0
    state = await given.state()
    assert (state["state"], state["created"]) == ("open", 0)


HEADER = "后缀,批次,产品名称"


async def lot_of(given: Import, examples: Any) -> str:
    body = {"handle": f"{given.firm.prefix}/LOT-1", "template": "pear@1", "attributes": examples["pear"]["lot"]}
    answer = await given.client.post("/api/v1/lots", json=body, headers=given.firm.headers)
    assert answer.status_code in (200, 201), answer.text
    return "LOT-1"


def csv_row(given: Import, suffix: str, attributes: dict[str, Any]) -> dict[str, str]:
    return {"后缀": suffix, "批次": "LOT-1"} | {k: str(v) for k, v in attributes.items()}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
async def test_csv_with_chinese_or_coded_headers(client: Any, make_firm: Any, examples: Any, encoding: str) -> None:
    given = await Import(client, await make_firm()).begin(template="pear@1")
    given = await Import(client, given.firm).begin(template="pear@1", prefix=given.firm.prefix)
    await lot_of(given, examples)
    item = {k: v for k, v in examples["pear"]["item"].items() if isinstance(v, (str, int, float))}
    text = io.StringIO()
    writer = csv.DictWriter(text, ["后缀", "批次", *item], lineterminator="\r\n")
    writer.writeheader()
    for n in range(5):
        writer.writerow(csv_row(given, f"C-{n}", item))
    answer = await given.put(0, text.getvalue().encode(encoding), **CSV)
    assert answer.status_code == 200, answer.text
    assert summary(answer) == (5, 0, 0, 0), answer.text
    assert answer.json().get("encoding") == ("gb18030" if encoding == "gb18030" else None)
    record = (await client.get(f"/api/v1/handles/{given.firm.prefix}/C-1", headers=given.firm.headers)).json()
    assert {k: record["attributes"][k] for k in item} == item


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"handle,nonsense\n88.999.1/x,1\n", "unknown_column"),
        (b"lot\nA\n", "no_handle"),
        (b"handle,handle\na,b\n", "duplicate_column"),
        (b"handle\n", "empty"),
        (b"", "no_handle"),
        ("handle,lot\n88.999.1/x,砀山\n".encode() + "88.999.1/y,萧县\n".encode("gb18030"), "mixed_encoding"),
        (b"handle,lot\n88.999.1/x,\xff\xff\xff\n", "encoding"),
        (b'handle,lot\n"88.999.1/x' + b"a" * 200_000 + b'",\n', "broken_csv"),
    ],
)
async def test_csv_that_cannot_be_read_is_refused_by_name(given: Import, body: bytes, code: str) -> None:
    answer = await given.put(0, body, **CSV)
    assert (answer.status_code, answer.json()["code"]) == (422, "import_refused"), answer.text
    assert answer.json()["errors"][0]["code"] == code
    assert (await given.state())["chunks"] == 0  # the number may be used again


async def test_a_row_with_a_cell_too_many_is_its_own_error(given: Import) -> None:
    body = f"handle,lot\n{given.firm.prefix}/A,,\n{given.firm.prefix}/B,,surplus,x\n{given.firm.prefix}/C\n".encode()
    answer = await given.put(0, body, **CSV)
    assert summary(answer)[3] == 2
    assert {error["row"] for error in answer.json()["errors"]} == {0, 1}


async def test_nul_and_lone_surrogates_in_the_middle(given: Import) -> None:
    body = b"\n".join(
        [
            given.rows(0, 10),
            json.dumps(
                {"handle": f"{given.firm.prefix}/N", "values": [{"index": 1, "type": "URL", "data": "a\0b"}]}
            ).encode(),
            b'{"handle": "' + given.firm.prefix.encode() + b'/S\\ud800"}',
            b'{"handle": "' + given.firm.prefix.encode() + b'/T\xed\xa0\x80"}',
            b"\xff\xfe\x00",
            given.rows(20, 10),
        ]
    )
    answer = await given.put(0, body)
    assert summary(answer) == (20, 0, 0, 4)
    assert [error["row"] for error in answer.json()["errors"]] == [10, 11, 12, 13]


async def test_bombs_and_broken_gzip(given: Import) -> None:
    bomb = zlib.compressobj(9, wbits=31)
    packed = bomb.compress(bytes(200 * 1024 * 1024)) + bomb.flush()
    gz = {"Content-Encoding": "gzip"}
    assert (await given.put(0, packed, **gz)).status_code == 413
    assert (await given.put(0, packed[:100], **gz)).status_code == 400
    assert (await given.put(0, os.urandom(100), **gz)).status_code == 400
    assert (await given.put(0, b"x", **{"Content-Encoding": "br"})).status_code == 400


async def test_what_an_import_does_not_take(client: Any, given: Import, stranger: Any) -> None:
    assert (await given.put(-1, b"{}")).status_code == 400
    assert (await given.put(0, b"{}", **{"Content-Type": "text/plain"})).status_code == 415
    assert (await given.put(0, b"\n\n")).json()["errors"][0]["code"] == "empty"
    assert (await given.put(0, b"7\n" * 50_001)).json()["errors"][0]["code"] == "too_many_rows"
    assert (await given.commit(0, rows=5)).status_code == 422
    for call in (given.state, lambda: given.put(0, b"{}")):
        given.firm, own = stranger, given.firm
        answer = await call()
        assert (answer if isinstance(answer, dict) else answer.json())["code"] == "not_found"
        given.firm = own
    bad = await client.post("/api/v1/imports", json={"prefix": "88"}, headers=given.firm.headers)
    assert (bad.status_code, bad.json()["errors"][0]["field"]) == (422, "prefix")


async def test_errors_as_csv_are_no_formulas(given: Import) -> None:
    await given.put(0, b'{"handle": "88.999.1/=1+1", "=cmd|calc": 1}')
    lines = list(csv.DictReader(io.StringIO((await given.errors("csv")).removeprefix("\ufeff"))))
    assert lines
    assert not [cell for line in lines for cell in line.values() if cell.startswith(("=", "+", "-", "@"))]


async def test_items_of_a_lot_go_by_copy(node: Node, client: Any, make_firm: Any, examples: Any) -> None:
    """All of these rows are sure, and COPY straight into the table takes them while nothing stands in the way."""
    given = await Import(client, await make_firm()).begin()
    await lot_of(given, examples)
    given.item = {k: v for k, v in examples["pear"]["item"].items() if isinstance(v, (int, float, str))}
    chunk = await read_chunk(node, given.rows(0, 50), "")
    assert chunk.sure is not None
    assert (len(chunk.sure.order), chunk.slow.count, chunk.count) == (50, 0, 50)
    await given.put(0, given.rows(0, 50))
    async with reading(node) as conn:
        assert (await imports.fetch(conn, given.id))["staging"] is False
    assert summary(await given.put(1, given.rows(49, 10))) == (9, 1, 0, 0)
    async with reading(node) as conn:
        assert (await imports.fetch(conn, given.id))["staging"] is True


async def test_a_lot_that_changes_while_its_rows_are_on_the_way(
    node: Node, client: Any, make_firm: Any, examples: Any
) -> None:
    """The rows were held against the lot as it was; where it is another now they are judged again."""
    given = await Import(client, await make_firm()).begin()
    await lot_of(given, examples)
    given.item = {k: v for k, v in examples["pear"]["item"].items() if isinstance(v, (int, float, str))}
    chunk = await read_chunk(node, given.rows(0, 20), "")
    path = f"/api/v1/handles/{given.firm.prefix}/LOT-1"
    changed = await client.patch(
        path, json={"attributes": {"brand": "梨都"}}, headers=given.firm.headers | {"If-Match": "*"}
    )
    assert changed.status_code == 200, changed.text

    async def work(doing: Change) -> Result:
        return await store_chunk(node, doing.conn, given.firm.identity, chunk, {"staging": False, "check_only": False})

    result = await change(node, work)
    assert result.counts == {"created": 20}
    recalled = await client.post(
        f"/api/v1/lots/{given.firm.prefix}/LOT-1:recall", json={"reason": "x"}, headers=given.firm.headers
    )
    assert recalled.status_code == 200
    late = await read_chunk(node, given.rows(20, 5), "")
    after = await change(
        node,
        lambda doing: store_chunk(node, doing.conn, given.firm.identity, late, {"staging": False, "check_only": False}),
    )
    assert after.counts == {"rejected": 5}
    assert {line.code for line in after.lines} == {"unknown_lot"}


async def test_rejected_rows_leave_the_collector_nothing_to_walk(node: Any, given: Any) -> None:
    """A full collection holds every request of the worker for as long as it takes to walk what is tracked."""
    body = b"\n".join(
        (b'{"handle":"%s/G-%d","lot":"NO-SUCH-LOT"}' % (given.firm.prefix.encode(), n))
        if n % 2
        else b'{"handle":%d}' % n
        for n in range(4000)
    )
    gc.collect()
    before = len(gc.get_objects())
    chunk = await read_chunk(node, body, "")
    assert len(chunk.slow.drafts) == chunk.refused.counts["rejected"] == 2000
    result = await change(
        node,
        lambda doing: store_chunk(
            node, doing.conn, given.firm.identity, chunk, {"staging": False, "check_only": False}
        ),
    )
    assert result.counts == {"rejected": 4000}
    assert [line.row for line in result.lines] == list(range(4000))
    assert result.first is not None
    assert result.first.row == 0
    gc.collect()
    assert len(gc.get_objects()) - before < 400
