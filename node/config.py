"""Settings from the environment. Every setting but the four that production requires has a usable default."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

_T = TypeVar("_T", int, float)


class ConfigError(Exception):
    """A setting is missing or cannot be used; the message names it."""


@dataclass(frozen=True)  # no slots: the defaults are read from the class below
class Settings:
    """What a node needs to know. Sizes in bytes, times in seconds."""

    database_url: str = field(repr=False)  # both hold a password
    redis_url: str = field(repr=False)
    secret_file: Path
    public_url: str  # no trailing slash; the only source of addresses in QR codes, links and Location
    node_prefix: str = "88.999"  # issuer.node; 88.999 is obviously fake: CAICT issues the real one
    node_name: str = "宿州市工业互联网标识解析二级节点"
    environment: str = "live"  # second part of an API key: iid_<environment>_...
    upper_approval: str = "auto"  # "auto" | "manual": who gives the upper node's answer to an application
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    serial_cipher: str = "aes"  # "aes" | "sm4" (国密): of the keys that serials are minted with from now on
    pool_size: int = 8  # PostgreSQL connections of one worker
    pool_timeout: float = 2.0  # wait for a connection, then 503
    statement_timeout: float = 30.0
    cache_timeout: float = 0.1  # one command to Valkey; slower is treated as away
    cache_ttl: int = 3600  # of a kept record; also how long a moved lot or prefix is remembered
    fence_poll: float = 0.12  # how often a worker reads the fence
    fence_lease: float = 0.3  # how long it trusts a reading, from its start; a change of a lot waits this out
    fence_timeout: float = 0.5  # of one reading
    copies: float = 0.1  # how long a worker answers a hot record from its own memory; 0 turns that off
    stale_seconds: float = 0.0  # with PostgreSQL away: kept answers up to this old are given, and marked
    max_age: int = 0  # of public answers in others' caches; a recalled carton looks fine that much longer
    negative_ttl: int = 30  # of a kept "no such handle"
    # Once a crowd of public reads has waited longer, a worker takes in no more than it answers in this time and refuses
    # the rest at once; 0 turns that off. Pages beside an import, or in a pause of the disk, wait up to 0.3 s.
    overload_seconds: float = 0.5
    read_queue: int = 4096  # first reads that wait for PostgreSQL, then 503
    import_share: float = 0.25  # of its time an import works, at the least, while readers wait; 1: it waits for nobody
    header_seconds: float = 10.0  # for a whole request head, from its first byte
    body_seconds: float = 30.0  # without a byte of a body that was announced
    switched_off: frozenset[str] = frozenset()  # parts of the cache protocol, for tests of the tests; only with dev
    max_body: int = 8 * 1024 * 1024
    metrics_host: str = "127.0.0.1"
    metrics_port: int = 9464  # 0: no metrics address
    log_level: str = "INFO"
    geo_file: Path | None = None  # MaxMind-DB file: a scan's city is shown; without it no place is known
    # From here on something looks copied. A carton passes a packer, a shop and a household: about five phones.
    suspect_devices: int = 12  # different phones on one item
    # Air freight takes six hours from door to door for 1,000 km; gateways of mobile networks err by a few hundred.
    suspect_kmh: float = 300.0
    suspect_km: float = 500.0
    # People mistype one serial in a thousand; a small firm's goods are looked up a few thousand times a day.
    suspect_forged: int = 50  # look-ups a day and prefix of serials that were never issued, or in runs of guesses
    suspect_score: int = 60  # of 100: alarm; one weak sign alone stays below, two or one strong are above
    dev: bool = False
    # The outside world of the tests; heeded with `dev` only, and refused in the environment without it.
    dev_dns: str = ""  # address:port of the one name server to ask
    dev_ca_file: str = ""  # certificates to trust besides the usual ones
    dev_https_port: int = 0  # stands for 443
    dev_reachable: tuple[str, ...] = ()  # addresses to connect to although they are not public

    @property
    def short_patience(self) -> float:
        """Of a change, where the queue for PostgreSQL stands: with what comes before and after, it knows in a second
        that it was refused."""
        return self.overload_seconds / 2

    @property
    def fence_wait(self) -> float:
        """After this long nobody acts on what was true before: leases and in-process copies have run out. The rest is
        for clocks that tick apart and for a reader between its check and its read."""
        return 0.0 if "wait" in self.switched_off else self.fence_lease + self.copies + 0.1

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> Settings:
        """Read the settings; raises ConfigError naming what is missing or wrong."""
        required = ("DATABASE_URL", "REDIS_URL", "NODE_SECRET_FILE", "PUBLIC_URL")
        missing = [name for name in required if not env.get(name)]
        if missing:
            raise ConfigError(f"required settings are not set: {', '.join(missing)}")
        return cls(
            database_url=env["DATABASE_URL"],
            redis_url=env["REDIS_URL"],
            secret_file=Path(env["NODE_SECRET_FILE"]),
            public_url=_url("PUBLIC_URL", env["PUBLIC_URL"]),
            node_prefix=env.get("NODE_PREFIX", cls.node_prefix),
            node_name=env.get("NODE_NAME", cls.node_name),
            environment=_word("NODE_ENVIRONMENT", env.get("NODE_ENVIRONMENT", cls.environment)),
            upper_approval=_choice("UPPER_APPROVAL", env.get("UPPER_APPROVAL", "auto"), ("auto", "manual")),
            serial_cipher=_choice("SERIAL_CIPHER", env.get("SERIAL_CIPHER", cls.serial_cipher), ("aes", "sm4")),
            trusted_proxies=_networks("TRUSTED_PROXIES", env.get("TRUSTED_PROXIES", "")),
            pool_size=_number(env, "POOL_SIZE", int, cls.pool_size),
            pool_timeout=_number(env, "POOL_TIMEOUT", float, cls.pool_timeout),
            statement_timeout=_number(env, "STATEMENT_TIMEOUT", float, cls.statement_timeout),
            cache_timeout=_number(env, "CACHE_TIMEOUT", float, cls.cache_timeout),
            cache_ttl=_number(env, "CACHE_TTL", int, cls.cache_ttl),
            fence_poll=_number(env, "FENCE_POLL", float, cls.fence_poll),
            fence_lease=_number(env, "FENCE_LEASE", float, cls.fence_lease),
            fence_timeout=_number(env, "FENCE_TIMEOUT", float, cls.fence_timeout),
            copies=_number(env, "COPIES_SECONDS", float, cls.copies),
            stale_seconds=_number(env, "STALE_SECONDS", float, cls.stale_seconds),
            max_age=_number(env, "MAX_AGE", int, cls.max_age),
            negative_ttl=_number(env, "NEGATIVE_TTL", int, cls.negative_ttl),
            overload_seconds=_number(env, "OVERLOAD_SECONDS", float, cls.overload_seconds),
            read_queue=_number(env, "READ_QUEUE", int, cls.read_queue),
            import_share=_number(env, "IMPORT_SHARE", float, cls.import_share),
            header_seconds=_number(env, "HEADER_SECONDS", float, cls.header_seconds),
            body_seconds=_number(env, "BODY_SECONDS", float, cls.body_seconds),
            switched_off=frozenset(env.get("NODE_SWITCH_OFF", "").split(","))
            if env.get("NODE_DEV") == "1"
            else frozenset(),
            max_body=_number(env, "MAX_BODY", int, cls.max_body),
            metrics_host=env.get("METRICS_HOST", cls.metrics_host),
            metrics_port=_number(env, "METRICS_PORT", int, cls.metrics_port),
            log_level=_choice("LOG_LEVEL", env.get("LOG_LEVEL", "INFO").upper(), ("DEBUG", "INFO", "WARNING", "ERROR")),
            geo_file=Path(env["GEO_FILE"]) if env.get("GEO_FILE") else None,
            suspect_devices=_number(env, "SUSPECT_DEVICES", int, cls.suspect_devices),
            suspect_kmh=_number(env, "SUSPECT_KMH", float, cls.suspect_kmh),
            suspect_km=_number(env, "SUSPECT_KM", float, cls.suspect_km),
            suspect_forged=_number(env, "SUSPECT_FORGED", int, cls.suspect_forged),
            suspect_score=_number(env, "SUSPECT_SCORE", int, cls.suspect_score),
            dev=env.get("NODE_DEV", "") == "1",
            **_dev_only(env),
        )


def _dev_only(env: Mapping[str, str]) -> dict[str, Any]:
    names = ("DEV_DNS", "DEV_CA_FILE", "DEV_HTTPS_PORT", "DEV_REACHABLE")
    given = [name for name in names if env.get(name)]
    if given and env.get("NODE_DEV", "") != "1":
        raise ConfigError(f"{', '.join(given)}: only with NODE_DEV=1, for they open the way to private addresses")
    return {
        "dev_dns": env.get("DEV_DNS", ""),
        "dev_ca_file": env.get("DEV_CA_FILE", ""),
        "dev_https_port": _number(env, "DEV_HTTPS_PORT", int, 0),
        "dev_reachable": tuple(part.strip() for part in env.get("DEV_REACHABLE", "").split(",") if part.strip()),
    }


def _url(name: str, text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ConfigError(f"{name} must be http(s)://host[:port][/path], got {text!r}")
    return text.rstrip("/")


def _word(name: str, text: str) -> str:
    if not (text.isascii() and text.isalnum()):
        raise ConfigError(f"{name} must be letters and digits, got {text!r}")
    return text


def _choice(name: str, text: str, allowed: tuple[str, ...]) -> str:
    if text not in allowed:
        raise ConfigError(f"{name} must be one of {', '.join(allowed)}, got {text!r}")
    return text


def _networks(name: str, text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    try:
        return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from None


def _number(env: Mapping[str, str], name: str, kind: type[_T], default: _T) -> _T:
    text = env.get(name)
    if not text:
        return default
    try:
        value = kind(text)
    except ValueError:
        raise ConfigError(f"{name} must be a number, got {text!r}") from None
    if value < 0:
        raise ConfigError(f"{name} must not be negative, got {text}")
    return value
