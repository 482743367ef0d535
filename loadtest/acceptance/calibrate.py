"""Whether the generator is the limit: its own processor time for a request with the oracle on, against the trivial
responder loadtest/bare.py, which answers a right record at once.

Measured on two cores of a shared Xeon with CPython 3.11, others at work beside: the lean connection with the oracle
26,000 to 33,000 requests for a second of one core, Locust's FastHttpUser without it 9,000
(`python -m loadtest.acceptance.calibrate 3 fast`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

WANTED = 5000


def measure(seconds: float = 3.0, fast: bool = False) -> dict[str, Any]:
    """{"requests_per_core", "wanted", ...}: in a process of its own, for gevent is to patch only that one."""
    command = [sys.executable, "-m", "loadtest.acceptance.calibrate", str(seconds), "fast" if fast else "lean"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60 + 4 * seconds, check=False)  # noqa: S603
    if done.returncode:
        return {"requests_per_core": None, "wanted": WANTED, "trouble": done.stderr[-300:]}
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _answer(record: dict[str, Any]) -> bytes:
    body = json.dumps(record, ensure_ascii=False).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _lean(port: int, seconds: float) -> tuple[int, float, int]:
    """(requests, seconds of this process's processor, wrong or missing answers) of 32 connections that never rest."""
    import gevent

    from loadtest.acceptance.arrivals import Arrival
    from loadtest.acceptance.calls import Day
    from loadtest.acceptance.firms import Share, firms
    from loadtest.acceptance.lean import Lean, Target
    from loadtest.acceptance.oracle import Oracle
    from loadtest.acceptance.tally import Tally

    share = Share(firms(1000, 1, "A", [("88.999.1001", "")], 1), 0, 1)
    day = Day(Target.of(f"http://127.0.0.1:{port}"), share, Oracle(), Tally(), 0, time.monotonic(), "A")
    end = time.monotonic() + seconds
    done = 0

    def hand() -> None:
        nonlocal done
        client = Lean(day.target, 10)
        while (now := time.monotonic()) < end:
            day.run(client, Arrival(0.0, "resolve", 0, 0.0, 0.5), now)
            done += 1

    before = time.process_time()
    gevent.joinall([gevent.spawn(hand) for _ in range(32)], raise_error=True)
    spent = time.process_time() - before
    return done, spent, day.tally.wrong_count + len(day.tally.errors)


def _fast(port: int, seconds: float) -> tuple[int, float, int]:
    """The same with Locust's FastHttpUser and no oracle."""
    import gevent
    from locust import FastHttpUser, constant
    from locust.env import Environment

    class Plain(FastHttpUser):
        host = f"http://127.0.0.1:{port}"
        wait_time = constant(0)

    environment = Environment(user_classes=[Plain])
    users = [Plain(environment) for _ in range(32)]
    end = time.monotonic() + seconds

    done = wrong = 0

    def hand(user: Any) -> None:
        nonlocal done, wrong
        while time.monotonic() < end:
            answer = user.client.get("/88.999.1001/A", name="resolve")
            done += 1
            wrong += answer.status_code != 200

    before = time.process_time()
    gevent.joinall([gevent.spawn(hand, u) for u in users], raise_error=True)
    return done, time.process_time() - before, wrong


def main() -> int:
    from gevent import monkey

    monkey.patch_all()
    from loadtest.acceptance.firms import Share, firms
    from node.embedded_process import free_port

    seconds, kind = float(sys.argv[1]), sys.argv[2]
    firm = firms(1000, 1, "A", [("88.999.1001", "")], 1)[0]
    batch, number = Share([firm], 0, 1).item(0)
    record = {"handle": firm.handle(number), "kind": "item", "status": "active", "version": 1,
              "attributes": firm.content(number, 1), "values": [], "lot": batch.lot}  # fmt: skip
    port = free_port(0)
    with tempfile.TemporaryDirectory(prefix="idnode-calibrate-") as scratch:
        file = Path(scratch) / "answer"
        file.write_bytes(_answer(record))
        command = [sys.executable, "-m", "loadtest.bare", str(port), str(file)]
        bare = subprocess.Popen(command, stdout=subprocess.PIPE)  # noqa: S603
        assert bare.stdout is not None
        try:
            if not bare.stdout.readline():
                raise RuntimeError("the trivial responder did not start")
            done, spent, wrong = (_fast if kind == "fast" else _lean)(port, seconds)
        finally:
            bare.terminate()
            bare.wait()
    found = {"requests_per_core": round(done / spent) if spent and not wrong else None, "wanted": WANTED,
             "client": kind, "requests": done, "cpu_seconds": round(spent, 3), "cores": os.cpu_count()}  # fmt: skip
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
