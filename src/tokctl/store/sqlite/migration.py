"""Upgrades the schema of a store, and compares it with the one that the migrations create.

An attacker could add a trigger, a view or a changed table to a store, to change the values that are written or read. So
only a store with exactly our schema is written to.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from functools import cache

from tokctl.store.sqlite.schema import APPLICATION_ID, MIGRATIONS

_STATISTICS = {
    ("table", "sqlite_stat1"): "CREATE TABLE sqlite_stat1(tbl,idx,stat)",
    ("table", "sqlite_stat4"): "CREATE TABLE sqlite_stat4(tbl,idx,neq,nlt,ndlt,sample)",
}
"""What ANALYZE adds to a schema."""

Schema = Mapping[tuple[str, str], str]
"""(type, name) → statement, with single spaces."""


@contextmanager
def transaction(connection: sqlite3.Connection, *, keep: bool = True) -> Iterator[None]:
    """Run a write transaction; roll it back after an error, and without ``keep``."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT" if keep else "ROLLBACK")
    except BaseException:
        with suppress(sqlite3.Error):  # a full disk has rolled it back already
            connection.execute("ROLLBACK")
        raise


def migrate(
    connection: sqlite3.Connection, steps: tuple[str | Callable[[sqlite3.Connection], None], ...] = MIGRATIONS
) -> None:
    """Upgrade a store's schema to the last of the steps, in one transaction."""
    with transaction(connection):
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        for step in steps[version:]:
            if callable(step):
                step(connection)
                continue
            for statement in _statements(step):
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {max(version, len(steps))}")


def _statements(step: str) -> Iterator[str]:
    """Yield the statements of a script; a trigger is one statement."""
    statement = ""
    for part in step.split(";"):
        statement += part + ";"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def find_schema_changes(connection: sqlite3.Connection, version: int) -> Iterator[str]:
    """Yield how a store's schema differs from that of a version: ``has an unknown trigger 'x'``."""
    found, expected = _read_schema(connection), _expected_schema(version)
    for key in sorted(found.keys() | expected.keys()):
        kind, name = key
        if key not in found:
            yield f"lacks the {kind} '{name}'"
        elif key not in expected:
            if _STATISTICS.get(key) != found[key]:
                yield f"has an unknown {kind} '{name}'"
        elif found[key] != expected[key]:
            yield f"has a changed {kind} '{name}'"


def find_views(connection: sqlite3.Connection) -> Iterator[str]:
    """Yield the parts of a schema that run as soon as they are read, as ``find_schema_changes`` does."""
    rows = connection.execute(
        "SELECT type, name FROM sqlite_schema WHERE type = 'view' OR (type = 'table' AND sql LIKE 'CREATE VIRTUAL%')"
    )
    for kind, name in rows:
        yield f"has an unknown {kind} '{name}'"


@cache
def _expected_schema(version: int) -> Schema:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection, MIGRATIONS[:version])
        return _read_schema(connection)


def _read_schema(connection: sqlite3.Connection) -> Schema:
    rows = connection.execute("SELECT type, name, sql FROM sqlite_schema")
    return {(str(kind), str(name)): " ".join(str(sql or "").split()) for kind, name, sql in rows}
