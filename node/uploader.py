"""`idnode register FILE`: uploads rows in resumable chunks. An ordinary client of the REST API.

Beside FILE it keeps FILE.import.json while an upload is under way, and leaves the rejected rows in FILE.rejected.* with
FILE.errors.csv: correct the first and send it.
"""

from __future__ import annotations

import asyncio
import csv
import hashlib
import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from tqdm import tqdm

from node.asking import ask, check, persist
from node.sheets import cell_of
from node.uploads import Piece, header_of, pieces

_SENDERS = 2
_COLUMNS = ("handle", "outcome", "field", "code", "detail")


@dataclass(slots=True)
class Upload:
    """One file on its way to one node."""

    path: Path
    url: str
    key: str
    options: dict[str, Any]
    quiet: bool = False
    import_id: str = ""
    sums: dict[str, int] = field(default_factory=dict)

    @property
    def state_file(self) -> Path:
        return self.path.with_name(f"{self.path.name}.import.json")

    def fingerprint(self) -> str:
        """Of file, node and options: an upload goes on only where all three are the same."""
        with self.path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return hashlib.sha256(json.dumps([digest, self.url, self.options], sort_keys=True).encode()).hexdigest()


async def register(upload: Upload) -> int:
    """Send the file; 0 where every row was taken, 1 where some were not. Raises AskError, UploadError: what to do."""
    async with httpx.AsyncClient(
        base_url=upload.url, headers={"Authorization": f"Bearer {upload.key}"}, timeout=120
    ) as client:
        done = await _begin(client, upload)
        count, rows = await _send(client, upload, done)
        answer = await ask(
            client, "POST", f"/api/v1/imports/{upload.import_id}:commit", json={"chunks": count, "rows": rows}
        )
        upload.sums = {k: answer[k] for k in ("rows", "created", "unchanged", "conflict", "rejected")}
        errors = await _errors(client, upload)
    upload.state_file.unlink(missing_ok=True)
    _report(upload, errors)
    return 1 if errors else 0


async def _begin(client: httpx.AsyncClient, upload: Upload) -> set[int]:
    """Open an import, or find the one that was under way; the chunks that it has already."""
    mark = upload.fingerprint()
    with suppress(OSError, ValueError, KeyError):
        kept = json.loads(upload.state_file.read_text("utf-8"))
        if kept["fingerprint"] == mark:
            state = await ask(client, "GET", f"/api/v1/imports/{kept['import']}")
            if state["state"] == "open":
                upload.import_id = kept["import"]
                print(f"继续上次的导入 {kept['import']} / going on with it", file=sys.stderr)
                return set(range(state["next_chunk"]))
    opened = await ask(client, "POST", "/api/v1/imports", json={"name": upload.path.name, **upload.options})
    upload.import_id = opened["id"]
    # Whole or not at all: of half a file nobody would go on with the import.
    scratch = upload.state_file.with_name(upload.state_file.name + ".new")
    scratch.write_text(json.dumps({"fingerprint": mark, "import": opened["id"]}), "utf-8")
    scratch.replace(upload.state_file)  # `rename` fails on Windows where a file of an earlier import is there
    return set()


async def _send(client: httpx.AsyncClient, upload: Upload, done: set[int]) -> tuple[int, int]:
    """Send all chunks that are not there yet, two at a time; (chunks, rows) of the whole file."""
    counts = [0, 0]
    found = pieces(upload.path)
    bar = tqdm(desc=upload.path.name, unit=" 行", unit_scale=True, disable=upload.quiet, file=sys.stderr)
    with bar:

        async def sender(turns: Iterator[Piece]) -> None:
            while (piece := await asyncio.to_thread(next, turns, None)) is not None:
                counts[0] += 1
                counts[1] += len(piece.rows)
                if piece.number not in done:
                    route = f"/api/v1/imports/{upload.import_id}/chunks/{piece.number}"
                    await ask(client, "PUT", route, content=piece.body, headers={"Content-Type": piece.kind})
                bar.update(len(piece.rows))

        one_at_a_time = _Locked(found)
        async with asyncio.TaskGroup() as group:
            for _ in range(_SENDERS):
                group.create_task(sender(one_at_a_time))
    return counts[0], counts[1]


class _Locked(Iterator[Piece]):
    """An iterator that two threads may ask in turn."""

    def __init__(self, found: Iterator[Piece]) -> None:
        import threading

        self._found, self._lock = found, threading.Lock()

    def __next__(self) -> Piece:
        with self._lock:
            return next(self._found)


async def _errors(client: httpx.AsyncClient, upload: Upload) -> dict[tuple[int, int], list[dict[str, Any]]]:
    """The errors by (chunk, row)."""

    async def once() -> dict[tuple[int, int], list[dict[str, Any]]]:
        found: dict[tuple[int, int], list[dict[str, Any]]] = {}
        async with client.stream("GET", f"/api/v1/imports/{upload.import_id}/errors") as answer:
            if not answer.is_success:
                await answer.aread()
            check(answer)
            async for line in answer.aiter_lines():
                error = json.loads(line)
                found.setdefault((error["chunk"], error["row"]), []).append(error)
        return found

    return await persist(client.base_url, once)


def _report(upload: Upload, errors: dict[tuple[int, int], list[dict[str, Any]]]) -> None:
    sums = upload.sums
    words = "检查完毕，未写入 / checked, nothing written" if upload.options.get("check") else "已登记 / registered"
    print(
        f"{words}: {sums['rows']:,} 行 rows = 新增 created {sums['created']:,} + 未变 unchanged {sums['unchanged']:,}"
        f" + 冲突 conflict {sums['conflict']:,} + 拒绝 rejected {sums['rejected']:,}"
    )
    if not errors:
        return
    wide = ".ndjson" if upload.path.suffix.lower() in (".ndjson", ".jsonl") else ".csv"
    rejected = upload.path.with_name(f"{upload.path.name}.rejected{wide}")
    listed = upload.path.with_name(f"{upload.path.name}.errors.csv")
    with rejected.open("wb") as rows, listed.open("w", encoding="utf-8-sig", newline="") as table:
        writer = csv.writer(table)
        writer.writerow(["line", *_COLUMNS])
        rows.write(b"" if wide == ".ndjson" else "\ufeff".encode() + header_of(upload.path))
        for piece in pieces(upload.path):
            for row, text in enumerate(piece.rows):
                for error in errors.get((piece.number, row), ()):
                    writer.writerow([piece.lines[row], *(cell_of(error[k]) for k in _COLUMNS)])
                if (piece.number, row) in errors:
                    rows.write(text)
    for line in listed.read_text("utf-8-sig").splitlines()[1:21]:
        print(f"  {line}")
    if len(errors) > 20:
        print("  ...")
    print(f"被拒的行 / rejected rows: {rejected}\n原因 / reasons:            {listed}")
