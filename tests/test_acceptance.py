"""The acceptance run's own parts: its day follows from its seed, and its oracle catches what is planted."""

from __future__ import annotations

import io
import json
import os
import resource
import socket
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

import gevent
import pytest
from gevent.event import Event

from loadtest.acceptance import command, drills, profiles, resources, steps, sweep
from loadtest.acceptance.arrivals import Arrival, popular, schedule
from loadtest.acceptance.away import Away
from loadtest.acceptance.book import Book
from loadtest.acceptance.calls import Day
from loadtest.acceptance.firms import SINGLE, Share, batches, firms, sizes
from loadtest.acceptance.generators import _alive
from loadtest.acceptance.hands import Hands
from loadtest.acceptance.lean import Lean, NoAnswer, Reply, Target
from loadtest.acceptance.oracle import Oracle, keep_part, kept_part
from loadtest.acceptance.profiles import PROFILES, profile_of
from loadtest.acceptance.progress import Progress
from loadtest.acceptance.reads import Single
from loadtest.acceptance.resources import Watch
from loadtest.acceptance.rest import Incomplete
from loadtest.acceptance.tally import Spread, Tally
from loadtest.industry_rows import INDUSTRIES

FIRMS = firms(6000, 3, "AT", [("88.999.1001", "key")], 8)
SHARE = Share(FIRMS, 0, 1)
BATCH, NUMBER = SHARE.item(500)
FIRM = BATCH.firm


# --- the day


def test_the_day_follows_from_its_seed() -> None:
    streams = PROFILES["smoke"].streams
    first = list(schedule(streams, 60, 7, 0, 2))
    assert first == list(schedule(streams, 60, 7, 0, 2))
    assert first != list(schedule(streams, 60, 8, 0, 2))
    assert first != list(schedule(streams, 60, 7, 1, 2))
    assert [a.due for a in first] == sorted(a.due for a in first)


def test_the_day_has_its_shares_and_its_waves() -> None:
    found = [a for worker in (0, 1) for a in schedule(PROFILES["smoke"].streams, 60, 7, worker, 2)]
    calls = Counter(a.call for a in found)
    assert 0.012 < calls["unknown"] / calls["resolve"] < 0.028
    assert 0.004 < calls["malformed"] / calls["resolve"] < 0.018
    assert all(calls[call] for call in ("batch_resolve", "scan", "claim", "register", "update", "recall", "replay"))
    scans = Counter(int(a.due) for a in found if a.call == "scan")
    assert min(scans[t] for t in range(48, 51)) > 2.5 * max(scans[t] for t in range(2))  # the sale against the night


def test_few_are_popular_and_the_tail_is_cold() -> None:
    found = Counter(popular(n / 9973, (n * 7919 % 9973) / 9973, 50_000) for n in range(9973))
    assert max(found) < 50_000
    assert found.most_common(1)[0][1] > 300
    assert sum(count == 1 for count in found.values()) > 2000


def test_firms_are_one_giant_and_many_small_of_all_industries() -> None:
    assert {firm.trade for firm in FIRMS} == set(INDUSTRIES)
    found = sizes(5_000_000, 60)
    assert found[0] > 1_000_000
    assert found == sorted(found, reverse=True)
    assert len({firm.handle(1) for firm in FIRMS}) == len(FIRMS)


def test_each_lot_has_one_generator() -> None:
    shares = [Share(FIRMS, worker, 3) for worker in range(3)]
    owned = [b.index for share in shares for b in share.batches]
    assert sorted(owned) == [b.index for b in batches(FIRMS)]
    for share in shares:
        for position in range(0, share.size, 37):
            batch, number = share.item(position)
            assert batch in share.batches
            assert batch.firm.lot(number) == batch.lot
            assert batch.firm.kind(0, number) == "new"
        assert not {b.index for b in share.recalled} & {b.index for b in share.written}


# --- the oracle


