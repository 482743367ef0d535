"""`idnode mint` against a served node: a new run, the same run again, what stands in the way, a server that dies."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

import handle_codec
from node.embedded_process import free_port

PUBLIC = "https://id.example.com"


@pytest.fixture
async def served(make_serve: Any, make_firm: Any, examples: Any) -> Any:
    port, firm = free_port(0), await make_firm()
    async with make_serve(port, PUBLIC_URL=PUBLIC) as client:
        lot = {"handle": f"{firm.prefix}/LOT-1", "template": "pear@1", "attributes": examples["pear"]["lot"]}
        assert (await client.post("/api/v1/lots", json=lot, headers=firm.headers)).status_code == 201
        yield f"http://127.0.0.1:{port}", firm, client


async def run(folder: Path, *arguments: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "node.cli", "mint", *arguments),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=os.environ | (env or {}),
    )
    out, _ = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode is not None
    return process.returncode, out.decode()


async def test_a_new_run_and_the_same_again(served: Any, tmp_path: Path) -> None:
    url, firm, client = served
    lot = f"{firm.prefix}/LOT-1"
    status, out = await run(tmp_path, lot, "--count", "20000", "--url", url, env={"IDNODE_KEY": firm.key})
    assert status == 0, out
    runs = (await client.get(f"/api/v1/lots/{lot}/runs", headers=firm.headers)).json()["runs"]
    assert [(r["count"], r["run"]) for r in runs] == [(20_000, runs[0]["run"])]
    file = tmp_path / f"LOT-1-{runs[0]['run']}.csv"
    rows = list(csv.DictReader(file.read_text("utf-8").splitlines()))
    assert len({r["suffix"] for r in rows}) == 20_000
    assert all(handle_codec.is_serial(r["suffix"]) for r in rows[::500])
    assert rows[7]["url"] == f"{PUBLIC}/{firm.prefix}/{rows[7]['suffix']}"
    again = ("--run", str(runs[0]["run"]), "--out", "again.ndjson", "--url", url, "--key", firm.key)
    status, out = await run(tmp_path, lot, *again)
    assert status == 0, out
    lines = [json.loads(line) for line in (tmp_path / "again.ndjson").read_text().splitlines()]
    assert [line["suffix"] for line in lines] == [r["suffix"] for r in rows]
    assert len((await client.get(f"/api/v1/lots/{lot}/runs", headers=firm.headers)).json()["runs"]) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([file.name, "again.ndjson"])


async def test_what_it_tells_who_made_a_mistake(served: Any, tmp_path: Path) -> None:
    url, firm, client = served
    lot, at = f"{firm.prefix}/LOT-1", ("--url", url, "--key", firm.key)
    for arguments, words in [
        ((f"{firm.prefix}/NO-LOT", "--count", "5", *at), "NO-LOT"),
        ((lot, "--count", "0", *at), "at least 1"),
        ((lot, "--count", "10000001", *at), "count"),
        ((lot, "--run", "999999", *at), "has no such run"),
        ((lot, "--count", "5", "--url", url), "--key or IDNODE_KEY"),
        ((lot, "--count", "5", "--out", "a.txt", *at), "must be .csv or .ndjson"),
        ((lot, "--count", "5", "--url", url, "--key", "iid_test_wrong_wrong"), "idnode:"),
        ((f"{firm.prefix}", "--count", "5", *at), "idnode:"),
    ]:
        status, out = await run(tmp_path, *arguments)
        assert (status, "Traceback" in out, words in out) == (2, False, True), (arguments, out)
    (tmp_path / "a.csv").write_text("printed")
    status, out = await run(tmp_path, lot, "--count", "5", "--out", "a.csv", *at)
    assert (status, "exists" in out, (tmp_path / "a.csv").read_text()) == (2, True, "printed")
    assert (await client.get(f"/api/v1/lots/{lot}/runs", headers=firm.headers)).json()["runs"] == []


async def test_half_a_run_is_no_file(served: Any, tmp_path: Path) -> None:
    """A proxy that breaks the first two streams in the middle: the third is whole, and there was one run."""
    url, firm, client = served
    lot, broken = f"{firm.prefix}/LOT-1", 0

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal broken
        up, down = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        seen = 0
        pump = asyncio.create_task(_pump(reader, down))
        while data := await up.read(4096):
            seen += len(data)
            if seen > 100_000 and broken < 2:
                broken += 1
                break
            writer.write(data)
        pump.cancel()
        writer.transport.abort()
        down.transport.abort()

    async with await asyncio.start_server(relay, "127.0.0.1", 0) as proxy:
        port = proxy.sockets[0].getsockname()[1]
        arguments = (lot, "--count", "20000", "--out", "labels.csv", "--url", f"http://127.0.0.1:{port}")
        status, out = await run(tmp_path, *arguments, "--key", firm.key)
    assert (status, broken) == (0, 2), out
    assert (tmp_path / "labels.csv").read_bytes().count(b"\n") == 20_001
    assert len((await client.get(f"/api/v1/lots/{lot}/runs", headers=firm.headers)).json()["runs"]) == 1


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(4096):
        writer.write(data)
