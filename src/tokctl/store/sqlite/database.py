"""The connection of an SQLite store, as the queries use it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from tokctl.store.sql.database import Database, Kind, Row, Values
from tokctl.store.sqlite.connection import LimitedConnection, translate_errors
from tokctl.store.sqlite.dialect import SQLITE, add_functions
from tokctl.store.sqlite.migration import transaction


class SQLiteDatabase(Database):
    """A connection to an SQLite file. There is one writer at a time, for all kinds of changes."""

    dialect = SQLITE
    journal_mode = "WAL"

    def __init__(self, connection: LimitedConnection, location: str) -> None:
        self.location = location
        self.connect(connection)

    def connect(self, connection: LimitedConnection) -> None:
        """Use this connection from now on."""
        add_functions(connection)
        self.connection = connection

    def rows(self, sql: str, values: Values = ()) -> Iterator[Row]:
        with translate_errors(self.location):
            yield from self.connection.rows(sql, values)

    def chunks(self, sql: str, values: Values, size: int) -> Iterator[list[Row]]:
        with translate_errors(self.location):
            rows = self.connection.execute(sql, values)
            while chunk := rows.fetchmany(size):
                yield chunk
                self.connection.limit.has_row = True

    def fetch(self, sql: str, values: Values = ()) -> list[Row]:
        with translate_errors(self.location):
            return self.connection.execute(sql, values).fetchall()

    def execute(self, sql: str, values: Values = ()) -> int:
        with translate_errors(self.location):
            return self.connection.execute(sql, values).rowcount

    def execute_many(self, sql: str, several: Iterable[Values]) -> None:
        with translate_errors(self.location):
            self.connection.executemany(sql, several)

    @contextmanager
    def transaction(self, kind: Kind, *, keep: bool = True) -> Iterator[None]:
        with translate_errors(self.location):
            if kind == "process" and keep:
                self.connection.execute(f"PRAGMA journal_mode = {self.journal_mode}")  # a backup has no WAL
            elif kind == "access":
                self.connection.execute("PRAGMA synchronous = FULL")  # must survive a power failure
            elif kind == "salts":
                self.connection.execute("PRAGMA secure_delete = ON")  # otherwise they would stay in the file
            with transaction(self.connection, keep=keep):
                yield
