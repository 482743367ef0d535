"""Starts Locust (a master and its workers, each a process) for one phase and hands on what they saw."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from loadtest.acceptance.arrivals import Stream
from loadtest.acceptance.firms import Firm
from loadtest.acceptance.rest import Incomplete
from loadtest.acceptance.tally import Tally
from node.embedded_process import dropper, free_port

_START_SECONDS = 120.0
_DEAD_SECONDS = 10  # without one good answer the node is gone
_LINE = 64 * 2**20


@dataclass
class Phase:
    """One stretch of load."""

    name: str
    streams: Sequence[Stream]
    seconds: float
    connections: int = 128
    timeout: float = 10.0
    grace: float = 10.0  # s after the end in which what waits for a connection is still sent
    patient: bool = False  # a drill: silence is what is looked for
    apart: bool = False  # more may be offered than the generators' processors can send in time: that is not latency


@dataclass
class Generators:
    """Of a run: where, whose goods, how many processes."""

    url: str
    firms: Sequence[Firm]
    folder: Path
    seed: int
    tag: str
    start: float  # monotonic, of the run
    workers: int = 1
    users: Path | None = None  # an integrator's locustfile
    tally: Tally = field(default_factory=Tally)  # of the whole run
    pids: list[int] = field(default_factory=list)

    def _spec(self, phase: Phase) -> Path:
        path = self.folder / "spec.json"
        path.touch(0o600)
        document = {
            "url": self.url, "firms": [asdict(f) for f in self.firms], "folder": str(self.folder), "seed": self.seed,
            "tag": self.tag, "start": self.start, "workers": self.workers, "phase": phase.name,
            "streams": [asdict(s) for s in phase.streams], "seconds": phase.seconds,
            "connections": phase.connections, "timeout": phase.timeout,
            "grace": phase.grace, "apart": phase.apart,
        }  # fmt: skip
        path.write_text(json.dumps(document), "utf-8")
        return path

    async def run(
        self,
        phase: Phase,
        watch: Callable[[Tally], None] = lambda tally: None,
        begun: Callable[[float], None] = lambda at: None,
    ) -> Tally:
        """The phase's tally. `watch` sees it grow, `begun` is told when the first arrival is due. Raises Incomplete
        where the node stopped answering or a generator failed."""
        spec, port = self._spec(phase), free_port(0)
        log = self.folder / "locust.log"
        started = [await self._locust(spec, log, port, number) for number in (-1, *range(self.workers))]
        self.pids = [p.pid for p in started]
        try:
            return await self._follow(started, phase, watch, begun, log)
        except BaseException:
            for process in started:
                with suppress(ProcessLookupError):
                    process.terminate()
            raise
        finally:
            self.pids = []
            spec.unlink(missing_ok=True)  # it holds keys
            await asyncio.gather(*(_ended(p) for p in started))

    async def _locust(self, spec: Path, log: Path, port: int, number: int) -> asyncio.subprocess.Process:
        file = self.users or Path(__file__).with_name("locustfile.py")
        role = ["--worker", "--master-host", "127.0.0.1", "--master-port", str(port)]
        if number < 0:
            role = ["--master", "--headless", "--master-bind-host", "127.0.0.1", "--master-bind-port", str(port)]
            role += ["--expect-workers", str(self.workers), "--stop-timeout", "0"]
        with log.open("ab") as output:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "locust", "-f", str(file), "--host", self.url, "--loglevel", "WARNING"),
                *role,
                env={**os.environ, "IDNODE_ACCEPTANCE_SPEC": str(spec), "IDNODE_GENERATOR": str(number)},
                stdout=asyncio.subprocess.PIPE if number < 0 else output,
                stderr=output,
                limit=_LINE,
                start_new_session=True,
                preexec_fn=dropper(None, signal.SIGTERM),
            )

    async def _follow(
        self,
        started: Sequence[asyncio.subprocess.Process],
        phase: Phase,
        watch: Callable[[Tally], None],
        begun: Callable[[float], None],
        log: Path,
    ) -> Tally:
        found, last, waited = Tally(), set[int](), _START_SECONDS
        stdout = started[0].stdout
        assert stdout is not None
        while len(last) < self.workers:
            try:
                line = await asyncio.wait_for(stdout.readline(), waited)
            except TimeoutError:
                line = b""
            if not line:
                tail = log.read_text(errors="replace")[-600:]
                raise Incomplete("负载发生器意外结束", f"a generator ended early: {tail}")
            if not line.startswith(b"{"):
                continue
            said: dict[str, Any] = json.loads(line)
            if "begin" in said:
                begun(said["begin"])
                continue
            waited = 60.0
            part = Tally.unpacked(json.loads(said["tally"]))
            found.merge(part)
            self.tally.merge(part)
            watch(found)
            if said["trouble"]:
                raise Incomplete(f"发生器无法写盘：{said['trouble']}", f"the generator cannot write: {said['trouble']}")
            if said["last"]:
                last.add(said["worker"])
            elif not phase.patient:
                _alive(found)
        return found


def _alive(tally: Tally) -> None:
    """Raises Incomplete after some seconds without one good answer."""
    seconds = sorted(tally.seconds)[-_DEAD_SECONDS:]
    if len(seconds) < _DEAD_SECONDS:
        return
    if all(s.errors == s.n for t in seconds for s in tally.seconds[t].values()):
        raise Incomplete("节点在测试中途停止应答", f"the node stopped answering at second {seconds[0]} of the run")


async def _ended(process: asyncio.subprocess.Process) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), 3)
    if process.returncode is None:
        process.terminate()
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), 6)
    if process.returncode is None:
        process.kill()
        await process.wait()
