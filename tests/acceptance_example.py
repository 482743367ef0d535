"""A whole result of the acceptance run, as small as it can be with everything in it."""

from __future__ import annotations

import math
from typing import Any

CALLS = ("resolve", "batch_resolve", "scan", "unknown", "malformed", "register", "update", "recall", "replay",
         "import_chunk", "claim")  # fmt: skip
PHASES = (("prepare", "准备", "prepare", 0, 5), ("calibrate", "发生器标定", "calibrate the generator", 5, 8),
          ("morning", "早间导入", "morning imports", 8, 208), ("day", "白天", "the day", 208, 328),
          ("drills", "故障演练", "drills", 328, 388), ("steps", "逐级加压", "steps", 388, 440),
          ("sweep", "对账与全量核对", "ledger and sweep", 440, 470))  # fmt: skip


def figures(p50: float = 3.0, n: int = 100, errors: int = 0) -> dict[str, Any]:
    return {"n": n, "errors": errors, "p50": p50, "p90": p50 * 2, "p99": p50 * 5, "p999": p50 * 9}


def second(t: int) -> dict[str, Any]:
    rate = 300 + int(150 * math.sin(t / 20))
    calls = {call: figures(2 + abs(math.sin(t / 9)), rate) for call in ("resolve", "scan", "register", "update")}
    calls |= {call: figures(20, 5) for call in ("batch_resolve", "recall", "replay", "unknown", "malformed", "claim")}
    if t < 208:
        calls = {"import_chunk": figures(400, 6)}
    return {"t": t, "offered": rate, "done": rate, "errors": 3 if 340 < t < 346 else 0, "calls": calls}


def drill(name: str, zh: str, en: str, **other: Any) -> dict[str, Any]:
    return {"name": name, "zh": zh, "en": en, "from": 340.0, "to": 343.0, "errors": 12, "seconds_with_errors": 2,
            "stale": 0, "seconds_to_normal": 1.0, "held": True, "notes_zh": "解析不断，由数据库应答",
            "notes_en": "resolution goes on from the database"} | other  # fmt: skip


def step(offered: float, done: float, p99: float, **other: Any) -> dict[str, Any]:
    return {"offered": offered, "done": done, "p50": p99 / 5, "p99": p99, "errors": 0, "refused_503": 0,
            "p99_of_503": None} | other  # fmt: skip


def example() -> dict[str, Any]:
    """A run that passes."""
    whole = {name: {**figures(3.0, 30_000), "mean": 3.4, "max": 80.0} for name in CALLS}
    whole["register"] |= {"n": 5_000}
    processes = {"node": {"cpu": 0.9, "rss_mib": 210.0}, "postgresql": {"cpu": 0.6, "rss_mib": 640.0},
                 "generator": {"cpu": 0.4, "rss_mib": 120.0}}  # fmt: skip
    return {
        "format": "idnode-acceptance/1", "verdict": "pass", "why": [],
        "run": {"profile": "city", "seed": 7, "command": "idnode acceptance --profile city --drills --steps",
                "started": "2026-11-26T08:00:00+08:00", "ended": "2026-11-26T08:08:00+08:00",
                "url": "http://127.0.0.1:8000", "own_node": True,
                "phases": [{"name": n, "zh": zh, "en": en, "from": a, "to": b} for n, zh, en, a, b in PHASES]},
        "machine": {"cpus": 2, "cpu": "Xeon", "memory_gib": 7.8, "os": "Linux", "disk_free_gib": 80.0},
        "versions": {"idnode": "0.1.0", "python": "3.11.9", "postgresql": "18.6", "valkey": "9.1.2", "locust": "2.40"},
        "generator": {"requests_per_core": 26_000, "wanted": 5000},
        "thresholds": [], "series": [second(t) for t in range(8, 440)], "calls": whole,
        "industries": {name: {**figures(3.0, 9_000), "mean": 3.2, "max": 70.0} for name in ("pear", "textile", "shoes")},
        "errors": [{"cause": "503", "call": "register", "n": 12, "example": "database unavailable"}],
        "wrong": [],
        "ledger": {"sent": 5_060_000, "created": 5_005_000, "unchanged": 30_000, "conflict": 5_000, "rejected": 20_000,
                   "rows": 5_005_000, "counters": 5_005_000, "balanced": True},
        "sweep": {"checked": 5_025_000, "wrong": 0},
        "resources": [{"t": t, "processes": processes, "disk_mib": 200.0 + 6 * t, "connections": 20 + t % 7}
                      for t in range(0, 470, 5)],
        "database": {"before_mib": 30.0, "after_mib": 2400.0, "items": 5_005_000, "bytes_per_item": 496},
        "drills": [drill("cache_killed", "缓存被杀", "cache killed"),
                   drill("disk_nearly_full", "磁盘将满", "disk nearly full", held=None, errors=None,
                         seconds_with_errors=None, stale=None, seconds_to_normal=None)],
        "steps": [step(500, 499, 12), step(1125, 1120, 30), step(1690, 1660, 90), step(2530, 2000, 1500),
                  step(3800, 1900, 4000, refused_503=900, p99_of_503=300.0), step(845, 840, 14)],
        "knee": {"rate": 1690, "why_zh": "到 2,530/s 时完成 2,000/s", "why_en": "at 2,530/s it does 2,000/s"},
        "chapters": [],
    }  # fmt: skip


def empty() -> dict[str, Any]:
    """What a run knows that broke off at once."""
    found = example()
    found |= {"verdict": "incomplete", "why": [{"zh": "未完成：密钥不对", "en": "Incomplete: the key is wrong"}]}
    found["run"] |= {
        "phases": [],
        "own_node": False,
        "url": "",
        "command": "idnode acceptance --url http://x --key ...",
    }
    for name in ("series", "errors", "wrong", "resources", "drills", "steps"):
        found[name] = []
    for name in ("calls", "industries", "versions"):
        found[name] = {}
    for name in ("machine", "ledger", "sweep", "database"):
        found[name] = dict.fromkeys(found[name])
    found["ledger"]["balanced"] = False
    found["generator"]["requests_per_core"] = None
    found["knee"] = None
    return found
