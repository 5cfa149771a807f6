"""A connection to an SQL database, as the queries of stores use it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal

from tokctl.errors import StoreError
from tokctl.store.sql.dialect import Dialect

Row = tuple[Any, ...]
Values = Sequence[Any]

Kind = Literal["process", "access", "use", "salts"]
"""What a transaction changes: process instances, API tokens, only their last use, or the salts of their secrets."""


class Database(ABC):
    """A connection. Its errors are StoreErrors. ``location`` is shown to users and has no secret."""

    dialect: Dialect
    location: str

    @abstractmethod
    def rows(self, sql: str, values: Values = ()) -> Iterator[Row]:
        """Yield the rows of a result as they are found; in the meantime, other queries are possible."""

    @abstractmethod
    def chunks(self, sql: str, values: Values, size: int) -> Iterator[list[Row]]:
        """Yield the rows of a result as they are found, in lists of at most ``size``."""

    @abstractmethod
    def fetch(self, sql: str, values: Values = ()) -> list[Row]:
        """Return all rows of a small result, or of a statement that returns what it writes."""

    @abstractmethod
    def execute(self, sql: str, values: Values = ()) -> int:
        """Run a statement; returns the number of changed rows."""

    @abstractmethod
    def execute_many(self, sql: str, several: Iterable[Values]) -> None:
        """Run a statement with several rows of values."""

    def insert_missing(self, table: str, columns: Sequence[str], rows: Sequence[Values]) -> None:
        """Insert those of several rows that are not in a table."""
        places = ", ".join("?" * len(columns))
        statement = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places}) ON CONFLICT DO NOTHING"
        self.execute_many(statement, rows)

    @abstractmethod
    def transaction(self, kind: Kind, *, keep: bool = True) -> AbstractContextManager[None]:
        """Begin a transaction, when the last one of its kind has ended. It is rolled back after an error.

        What changes API tokens is on disk when it ends. Without ``keep`` it is always rolled back.
        """

    def increment_revision(self, kind: Kind) -> None:
        """Increase the number of a kind of changes: to the time in ms, if that is greater.

        So a copy that replaces the store does not repeat numbers that clients have already seen.
        """
        dialect = self.dialect
        self.execute(
            f"UPDATE revision SET number = {dialect.largest}(number + 1, {dialect.now_ms}) WHERE kind = ?"
            + dialect.tell_of_change * (kind == "process"),
            [kind],
        )

    def read_back(self, query: str, written: Values) -> None:
        """Check that a query returns one row with exactly the values that were written. Raises StoreError."""
        if self.fetch(query) != [tuple(written)]:
            raise self.not_kept_error()

    def not_kept_error(self) -> StoreError:
        """Return the error for a store that changes what is written to it."""
        return StoreError(
            f"the store {self.location} does not keep what is written to it. Nothing was changed.",
            "Check it with 'tokctl store check', and restore a backup.",
        )
