"""Locust underneath: a master and its workers, one `Arrivals` user in each worker, which sends the whole open-loop
schedule of its share over lean connections. Started by loadtest.acceptance.generators.

Integrators extend it: a file that imports all of this one and adds subclasses of `CheckedUser` (a FastHttpUser that
resolves through the oracle), given as `idnode acceptance --users FILE`; Locust's own statistics count them.
Settings: IDNODE_ACCEPTANCE_SPEC, a JSON file; IDNODE_GENERATOR, the worker's number.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any

import gevent
from gevent.event import AsyncResult
from locust import FastHttpUser, LoadTestShape, User, constant, events, task
from locust.runners import MasterRunner, WorkerRunner

from loadtest.acceptance import arrivals
from loadtest.acceptance.arrivals import Arrival, Stream
from loadtest.acceptance.calls import Day
from loadtest.acceptance.firms import Firm, Share
from loadtest.acceptance.hands import Hands, allowed
from loadtest.acceptance.lean import Lean, Reply, Target
from loadtest.acceptance.oracle import keep_part, kept_part
from loadtest.acceptance.tally import Tally

SPEC: dict[str, Any] = json.loads(Path(os.environ["IDNODE_ACCEPTANCE_SPEC"]).read_text("utf-8"))
WORKERS: int = SPEC["workers"]
NUMBER = int(os.environ.get("IDNODE_GENERATOR", "-1"))  # -1: the master
begin: AsyncResult[float] = AsyncResult()
_finished: set[int] = set()


def _day() -> Day:
    firms = [Firm(**firm) for firm in SPEC["firms"]]
    folder = Path(SPEC["folder"])
    oracle = kept_part(folder, NUMBER)
    keep_part(folder, NUMBER, oracle)  # with what a journal said
    oracle.journal = (folder / f"journal-{NUMBER}.ndjson").open("w", encoding="utf-8")
    later = sum(1 for _, number in oracle.items if number >= 800_000_000)
    tag = f"{SPEC['tag']}-{SPEC['phase']}"
    share = Share(firms, NUMBER, WORKERS)
    return Day(
        Target.of(SPEC["url"]), share, oracle, Tally(), NUMBER, SPEC["start"], tag, later,
        timeout=SPEC["timeout"], wait=gevent.sleep, spawn=gevent.spawn, apart=SPEC["apart"],
    )  # fmt: skip


DAY = _day() if NUMBER >= 0 else None


class Arrivals(User):
    """All arrivals of this generator, each at its time; who finds no free connection waits, and its waiting counts."""

    wait_time = constant(0)
    fixed_count = 1

    @task
    def day(self) -> None:
        assert DAY is not None
        _walk_little()
        self.environment.runner.send_message("ready", NUMBER)
        start = begin.get()
        streams = [Stream(s["call"], s["points"]) for s in SPEC["streams"]]
        due = arrivals.schedule(streams, SPEC["seconds"], SPEC["seed"], NUMBER, WORKERS)
        hands = Hands(
            allowed(SPEC["connections"]),
            lambda: Lean(DAY.target, SPEC["timeout"]),
            lambda client, arrival, late: self._do(client, arrival, start, late),
        )
        telling = gevent.spawn(self._tell)
        hands.work(due, start)
        gevent.joinall(DAY.following, timeout=4 * SPEC["timeout"], raise_error=True)
        telling.kill()
        self._send(last=True)
        AsyncResult().get()  # nothing more to do: the shape ends us

    def _do(self, client: Lean, arrival: Arrival, start: float, late: Callable[[], float]) -> None:
        assert DAY is not None
        if monotonic() > start + SPEC["seconds"] + SPEC["grace"]:
            DAY.skip(arrival, start)
        else:
            DAY.run(client, arrival, start, late)

    def _tell(self) -> None:
        while True:
            gevent.sleep(1.0)
            self._send(last=False)

    def _send(self, last: bool) -> None:
        """What was seen since the last time, to the master; at the end the oracle goes to its file first."""
        assert DAY is not None
        tally, DAY.tally = DAY.tally, Tally()
        trouble = ""
        if last:
            try:
                keep_part(Path(SPEC["folder"]), NUMBER, DAY.oracle)
            except OSError as error:
                trouble = str(error)
        message = {"worker": NUMBER, "last": last, "trouble": trouble, "tally": json.dumps(tally.packed())}
        self.environment.runner.send_message("acceptance", message)


def _walk_little() -> None:
    """What the oracle knows grows by the request. Full collections would walk all of it, hold every arrival up
    meanwhile, and be measured as the node's; a phase is short enough to do without."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*gc.get_threshold()[:2], 1_000_000)


class CheckedUser(FastHttpUser):
    """For integrators: resolves popular handles through the oracle at its own pace. Subclass it and add tasks."""

    abstract = True
    wait_time = constant(0.05)
    chance = Random(SPEC["seed"])

    @task
    def resolve(self) -> None:
        assert DAY is not None
        batch, number, first = DAY._subject(Arrival(0, "resolve", 0, self.chance.random(), self.chance.random()))
        begun = monotonic()
        with self.client.get("/" + batch.firm.handle(number), name="resolve", catch_response=True) as answer:
            before = DAY.tally.wrong_count
            reply = Reply(answer.status_code, b"", answer.content or b"{}", begun, monotonic())
            DAY.judge("resolve", batch, number, first, reply.status, reply.body, reply)
            if DAY.tally.wrong_count > before:
                answer.failure("wrong answer")


class Shape(LoadTestShape):
    """One `Arrivals` in each worker (and what integrators add) until all have done their schedule."""

    use_common_options = False

    def tick(self) -> tuple[int, float] | None:
        more = len([u for u in self.runner.user_classes if u is not Arrivals]) if self.runner else 0
        return None if len(_finished) == WORKERS else (WORKERS * (1 + more), WORKERS)


@events.init.add_listener
def listen(environment: Any, **_: Any) -> None:
    """Master: begin for all at once, and hand on what the workers say as lines of JSON."""
    Arrivals.fixed_count = WORKERS
    runner = environment.runner
    if isinstance(runner, MasterRunner):
        runner.register_message("acceptance", _hand_on)
        runner.register_message("ready", _ready)
    if isinstance(runner, WorkerRunner):
        runner.register_message("begin", lambda msg, **_: begin.set(float(msg.data)))


_waiting: set[int] = set()


def _ready(environment: Any, msg: Any, **_: Any) -> None:
    _waiting.add(int(msg.data))
    if len(_waiting) == WORKERS:
        at = monotonic() + 0.5
        _say({"begin": at})
        environment.runner.send_message("begin", at)


def _hand_on(environment: Any, msg: Any, **_: Any) -> None:
    _say(msg.data)
    if msg.data["last"]:
        _finished.add(msg.data["worker"])


def _say(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()
