"""What the node is and became: database, resources, drills, steps, chapters, machine."""

from __future__ import annotations

from typing import Any

from loadtest.acceptance import plots
from loadtest.acceptance.report_html import (
    NOTHING,
    Cell,
    Markup,
    both,
    figure,
    head,
    marked,
    ms,
    note,
    number,
    pairs,
    said,
    table,
)

Result = dict[str, Any]
STATES = {
    "proved": ("good", "✓ 已证明", "proved"),
    "failed": ("bad", "✗ 未通过", "failed"),
    "not_run": ("open", "未执行", "not run"),
    "needs_upper_node": ("open", "需上级节点", "needs the upper node"),
    "not_built": ("open", "尚未实现", "not built"),
}


def database(result: Result) -> str:
    found = result["database"]
    before, after = found.get("before_mib"), found.get("after_mib")
    grown = after - before if before is not None and after is not None else None
    return head("数据库", "Database") + pairs(
        [
            (both("之前", "before"), f"{number(before, 1)} MiB"),
            (both("之后", "after"), f"{number(after, 1)} MiB"),
            (both("增长", "growth"), f"{number(grown, 1)} MiB"),
            (both("标识", "identifiers"), number(found.get("items"))),
            (both("每个标识", "for each"), f"{number(found.get('bytes_per_item'))} B"),
        ]
    )


def resources(result: Result) -> str:
    found = head("资源", "Resources")
    if not result["resources"]:
        return found + NOTHING
    return found + "".join(figure(plot) for plot in plots.resources(result))


def drills(result: Result) -> str:
    rows: list[list[Cell]] = []
    for one in result["drills"]:
        held = marked("open", "未执行", "not run")
        if one["held"] is not None:
            held = marked("good", "经受住", "held") if one["held"] else marked("bad", "未经受住", "not held")
        span = f"{number(one['from'])}–{number(one['to'])} s"
        rows.append([
            both(one["zh"], one["en"]), span, number(one["errors"]), number(one["seconds_with_errors"]),
            number(one["stale"]), number(one["seconds_to_normal"], 1), held, both(one["notes_zh"], one["notes_en"]),
        ])  # fmt: skip
    columns = [both("演练", "drill"), both("时段", "when"), both("错误", "errors"), both("出错秒数", "s with errors"),
               both("过时", "stale"), both("恢复秒数", "s to normal"), both("结果", "result"),
               both("说明", "notes")]  # fmt: skip
    return head("故障演练", "Drills", True) + table(columns, rows, range(1, 6))


def steps(result: Result) -> str:
    rows = [
        [number(s["offered"]), number(s["done"]), ms(s["p50"]), ms(s["p99"]), number(s["errors"]),
         number(s["refused_503"]), ms(s["p99_of_503"])]
        for s in result["steps"]
    ]  # fmt: skip
    rates = (both("到达", "offered /s"), both("完成", "done /s"))
    columns = (*rates, "p50 ms", "p99 ms", both("错误", "errors"), "503", "503 p99 ms")
    found = head("逐级加压与拐点", "Steps and the knee") + table(columns, rows, range(7))
    if not rows:
        return found
    knee = result["knee"]
    if knee:
        found += f"<p><strong>{both('拐点', 'knee').text}: {number(knee['rate'])} /s</strong> "
        found += f"{both(knee['why_zh'], knee['why_en']).text}</p>"
    else:
        found += note("没有拐点：第一级即未及时完成。", "No knee: even the first step was not served in time.")
    found += note(
        "逐级加压时，发生器因自身处理器不足而迟发、迟读（应答已由内核收到并打上时间戳，"
        "或连接早已接通）的时间不计入时延；"
        "只有全部连接都在节点手中（自发出请求至应答到达）的时间才作为等待计入"
        "（白天与演练仍自应发时起算，至读到为止）；迟发次数见“发生器”。",
        "In the steps what the generator sent late for want of a processor is no latency, nor what it read late: the"
        " time for which an answer, or a connection that was open, lay in the generator's kernel, by its stamps; who"
        " waits for a connection waits for the node only while it has all of them (in the day and the drills latency"
        " counts from when a request was due to when its answer was read); how often it was late stands under the"
        " generator.",
    )
    return found + "".join(figure(plot) for plot in plots.knee(result))


def chapters(result: Result) -> str:
    found = head("对接测试章节", "Chapters of the interfacing test", True) + note(
        "章节依 AII 004-2021。“已证明”仅指本次测试所测；其余如实注明。",
        "Chapters after AII 004-2021. “Proved” means by this run; everything else is said to be what it is.",
    )
    for chapter in result["chapters"]:
        rows: list[list[Cell]] = [
            [both(p["zh"], p["en"]), marked(*STATES[p["state"]]), said(p["evidence"])] for p in chapter["points"]
        ]
        found += f"<h3>{both(chapter['zh'], chapter['en']).text}</h3>"
        found += table(
            [both("项目", "point"), both("状态", "state"), both("依据", "evidence")], rows, (), "list chapter"
        )
    return found if result["chapters"] else found + NOTHING


def machine(result: Result) -> str:
    this, run, generator = result["machine"], result["run"], result["generator"]
    own = both("发生器与节点同在此机", "generator and node on this machine")
    foreign = both("发生器所在；节点的机器未知", "of the generator; the node's is not known")
    rate, wanted = number(generator.get("requests_per_core")), number(generator.get("wanted"))
    rows: list[tuple[Markup | str, Cell]] = [
        (both("机器", "machine"), own if run.get("own_node") else foreign),
        (both("处理器", "processor"), f"{this.get('cpus') or '–'} × {this.get('cpu') or '–'}"),
        (both("内存", "memory"), f"{number(this.get('memory_gib'), 1)} GiB"),
        (both("空闲磁盘", "free disk"), f"{number(this.get('disk_free_gib'), 1)} GiB"),
        (both("系统", "system"), this.get("os")),
        *((name, version) for name, version in result["versions"].items()),
        (both("发生器每核", "generator, a core"), f"{rate} /s (≥ {wanted})"),
        (both("种子", "seed"), str(run.get("seed"))),
        (both("命令", "command"), run.get("command")),
    ]
    if "late" in generator:
        late = f"{number(generator['late'])}; {ms(generator.get('latest_ms'))} ms"
        rows.append((both("发生器迟发 10 ms 以上，最迟", "sent over 10 ms late by the generator, the latest"), late))
    phases: list[list[Cell]] = [
        [both(p["zh"], p["en"]), number(p["from"], 1), number(p["to"], 1)] for p in run["phases"]
    ]
    return (
        head("机器、版本、命令", "Machine, versions, command")
        + pairs(rows)
        + head("阶段", "Phases")
        + table([both("阶段", "phase"), both("自", "from, s"), both("至", "to, s")], phases, (1, 2))
    )
