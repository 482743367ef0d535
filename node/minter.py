"""`idnode mint LOT`: serials for a lot, into a file for the printer. An ordinary client of the REST API."""

from __future__ import annotations

import os
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from node.asking import AskError, ask, check, persist

_FORMS = {".csv": "text/csv", ".ndjson": "application/x-ndjson"}


@dataclass(slots=True)
class Minting:
    """`count` serials of a new run, or with `run` those of an old one; `file` None: named after lot and run."""

    lot: str
    url: str
    key: str
    count: int = 0
    run: int = 0
    file: Path | None = None


async def mint(asked: Minting) -> int:
    """Reserve a run, unless one is named, and write its serials. Raises AskError with what to do."""
    if asked.file and asked.file.suffix.lower() not in _FORMS:
        raise AskError(f"{asked.file}: 须为 .csv 或 .ndjson / must be .csv or .ndjson")
    if asked.file and asked.file.exists():
        raise AskError(f"{asked.file} 已存在 / exists: its serials may be printed already")
    headers = {"Authorization": f"Bearer {asked.key}"}
    async with httpx.AsyncClient(base_url=asked.url, headers=headers, timeout=120) as client:
        run = await (_named(client, asked) if asked.run else _reserved(client, asked))
        file = asked.file or Path(f"{run['lot'].partition('/')[2]}-{run['run']}.csv")
        if file.exists():
            raise AskError(f"{file} 已存在 / exists: its serials may be printed already")
        try:
            await persist(client.base_url, lambda: _write(client, run, file))
        except (AskError, OSError) as error:
            again = f"idnode mint {run['lot']} --run {run['run']}"
            raise AskError(f"{error}\n已预留，可再取 / reserved; get them with: {again}") from None
    print(
        f"{file}: {run['count']:,} 个序列号 serials, {run['first']} … {run['last']}\n"
        f"批次 lot {run['lot']}, run {run['run']}; 已预留，发货时激活 / reserved: activate them at shipping"
    )
    return 0


async def _reserved(client: httpx.AsyncClient, asked: Minting) -> dict[str, Any]:
    """A new run. The key makes a request that is sent again find the run of the first, not reserve another."""
    once = {"Idempotency-Key": f"mint-{secrets.token_hex(16)}"}
    run: dict[str, Any] = await ask(
        client, "POST", f"/api/v1/lots/{asked.lot}:mint", json={"count": asked.count}, headers=once
    )
    return run


async def _named(client: httpx.AsyncClient, asked: Minting) -> dict[str, Any]:
    runs = (await ask(client, "GET", f"/api/v1/lots/{asked.lot}/runs"))["runs"]
    found: dict[str, Any] | None = next((run for run in runs if run["run"] == asked.run), None)
    if found is None:
        known = ", ".join(str(run["run"]) for run in runs) or "—"
        raise AskError(f"批次 {asked.lot} 没有 run {asked.run} / has no such run; it has {known}")
    return found | {"lot": asked.lot}


async def _write(client: httpx.AsyncClient, run: dict[str, Any], file: Path) -> None:
    """All serials or no file: half a run on a printer looks like a whole one."""
    form, part = _FORMS[file.suffix.lower()], file.with_name(f"{file.name}.part")
    route = f"/api/v1/lots/{run['lot']}/runs/{run['run']}/serials"
    lines = 0
    async with client.stream("GET", route, headers={"Accept": form}) as answer:
        if not answer.is_success:
            await answer.aread()
        check(answer)
        with part.open("wb") as out:
            async for data in answer.aiter_bytes():
                out.write(data)
                lines += data.count(b"\n")
                _show(lines, run["count"])
    if lines != run["count"] + (form == "text/csv"):  # a header
        raise httpx.ReadError(f"{lines} of {run['count']} serials arrived")
    os.replace(part, file)


def _show(lines: int, count: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{min(lines, count):,} / {count:,}", end="\n" if lines >= count else "", file=sys.stderr)
