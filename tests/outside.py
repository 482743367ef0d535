"""A world outside the node: a real name server and a real HTTPS server with a certificate authority, on loopback.

The HTTPS server listens on 127.0.0.77, which the settings of a test let the node reach. On 127.0.0.1 and ::1 the
same port has a trap: whoever connects there got past the rule on addresses.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import trustme

ADDRESS = "127.0.0.77"


@dataclass
class Names(asyncio.DatagramProtocol):
    """A name server. `records` of (name, type) is a list of answers, or a list of lists to give one after another,
    the last one for ever; a name in `silent` gets no answer; what is unknown does not exist."""

    records: dict[tuple[str, str], list[Any]] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, peer: Any) -> None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name, kind = question.name.to_text(omit_final_dot=True), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        if name in self.silent:
            return
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        found = self.records.get((name, kind), [])
        if found and isinstance(found[0], list):
            found = found.pop(0) if len(found) > 1 else found[0]
        if found:
            answer.answer.append(dns.rrset.from_text_list(question.name, 1, "IN", kind, found))
        elif not any(known == name for known, _ in self.records):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        self._transport.sendto(answer.to_wire(), peer)

    def point(self, host: str, *addresses: str) -> None:
        """Give a host these addresses and no others."""
        self.records[host, "A"] = [a for a in addresses if ":" not in a]
        self.records[host, "AAAA"] = [a for a in addresses if ":" in a]


@dataclass
class Got:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    sni: str


Answerer = Callable[[Got, asyncio.StreamWriter], Awaitable[None]]


def answer(status: int, body: bytes = b"", **headers: str) -> Answerer:
    async def give(got: Got, writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        await writer.drain()

    return give


async def hang(got: Got, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def die(got: Got, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def endless(got: Got, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n")
    with suppress(ConnectionError):
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()


@dataclass
class Web:
    """The HTTPS server: `routes` by host name; what arrived is in `got`, and by host in a queue."""

    port: int = 0
    routes: dict[str, Answerer] = field(default_factory=dict)
    got: list[Got] = field(default_factory=list)
    trapped: int = 0
    sni: str = ""  # of the latest handshake
    _queues: dict[str, asyncio.Queue[Got]] = field(default_factory=dict)
    _tasks: set[Any] = field(default_factory=set)

    def queue(self, host: str) -> asyncio.Queue[Got]:
        return self._queues.setdefault(host, asyncio.Queue())

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._tasks.add(task)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, ssl.SSLError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            method, path, _ = head[0].split(" ")
            got = Got(method, path, headers, body, self.sni)
            self.got.append(got)
            self.queue(headers["host"]).put_nowait(got)
            await self.routes.get(headers["host"], answer(404))(got, writer)
        writer.close()
        self._tasks.discard(task)

    async def trap(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.trapped += 1
        writer.close()

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()


@dataclass
class Outside:
    names: Names
    web: Web
    dns: str  # address:port
    ca_file: Path

    @property
    def settings(self) -> dict[str, Any]:
        """What a Settings needs to live in this world."""
        return {
            "dev": True,
            "dev_dns": self.dns,
            "dev_ca_file": str(self.ca_file),
            "dev_https_port": self.web.port,
            "dev_reachable": (ADDRESS,),
        }

    @property
    def env(self) -> dict[str, str]:
        """The same for an `idnode serve`."""
        return {
            "NODE_DEV": "1",
            "DEV_DNS": self.dns,
            "DEV_CA_FILE": str(self.ca_file),
            "DEV_HTTPS_PORT": str(self.web.port),
            "DEV_REACHABLE": ADDRESS,
        }

    def host(self, name: str, route: Answerer | None = None) -> str:
        """A host of this world that points to the HTTPS server."""
        self.names.point(name, ADDRESS)
        if route:
            self.web.routes[name] = route
        return name


@asynccontextmanager
async def world(directory: Path) -> AsyncIterator[Outside]:
    authority, web, loop = trustme.CA(), Web(), asyncio.get_running_loop()
    ca_file = directory / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sni_callback = lambda _, name, __: setattr(web, "sni", name or "")
    # One level of names each: certificates with wildcards are what a firm has.
    authority.issue_cert("*.example.com", "example.com", "xn--fsqu00a.example.com").configure_cert(context)
    transport, names = await loop.create_datagram_endpoint(Names, local_addr=(ADDRESS, 0))
    server = await asyncio.start_server(web.serve, ADDRESS, 0, ssl=context)
    web.port = server.sockets[0].getsockname()[1]
    traps = [await asyncio.start_server(web.trap, "127.0.0.1", web.port)]
    with suppress(OSError):  # no IPv6 here
        traps.append(await asyncio.start_server(web.trap, "::1", web.port))
    dns_at = "{}:{}".format(*transport.get_extra_info("sockname")[:2])
    try:
        yield Outside(names, web, dns_at, ca_file)
    finally:
        for listening in (server, *traps):
            listening.close()
        web.close()
        transport.close()
