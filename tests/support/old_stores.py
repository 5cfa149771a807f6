"""Stores as earlier versions of tokctl wrote them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

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
