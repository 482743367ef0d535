"""`idnode`: run a node, migrate its database, add operators, verify the audit trail."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import os
import sys
from collections.abc import Sequence

from node.config import ConfigError, Settings
from node.options import parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit status. What the user can mend is one line, never a traceback."""
    words = sys.argv[1:] if argv is None else list(argv)
    # Its options are another program's, which may not be installed: argparse is not to look at them.
    aside = words[:1] == ["acceptance"]
    arguments = argparse.Namespace(command="acceptance", words=words[1:]) if aside else parser().parse_args(words)
    try:
        return _COMMANDS[arguments.command](arguments)
    except Exception as error:
        if not isinstance(error, (ConfigError, *_explained())):
            raise
        print(f"idnode: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _explained() -> tuple[type[Exception], ...]:
    """Errors whose text is meant for the user. Imported only now: `serve` must set up metrics before anything else."""
    from node.embedded_process import EmbeddedError
    from node.errors import NodeError
    from node.migrate import SchemaError

    return EmbeddedError, NodeError, SchemaError


def _serve(arguments: argparse.Namespace) -> int:
    from node import launcher

    settings = Settings.from_env()
    hosts = arguments.host or launcher.loopback_hosts()
    return launcher.serve(settings, launcher.listen(hosts, arguments.port), max(1, arguments.workers))


def _dev(arguments: argparse.Namespace) -> int:
    from node.dev import run

    return asyncio.run(
        run(
            arguments.data,
            arguments.port,
            workers=max(1, arguments.workers),
            demo=not arguments.no_demo,
            ready_file=arguments.ready_file,
        )
    )


def _migrate(arguments: argparse.Namespace) -> int:
    from node.migrate import migrate

    url = os.environ.get("DATABASE_URL")
    if not url:
        raise ConfigError("DATABASE_URL is not set")
    try:
        applied = asyncio.run(migrate(url))
    except OSError as error:
        raise ConfigError(f"DATABASE_URL cannot be reached: {error}") from None
    print("\n".join(f"applied {name}" for name in applied) or "the database is up to date")
    return 0


def _register(arguments: argparse.Namespace) -> int:
    from node.asking import AskError
    from node.uploader import Upload, register
    from node.uploads import UploadError

    if not arguments.key:
        raise ConfigError("--key or IDNODE_KEY is needed")
    if not arguments.file.is_file():
        raise ConfigError(f"{arguments.file} is not a file")
    options = {name: getattr(arguments, name) for name in ("prefix", "template", "lot", "check", "atomic")}
    given = {name: value for name, value in options.items() if value}
    upload = Upload(arguments.file, arguments.url.rstrip("/"), arguments.key, given, arguments.quiet)
    try:
        return asyncio.run(register(upload))
    except (AskError, UploadError) as error:
        raise ConfigError(str(error)) from None
    except ExceptionGroup as group:  # of the senders; the first says enough
        if refused := group.subgroup((AskError, UploadError)):
            raise ConfigError(str(refused.exceptions[0])) from None
        raise
    except KeyboardInterrupt:
        print("已中断；同一命令可继续 / interrupted; the same command goes on", file=sys.stderr)
        raise


def _mint(arguments: argparse.Namespace) -> int:
    from node.asking import AskError
    from node.minter import Minting, mint

    if not arguments.key:
        raise ConfigError("--key or IDNODE_KEY is needed")
    if arguments.count is not None and arguments.count < 1:
        raise ConfigError("--count must be at least 1")
    asked = Minting(
        arguments.lot, arguments.url.rstrip("/"), arguments.key, arguments.count or 0, arguments.run or 0, arguments.out
    )
    try:
        return asyncio.run(mint(asked))
    except AskError as error:
        raise ConfigError(str(error)) from None


def _acceptance(arguments: argparse.Namespace) -> int:
    from node.acceptance_command import run

    run(arguments.words)


def _operator(arguments: argparse.Namespace) -> int:
    from node import access
    from node.runtime import close_node, open_node

    if arguments.password_stdin:
        password = sys.stdin.readline().rstrip("\n")
    else:
        password = getpass.getpass("password: ")
        if password != getpass.getpass("again: "):
            raise ConfigError("the passwords differ")

    async def add() -> None:
        node = await open_node(Settings.from_env())
        try:
            await access.add_operator(node, arguments.login, password, arguments.role, actor="cli")
        finally:
            await close_node(node)

    asyncio.run(add())
    print(f"operator {arguments.login} added as {arguments.role}")
    return 0


def _audit(arguments: argparse.Namespace) -> int:
    from node import audit
    from node.runtime import close_node, open_node, reading

    async def verify() -> list[str]:
        node = await open_node(Settings.from_env())
        try:
            async with reading(node) as conn:
                return await audit.verify(conn)
        finally:
            await close_node(node)

    faults = asyncio.run(verify())
    print("\n".join(faults) or "the audit chain is whole")
    return 1 if faults else 0


def _cache_audit(arguments: argparse.Namespace) -> int:
    from prometheus_client import start_http_server

    from node import observing, polling
    from node.runtime import close_node, open_node

    settings = Settings.from_env()
    if arguments.metrics_port:
        start_http_server(arguments.metrics_port, settings.metrics_host)

    async def look() -> int:
        node = await open_node(settings)
        try:
            while True:
                await polling.ensure(node)
                report = await observing.audit(node, arguments.samples)
                wrong = len(report.inconsistent)
                print(f"{report.sampled} entries, {report.unused} not served, {wrong} inconsistent", flush=True)
                print("\n".join(report.inconsistent[:100]), end="\n" if wrong else "")
                if not arguments.watch:
                    return 1 if wrong else 0
                await asyncio.sleep(arguments.watch)
        finally:
            await close_node(node)

    return asyncio.run(look())


_COMMANDS = {
    "acceptance": _acceptance,
    "cache-audit": _cache_audit,
    "dev": _dev,
    "serve": _serve,
    "migrate": _migrate,
    "register": _register,
    "mint": _mint,
    "operator": _operator,
    "audit": _audit,
}

if __name__ == "__main__":
    sys.exit(main())
