"""The shard rule, held against every SQL statement that any process of the suite sent (architecture.md 5)."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import sqlglot
from sqlglot import exp

SHARDED = {"handle", "handle_history", "event", "event_document", "serial_interval", "serial_item", "scan", "scan_mark"}
_STATEMENT = re.compile(r"(?:execute [^:]+|statement|parse [^:]+|bind [^:]+): (.*)", re.DOTALL)
# sqlglot does not read what asyncpg writes for COPY.
_COPY = re.compile(r'COPY "?(\w+)"?\s*\(([^)]*)\) FROM STDIN\b')
_ADMINISTRATION = (
    exp.Create, exp.Alter, exp.Drop, exp.Command, exp.Set, exp.Transaction, exp.Commit, exp.Rollback, exp.Analyze
)  # fmt: skip


def fault(sql: str) -> str | None:
    """Why a statement breaks the rule: each sharded table must be bound by its own shard where it is used."""
    if copied := _COPY.match(sql):
        table, columns = copied.groups()
        named = "shard" in re.findall(r"\w+", columns)
        return f"{table} without its shard" if table.lower() in SHARDED and not named else None
    try:
        trees = sqlglot.parse(sql, read="postgres")
    except sqlglot.ParseError as error:
        return f"cannot be read: {error}"
    for tree in trees:
        if tree is None or isinstance(tree, _ADMINISTRATION):
            continue
        for table in tree.find_all(exp.Table):
            if table.name.lower() in SHARDED and not _bound(table):
                return f"{table.name} without its shard"
    return None


def _bound(table: exp.Table) -> bool:
    statement = table.find_ancestor(exp.Select, exp.Insert, exp.Update, exp.Delete)
    assert statement is not None
    if isinstance(statement, exp.Insert) and table.find_ancestor(exp.Schema):
        names = [identifier.name for identifier in statement.this.expressions]
        return "shard" in names
    name = table.alias_or_name
    conditions = [join.args.get("on") for join in statement.args.get("joins") or []]
    conditions.append(statement.args.get("where"))
    columns = [column for c in conditions if c is not None for column in c.find_all(exp.Column)]
    alone = len(list(statement.find_all(exp.Table))) == 1
    return any(
        c.name == "shard"
        and (c.table == name or (alone and not c.table))
        and c.find_ancestor(exp.EQ, exp.GT, exp.GTE, exp.In, exp.Any) is not None
        for c in columns
    ) or any(_of_table(c, name) for c in columns if c.name == "shard")


def _of_table(column: exp.Column, name: str) -> bool:
    """An unqualified shard in a subquery of its own belongs to the table of that subquery."""
    inner = column.find_ancestor(exp.Select, exp.Update, exp.Delete, exp.Insert)
    return not column.table and inner is not None and any(t.name == name for t in inner.find_all(exp.Table))


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT suffix FROM handle WHERE prefix_id = $1 AND suffix = $2",
        "SELECT h.suffix FROM handle h JOIN prefix p ON p.id = h.prefix_id WHERE p.shard = 3",
        "UPDATE handle SET status = 9 WHERE suffix = $1",
        "DELETE FROM event WHERE event_id = $1",
        "INSERT INTO handle (prefix_id, suffix) VALUES ($1, $2)",
        "SELECT 1 WHERE EXISTS (SELECT FROM handle WHERE lot = $1)",
        """COPY "handle"("prefix_id", "suffix") FROM STDIN (FORMAT 'binary')""",
        "INSERT INTO handle_history (shard, suffix) SELECT shard, suffix FROM handle WHERE suffix = $1",
    ],
)
def test_the_checker_catches_a_statement_without_its_shard(sql: str) -> None:
    assert fault(sql) is not None


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT suffix FROM handle h WHERE h.shard = $1 AND h.suffix = $2",
        "SELECT h.suffix FROM unnest($1::int[], $2::text[]) AS w (shard, suffix) JOIN handle h ON h.shard = w.shard",
        "SELECT suffix FROM handle WHERE shard = ANY ($1::smallint[]) AND (shard, suffix) > ($2, $3)",
        "INSERT INTO handle (shard, suffix) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        "UPDATE handle AS h SET status = 9 WHERE h.shard = $1",
        "SELECT id FROM prefix WHERE prefix = $1",
        "CREATE TABLE handle (shard smallint)",
        "ANALYZE handle",
        """COPY "handle"("shard", "suffix") FROM STDIN (FORMAT 'binary')""",
    ],
)
def test_the_checker_lets_a_bound_statement_pass(sql: str) -> None:
    assert fault(sql) is None


def test_every_statement_of_the_suite_names_the_shard(statement_log: Path) -> None:
    statements = set()
    for line in statement_log.read_text("utf-8").splitlines():
        entry = json.loads(line)
        text = re.sub(r"^duration: [\d.]+ ms\s+", "", entry.get("message", ""))
        found = _STATEMENT.match(text)
        if found and any(name in found.group(1) for name in SHARDED):
            statements.add(found.group(1))
    ours = [s for s in statements if "schema_migrations" not in s and "pg_catalog" not in s]
    faults = {sql: why for sql in ours if (why := fault(sql))}
    assert not faults, "\n\n".join(f"{why}:\n{sql}" for sql, why in faults.items())
    # The rule is only as good as what ran: the main statements must be among what was read.
    for main in ("INSERT INTO handle (", "INSERT INTO handle_history"):
        assert any(main in s for s in ours), f"no {main!r} among the statements: this test follows the whole suite"