class Planted:
    """A node that answers what the test plants, and tells the time that the test says."""

    lain = 0.0  # s; it is never busy with others

    def __init__(self, *answers: tuple[int, Any] | Exception, begun: float = 100.0) -> None:
        self.answers, self.begun = list(answers), begun

    def ask(self, request: bytes) -> Reply:
        found = self.answers.pop(0)
        if isinstance(found, Exception):
            raise found
        status, body = found
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return Reply(status, b"content-type: application/problem+json", data, self.begun, self.begun + 0.01)


def day(oracle: Oracle | None = None) -> Day:
    return Day(Target.of("http://node.test"), SHARE, oracle or Oracle(), Tally(), 0, 0.0, "T")


def record(version: int = 1, **changes: Any) -> dict[str, Any]:
    values = [{"index": 1, "type": "URL", "data": {"value": FIRM.address(NUMBER, version)}}] if version > 1 else []
    return {"handle": FIRM.handle(NUMBER), "version": version, "status": "active", "values": values,
            "attributes": FIRM.content(NUMBER, version), **changes}  # fmt: skip


def judged(oracle: Oracle, status: int, body: Any, begun: float = 100.0) -> list[str]:
    made = day(oracle)
    made.judge("resolve", BATCH, NUMBER, 1, status, body, Reply(status, b"", b"", begun, begun + 0.01))
    return [w["kind"] for w in made.tally.wrong]


def changed(*times: tuple[float, float]) -> Oracle:
    """Writes of the item, each (sent, acknowledged)."""
    oracle = Oracle()
    known = oracle.item(FIRM, NUMBER)
    for sent, acknowledged in times:
        known.acknowledged(known.sent(sent), acknowledged)
    return oracle


def test_a_right_answer_is_right() -> None:
    assert judged(Oracle(), 200, record()) == []
    assert judged(changed((90, 99)), 200, record(2)) == []


def test_an_older_answer_after_an_acknowledged_write_is_stale() -> None:
    assert judged(changed((90, 99)), 200, record(1)) == ["stale"]
    assert judged(changed((80, 85), (90, 99)), 200, record(2)) == ["stale"]


@pytest.mark.parametrize("version", [1, 2])
def test_beside_a_write_both_are_right(version: int) -> None:
    assert judged(changed((99, 101)), 200, record(version)) == []
    assert judged(changed((99, float("inf"))), 200, record(version)) == []  # of unknown outcome


def test_what_nobody_sent_is_wrong() -> None:
    assert judged(Oracle(), 200, record(2)) == ["wrong"]
    assert judged(changed((101, 102)), 200, record(2)) == ["wrong"]  # sent only after the answer
    assert judged(Oracle(), 200, record(handle="88.999.1001/OTHER")) == ["wrong"]
    assert judged(Oracle(), 200, record(attributes=FIRM.content(NUMBER, 2))) == ["wrong"]
    assert judged(Oracle(), 200, record(attributes={})) == ["wrong"]
    assert judged(changed((90, 99)), 200, record(2, values=[])) == ["wrong"]
    assert judged(Oracle(), 403, {"code": "foreign_prefix"}) == ["wrong"]


def test_a_handle_that_was_registered_and_is_not_there_is_lost() -> None:
    assert judged(Oracle(), 404, {"code": "handle_not_found"}) == ["lost"]


def test_a_recalled_lot_recalls_its_items() -> None:
    oracle = Oracle()
    lot = oracle.lot(BATCH)
    lot.acknowledged(lot.sent(90), 95)
    assert judged(oracle, 200, record(status="recalled")) == []
    assert judged(oracle, 200, record()) == ["stale"]
    assert judged(Oracle(), 200, record(status="recalled")) == ["wrong"]


def test_a_second_creation_is_doubled() -> None:
    made = day()
    answer = b'{"outcome":"created","version":1}'
    single = Single(BATCH, SINGLE + 1, "k", answer)
    made._send_single(Planted((200, b'{"outcome":"unchanged"}')), single, "replay", key=False)  # type: ignore[arg-type]
    made._send_single(Planted((201, answer)), single, "replay", key=True)  # type: ignore[arg-type]
    assert made.tally.wrong == []
    made._send_single(Planted((201, answer)), single, "replay", key=False)  # type: ignore[arg-type]
    made._send_single(Planted((201, b'{"outcome":"created","version":2}')), single, "replay")  # type: ignore[arg-type]
    assert [w["kind"] for w in made.tally.wrong] == ["doubled", "doubled"]


