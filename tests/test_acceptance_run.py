"""The acceptance run made small, on a real node: a pass, and what must never be one."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from loadtest.acceptance.arrivals import CALLS
from loadtest.acceptance.own_node import OwnNode, own_node
from loadtest.industry_rows import INDUSTRIES
from node.embedded_process import free_port

SMALL = ("--rows", "1400", "--rate", "30", "--generators", "2", "--quiet")


@pytest.fixture(scope="module")
async def node() -> AsyncIterator[OwnNode]:
    with tempfile.TemporaryDirectory(prefix="idnode-test-", ignore_cleanup_errors=True) as scratch:
        Path(scratch).chmod(0o755)
        async with own_node(Path(scratch) / "node", 1) as running:
            yield running


async def started(url: str, key: str, out: Path, *more: str) -> asyncio.subprocess.Process:
    where = ("--url", url, "--out", str(out), *SMALL) if more[:1] != ("--resume",) else ()
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "node.cli", "acceptance", *where, *more),
        env={**os.environ, "IDNODE_KEY": key},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def ended(process: asyncio.subprocess.Process, out: Path) -> tuple[int, str, dict[str, Any]]:
    """(exit status, what it printed, its result)."""
    output, _ = await asyncio.wait_for(process.communicate(), 240)
    result = json.loads((out / "result.json").read_text("utf-8"))
    return process.returncode or 0, output.decode(), result


async def test_a_node_that_dies_in_the_day_is_no_pass_and_the_resumed_run_is_one(node: OwnNode, tmp_path: Path) -> None:
    key = node.seeded["api_key"]
    process = await started(node.url, key, tmp_path, "--seconds", "60")
    await day_began(tmp_path, process)
    assert node.process is not None
    os.killpg(node.process.pid, signal.SIGKILL)  # its own session
    await node.process.wait()
    status, output, result = await ended(process, tmp_path)
    assert (status, result["verdict"]) == (2, "incomplete")
    assert "PASS" not in output
    assert result["errors"]
    assert [p["name"] for p in result["run"]["phases"]] == ["prepare", "calibrate", "morning", "day"]

    await node.start()
    state = json.loads((tmp_path / "state.json").read_text("utf-8"))
    assert set(state["done"]) == {"prepare", "calibrate", "morning"}
    state["size"]["seconds"] = 5.0  # the day need not be as long again
    (tmp_path / "state.json").write_text(json.dumps(state), "utf-8")
    process = await started(node.url, key, tmp_path, "--resume", str(tmp_path), "--quiet")
    status, output, result = await ended(process, tmp_path)
    # Whole and right; whether it was quick enough is of the machine, and a short day has no recall of a lot to measure.
    if not result["generator"]["stalls"]:
        assert not [why for why in result["why"] if "Incomplete" in why["en"]], output
    held = {limit["name"]: limit["held"] for limit in result["thresholds"]}
    names = ("wrong_answers", "stale_answers", "lost_items", "doubled_items", "ledger_difference", "swept_share")
    assert all(held[name] for name in names), held
    assert result["wrong"] == []
    assert result["ledger"]["balanced"], result["ledger"]
    assert result["sweep"]["wrong"] == 0
    assert result["ledger"]["created"] == result["ledger"]["rows"] > 1300
    assert result["ledger"]["conflict"] > 0 < result["ledger"]["rejected"]
    assert set(result["calls"]) >= set(CALLS) - {"recall", "malformed", "batch_resolve", "replay"}
    assert set(result["industries"]) == set(INDUSTRIES)
    assert result["generator"]["requests_per_core"] > 0
    assert any(r["processes"]["generator"]["rss_mib"] for r in result["resources"])
    for name in ("result.json", "state.json"):
        assert key not in (tmp_path / name).read_text("utf-8")


async def day_began(out: Path, process: asyncio.subprocess.Process) -> None:
    """Wait until some writes of the day were sent."""
    async with asyncio.timeout(120):
        while not any(path.stat().st_size > 200 for path in out.glob("journal-*.ndjson")):
            assert process.returncode is None
            await asyncio.sleep(0.1)


async def test_a_wrong_key_is_no_pass(node: OwnNode, tmp_path: Path) -> None:
    process = await started(node.url, "iid_test_0000", tmp_path / "c")
    status, output, result = await ended(process, tmp_path / "c")
    assert (status, result["verdict"]) == (2, "incomplete")
    assert "key is refused" in output
    assert "密钥" in result["why"][0]["zh"]


@asynccontextmanager
async def answering(folder: Path, body: bytes) -> AsyncIterator[str]:
    """A web server that is no node: one answer to everything."""
    file, port = folder / "answer", free_port(0)
    file.write_bytes(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "loadtest.bare", str(port), str(file))
    try:
        async with asyncio.timeout(60):
            while True:
                try:
                    (await asyncio.open_connection("127.0.0.1", port))[1].close()
                    break
                except OSError:
                    await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


@pytest.mark.parametrize("body", [b"<html>welcome</html>", b'{"templates":[]}', b"[]"])
async def test_a_node_that_is_not_ours_is_no_pass(tmp_path: Path, body: bytes) -> None:
    async with answering(tmp_path, body) as url:
        process = await started(url, "k", tmp_path / "d")
        status, output, result = await ended(process, tmp_path / "d")
    assert (status, result["verdict"]) == (2, "incomplete")
    assert "node of" in output


@asynccontextmanager
async def secured(port: int, folder: Path) -> AsyncIterator[tuple[str, Path]]:
    """The node behind HTTPS, as behind a load balancer with a private CA: (its address, the CA's certificate)."""
    authority, pem, ca = trustme.CA(), folder / "front.pem", folder / "ca.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(pem))
    authority.cert_pem.write_to_path(str(ca))
    script = Path(__file__).with_name("tls_front.py")
    front = await asyncio.create_subprocess_exec(
        sys.executable, str(script), str(port), str(pem), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert front.stdout is not None
        bound = int(await asyncio.wait_for(front.stdout.readline(), 60))
        yield f"https://localhost:{bound}", ca
    finally:
        front.terminate()
        await front.communicate()


async def test_a_node_behind_https_with_a_private_authority(node: OwnNode, tmp_path: Path) -> None:
    key = node.seeded["api_key"]
    async with secured(node.port, tmp_path) as (url, ca):
        process = await started(url, key, tmp_path / "e")
        status, output, result = await ended(process, tmp_path / "e")
        assert (status, result["verdict"]) == (2, "incomplete")
        assert "not trusted" in output
        assert "证书" in result["why"][0]["zh"]

        process = await started(url, key, tmp_path / "f", "--seconds", "5", "--ca", str(ca))
        status, output, result = await ended(process, tmp_path / "f")
    if not result["generator"]["stalls"]:  # a short day has no recall of a lot to measure
        assert not [why for why in result["why"] if "Not measured" not in why["en"] and result["verdict"] != "fail"], (
            output
        )
    assert result["wrong"] == []
    assert result["ledger"]["balanced"], result["ledger"]
    assert result["calls"]["resolve"]["n"] > 0 < result["calls"]["scan"]["n"]


async def test_help_says_what_there_is_to_choose() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "node.cli", "acceptance", "--help"), stdout=asyncio.subprocess.PIPE
    )
    output = (await process.communicate())[0].decode()
    assert process.returncode == 0
    for word in ("--profile", "smoke", "city", "province", "--drills", "--steps", "--resume", "compare", "Exit status"):
        assert word in output
