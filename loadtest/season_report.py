"""The report of the five-million run: figures, verdict, tables and plots."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loadtest.client import Load
from loadtest.industry_rows import OUTCOMES, Goods
from loadtest.observing import Moment
from loadtest.report import Plot, page

if TYPE_CHECKING:
    from loadtest.five_million import Part

_CLASSES = {"new": "新增", "again": "重复", "changed": "改动", "broken": "损坏"}


def figures(goods: Goods, parts: Sequence[Part], moments: Sequence[Moment], sample: Load) -> dict[str, Any]:
    """What was sent and what became of it, times, plots' points. Rates are rows a second, latencies milliseconds."""
    sent = dict.fromkeys(OUTCOMES, 0)
    for number in range(len(parts)):
        for chunk in range(goods.chunks(number)):
            for kind, outcome in OUTCOMES.items():
                sent[kind] += goods.expected(number, chunk)[outcome]
    got = {kind: sum(part.sums[outcome] for part in parts) for kind, outcome in OUTCOMES.items()}
    latencies = sorted(taken * 1000 for part in parts for _, _, taken in part.done)
    seconds = sum(part.seconds for part in parts)
    return {
        "rows": goods.count,
        "seconds": seconds,
        "rate": goods.count / seconds,
        "season_rate": goods.size(0) / parts[0].seconds,
        "corrections_rate": goods.size(1) / parts[1].seconds,
        "chunk_p50_ms": latencies[len(latencies) // 2],
        "chunk_p99_ms": latencies[min(len(latencies) - 1, len(latencies) * 99 // 100)],
        "generator_cpu_seconds": sum(part.generator["cpu_seconds"] for part in parts),
        "generator_peak_mib": max(part.generator["peak_mib"] for part in parts),
        "classes": {kind: {"sent": sent[kind], "counted": got[kind]} for kind in OUTCOMES},
        "resolved": len(sample.latencies),
        "resolve_p50_ms": sample.percentile(0.5),
        "resolve_p99_ms": sample.percentile(0.99),
        "database_bytes": moments[-1].database,
        "wrong": [fault for part in parts for fault in part.wrong][:100] + sample.wrong[:100],
        "moments": [[m.seconds, m.rows, m.database, m.memory] for m in moments],
        "chunks": [[at, rows, taken] for at, rows, taken in _laid_out(parts)],
    }


def _laid_out(parts: Sequence[Part]) -> Iterator[tuple[float, int, float]]:
    """The chunks of both parts on one line of time."""
    before = 0.0
    for part in parts:
        yield from ((before + at, rows, taken) for at, rows, taken in part.done)
        before += part.seconds


def right(found: dict[str, Any]) -> bool:
    """Whether every row became what it had to, and every sample said what was registered."""
    agree = all(one["sent"] == one["counted"] for one in found["classes"].values())
    stored = found["rows_in_postgresql"]
    return agree and not found["wrong"] and stored in (None, found["classes"]["new"]["sent"])


def write(found: dict[str, Any], folder: Path) -> int:
    """Leave both reports, print the figures; 0 where all was right."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "five-million.json").write_text(json.dumps(found, ensure_ascii=False), "utf-8")
    verdict = (
        (True, "通过：账目逐行相符 / passed: the ledger is right row by row")
        if right(found)
        else (False, "未通过：见下 / FAILED: " + "; ".join(map(str, found["wrong"][:5])))
    )
    tables = [("数据 / figures", list(_figures(found))), ("账目 / ledger", list(_ledger(found)))]
    (folder / "five-million.html").write_text(
        page(f"{found['rows']:,} 条标识登记 · {found['rows']:,} registrations", verdict, tables, _plots(found)), "utf-8"
    )
    for _, rows in tables:
        print("\n".join(f"{figure:>20}  {label}" for label, figure in rows))
    print(f"\n{verdict[1]}; {folder}/five-million.html, .json")
    return 0 if verdict[0] else 1


def _figures(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "行数 / rows", f"{found['rows']:,}"
    yield "用时 / seconds", f"{found['seconds']:,.1f}"
    yield "每秒 / rows a second", f"{found['rate']:,.0f}"
    yield "  季内登记 / the season", f"{found['season_rate']:,.0f}"
    yield "  更正 / the corrections", f"{found['corrections_rate']:,.0f}"
    yield "分块延迟 / chunk latency p50, p99, ms", f"{found['chunk_p50_ms']:,.0f}, {found['chunk_p99_ms']:,.0f}"
    yield "解析 / resolved", f"{found['resolved']:,}"
    yield "  延迟 / latency p50, p99, ms", f"{found['resolve_p50_ms']:,.1f}, {found['resolve_p99_ms']:,.1f}"
    yield "批次 / lots, seconds", f"{found['lots']:,}, {found['lots_seconds']:,.1f}"
    yield "数据库 / database, MiB", f"{found['database_bytes'] / 2**20:,.0f}"
    yield "节点内存 / peak memory of a worker, MiB", f"{found['peak_mib_of_a_worker']:,.0f}"
    yield (
        "客户端内存 / of the client, of the generator, MiB",
        (f"{found['client_peak_mib']:,.0f}, {found['generator_peak_mib']:,.0f}"),
    )
    yield (
        "CPU 客户端、生成 / CPU of client, generator, s",
        (f"{found['client_cpu_seconds']:,.1f}, {found['generator_cpu_seconds']:,.1f}"),
    )


def _ledger(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for kind, one in found["classes"].items():
        yield f"{_CLASSES[kind]} / {kind} → {OUTCOMES[kind]}: sent, counted", f"{one['sent']:,}, {one['counted']:,}"
    if found["rows_in_postgresql"] is not None:
        yield "库内行数 / rows in PostgreSQL", f"{found['rows_in_postgresql']:,}"


def _plots(found: dict[str, Any]) -> list[Plot]:
    moments = found["moments"]
    rates = [(b[0], (b[1] - a[1]) / (b[0] - a[0])) for a, b in itertools.pairwise(moments) if b[0] > a[0]]
    return [
        Plot("登记速率 / rate", "行/秒 rows/s", rates),
        Plot(
            "分块延迟 / latency of a chunk", "毫秒 ms", [(at, taken * 1000) for at, _, taken in found["chunks"]], True
        ),
        Plot("数据库 / size of the database", "MiB", [(m[0], m[2] / 2**20) for m in moments]),
        Plot("内存 / memory of the largest worker", "MiB", [(m[0], m[3]) for m in moments]),
    ]