def test_a_page_of_an_older_version_is_stale() -> None:
    def page(version: int) -> bytes:
        shown = f"<dd>{FIRM.address(NUMBER, version)}</dd>" if version > 1 else ""
        return f"<code>{FIRM.handle(NUMBER)}</code>{shown}".encode()

    oracle = changed((80, 85), (90, 99))
    found = [day(oracle)._page(FIRM, NUMBER, 1, Reply(200, b"", page(v), 100, 101)) for v in (1, 2, 3)]
    assert [f and f[0] for f in found] == ["stale", "stale", None]


def test_a_write_without_an_answer_is_sent_again_and_then_known() -> None:
    made = day()
    arrival = Arrival(0.0, "register", 0, 0.5, 0.9)
    client = Planted(NoAnswer("timeout"))
    again = Planted((503, {}), (201, b'{"outcome":"created"}'))
    work: list[Callable[[Any], None]] = []
    made._again = lambda industry, what: work.append(what)  # type: ignore[method-assign]
    made.run(client, arrival, 0.0)  # type: ignore[arg-type]
    single = made.singles[0]
    assert made.oracle.may_be(single.batch.firm, single.number, 1e12, 1e12, 0) == (0, 1)
    with pytest.raises(Exception, match="503"):
        work[0](again)
    work[0](again)
    assert made.oracle.may_be(single.batch.firm, single.number, 1e12, 1e12, 0) == (1, 1)
    assert made.tally.errors == {("timeout", "register"): (1, "")}


def test_what_a_broken_phase_sent_is_known_to_the_next(tmp_path: Path) -> None:
    oracle = Oracle()
    oracle.journal = (tmp_path / "journal-0.ndjson").open("w", encoding="utf-8")
    item, other, lot = oracle.item(FIRM, NUMBER), oracle.item(FIRM, SINGLE + 3, 0), oracle.lot(BATCH)
    oracle.lot_of[FIRM.index, SINGLE + 3] = BATCH.lot
    oracle.acknowledged((FIRM.index, NUMBER), item, oracle.sent((FIRM.index, NUMBER), item, 1.0), 2.0)
    oracle.sent((FIRM.index, SINGLE + 3), other, 3.0)
    oracle.acknowledged(BATCH.lot, lot, oracle.sent(BATCH.lot, lot, 3.0), 4.0)
    oracle.journal.write('["sent",[0,1')  # the process was killed here
    oracle.journal.close()
    found = kept_part(tmp_path, 0)
    for _ in range(2):  # from the journal, and from what is made of it
        assert found.may_be(FIRM, NUMBER, 9, 9) == (2, 2)
        assert found.may_be(FIRM, SINGLE + 3, 9, 9, 0) == (0, 1)
        assert found.item(FIRM, SINGLE + 3).frozen
        assert found.lot_of == {(FIRM.index, SINGLE + 3): BATCH.lot}
        assert found.state(BATCH.lot, "active", 9, 9) is not None
        keep_part(tmp_path, 0, found)
        found = kept_part(tmp_path, 0)


# --- sweep and ledger


def exported(looking: sweep.Sweep, missing: int = -1) -> None:
    for firm in FIRMS:
        for number in range(firm.size(0)):
            if firm.kind(0, number) == "new" and not (firm is FIRM and number == missing):
                looking._line({"handle": firm.handle(number), "attributes": firm.content(number, 1)})


def swept(oracle: Oracle | None = None) -> sweep.Sweep:
    return sweep.Sweep("", FIRMS, "AT", oracle or Oracle(), Tally(), 0.0)


