"""The season of the seven industries as a Locust shape: two senders until both imports are whole, then readers of what
was registered, then the end. Each answer is held against its rows; one wrong one fails the run.
    python -m loadtest.run --season 100000
    NODE_PREFIX_UNDER_TEST=88.999.1001 NODE_KEY=iid_... SEASON_ROWS=100000 \\
        locust -f loadtest/season_locustfile.py --headless --host http://127.0.0.1:8000
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from random import Random
from typing import Any

import gevent
import requests
from gevent.lock import Semaphore
from locust import FastHttpUser, LoadTestShape, constant, events, task

from loadtest.industry_rows import OUTCOMES, Goods
from node.templates import load_industries

PREFIX = os.environ.get("NODE_PREFIX_UNDER_TEST", "88.999.1001")
GOODS = Goods(
    PREFIX,
    int(os.environ.get("SEASON_ROWS", "5000000")),
    int(os.environ.get("IDNODE_SEED", "1")),
    f"M{secrets.token_hex(2)}",
)
PUBLIC = {t.code: {f.code for f in t.fields if f.visibility == "public"} for t in load_industries()}
SENDERS, READERS = 2, 20
SAMPLES = int(os.environ.get("SEASON_SAMPLES", "10000"))
_headers = {"Authorization": f"Bearer {os.environ.get('NODE_KEY', '')}"}
_rows = _headers | {"Content-Type": "application/x-ndjson"}
wrong_answers: list[str] = []


class Progress:
    """Both imports, one after the other; the chunks come from a process of their own."""

    def __init__(self) -> None:
        self.part = 0
        self.ids: list[str] = []
        self.acknowledged = 0  # chunks of this part
        self.sampled = 0
        self.chance = Random(GOODS.seed)
        self._turn = Semaphore()
        self._generator: subprocess.Popen[bytes] | None = None

    def take(self) -> tuple[str, dict[str, Any], bytes] | None:
        """(import, what has to become of the chunk, the chunk); None while the last ones are under way."""
        with self._turn:
            if self._generator is None:
                self._generator = self._generate()
            assert self._generator.stdout is not None
            head = json.loads(self._generator.stdout.readline() or b"{}")
            if "chunk" not in head:
                return None
            return self.ids[self.part], head, self._generator.stdout.read(head["bytes"])

    def _generate(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603
            [
                *(sys.executable, "-m", "loadtest.industry_rows", "--prefix", PREFIX, "--rows", str(GOODS.count)),
                *("--seed", str(GOODS.seed), "--run", GOODS.run, "--part", str(self.part)),
            ],
            stdout=subprocess.PIPE,
        )

    def acknowledge(self, host: str) -> None:
        """A chunk is in; with the last one the ledger is closed and held against the rows."""
        self.acknowledged += 1
        if self.acknowledged < GOODS.chunks(self.part):
            return
        ledger = {"chunks": GOODS.chunks(self.part), "rows": GOODS.size(self.part)}
        route = f"{host}/api/v1/imports/{self.ids[self.part]}:commit"
        closed = requests.post(route, json=ledger, headers=_headers, timeout=120).json()
        expected = [GOODS.expected(self.part, chunk) for chunk in range(GOODS.chunks(self.part))]
        for outcome in OUTCOMES.values():
            if closed.get(outcome) != sum(one[outcome] for one in expected):
                wrong_answers.append(f"part {self.part}, {outcome}: {closed}")
        self.part, self.acknowledged, self._generator = self.part + 1, 0, None


PROGRESS = Progress()


@events.test_start.add_listener
def open_imports(environment: Any, **_: Any) -> None:
    """Register the lots and open both imports, by the calls that an enterprise makes."""
    for lot in GOODS.lots():
        requests.post(f"{environment.host}/api/v1/lots", json=lot, headers=_headers, timeout=60).raise_for_status()
    for number in (0, 1):
        opened = requests.post(
            f"{environment.host}/api/v1/imports", json={"name": f"season {number}"}, headers=_headers, timeout=60
        )
        opened.raise_for_status()
        PROGRESS.ids.append(opened.json()["id"])


@events.quitting.add_listener
def fail_on_wrong_answers(environment: Any, **_: Any) -> None:
    """A wrong answer fails the run, and so does one that stopped before its ledgers were closed."""
    if PROGRESS.part < 2 or PROGRESS.sampled < SAMPLES:
        wrong_answers.append(f"ended early: part {PROGRESS.part}, {PROGRESS.sampled} samples")
    if wrong_answers:
        environment.process_exit_code = 3
    report = os.environ.get("IDNODE_WRONG_ANSWERS")
    if report:
        with open(report, "w", encoding="utf-8") as file:
            json.dump(wrong_answers[:100], file, ensure_ascii=False)


class Sender(FastHttpUser):
    """An enterprise's upload: one chunk after the other."""

    wait_time = constant(0)
    network_timeout = 120.0

    @task
    def send(self) -> None:
        found = PROGRESS.take() if PROGRESS.part < 2 else None
        if found is None:  # the last chunks are under way; the shape ends us
            gevent.sleep(0.05)
            return
        import_id, head, body = found
        route = f"/api/v1/imports/{import_id}/chunks/{head['chunk']}"
        with self.client.put(
            route, data=body.decode(), headers=_rows, name="put a chunk", catch_response=True
        ) as answer:
            counts = answer.json() if answer.status_code == 200 else {}
            fault = [f"{k}: {counts.get(k)}, expected {head[k]}" for k in OUTCOMES.values() if counts.get(k) != head[k]]
            if fault:
                wrong_answers.append(f"{route}: {answer.status_code} {fault}")
                answer.failure(f"wrong answer: {fault}")
        PROGRESS.acknowledge(self.host or "")


class Reader(FastHttpUser):
    """Anybody who scans or resolves."""

    wait_time = constant(0)

    @task
    def resolve(self) -> None:
        number = PROGRESS.chance.randrange(GOODS.size(0))
        if GOODS.kind(0, number) != "new":
            return
        with self.client.get("/" + GOODS.handle(number), name="resolve", catch_response=True) as answer:
            record = answer.json() if answer.status_code == 200 else {}
            fault = GOODS.wrong(number, record, PUBLIC[GOODS.industry(number)])
            if fault:
                wrong_answers.append(fault)
                answer.failure(f"wrong answer: {fault}")
        PROGRESS.sampled += 1


class SeasonShape(LoadTestShape):
    """Ends by what was done, not by the clock."""

    use_common_options = False

    def tick(self) -> tuple[int, float, list[type]] | None:
        if PROGRESS.part < 2:
            return SENDERS, SENDERS, [Sender]
        if PROGRESS.sampled < SAMPLES:
            return READERS, READERS, [Reader]
        return None
