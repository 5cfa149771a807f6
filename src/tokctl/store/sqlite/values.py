"""Finds damage that SQLite accepts: missing rows, values of other types, impossible times, invalid JSON."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from time import monotonic
from typing import Any

import msgspec
from msgspec import Raw

from tokctl.model.api_tokens import CreatedBy
from tokctl.model.definitions import Definition
from tokctl.model.times import to_micros
from tokctl.store.sql.dialect import SINGLE_ROWS
from tokctl.text import count

_EARLIEST = to_micros(datetime.min.replace(tzinfo=UTC))
_LATEST = to_micros(datetime.max.replace(tzinfo=UTC))
_TYPES = {
    "TEXT": ("text",),
    "INTEGER": ("integer",),
    "REAL": ("real", "integer"),
    "BLOB": ("blob",),
    "": ("text", "integer", "real"),
}
"""Declared type of a column → the types of its values."""
_NAMES = msgspec.json.Decoder(tuple[str, ...])
_ANY = msgspec.json.Decoder(Raw)
_OBJECT = msgspec.json.Decoder(dict[str, Raw])
_DOCUMENTS: Mapping[str, Mapping[str, msgspec.json.Decoder[Any]]] = {
    "definition": {"document": msgspec.json.Decoder(Definition)},
    "instance": {"variables": _ANY, "extra": _OBJECT},
    "token": {
        "variables": _ANY,
        "execution_context": _ANY,
        "child_tokens": _NAMES,
        "flow_history": _ANY,
        "extra": _OBJECT,
    },
    "api_token": {"scopes": _NAMES, "created_by": msgspec.json.Decoder(CreatedBy)},
}
"""Table and column → how its JSON is read."""


def find_odd_values(connection: sqlite3.Connection, seconds: float) -> Iterator[str]:
    """Yield a line for each column that has such values. It stops after ``seconds``."""
    if not seconds:
        return
    until = monotonic() + seconds
    tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    for table, condition in SINGLE_ROWS:
        if connection.execute(f"SELECT 1 FROM {table} WHERE {condition}").fetchone() is None:
            yield f"{table} lacks the row {condition}"
    for (table,) in tables.fetchall():
        yield from _find_odd_types(connection, table)
        for column, decoder in _DOCUMENTS.get(table, {}).items():
            odd = _count_undecodable(connection, table, column, decoder, until)
            if odd:
                yield f"{count(odd, 'value')} of {table}.{column} are not valid JSON of the right shape"
            if monotonic() > until:
                return


def _find_odd_types(connection: sqlite3.Connection, table: str) -> Iterator[str]:
    columns = connection.execute('SELECT name, type, "notnull", pk FROM pragma_table_info(?)', [table]).fetchall()
    conditions = [_is_odd(name, declared, optional=not (required or pk)) for name, declared, required, pk in columns]
    sums = ", ".join(f"sum({condition})" for condition in conditions)
    found = connection.execute(f"SELECT {sums} FROM {_quote(table)}").fetchone()
    for (name, *_), number in zip(columns, found, strict=True):
        if number:
            yield f"{count(number, 'value')} of {table}.{name} have a wrong type or are out of range"


def _is_odd(column: str, declared: str, *, optional: bool) -> str:
    name = _quote(column)
    types = (*_TYPES.get(declared, ()), *(["null"] if optional else []))
    condition = f"typeof({name}) NOT IN ({', '.join(repr(one) for one in types)})"
    if column.endswith("_at"):
        condition += f" OR {name} NOT BETWEEN {_EARLIEST} AND {_LATEST}"
    return condition


def _count_undecodable(
    connection: sqlite3.Connection, table: str, column: str, decoder: msgspec.json.Decoder[Any], until: float
) -> int:
    odd = 0
    name = _quote(column)
    rows = connection.execute(f"SELECT CAST({name} AS BLOB) FROM {_quote(table)} WHERE {name} IS NOT NULL")
    for number, (document,) in enumerate(rows):
        if not number % 1000 and monotonic() > until:
            break
        try:
            document.decode()
            decoder.decode(document)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            odd += 1
    return odd


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
