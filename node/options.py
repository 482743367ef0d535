"""What the commands of `idnode` take, and how they are told of."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

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


Commands = Any  # argparse names the type of its sub-parsers in private only


def parser() -> argparse.ArgumentParser:
    """Of the whole command `idnode`."""
    found = argparse.ArgumentParser(
        prog="idnode",
        description="工业互联网标识解析二级节点 · secondary node of industrial-internet identifier resolution",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = found.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_servers(commands)
    commands.add_parser("migrate", help="bring the database at DATABASE_URL up to this code")
    _add_operators(commands)
    _add_register(commands)
    _add_mint(commands)
    commands.add_parser("acceptance", help="the load test before provincial integration: idnode acceptance --help")
    return found


def _add_servers(commands: Commands) -> None:
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


def _add_operators(commands: Commands) -> None:
    operator = commands.add_parser("operator", help="manage operators")
    add = operator.add_subparsers(dest="action", required=True).add_parser("add", help="add an operator")
    add.add_argument("--login", required=True)
    add.add_argument("--role", required=True, choices=("reviewer", "auditor", "admin"))
    add.add_argument("--password-stdin", action="store_true", help="read the password from standard input")
    observer = commands.add_parser("cache-audit", help="hold what Valkey keeps against PostgreSQL")
    observer.add_argument("--samples", type=int, default=10_000, help="entries to look at (10,000)")
    observer.add_argument("--watch", type=float, default=0.0, metavar="S", help="look again every S seconds")
    observer.add_argument("--metrics-port", type=int, default=0, help="export cache_inconsistent_total here meanwhile")
    audit = commands.add_parser("audit", help="the audit trail")
    audit.add_subparsers(dest="action", required=True).add_parser("verify", help="check the chain of entries")


def _add_node(command: argparse.ArgumentParser) -> None:
    """Which node a client speaks to, and as whom."""
    command.add_argument("--url", required=True, help="address of the node, e.g. http://127.0.0.1:8000")
    command.add_argument("--key", default=os.environ.get("IDNODE_KEY"), help="API key (or IDNODE_KEY)")


def _add_register(commands: Commands) -> None:
    register = commands.add_parser(
        "register",
        help="register the rows of an NDJSON, CSV or XLSX file at a node",
        description="Uploads a file of any size in chunks; the same command goes on where it stopped. "
        "Exit status 1: some rows were not taken, see FILE.errors.csv.",
    )
    register.add_argument("file", type=Path, metavar="FILE")
    _add_node(register)
    register.add_argument("--prefix", default="", help="for files with a column `suffix` instead of `handle`")
    register.add_argument("--template", default="", help="for rows that name none, e.g. pear@1")
    register.add_argument("--lot", default="", help="for rows that name none")
    register.add_argument("--check", action="store_true", help="dry run: check every row, write nothing")
    register.add_argument("--atomic", action="store_true", help="all rows or none")
    register.add_argument("--quiet", action="store_true", help="no progress bar")


def _add_mint(commands: Commands) -> None:
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
    _add_node(mint)