def test_a_whole_export_is_right_and_each_fault_in_it_is_found() -> None:
    looking = swept()
    exported(looking)
    looking._line({"handle": "88.999.1001/OF-SOMEBODY-ELSE", "attributes": {}})
    looking._missing()
    assert looking.wrong == 0
    assert looking.rows == sum(f.expected(0, c)["created"] for f in FIRMS for c in range(f.chunks(0)))
    looking._line({"handle": FIRM.handle(NUMBER), "attributes": FIRM.content(NUMBER, 1)})
    looking._line({"handle": FIRM.handle(199), "attributes": FIRM.content(199, 1)})
    assert [w["kind"] for w in looking.tally.wrong] == ["doubled", "wrong"]
    gone = swept()
    exported(gone, NUMBER)
    gone._missing()
    assert [(w["kind"], w["handle"]) for w in gone.tally.wrong] == [("lost", FIRM.handle(NUMBER))]
    old = swept(changed((1, 2)))
    exported(old)
    assert [w["kind"] for w in old.tally.wrong] == ["stale"]


def test_a_ledger_balances_or_not() -> None:
    looking = swept()
    exported(looking)
    sums = {"rows": looking.rows + 9, "created": looking.rows, "unchanged": 4, "conflict": 3, "rejected": 2}
    assert sweep.ledger(sums, 5, looking, looking.rows + 7, 7)["balanced"]
    assert not sweep.ledger(sums, 5, looking, looking.rows + 8, 7)["balanced"]  # a counter too much
    assert not sweep.ledger(sums | {"rejected": 1}, 5, looking, looking.rows + 7, 7)["balanced"]
    looking.rows -= 1
    assert not sweep.ledger(sums, 5, looking, looking.rows + 8, 7)["balanced"]


# --- figures


def test_percentiles_are_never_better_than_they_were() -> None:
    spread = Spread()
    for n in range(1, 1001):
        spread.add(n / 10, n % 100 == 0)
    for share in (0.5, 0.9, 0.99):
        exact = 100 * share
        assert exact <= (spread.percentile(share) or 0) <= exact * 1.025
    assert (spread.n, spread.errors, spread.most) == (1000, 10, 100)
    again = Spread.unpacked(json.loads(json.dumps(spread.packed())))
    again.merge(spread)
    assert again.percentile(0.9) == spread.percentile(0.9)
    assert Spread().percentile(0.5) is None


def test_tallies_add_up_wherever_they_were_made() -> None:
    one, other = Tally(), Tally()
    for tally, ms in ((one, 3.0), (other, 9.0)):
        tally.offer(4.2)
        tally.done(4.5, "resolve", "pear", ms)
        tally.done(5.5, "scan", "shoes", ms, "503", "x")
        tally.fault("stale", "resolve", "h", 1, 2, 4.5)
    one.merge(Tally.unpacked(json.loads(json.dumps(other.packed()))))
    assert [(s["t"], s["offered"], s["done"], s["errors"]) for s in one.series()] == [(4, 2, 2, 0), (5, 0, 2, 2)]
    assert one.errors == {("503", "scan"): (2, "x")}
    assert (one.wrong_count, one.refused.n, one.industries["shoes"].errors) == (2, 2, 2)


def step(offered: float, done: float, p99: float = 20.0, errors: int = 0) -> dict[str, Any]:
    return {"offered": offered, "done": done, "p50": 5.0, "p99": p99, "errors": errors, "refused_503": 0,
            "p99_of_503": None}  # fmt: skip


def test_the_knee_is_the_last_rate_that_was_served() -> None:
    rising = [step(100, 100), step(200, 198), step(400, 390), step(800, 500, 4000), step(1200, 480, 9000, 900)]
    found = steps.knee_of(rising)
    assert found is not None
    assert found["rate"] == 400
    assert "800" in found["why_en"]
    highest = steps.knee_of(rising[:3])
    assert highest is not None
    assert "above" in highest["why_en"]
    assert steps.knee_of(rising[3:]) is None


