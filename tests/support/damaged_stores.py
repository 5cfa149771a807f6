"""Stores that are damaged on purpose: bytes, pages, tables, columns and values, chosen by a seed."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

ODD_VALUES: tuple[Any, ...] = (
    None,
    0,
    -1,
    1 << 62,
    -(1 << 63),
    1.5,
    float("inf"),
    "",
    "x",
    "\0",
    "[",
    "null",
    "{}",
    "[1]",
    '{"a":1}',
    "9" * 40,
    b"",
    b"\xff\xfe",
    b"{",
    "[" * 5000,
)
"""Values of other types and sizes than a column has."""


def damage(path: Path, seed: int) -> str:
    """Damage a store in one way or several; returns what was done."""
    draw = random.Random(seed)
    kinds = draw.choices(KINDS, k=draw.choice([1, 1, 1, 2]))
    return "; ".join(f"{kind.__name__.strip('_')} {kind(path, draw)}" for kind in kinds)


def _flip_bytes(path: Path, draw: random.Random) -> str:
    data = bytearray(path.read_bytes())
    places = [draw.randrange(len(data)) for _ in range(draw.choice([1, 4, 40, 400])) if data]
    for place in places:
        data[place] ^= 1 << draw.randrange(8)
    path.write_bytes(data)
    return f"{len(places)}"


def _flip_head(path: Path, draw: random.Random) -> str:
    data = bytearray(path.read_bytes())
    place = draw.randrange(100)
    if place < len(data):
        data[place] = draw.randrange(256)
    path.write_bytes(data)
    return f"at {place}"


def _truncate(path: Path, draw: random.Random) -> str:
    data = path.read_bytes()
    size = draw.choice([draw.randrange(len(data) + 1), draw.randrange(200), len(data) // 4096 // 2 * 4096])
    path.write_bytes(data[:size])
    return f"to {size}"


def _replace_page(path: Path, draw: random.Random) -> str:
    data = bytearray(path.read_bytes())
    pages = max(len(data) // 4096, 1)
    one, other = draw.randrange(pages), draw.randrange(pages)
    content = draw.choice([bytes(4096), data[other * 4096 : other * 4096 + 4096], draw.randbytes(4096)])
    data[one * 4096 : one * 4096 + 4096] = content
    path.write_bytes(data)
    return f"{one}"


def _spoil_log(path: Path, draw: random.Random) -> str:
    log = path.with_name(path.name + "-wal")
    log.write_bytes(b"\x37\x7f\x06\x82" + draw.randbytes(draw.choice([10, 5000])))
    return ""


def _change_values(path: Path, draw: random.Random) -> str:
    table, columns = _choose_table(path, draw)
    column, value = draw.choice(columns), draw.choice(ODD_VALUES)
    some = draw.choice(["", " WHERE rowid % 3 = 0"])
    _execute(path, f'UPDATE OR IGNORE "{table}" SET "{column}" = ?{some}', value)
    return f"{table}.{column} = {repr(value)[:20]}"


def _untype_column(path: Path, draw: random.Random) -> str:
    """Take type and constraints from the columns of a table, then write values of other types."""
    table, columns = _choose_table(path, draw)
    plain = ", ".join(f'"{column}"' for column in columns)
    _execute(path, f'CREATE TABLE other AS SELECT * FROM "{table}"', renamed=table)
    column, value = draw.choice(columns), draw.choice(ODD_VALUES)
    _execute(path, f'UPDATE "{table}" SET "{column}" = ?', value)
    return f"{table} ({plain[:20]}…): {column} = {repr(value)[:20]}"


def _drop_table(path: Path, draw: random.Random) -> str:
    table, _ = _choose_table(path, draw)
    _execute(path, f'DROP TABLE "{table}"')
    return table


def _drop_column(path: Path, draw: random.Random) -> str:
    table, columns = _choose_table(path, draw)
    column = draw.choice(columns)
    kept = ", ".join(f'"{name}"' for name in columns if name != column)
    _execute(path, f'CREATE TABLE other AS SELECT {kept} FROM "{table}"', renamed=table)
    return f"{table}.{column}"


def _replace_by_view(path: Path, draw: random.Random) -> str:
    table, columns = _choose_table(path, draw)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
    source = draw.choice(["kept", "endless"])
    listed = ", ".join(f'i AS "{name}"' for name in columns)
    query = 'SELECT * FROM "kept"' if source == "kept" else f"{endless} SELECT {listed} FROM n"
    _execute(path, f'ALTER TABLE "{table}" RENAME TO kept')
    _execute(path, f'CREATE VIEW "{table}" AS {query}')
    return f"{table}: {source}"


def _add_trigger(path: Path, draw: random.Random) -> str:
    table, columns = _choose_table(path, draw)
    event = draw.choice(["INSERT", "UPDATE"])
    _execute(
        path,
        f'CREATE TRIGGER extra AFTER {event} ON "{table}" BEGIN UPDATE "{table}" SET "{draw.choice(columns)}" = 7; END',
    )
    return f"{event} on {table}"


def _delete_rows(path: Path, draw: random.Random) -> str:
    table, _ = _choose_table(path, draw)
    _execute(path, f'DELETE FROM "{table}"{draw.choice(["", " WHERE rowid % 2"])}')
    return table


def _change_version(path: Path, draw: random.Random) -> str:
    name, value = draw.choice(["user_version", "application_id"]), draw.choice([-1, 0, 1, 3, 5, 99, 1 << 30])
    _execute(path, f"PRAGMA {name} = {value}")
    return f"{name} {value}"


KINDS: tuple[Callable[[Path, random.Random], str], ...] = (
    _flip_bytes,
    _flip_bytes,
    _flip_head,
    _truncate,
    _replace_page,
    _spoil_log,
    _change_values,
    _change_values,
    _change_values,
    _untype_column,
    _untype_column,
    _drop_table,
    _drop_column,
    _replace_by_view,
    _add_trigger,
    _delete_rows,
    _change_version,
)


def _choose_table(path: Path, draw: random.Random) -> tuple[str, list[str]]:
    """Return one of the tables and the names of its columns."""
    try:
        with closing(sqlite3.connect(path)) as connection:
            names = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
            table = draw.choice(sorted(name for name in names if not name.startswith("sqlite_")))
            return table, [row[1] for row in connection.execute(f'PRAGMA table_info("{table}")')] or ["x"]
    except (sqlite3.Error, IndexError):  # damaged already
        return "none", ["x"]


def _execute(path: Path, statement: str, *values: Any, renamed: str | None = None) -> None:
    """Run a statement against a store, without regard to its triggers; a store that is damaged already stays as it is.

    ``renamed`` is the table that the table ``other`` replaces.
    """
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA ignore_check_constraints = ON")
            triggers = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
            for name, _ in triggers:
                connection.execute(f'DROP TRIGGER "{name}"')
            connection.execute(statement, values)
            if renamed is not None:
                connection.execute(f'DROP TABLE "{renamed}"')
                connection.execute(f'ALTER TABLE other RENAME TO "{renamed}"')
            for _, sql in triggers:
                connection.execute(sql)
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error:
        pass
