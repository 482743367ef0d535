"""Looks for the proof of a host where its owner was told to put it: a TXT record, or a file under it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from node import outgoing
from node.config import Settings
from node.errors import NotReached, RowError

FILE = "/.well-known/idnode-verification.txt"
_MAX_FILE = 4096  # bytes: room for the lines of dozens of enterprises


@dataclass(slots=True, frozen=True)
class Finding:
    """`method` is dns or file, "" where neither holds the token; `definite` where both gave a clear no."""

    method: str = ""
    definite: bool = True
    faults: tuple[RowError, ...] = ()


def record_name(host: str) -> str:
    return f"_idnode.{host}"


def record_value(token: str) -> str:
    return f"idnode-verification={token}"


async def look(settings: Settings, host: str, token: str) -> Finding:
    """Look in both places at once, no longer than the first find; raises nothing, takes at most `outgoing.SECONDS`."""
    ways = {
        "dns": asyncio.create_task(_in_dns(settings, host, token)),
        "file": asyncio.create_task(_in_file(settings, host, token)),
    }
    try:
        for finished in asyncio.as_completed(ways.values()):
            await finished
            for method, way in ways.items():
                if way.done() and way.result() is None:
                    return Finding(method)
    finally:
        for way in ways.values():
            way.cancel()
    found = {method: fault for method, way in ways.items() if (fault := way.result())}
    faults = tuple(RowError(method, code, zh, en) for method, (code, zh, en, _) in found.items())
    return Finding("", all(fault[3] for fault in found.values()), faults)


_Fault = tuple[str, str, str, bool]  # code, zh, en, definite
_NOT_IN_DNS: _Fault = ("no_record", "没有含此口令的 TXT 记录", "no TXT record holds the token", True)
_NOT_IN_FILE: _Fault = ("no_line", "文件中没有此口令", "no line of the file is the token", True)


async def _in_dns(settings: Settings, host: str, token: str) -> _Fault | None:
    try:
        found = await outgoing.texts(settings, record_name(host))
    except NotReached as error:
        return _fault(error)
    return None if record_value(token).encode() in (text.strip() for text in found) else _NOT_IN_DNS


async def _in_file(settings: Settings, host: str, token: str) -> _Fault | None:
    try:
        reply = await outgoing.request(settings, "GET", host, FILE, limit=_MAX_FILE)
        if not reply.whole:
            raise outgoing.not_reached(host, "too_large")
    except NotReached as error:
        return _fault(error)
    lines = {line.strip() for line in reply.body.removeprefix(b"\xef\xbb\xbf").split(b"\n")}  # Notepad writes a BOM
    return None if lines & {token.encode(), record_value(token).encode()} else _NOT_IN_FILE


def _fault(error: NotReached) -> _Fault:
    told = error.datum
    return told["why"], told["reason_zh"], told["reason"], told["definite"]