def drilled(back: bool, stale: bool = False, cause: str = "503") -> dict[str, Any]:
    tally = Tally()
    for t in range(40):
        for n in range(20):
            away = 10 <= t < (14 if back else 40) and n % 2
            tally.done(t + 0.5, "resolve", "pear", 900.0 if away else 5.0, cause if away else "")
    if stale:
        tally.fault("stale", "resolve", "h", 1, 2, 11.0)
    return drills.judged(drills.DRILLS[3], tally, 10.2, 12.1)


def test_a_drill_is_held_when_all_is_as_before_and_nothing_was_stale() -> None:
    found = drilled(back=True)
    assert (found["held"], found["seconds_with_errors"], found["errors"]) == (True, 4, 40)
    assert 1 < found["seconds_to_normal"] < 3
    assert drilled(back=False)["held"] is False
    assert drilled(back=False)["seconds_to_normal"] is None
    assert drilled(back=True, cause="500")["held"] is False  # promise 5
    found = drilled(back=True, stale=True)
    assert (found["held"], found["stale"]) == (False, 1)


# --- what makes a run incomplete


def test_silence_ends_the_run() -> None:
    tally = Tally()
    for t in range(12):
        tally.done(t, "resolve", "pear", 1.0, "" if t < 3 else "ConnectionRefusedError")
    _alive(tally)
    tally.done(12, "resolve", "pear", 1.0, "ConnectionRefusedError")
    with pytest.raises(Incomplete, match="stopped answering"):
        _alive(tally)


def test_a_clock_that_jumps_and_a_machine_that_stands_still_are_noted() -> None:
    watch = Watch(0.0, dict, "")
    offset = watch._offset
    watch.look_at_clock(offset + 10.0, 10.0)
    watch.look_at_clock(offset + 11.4, 11.0)
    assert watch.jumps == []
    watch.look_at_clock(offset + 72.4, 12.0)
    assert watch.jumps == [60.0]
    watch.look_at_pause(2.5)
    assert watch.stalls == []
    watch.look_at_pause(31.0)
    assert [one["seconds"] for one in watch.stalls] == [30.0]


def test_a_full_disk_is_told_in_the_room_that_was_kept(tmp_path: Path) -> None:
    book = Book.open(tmp_path, {"profile": "smoke"})
    book.tally.done(1.0, "resolve", "pear", 5.0)
    result = book.result(datetime.now(UTC)) | {"verdict": "pass", "why": []}
    result["series"] = [{"t": n, "calls": {}} for n in range(200_000)]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            book.finish("day", {"x": "y" * 2_000_000}, 1.0)
        book.write(result)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    kept = json.loads((tmp_path / "result.json").read_text("utf-8"))
    assert kept["verdict"] == "incomplete"
    assert "cannot write" in kept["why"][0]["en"]
    assert not (tmp_path / "state.json.new").exists()


def test_a_broken_phase_leaves_its_wrong_answers_and_not_its_times(tmp_path: Path) -> None:
    book = Book.open(tmp_path, {"profile": "smoke"})
    book.tally.done(1.0, "resolve", "pear", 5.0)
    book.finish("morning", {"rows": 1}, 10.0)
    book.tally.done(20.0, "resolve", "pear", 5.0)
    book.tally.fault("stale", "resolve", "h", 1, 2, 20.0)
    book.phases.append({"name": "day"})
    book.break_off(30.0)
    again = Book.open(tmp_path, {"profile": "other"})
    assert again.state["profile"] == "smoke"
    assert (sorted(again.tally.seconds), again.tally.wrong_count) == ([1], 1)
    assert (again.state["done"], again.phases) == ({"morning": {"rows": 1}}, [])


