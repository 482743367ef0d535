"""The main job, end to end on real processes: a co-operative applies, registers its harvest of 10,000 cartons over
REST, changes and deletes some, and two separate nodes on one database show each change at once."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
BATCH = 2000


async def idnode(env: dict[str, str], *arguments: str, stdin: bytes = b"") -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "node.cli", *arguments),
        env=os.environ | env,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate(stdin)
    assert process.returncode == 0, errors.decode()
    return output.decode()


@pytest.fixture(scope="module")
async def env(servers: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An empty database and a secret, as a production node would be given."""
    from node.sealing import create_secret_file

    conn = await asyncpg.connect(servers.admin_database_url)
    await conn.execute("CREATE DATABASE harvest OWNER node")
    await conn.close()
    secret = tmp_path_factory.mktemp("harvest") / "secret"
    create_secret_file(secret)
    return {
        "DATABASE_URL": servers.database_url.rpartition("/")[0] + "/harvest",
        "REDIS_URL": servers.redis_url.rpartition("/")[0] + "/1",
        "NODE_SECRET_FILE": str(secret),
        "PUBLIC_URL": "https://id.example.com",
        "METRICS_PORT": "0",
    }


@pytest.fixture(scope="module")
async def nodes(env: dict[str, str], serving: Any) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Two nodes over one database and one cache: one of a single worker, one of two."""
    from node.embedded_process import free_port

    assert "0001_reference.sql" in await idnode(env, "migrate")
    assert "up to date" in await idnode(env, "migrate")
    await idnode(env, "operator", "add", "--login", "zhao", "--role", "reviewer", "--password-stdin",
                 stdin=b"correct horse battery\n")  # fmt: skip
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(serving(env, free_port(0), n)) for n in (1, 2)]


async def applied(client: httpx.AsyncClient, form: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """(prefix, headers with the key) after application and approval over REST."""
    application = await client.post("/api/v1/applications", json=form)
    assert application.status_code == 201, application.text
    login = await client.post("/api/v1/operators:login", json={"login": "zhao", "password": "correct horse battery"})
    operator = {"Authorization": f"Bearer {login.json()['token']}"}
    decided = await client.post(
        f"/api/v1/applications/{application.json()['id']}:decide",
        json={"decision": "approve", "reason": "资料齐全"},
        headers=operator,
    )
    assert decided.status_code == 200, decided.text
    key = decided.json()["api_key"]
    assert re.fullmatch(r"iid_live_[0-9A-Za-z]{10}_[0-9A-Za-z]{43}_[0-9A-Za-z]{6}", key)
    return decided.json()["prefix"], {"Authorization": f"Bearer {key}"}


async def cartons(client: httpx.AsyncClient, prefix: str, lot: str) -> list[dict[str, Any]]:
    """The rows of the spreadsheet as registrations: its labels are those of the template."""
    template = (await client.get("/api/v1/templates/pear@1")).json()
    fields = {field["zh"]: field for field in template["fields"]}
    rows = []
    with (EXAMPLES / "pear-harvest.csv").open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            suffix = line.pop("suffix")
            attributes = {
                fields[label]["code"]: float(text) if fields[label]["type"] == "N" else text
                for label, text in line.items()
            }
            rows.append({"handle": f"{prefix}/{suffix}", "lot": lot, "attributes": attributes})
    return rows


async def upload(client: httpx.AsyncClient, rows: list[Any], headers: dict[str, str]) -> dict[str, int]:
    total = dict.fromkeys(("created", "unchanged", "conflict", "rejected"), 0)
    for start in range(0, len(rows), BATCH):
        answer = await client.post("/api/v1/handles:batch", json=rows[start : start + BATCH], headers=headers)
        assert answer.status_code == 200, answer.text
        for outcome, count in answer.json()["summary"].items():
            total[outcome] += count
    return total


async def everywhere(nodes: list[httpx.AsyncClient], handle: str) -> list[httpx.Response]:
    """The handle's record from both nodes, by fresh connections so that each of the two workers is met."""
    answers = []
    for client in nodes:
        for _ in range(6):
            async with httpx.AsyncClient(base_url=client.base_url) as fresh:
                answers.append(await fresh.get(f"/{handle}"))
    return answers


async def test_a_harvest(nodes: list[httpx.AsyncClient], make_application: Any, env: dict[str, str]) -> None:
    one, two = nodes
    prefix, headers = await applied(one, make_application(name="砀山县梨晨果蔬专业合作社"))
    assert prefix == "88.999.1001"
    described = json.loads((EXAMPLES / "pear-harvest-lot.json").read_text("utf-8"))
    lot = f"{prefix}/{described.pop('suffix')}"
    made = await one.post("/api/v1/lots", json={"handle": lot, **described}, headers=headers)
    assert made.status_code == 201, made.text
    rows = await cartons(one, prefix, lot)
    assert len(rows) == 10_000
    assert await upload(one, rows, headers) == {"created": 10_000, "unchanged": 0, "conflict": 0, "rejected": 0}
    assert await upload(two, rows, headers) == {"created": 0, "unchanged": 10_000, "conflict": 0, "rejected": 0}

    for row in rows[::997]:  # cartons resolve as JSON and as a page, on the node that did not register them
        record = (await two.get(f"/{row['handle']}")).json()
        assert record["lot"] == lot
        assert record["attributes"]["grade"] == row["attributes"]["grade"]
        assert record["attributes"]["variety"] == described["attributes"]["variety"]
        assert "harvest_team" not in record["attributes"]
        page = await two.get(f"/{row['handle']}", headers={"Accept": "text/html"})
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "砀山酥梨" in page.text
        assert row["attributes"]["grade"] in page.text
        assert row["attributes"]["harvest_team"] not in page.text

    changed, deleted = rows[123]["handle"], rows[456]["handle"]
    for round_ in range(1, 6):  # an update shows at once on every worker, however warm the caches are
        await everywhere(nodes, changed)
        answer = await nodes[round_ % 2].patch(
            f"/api/v1/handles/{changed}",
            json={"attributes": {"cold_store_id": f"LK-{round_:02d}"}},
            headers=headers | {"If-Match": f'"{round_}"'},
        )
        assert answer.status_code == 200, answer.text
        seen = {a.json()["attributes"]["cold_store_id"] for a in await everywhere(nodes, changed)}
        assert seen == {f"LK-{round_:02d}"}

    await everywhere(nodes, deleted)
    gone = await one.delete(f"/api/v1/handles/{deleted}?reason=压箱破损", headers=headers)
    assert gone.status_code == 200, gone.text
    for answer in await everywhere(nodes, deleted):
        assert (answer.status_code, answer.json()["reason"]) == (410, "压箱破损")
    again = await two.post("/api/v1/handles", json=rows[456], headers=headers)
    assert (again.status_code, again.json()["code"]) == (409, "handle_deleted")
    await counted(env, prefix)


async def counted(env: dict[str, str], prefix: str) -> None:
    """Counters, rows and what was sent are the same number: 10,000 cartons and a lot, one of them deleted."""
    conn = await asyncpg.connect(env["DATABASE_URL"])
    try:
        rows = await conn.fetchval("SELECT count(*) FROM handle WHERE shard >= 0")
        created = await conn.fetchval(
            "SELECT sum(created) FROM (SELECT created FROM registration_count"
            " UNION ALL SELECT created FROM registration_delta) AS c"
        )
    finally:
        await conn.close()
    assert rows == created == 10_001
    assert await idnode(env, "audit", "verify") == "the audit chain is whole\n"
