"""`idnode`: run a node, migrate its database, add operators, verify the audit trail."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from node.config import ConfigError, Settings

_EXAMPLES = """examples:
  idnode dev                                  a whole node with demo data on 127.0.0.1:8000
  idnode dev --no-demo --port 9000 --data /tmp/node
  idnode migrate                              apply the migrations to DATABASE_URL
  idnode operator add --login zhao --role admin
  idnode serve --host :: --port 8000 --workers 2
  idnode register harvest.csv --url http://127.0.0.1:8000 --key iid_... --template pear@1 --check
  idnode mint 88.999.1001/LOT-7 --count 50000 --url http://127.0.0.1:8000 --key iid_...
  idnode acceptance --profile smoke           load with every answer checked, and a report
  idnode audit verify
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="idnode",
        description="工业互联网标识解析二级节点 · secondary node of industrial-internet identifier resolution",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    dev = commands.add_parser("dev", help="run a whole node with its own PostgreSQL and Valkey")
    dev.add_argument("--port", type=int, default=8000, help="port on 127.0.0.1 and ::1 (8000)")
    dev.add_argument("--data", type=Path, default=Path(".data"), help="directory that keeps the data (.data)")
    dev.add_argument("--ready-file", type=Path, help="write addresses and keys here as JSON once it serves")
    dev.add_argument("--no-demo", action="store_true", help="one empty enterprise instead of the seven demos")
    dev.add_argument("--workers", type=int, default=1, help="worker processes (1)")
    serve = commands.add_parser("serve", help="run a node on DATABASE_URL, REDIS_URL, NODE_SECRET_FILE and PUBLIC_URL")
    serve.add_argument("--host", action="append", help="address to listen on, may repeat (127.0.0.1 and ::1)")
    serve.add_argument("--port", type=int, default=8000)
    serve.add_argument("--workers", type=int, default=1)
    commands.add_parser("migrate", help="bring the database at DATABASE_URL up to this code")
    operator = commands.add_parser("operator", help="manage operators")
    add = operator.add_subparsers(dest="action", required=True).add_parser("add", help="add an operator")
    add.add_argument("--login", required=True)
    add.add_argument("--role", required=True, choices=("reviewer", "auditor", "admin"))
    add.add_argument("--password-stdin", action="store_true", help="read the password from standard input")
    register = commands.add_parser(
        "register",
        help="register the rows of an NDJSON, CSV or XLSX file at a node",
        description="Uploads a file of any size in chunks; the same command goes on where it stopped. "
        "Exit status 1: some rows were not taken, see FILE.errors.csv.",
    )
    register.add_argument("file", type=Path, metavar="FILE")
    register.add_argument("--url", required=True, help="address of the node, e.g. http://127.0.0.1:8000")
    register.add_argument("--key", default=os.environ.get("IDNODE_KEY"), help="API key (or IDNODE_KEY)")
    register.add_argument("--prefix", default="", help="for files with a column `suffix` instead of `handle`")
    register.add_argument("--template", default="", help="for rows that name none, e.g. pear@1")
    register.add_argument("--lot", default="", help="for rows that name none")
    register.add_argument("--check", action="store_true", help="dry run: check every row, write nothing")
    register.add_argument("--atomic", action="store_true", help="all rows or none")
    register.add_argument("--quiet", action="store_true", help="no progress bar")
    observer = commands.add_parser("cache-audit", help="hold what Valkey keeps against PostgreSQL")
    observer.add_argument("--samples", type=int, default=10_000, help="entries to look at (10,000)")
    observer.add_argument("--watch", type=float, default=0.0, metavar="S", help="look again every S seconds")
    observer.add_argument("--metrics-port", type=int, default=0, help="export cache_inconsistent_total here meanwhile")
    mint = commands.add_parser(
        "mint",
        help="serials for a lot, into a file for the printer",
        description="Reserves a run of serials for LOT and writes them with the address of each QR code. They are "
        "reserved, not registered: activate them when the goods are shipped.",
        epilog="examples:\n"
        "  idnode mint 88.999.1001/LOT-7 --count 50000 --url http://127.0.0.1:8000 --key iid_...\n"
        "  idnode mint 88.999.1001/LOT-7 --count 50000 --out labels.ndjson --url ... --key ...\n"
        "  idnode mint 88.999.1001/LOT-7 --run 12 --url ... --key ...      the same run again, which is audited",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    mint.add_argument("lot", metavar="LOT", help="handle of the lot, e.g. 88.999.1001/LOT-7")
    which = mint.add_mutually_exclusive_group(required=True)
    which.add_argument("--count", type=int, help="how many new serials, up to 10,000,000")
    which.add_argument("--run", type=int, help="number of a run that was minted before")
    mint.add_argument("--out", type=Path, metavar="FILE", help=".csv or .ndjson (the lot and its run, as CSV)")
    mint.add_argument("--url", required=True, help="address of the node, e.g. http://127.0.0.1:8000")
    mint.add_argument("--key", default=os.environ.get("IDNODE_KEY"), help="API key (or IDNODE_KEY)")
    commands.add_parser("acceptance", help="the load test before provincial integration: idnode acceptance --help")
    audit = commands.add_parser("audit", help="the audit trail")
    audit.add_subparsers(dest="action", required=True).add_parser("verify", help="check the chain of entries")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit status. What the user can mend is one line, never a traceback."""
    words = sys.argv[1:] if argv is None else list(argv)
    # Its options are another program's, which may not be installed: argparse is not to look at them.
    aside = words[:1] == ["acceptance"]
    arguments = argparse.Namespace(command="acceptance", words=words[1:]) if aside else _parser().parse_args(words)
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
