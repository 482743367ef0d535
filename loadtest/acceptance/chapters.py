"""The chapters of the interfacing test between a national top node and a secondary node (T11/AII 004-2021, of which
only the titles could be read: domain.md 2.1) as a checklist. What a point means is our reading of its title. A point is
proved only by what this run did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Result = dict[str, Any]
UPPER, UNBUILT = "needs_upper_node", "not_built"


@dataclass(frozen=True, slots=True)
class Point:
    """`proof` says of a result (whether the thing was done, whether it held, the evidence); else `state` is fixed."""

    zh: str
    en: str
    proof: Callable[[Result], tuple[bool, bool, str]] | None = None
    state: str = UPPER


def _calls(*names: str) -> Callable[[Result], tuple[bool, bool, str]]:
    """These calls were answered, and none wrongly."""

    def proof(result: Result) -> tuple[bool, bool, str]:
        counts = {name: result["calls"].get(name, {}).get("n") or 0 for name in names}
        wrong = sum(answer["call"] in names for answer in result["wrong"])
        return all(counts.values()), not wrong, ", ".join(f"{name} {n:,}" for name, n in counts.items())

    return proof


def _ledger(result: Result) -> tuple[bool, bool, str]:
    ledger = result["ledger"]
    figures = ", ".join(
        f"{name} {ledger[name]}" for name in ("sent", "created", "rows") if ledger.get(name) is not None
    )
    return ledger.get("sent") is not None, bool(ledger.get("balanced")), figures


def _sweep(result: Result) -> tuple[bool, bool, str]:
    checked = result["sweep"].get("checked")
    return bool(checked), not result["sweep"].get("wrong"), f"{checked or 0:,}"


def _drill(*names: str) -> Callable[[Result], tuple[bool, bool, str]]:
    def proof(result: Result) -> tuple[bool, bool, str]:
        found = {drill["name"]: drill for drill in result["drills"] if drill["held"] is not None}
        ran = all(name in found for name in names)
        said = ", ".join(f"{name} {found[name]['seconds_to_normal']} s" for name in names if name in found)
        return ran, ran and all(found[name]["held"] for name in names), said

    return proof


def _watched(result: Result) -> tuple[bool, bool, str]:
    return len(result["resources"]) > 1, True, f"{len(result['resources'])} × CPU, memory, disk, connections"


def _refused(result: Result) -> tuple[bool, bool, str]:
    """503s are quick beyond the knee."""
    steps = [step for step in result["steps"] if step.get("refused_503")]
    knee = result["knee"]
    return knee is not None, all((s["p99_of_503"] or 0) <= 1000 for s in steps), f"{knee['rate']:,} /s" if knee else ""


CHAPTERS: tuple[tuple[str, str, str, tuple[Point, ...]], ...] = (
    ("access", "4.1 接入申请", "4.1 Access", (
        Point("标识注册：单条、批量、重复提交", "registration: single, in bulk, sent again",
              _calls("import_chunk", "register", "replay")),
        Point("标识解析：存在、不存在、格式错误", "resolution: known, unknown, malformed",
              _calls("resolve", "unknown", "malformed")),
        Point("向国家顶级节点提交接入申请并获得批准", "an application to the national top node, and its approval"),
    )),
    ("synchronisation", "4.2 数据同步", "4.2 Data synchronisation", (
        Point("注册账目：提交 = 新建 + 未变 + 冲突 + 拒绝", "the ledger of registrations balances", _ledger),
        Point("终检：每个标识都是最后确认的内容", "the sweep: each handle is what was acknowledged last", _sweep),
        Point("更新与召回即时可见", "updates and recalls are seen at once", _calls("update", "recall")),
        Point("上报注册量、解析量与企业数据（附件 1–4）", "reports of registrations, resolutions and enterprises",
              state=UNBUILT),
    )),
    ("monitoring", "4.3 运行监测", "4.3 Operation monitoring", (
        Point("资源全程有记录", "resources recorded throughout", _watched),
        Point("过载时快速拒绝，不崩溃", "an overloaded node refuses quickly and does not collapse", _refused),
        Point("上级节点的探测", "probes of the upper node"),
    )),
    ("takeover", "4.4 应急接管", "4.4 Emergency takeover", (
        Point("缓存失效仍可解析", "resolution without the cache", _drill("cache_killed", "cache_slow")),
        Point("数据库重启后自行恢复", "recovery from a restart of the database", _drill("database_restarted")),
        Point("工作进程被杀、网络中断后自行恢复", "recovery from a killed worker and a cut network",
              _drill("worker_killed", "network_cut")),
        Point("上级节点接管与交还", "takeover by the upper node, and back"),
    )),
    ("transport", "5.1 安全传输", "5.1 Secure transport", (
        Point("TLS 由前置代理提供，本次压测未经过它", "TLS is the proxy's in front; this run did not pass through one",
              state="not_run"),
        Point("国密传输（GM/T）", "transport by the national ciphers", state=UNBUILT),
    )),
    ("authentication", "5.2 接入认证", "5.2 Access authentication", (
        Point("企业以密钥注册", "enterprises register with keys", _calls("register")),
        Point("与国家顶级节点互认证书", "certificates shared with the national top node"),
    )),
)  # fmt: skip


def fill(result: Result) -> None:
    """Fill "chapters"."""
    result["chapters"] = [
        {"name": name, "zh": zh, "en": en, "points": [_point(point, result) for point in points]}
        for name, zh, en, points in CHAPTERS
    ]


def _point(point: Point, result: Result) -> dict[str, str]:
    state, evidence = point.state, ""
    if point.proof is not None:
        done, held, evidence = point.proof(result)
        state = "not_run" if not done else "proved" if held else "failed"
    return {"zh": point.zh, "en": point.en, "state": state, "evidence": evidence}
