"""The chapters of the interfacing test (AII 004-2021: 4.1 to 4.4, 5.1, 5.2) as a checklist. A point is `proved` only by
figures of this result; what was not run is said to be so, and so is what the upper node has or nobody has built."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Result = dict[str, Any]
State = tuple[str, str]  # state, evidence
Point = tuple[str, str, Callable[[Result], State]]
STATES = ("proved", "failed", "needs_upper_node", "not_built", "not_run")
_NO = ("not_run", "")


def fill(result: Result) -> None:
    """Fill "chapters" from the rest of the result, the judged thresholds among it."""
    result["chapters"] = []
    for name, zh, en, points in _CHAPTERS:
        made = []
        for point_zh, point_en, look in points:
            state, evidence = look(result)
            made.append({"zh": point_zh, "en": point_en, "state": state, "evidence": evidence})
        result["chapters"].append({"name": name, "zh": zh, "en": en, "points": made})


def _never(state: str, evidence: str = "") -> Callable[[Result], State]:
    return lambda result: (state, evidence)


def _call(*names: str) -> Callable[[Result], State]:
    """Proved by answers to these calls of which none was wrong; failed where one was."""

    def look(result: Result) -> State:
        found = [(name, result["calls"][name]) for name in names if name in result["calls"]]
        good = {name: one["n"] - one["errors"] for name, one in found}
        if not good or not all(good.get(name) for name in names):
            return _NO
        wrong = sum(w["call"] in names for w in result["wrong"])
        said = "，".join(f"{name} {count:,}" for name, count in good.items())
        return ("failed" if wrong else "proved", f"{said}，有误 wrong {wrong}")

    return look


def _limits(*names: str) -> Callable[[Result], State]:
    """Proved where all of these limits were held."""

    def look(result: Result) -> State:
        found = [t for t in result["thresholds"] if t["name"] in names]
        said = "，".join(f"{t['name']} {t['measured']:,.4g} {t['unit']}" for t in found if t["measured"] is not None)
        if any(t["held"] is False for t in found):
            return "failed", said
        return ("proved", said) if len(found) == len(names) and all(t["held"] for t in found) else _NO

    return look


def _drill(name: str) -> Callable[[Result], State]:
    def look(result: Result) -> State:
        for one in result["drills"]:
            if one["name"] == name and one["held"] is not None:
                said = f"错误 errors {one['errors']}，过时 stale {one['stale']}，"
                said += f"恢复 normal after {one['seconds_to_normal']} s"
                return ("proved" if one["held"] else "failed"), said
        return _NO

    return look


def _onboarding(result: Result) -> State:
    """Only a node of the run's own takes its firms through application and allotment."""
    done = any(p["name"] == "prepare" and p["to"] is not None for p in result["run"]["phases"])
    if not (done and result["run"].get("own_node")) or not result["ledger"].get("created"):
        return _NO
    return "proved", f"新增 created {result['ledger']['created']:,}，前缀由本次申请 prefixes applied for by the run"


def _balanced(result: Result) -> State:
    ledger = result["ledger"]
    if ledger.get("sent") is None:
        return _NO
    names = (("sent", "发送"), ("created", "新增"), ("rows", "库内"), ("counters", "计数"))
    said = "，".join(f"{zh} {name} {ledger[name]:,}" for name, zh in names if ledger.get(name) is not None)
    return ("proved" if ledger["balanced"] else "failed"), said


def _swept(result: Result) -> State:
    sweep = result["sweep"]
    if not sweep.get("checked"):
        return _NO
    return ("failed" if sweep["wrong"] else "proved"), f"核对 checked {sweep['checked']:,}，有误 wrong {sweep['wrong']}"


def _https(result: Result) -> State:
    if not str(result["run"].get("url") or "").startswith("https://"):
        return "not_run", "http"
    return _call("resolve")(result)


