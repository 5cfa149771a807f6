"""Stores as earlier versions of tokctl wrote them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tokctl.store.postgresql import migration as postgresql_migration
from tokctl.store.postgresql import schema as postgresql_schema
from tokctl.store.sqlite.migration import migrate
from tokctl.store.sqlite.schema import MIGRATIONS


def bring_back(path: Path, version: int, *statements: str) -> None:
    """Replace a store that is not open by one of an earlier schema with the same rows, and run statements there."""
    old = path.with_name(f"{path.name}.old")
    with closing(sqlite3.connect(old, isolation_level=None)) as connection:
        migrate(connection, MIGRATIONS[:version])
        connection.execute("ATTACH ? AS present", [str(path)])
        for (table,) in connection.execute(
            "SELECT name FROM main.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        ).fetchall():
            columns, present = (
                [row[0] for row in connection.execute("SELECT name FROM pragma_table_info(?, ?)", [table, schema])]
                for schema in ("main", "present")
            )
            common = ", ".join(f'"{name}"' for name in columns if name in present)
            connection.execute(
                f'INSERT OR REPLACE INTO main."{table}" ({common}) SELECT {common} FROM present."{table}"'
            )
        connection.execute("DETACH present")
        for statement in statements:
            connection.execute(statement)
    old.replace(path)


@contextmanager
def postgresql_program(version: int) -> Iterator[None]:
    """Let this process be a program of an earlier schema of PostgreSQL stores: it creates and opens stores of that."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postgresql_migration, "MIGRATIONS", postgresql_schema.MIGRATIONS[:version])
        patch.setattr(postgresql_migration, "SCHEMA_VERSION", version)
        yield
