"""Locust users: register one, register a batch, resolve (Zipf over what is registered), scan.

Every answer is held against what was registered; one wrong body fails the whole run, however fast it was.
Settings: NODE_PREFIX_UNDER_TEST, NODE_KEY, and IDNODE_SEED. Run by `make loadtest`, or by hand:
    NODE_PREFIX_UNDER_TEST=88.999.1001 NODE_KEY=iid_... locust -f loadtest/locustfile.py --host http://127.0.0.1:8000
"""

from __future__ import annotations

import itertools
import json
import os
import secrets
from typing import Any

from locust import FastHttpUser, between, events, task

from loadtest.workload import Goods, Zipf

PREFIX = os.environ.get("NODE_PREFIX_UNDER_TEST", "88.999.1001")
KEY = os.environ.get("NODE_KEY", "")
SEED = int(os.environ.get("IDNODE_SEED", "1"))
POPULATION = 5_000  # registered before the users start, so that there is something to resolve
BATCH = 500
# A run of its own each time: on a node that keeps its data the handles of the last run are taken.
GOODS = Goods(PREFIX, SEED, run=f"L{secrets.token_hex(3)}")
_fresh = itertools.count(POPULATION)
_headers = {"Authorization": f"Bearer {KEY}"}
wrong_answers: list[str] = []


@events.test_start.add_listener
def register_population(environment: Any, **_: Any) -> None:
    """Register what will be resolved, by the same calls that the users make."""
    import requests

    for first in range(0, POPULATION, BATCH):
        answer = requests.post(
            f"{environment.host}/api/v1/handles:batch",
            json=[GOODS.row(n) for n in range(first, first + BATCH)],
            headers=_headers,
            timeout=60,
        )
        if answer.status_code != 200 or answer.json()["summary"]["created"] != BATCH:
            raise SystemExit(f"the node did not take the population: {answer.status_code} {answer.text[:500]}")


@events.quitting.add_listener
def fail_on_wrong_answers(environment: Any, **_: Any) -> None:
    """Locust exits with 1 for failures of its own; a wrong answer is one that no rate makes good."""
    if wrong_answers:
        environment.process_exit_code = 3
    report = os.environ.get("IDNODE_WRONG_ANSWERS")
    if report:
        with open(report, "w", encoding="utf-8") as file:
            json.dump(wrong_answers[:100], file, ensure_ascii=False)


def note(answer: Any, fault: str | None) -> None:
    """Record a wrong answer as a failure of its request and of the run."""
    if fault:
        wrong_answers.append(fault)
        answer.failure(f"wrong answer: {fault}")


class RegisterOne(FastHttpUser):
    """An ERP that registers products as they leave the line."""

    weight = 2
    wait_time = between(0.0, 0.05)

    @task
    def register(self) -> None:
        number = next(_fresh)
        with self.client.post(
            "/api/v1/handles", json=GOODS.row(number), headers=_headers, name="register one", catch_response=True
        ) as answer:
            body = answer.json() if answer.status_code == 201 else {}
            if answer.status_code != 201 or body.get("handle") != GOODS.handle(number):
                note(answer, f"{answer.status_code} for {GOODS.handle(number)}")


class RegisterBatch(FastHttpUser):
    """A spreadsheet of a day's production."""

    weight = 1
    wait_time = between(0.2, 0.5)

    @task
    def register(self) -> None:
        numbers = list(itertools.islice(_fresh, BATCH))
        rows = [GOODS.row(n) for n in numbers]
        with self.client.post(
            "/api/v1/handles:batch", json=rows, headers=_headers, name="register a batch", catch_response=True
        ) as answer:
            if answer.status_code != 200:
                answer.failure(f"status {answer.status_code}")
                return
            results = answer.json()["results"]
            right = [
                r["outcome"] == "created" and r["handle"] == GOODS.handle(n)
                for r, n in zip(results, numbers, strict=False)
            ]
            note(answer, None if len(right) == BATCH and all(right) else "a row of the batch was not created")


class Resolve(FastHttpUser):
    """Systems that resolve, the popular goods more often than the others."""

    weight = 6
    wait_time = between(0.0, 0.01)

    def on_start(self) -> None:
        self.popular = Zipf(POPULATION, secrets.randbits(32))

    @task
    def resolve(self) -> None:
        number = self.popular.next()
        with self.client.get("/" + GOODS.handle(number), name="resolve", catch_response=True) as answer:
            if answer.status_code != 200:
                note(answer, f"{answer.status_code} for {GOODS.handle(number)}")
            else:
                note(answer, GOODS.wrong(number, answer.json()))


class Scan(FastHttpUser):
    """Shoppers with a phone."""

    weight = 2
    wait_time = between(0.0, 0.05)

    def on_start(self) -> None:
        self.popular = Zipf(POPULATION, secrets.randbits(32))

    @task
    def scan(self) -> None:
        number = self.popular.next()
        headers = {"Accept": "text/html"}
        with self.client.get("/" + GOODS.handle(number), headers=headers, name="scan", catch_response=True) as answer:
            shown = answer.text or ""
            right = answer.status_code == 200 and GOODS.handle(number) in shown
            right = right and GOODS.values(number)[1]["data"] in shown
            note(answer, None if right else f"the page of {GOODS.handle(number)} lacks its content")