_UPPER, _UNBUILT, _OTHER = "needs_upper_node", "not_built", _never("not_run")
_CHAPTERS: tuple[tuple[str, str, str, tuple[Point, ...]], ...] = (
    ("access", "接入申请", "Access", (
        ("企业前缀申请、审核、分配", "prefixes applied for, decided, allotted", _onboarding),
        ("标识登记（单条与批量）", "identifiers registered, singly and in bulk", _call("register", "import_chunk")),
        ("标识解析（单个与批量）", "identifiers resolved, singly and in batches", _call("resolve", "batch_resolve")),
        ("未知与畸形标识得到明确应答", "unknown and malformed identifiers answered clearly",
         _call("unknown", "malformed")),
        ("变更与召回即时生效", "updates and recalls take effect", _call("update", "recall")),
        ("IPv6 接入", "IPv6", _OTHER),
        ("顶级节点对接入申请的审核", "the application decided by the top node", _never(_UPPER)),
    )),
    ("synchronisation", "数据同步", "Data synchronisation", (
        ("登记账目逐项相符", "the ledger of registrations balances", _balanced),
        ("全量导出逐条核对", "the full export, checked item by item", _swept),
        ("重发不重复计数", "what is sent again does not count again", _call("replay")),
        ("主体、路由、统计、主数据按频次上报（附件1）", "reporting of the tables of annex 1", _never(_UNBUILT)),
        ("数据托管（附件4）", "escrow, annex 4", _never(_UNBUILT)),
        ("上报数据经顶级节点核对", "reported data accepted by the top node", _never(_UPPER)),
    )),
    ("monitoring", "运行监测", "Operation monitoring", (
        ("解析时延在门限之内", "resolution latency within its limit", _limits("resolve_p99")),
        ("登记时延在门限之内", "registration latency within its limit", _limits("register_p99")),
        ("最大解析速率已测得", "the highest rate of resolution found", _limits("knee_rate")),
        ("登记与解析可用性分别探测", "registration and resolution probed apart", _OTHER),
        ("监测数据与事件上报（附件2）、月报（附件3）", "monitoring, events and monthly reports upward, annexes 2 and 3",
         _never(_UNBUILT)),
    )),
    ("takeover", "应急接管", "Emergency take-over", (
        ("缓存失效后仍可解析", "resolution goes on without the cache", _drill("cache_killed")),
        ("缓存变慢时仍可解析", "resolution goes on with a slow cache", _drill("cache_slow")),
        ("数据库重启后自行恢复", "back by itself after a restart of the database", _drill("database_restarted")),
        ("工作进程被杀后自行恢复", "back by itself after a worker was killed", _drill("worker_killed")),
        ("网络中断后自行恢复", "back by itself after the network was cut", _drill("network_cut")),
        ("磁盘将满时不丢数据", "nothing lost with a disk nearly full", _drill("disk_nearly_full")),
        ("单个企业涌入不影响他人", "one enterprise's flood does not hurt others", _drill("flooding")),
        ("备份恢复演练", "restore from a backup", _OTHER),
        ("探测不低于 51 % 不可用时由顶级节点接管", "take-over by the top node when 51 % of probes fail",
         _never(_UPPER)),
    )),
    ("transport", "安全传输", "Secure transport", (
        ("HTTPS 解析", "resolution over HTTPS", _https),
        ("国密 TLS", "TLS with SM algorithms", _never(_UNBUILT)),
        ("与顶级节点的 EPP 通道", "the EPP channel to the top node", _never(_UNBUILT)),
    )),
    ("authentication", "接入认证", "Authentication", (
        ("持密钥的登记被接受", "registration with a key accepted", _call("register")),
        ("错误密钥被拒绝", "a wrong key refused", _OTHER),
        ("不得写他人前缀", "no writing under another's prefix", _OTHER),
        ("与顶级节点的双向认证", "mutual authentication with the top node", _never(_UPPER)),
    )),
)  # fmt: skip