def test_a_run_that_is_not_whole_is_never_a_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = Book.open(tmp_path, {})
    assert book.result(datetime.now(UTC))["verdict"] == "fail"  # nothing was swept
    book.state["done"]["sweep"] = {"ledger": {"balanced": True}, "sweep": {}, "database": {}}
    assert book.result(datetime.now(UTC))["verdict"] == "pass"
    book.state["done"]["drills"] = {"drills": [{"held": False, "zh": "缓存被杀", "en": "cache killed"}]}
    assert "cache killed" in str(book.result(datetime.now(UTC))["why"])
    assert book.result(datetime.now(UTC))["verdict"] == "fail"
    book.incomplete("中断", "interrupted")
    result = book.result(datetime.now(UTC))

    class Generous:
        def judge(self, found: dict[str, Any]) -> None:
            found["verdict"], found["why"] = "pass", []

        def fill(self, found: dict[str, Any]) -> None:
            found["chapters"] = []

    monkeypatch.setattr(command, "_part", lambda name: Generous())
    command._filled(result)
    assert (result["verdict"], result["why"][0]["en"]) == ("incomplete", "Incomplete: interrupted")


def test_the_view_says_phase_time_rate_and_errors() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    view = Progress(0.0, out=out)
    tally = Tally()
    for t in range(8):
        tally.done(t, "resolve", "pear", 12.0, "timeout" if t == 2 else "")
    view.phase("白天", "the day", 60)
    view.load(tally)
    said = out.getvalue()
    assert "白天 the day" in said
    assert "错误 errors 1" in said
    assert "剩 left" in said


def test_a_profile_can_be_made_smaller(tmp_path: Path) -> None:
    assert profile_of("city", tmp_path).rows * 4_820_062 / 5_009_960 > 5_000_000  # of so many that were sent
    small = profile_of("city", tmp_path, rows=1000, seconds=5, rate=10)
    assert (small.rows, small.day_seconds, small.rate) == (1000, 5, 10)
    assert profile_of("province", tmp_path).rows >= 500_000


def test_the_command_line_without_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["x", "--url", "http://n", "--key", "iid_secret", "--key=iid_secret"])
    assert "iid_secret" not in command.command()


def test_the_drills_that_can_be_named_are_those_there_are() -> None:
    assert {*profiles.DRILLS} == {drill.name for drill in (*drills.DRILLS, drills._DISK)}


@pytest.mark.parametrize(
    ("words", "named"), [((), ()), (("--drills",), profiles.DRILLS), (("--drills", "flooding"), ("flooding",))]
)
def test_drills_are_named_or_all(words: Sequence[str], named: Sequence[str]) -> None:
    given = command._arguments(words)
    assert tuple(filter(None, given.drills.split(","))) == tuple(named)


def test_a_drill_that_there_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command._arguments(["--drills", "cache_killed,flod"])
    assert "flod" in capsys.readouterr().err


def test_memory_that_processes_share_counts_once() -> None:
    """A process of some MiB: two of the same share all but what is their own."""
    mine = os.getpid()
    one, two = resources._resident([mine]), resources._resident([mine, mine])
    own = next(int(t.split()[1]) / 1024 for t in Path("/proc/self/status").read_text().splitlines() if "RssAnon" in t)
    assert one > own > 5
    assert two - one == pytest.approx(own, rel=0.2)
    assert resources._resident([]) == 0


def test_a_connection_is_opened_only_where_none_is_free() -> None:
    """Three at once need three; those that come one after the other need no more, and wait for nobody."""
    target = Target.of("http://127.0.0.1:1")
    made: list[Lean] = []
    used: list[tuple[Lean, float]] = []
    third = Event()

    def connect() -> Lean:
        made.append(Lean(target, 1.0))
        return made[-1]

    def do(client: Lean, arrival: Arrival, late: Callable[[], float]) -> None:
        used.append((client, late()))
        if arrival.due == 0.0:
            if len(made) == 3:
                third.set()
            assert third.wait(60)

    due = [Arrival(0.0 if n < 3 else 0.01 * n, "resolve", n, 0.5, 0.5) for n in range(9)]
    Hands(64, connect, do).work(iter(due), monotonic())
    assert len(made) == 3
    assert {id(client) for client, _ in used[:3]} == {id(client) for client in made}
    assert len(used) == 9
    assert all(late >= 0.0 for _, late in used)


