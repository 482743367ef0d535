"""The one way out to servers that somebody else named: HTTPS on 443 of a public address, resolved once, no redirects.

The name is resolved here, every address of the answer must be public, and the connection goes to one of those
addresses, with the name in SNI, certificate check and Host. So a name that changes between check and connection
changes nothing, and a name that has one public and one private address is refused.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

import dns.asyncresolver
import dns.exception
import dns.resolver
import httpx

from node.addresses import is_public
from node.config import Settings
from node.errors import NotReached

SECONDS = 10.0  # a whole request, name and TLS included
_DNS_SECONDS = 4.0
_CONNECT_SECONDS = 4.0  # an address that does not answer leaves time for the next one
_ADDRESSES = 3  # tried at most
_WORDS = {
    "no_such_name": ("域名不存在或没有地址", "the name does not exist or has no address"),
    "dns_failed": ("域名服务器未给出答复", "the name servers gave no answer"),
    "not_public": ("域名指向非公网地址", "the name has an address that is not public"),
    "no_connection": ("无法连接", "no connection"),
    "tls": ("证书不可信或 TLS 失败", "the certificate is not trusted or TLS failed"),
    "timeout": ("未在时限内答复", "no answer in time"),
    "broken": ("答复不是有效的 HTTP", "the answer is not valid HTTP"),
    "redirect": ("答复为重定向，不予跟随", "answered with a redirect, which is not followed"),
    "status": ("答复状态码为 {status}", "answered with status {status}"),
    "not_proved": ("域名未验证或验证已失效", "the host is not proved, or no longer"),
    "too_large": ("内容过大", "the content is too large"),
}
# A clear no of the host itself; the others may be a fault on the way, ours included.
_DEFINITE = frozenset(("no_such_name", "not_public", "redirect", "too_large"))


@dataclass(slots=True, frozen=True)
class Reply:
    status: int
    body: bytes  # no more than `limit` bytes of it
    whole: bool


def not_reached(host: str, why: str, status: int = 0) -> NotReached:
    zh, en = (text.format(status=status) for text in _WORDS[why])
    definite = why in _DEFINITE or (why == "status" and 400 <= status < 500 and status not in (408, 425, 429))
    return NotReached.of(host=host, why=why, reason_zh=zh, reason=en, definite=definite)


def _resolver(settings: Settings) -> dns.asyncresolver.Resolver:
    if not (settings.dev and settings.dev_dns):
        return dns.asyncresolver.Resolver()  # /etc/resolv.conf
    resolver = dns.asyncresolver.Resolver(configure=False)
    server, _, port = settings.dev_dns.rpartition(":")
    resolver.nameservers, resolver.port = [server], int(port)
    return resolver


async def _ask(settings: Settings, name: str, kind: str) -> list[dns.rdata.Rdata] | None:
    """The records of a name, [] where it has none of this kind, None where it does not exist; NotReached."""
    try:
        answer = await _resolver(settings).resolve(name + ".", kind, search=False, lifetime=_DNS_SECONDS)
    except dns.resolver.NXDOMAIN:
        return None
    except dns.resolver.NoAnswer:
        return []
    except (dns.exception.DNSException, OSError) as error:
        raise not_reached(name, "dns_failed") from error
    return list(answer)


async def texts(settings: Settings, name: str) -> list[bytes]:
    """The TXT records of a name, the strings of each joined (RFC 7208 3.3); NotReached where nobody answers."""
    return [b"".join(getattr(record, "strings", ())) for record in await _ask(settings, name, "TXT") or ()]


async def addresses(settings: Settings, host: str) -> list[str]:
    """The public addresses of a host, IPv4 first; NotReached where it has none, or one that is not public."""
    asked = await asyncio.gather(*(_ask(settings, host, kind) for kind in ("A", "AAAA")), return_exceptions=True)
    found = [str(record) for records in asked if isinstance(records, list) for record in records]
    if not found:
        failed = next((error for error in asked if isinstance(error, BaseException)), None)
        raise failed or not_reached(host, "no_such_name")
    reachable = settings.dev_reachable if settings.dev else ()
    if not all(is_public(address) or address in reachable for address in found):
        raise not_reached(host, "not_public")
    return found[:_ADDRESSES]


@functools.lru_cache(maxsize=4)
def _trust(ca_file: str) -> ssl.SSLContext:
    context = httpx.create_ssl_context(trust_env=False)  # made once: reading the certificates takes 20 ms
    if ca_file:
        context.load_verify_locations(ca_file)
    return context


async def request(
    settings: Settings,
    method: str,
    host: str,
    path: str,
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    limit: int = 4096,
    seconds: float = SECONDS,
) -> Reply:
    """Send one request and read at most `limit` bytes of a 2xx answer; NotReached for any other end."""
    try:
        async with asyncio.timeout(seconds):
            for address in (candidates := await addresses(settings, host)):
                try:
                    return await _send(settings, method, host, address, path, body, headers or {}, limit)
                except (httpx.ConnectError, httpx.ConnectTimeout):
                    if address == candidates[-1]:
                        raise
    except httpx.ConnectError as error:
        raise not_reached(host, "tls" if _is_tls(error) else "no_connection") from error
    except (TimeoutError, httpx.TimeoutException) as error:
        raise not_reached(host, "timeout") from error
    except httpx.NetworkError as error:
        raise not_reached(host, "no_connection") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise not_reached(host, "broken") from error
    raise AssertionError("unreachable")


async def _send(
    settings: Settings,
    method: str,
    host: str,
    address: str,
    path: str,
    body: bytes | None,
    headers: Mapping[str, str],
    limit: int,
) -> Reply:
    shown = f"[{address}]" if ":" in address else address
    port = (settings.dev_https_port if settings.dev else 0) or 443
    own = {"Host": host, "User-Agent": "idnode/1", "Accept-Encoding": "identity", "Connection": "close"}
    trust = _trust(settings.dev_ca_file if settings.dev else "")
    timeout = httpx.Timeout(None, connect=_CONNECT_SECONDS)
    async with (
        httpx.AsyncClient(verify=trust, trust_env=False, follow_redirects=False, timeout=timeout) as client,
        client.stream(
            method,
            f"https://{shown}:{port}{path}",
            content=body,
            headers={**own, **headers},
            extensions={"sni_hostname": host},
        ) as answer,
    ):
        if answer.is_redirect or 300 <= answer.status_code < 400:
            raise not_reached(host, "redirect")
        if not answer.is_success:
            raise not_reached(host, "status", answer.status_code)
        return await _read(answer, limit)


async def _read(answer: httpx.Response, limit: int) -> Reply:
    read = bytearray()
    async for part in answer.aiter_raw():
        read += part
        if len(read) > limit:
            return Reply(answer.status_code, bytes(read[:limit]), whole=False)
    return Reply(answer.status_code, bytes(read), whole=True)


def _is_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False
