"""Runs workers: listening sockets, uvicorn's processes, and the metrics of all of them on an address of their own."""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path

import uvicorn
from uvicorn.supervisors import Multiprocess

from node.config import ConfigError, Settings

_BACKLOG = 2048
_GRACE = 20  # s for requests under way at shutdown


def listen(hosts: Sequence[str], port: int) -> list[socket.socket]:
    """Listening sockets on every address of `hosts`; `::` takes IPv4 too. ConfigError where one is taken."""
    sockets: list[socket.socket] = []
    for host in hosts:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        except socket.gaierror as error:
            raise ConfigError(f"host {host}: {error.strerror}") from None
        for family, _, _, _, address in found:
            sockets.append(_bound(family, address, host == "::"))
            port = port or sockets[0].getsockname()[1]
    return sockets


def _bound(family: int, address: object, dual: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if dual else 1)
    try:
        sock.bind(address)  # type: ignore[arg-type]
    except OSError as error:
        sock.close()
        raise ConfigError(f"cannot listen on {address}: {error.strerror}; choose another --port") from None
    sock.listen(_BACKLOG)
    sock.set_inheritable(True)
    return sock


def loopback_hosts() -> list[str]:
    """127.0.0.1, and ::1 where this machine has IPv6."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return ["127.0.0.1"]
    return ["127.0.0.1", "::1"]


def metrics_directory() -> Path:
    """An empty directory for the workers' counters, set for all of them before prometheus_client is imported."""
    directory = Path(tempfile.mkdtemp(prefix="idnode-metrics-"))
    atexit.register(_remove, directory, os.getpid())
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)
    return directory


def _remove(directory: Path, owner: int) -> None:
    if os.getpid() == owner:  # workers inherit the atexit hook, not the duty
        shutil.rmtree(directory, ignore_errors=True)


def serve_metrics(settings: Settings) -> None:
    """Answer /metrics for all workers from this process; metrics_port 0 turns it off."""
    if not settings.metrics_port:
        return
    from prometheus_client import CollectorRegistry, start_http_server
    from prometheus_client.multiprocess import MultiProcessCollector

    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    try:
        start_http_server(settings.metrics_port, settings.metrics_host, registry)
    except OSError as error:
        where = f"{settings.metrics_host}:{settings.metrics_port}"
        raise ConfigError(f"cannot serve metrics on {where}: {error.strerror}; set METRICS_PORT") from None


def serve(
    settings: Settings,
    sockets: list[socket.socket],
    workers: int,
    *,
    app: str = "node.app:worker_app",
) -> int:
    """Serve until SIGINT or SIGTERM; the exit status. Workers read the settings from the environment."""
    metrics_directory()
    serve_metrics(settings)
    config = uvicorn.Config(
        app,
        factory=True,
        workers=workers,
        loop="node.accepting:Loop",
        # By name: imported here, prometheus_client would take a single worker's counters for those of one process.
        http="node.http.scan_protocol:ScanProtocol",
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=True,
        proxy_headers=False,  # TRUSTED_PROXIES is ours to apply
        timeout_graceful_shutdown=_GRACE,
        timeout_keep_alive=30,
        backlog=_BACKLOG,
        lifespan="on",
    )
    if workers > 1:
        Multiprocess(config, sockets=sockets).run()
        return 0
    server = uvicorn.Server(config)
    server.run(sockets=sockets)
    return 0 if server.started else 3