def test_all_hands_are_away_only_until_an_answer_came_whenever_it_is_read() -> None:
    away = Away(2, 100.0)
    away.leave(101.0)
    away.leave(102.0)
    away.back(108.0, 108.0)
    assert away.full(100.0, 101.9) == 0.0  # one of two
    assert away.full(100.0, 105.0) == pytest.approx(3.0, abs=0.05)  # as far as anybody knows
    away.back(103.0, 109.0)  # read 6 s late
    assert away.full(100.0, 105.0) == pytest.approx(1.0, abs=0.05)
    assert away.full(102.5, 105.0) == pytest.approx(0.5, abs=0.05)
    away.leave(110.0)
    away.leave(110.5)
    away.back(112.0, 112.0)
    away.back(115.0, 115.0)
    assert away.full(104.0, 115.0) == pytest.approx(1.5, abs=0.05)


def test_a_request_is_late_by_the_node_s_doing_while_it_has_all_hands() -> None:
    """Due at once, all four: the node has two hands for 0.2 s, then the generator reads what has been there since."""
    late_of: dict[int, float] = {}

    def do(client: Lean, arrival: Arrival, late: Callable[[], float]) -> None:
        begun = monotonic()
        gevent.sleep(0.6)
        client.came = begun + 0.2  # read 0.4 s late
        gevent.sleep(0)
        late_of[arrival.number] = late()

    due = [Arrival(0.0, "resolve", number, 0.5, 0.5) for number in range(4)]
    Hands(2, lambda: Lean(Target.of("http://127.0.0.1:1"), 1.0), do).work(iter(due), monotonic())
    assert max(late_of[0], late_of[1]) < 0.2
    assert min(late_of[2], late_of[3]) > 0.3  # of 0.6 s


def test_how_long_an_answer_lay_unread_is_known() -> None:
    """A generator that was busy with others knows when the node had answered."""
    received, held, answered = threading.Event(), threading.Event(), threading.Event()

    def answer(server: socket.socket) -> None:
        with server.accept()[0] as there:
            there.recv(65536)
            received.set()
            held.wait(60)
            there.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
            answered.set()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=answer, args=(server,)).start()
        client = Lean(Target.of(f"http://127.0.0.1:{server.getsockname()[1]}"), 60.0)
        asked = gevent.spawn(client.ask, b"GET / HTTP/1.1\r\n\r\n")
        while not received.is_set():
            gevent.sleep(0)
        held.set()
        assert answered.wait(60)  # from before this, nobody but this greenlet has run
        threading.Event().wait(0.2)
        assert asked.get().body == b"{}"
    assert 0.2 <= client.lain < 30.0
    client.close()


def test_how_long_a_connection_was_open_unused_is_known() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = Lean(Target.of(f"http://127.0.0.1:{server.getsockname()[1]}"), 60.0)
        client._connect()
        before = client.lain
        assert before < 0.18  # nobody was busy
        opened = gevent.spawn(client._connect)
        gevent.sleep(0)  # it has begun, and waits for the loop to say that it is open
        assert not opened.ready()
        threading.Event().wait(0.2)
        opened.get()
        assert 0.18 <= client.lain - before < 30.0  # the kernel counts in ticks of up to 10 ms
        client.close()


def test_the_day_is_counted_apart(tmp_path: Path) -> None:
    """What its limits are held against is of its seconds alone, and exact: 1 in 100 of all, whatever second they fell into."""
    book = Book(tmp_path, {"done": {}})
    book.phases = [
        {"name": "morning", "from": 0.0, "to": 9.7},
        {"name": "day", "from": 10.0, "to": 29.5},
        {"name": "steps", "from": 30.0, "to": None},
    ]
    for second in range(40):
        for n in range(10):
            slow = 10 <= second < 30 and n == 0 and second % 10 == 0
            book.tally.done(
                second + 0.5, "resolve", "pear", 100.0 if slow else 9000.0 if not 10 <= second < 30 else 5.0
            )
    found = book.result(datetime.now(UTC))["day"]["resolve"]
    assert found["n"] == 200
    assert 5.0 <= found["p50"] < 5.2
    assert 5.0 <= found["p99"] < 5.2
    assert found["max"] == 100.0
