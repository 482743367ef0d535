"""`idnode register FILE` against a served node: CSV, NDJSON, XLSX; dry run, rejected rows, going on after a break."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from node.embedded_process import free_port


@pytest.fixture
async def served(make_serve: Any, make_firm: Any) -> Any:
    port, firm = free_port(0), await make_firm()
    async with make_serve(port) as client:
        yield f"http://127.0.0.1:{port}", firm, client


async def run(*arguments: str, env: dict[str, str] | None = None) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "node.cli", "register", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | (env or {}),
    )
    out, err = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def ndjson(firm: Any, count: int, bad: set[int] = frozenset()) -> str:  # type: ignore[assignment]
    return "".join(
        "{\n" if n in bad else json.dumps({"handle": f"{firm.prefix}/R-{n:06d}"}) + "\n" for n in range(count)
    )


async def test_dry_run_then_the_rejected_rows_corrected(served: Any, tmp_path: Path) -> None:
    url, firm, client = served
    file = tmp_path / "harvest.csv"
    rows = [["标识", "批次"], *([f"{firm.prefix}/C-{n}", ""] for n in range(50))]
    rows[8][0] = "88.999/short"
    rows[30][1] = "NO-SUCH-LOT"
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    file.write_bytes(text.getvalue().encode("gb18030"))
    status, out, err = await run(str(file), "--url", url, "--key", firm.key, "--check")
    assert status == 1, err
    assert "checked, nothing written" in out
    assert "rejected 2" in out
    assert "9,88.999" not in out  # no handle could be read
    assert (await client.get(f"/{firm.prefix}/C-1")).status_code == 404
    status, out, _ = await run(str(file), "--url", url, env={"IDNODE_KEY": firm.key})
    assert status == 1
    assert "created 48" in out
    rejected = tmp_path / "harvest.csv.rejected.csv"
    listed = list(csv.DictReader(io.StringIO((tmp_path / "harvest.csv.errors.csv").read_text("utf-8-sig"))))
    assert [(line["line"], line["field"]) for line in listed] == [("9", "handle"), ("31", "lot")]
    assert not (tmp_path / "harvest.csv.import.json").exists()
    mended = rejected.read_text("utf-8-sig").replace("88.999/short", f"{firm.prefix}/C-7").replace("NO-SUCH-LOT", "")
    rejected.write_text(mended, "utf-8")
    status, out, _ = await run(str(rejected), "--url", url, "--key", firm.key)
    assert (status, "created 2" in out) == (0, True)


async def test_a_spreadsheet(served: Any, tmp_path: Path) -> None:
    url, firm, _ = served
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.append(["后缀", "批次"])
    for n in range(20):
        sheet.append([f"X-{n}", None])
    book.save(tmp_path / "codes.xlsx")
    status, out, err = await run(str(tmp_path / "codes.xlsx"), "--url", url, "--key", firm.key, "--prefix", firm.prefix)
    assert (status, "created 20" in out) == (0, True), err
    sheet["A3"] = "=A2"
    book.save(tmp_path / "formula.xlsx")
    status, _, err = await run(str(tmp_path / "formula.xlsx"), "--url", url, "--key", firm.key, "--prefix", firm.prefix)
    assert status == 2
    assert "A3 is a formula" in err
    sheet["A3"] = "X-1"
    sheet.merge_cells("A4:A5")
    book.save(tmp_path / "merged.xlsx")
    status, _, err = await run(str(tmp_path / "merged.xlsx"), "--url", url, "--key", firm.key, "--prefix", firm.prefix)
    assert (status, "merged cells" in err) == (2, True)


async def test_it_goes_on_after_the_sender_was_interrupted(served: Any, tmp_path: Path) -> None:
    url, firm, client = served
    file = tmp_path / "big.ndjson"
    file.write_text(ndjson(firm, 120_000))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "node.cli", "register", str(file), "--url", url, "--key", firm.key, "--quiet"),
        stderr=asyncio.subprocess.PIPE,
        # Who runs the tests in the background ignores SIGINT, and so would the command: rightly, but not here.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    state = tmp_path / "big.ndjson.import.json"
    while not state.exists():
        assert process.returncode is None
        await asyncio.sleep(0.01)
    import_id = json.loads(state.read_text())["import"]
    while not (await client.get(f"/api/v1/imports/{import_id}", headers=firm.headers)).json()["chunks"]:
        assert process.returncode is None
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert process.returncode == 130
    assert "the same command goes on" in err.decode()
    status, out, err2 = await run(str(file), "--url", url, "--key", firm.key)
    assert (status, "created 120,000" in out) == (0, True), err2
    assert "going on with it" in err2


async def test_what_it_tells_who_made_a_mistake(served: Any, tmp_path: Path) -> None:
    url, firm, _ = served
    file = tmp_path / "a.ndjson"
    file.write_text(ndjson(firm, 3))
    assert (await run(str(file), "--url", url))[2].startswith("idnode: --key or IDNODE_KEY")
    assert "is not a file" in (await run(str(tmp_path / "b"), "--url", url, "--key", "k"))[2]
    status, _, err = await run(str(file), "--url", url, "--key", "iid_test_wrong_wrong")
    assert (status, "Traceback" in err) == (2, False)
    (tmp_path / "a.txt").write_text("x")
    assert "must be .ndjson" in (await run(str(tmp_path / "a.txt"), "--url", url, "--key", firm.key))[2]
    (tmp_path / "bad.csv").write_text("nonsense\n1\n")
    status, _, err = await run(str(tmp_path / "bad.csv"), "--url", url, "--key", firm.key)
    assert (status, "unknown column" in err) == (2, True), err
