"""The PostgreSQL store: its moment, limits and facts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING

import psycopg

from tokctl.errors import InputError, UnreachableStoreError
from tokctl.store.postgresql.batch import PostgreSQLBatch
from tokctl.store.postgresql.connection import QUERY_LIMIT_SECONDS, UnstorableError
from tokctl.store.postgresql.database import PostgreSQLDatabase
from tokctl.store.postgresql.migration import prepare, read_version
from tokctl.store.sql.batch import SqlBatch
from tokctl.store.sql.database import Row
from tokctl.store.sql.dialect import SINGLE_ROWS
from tokctl.store.sql.store import SqlStore

if TYPE_CHECKING:
    from tokctl.store.postgresql.copying import PostgreSQLCopying
    from tokctl.store.postgresql.pruning import PostgreSQLPruning

_REVISIONS = "SELECT kind, number FROM revision ORDER BY kind"


class PostgreSQLStore(SqlStore):
    """A store in a PostgreSQL database, or in one of its schemas (``search_path``)."""

    database: PostgreSQLDatabase

    def __init__(self, url: str, *, write: bool, create: bool, unfinished: bool = False) -> None:
        super().__init__(PostgreSQLDatabase(url))
        self._shown: list[Row] = []
        try:
            prepare(self.database, create=create, unfinished=unfinished)
            if not write:
                self.set_query_limit(QUERY_LIMIT_SECONDS)
                self.database.begin(_REVISIONS)  # everything a command shows is of one moment
        except BaseException:
            self.close()
            raise

    def _batch(self) -> PostgreSQLBatch:
        return PostgreSQLBatch(self.database)

    def _pruning(self, moment: datetime, *, incidents: bool) -> PostgreSQLPruning:
        from tokctl.store.postgresql.pruning import PostgreSQLPruning

        return PostgreSQLPruning(self.database, moment, incidents=incidents)

    @property
    def copying(self) -> PostgreSQLCopying:
        from tokctl.store.postgresql.copying import PostgreSQLCopying

        return PostgreSQLCopying(self.database)

    @contextmanager
    def write(self, *, keep: bool = True) -> Iterator[SqlBatch]:
        try:
            with super().write(keep=keep) as batch:
                yield batch
        except UnstorableError as error:
            raise InputError(error.message, error.hint) from error

    def close(self) -> None:
        self.database.close()

    def refresh(self) -> bool:
        """Show the present moment, over a new connection if the server has ended the old one."""
        before = self._shown
        try:
            self._shown = self.database.begin(_REVISIONS)
        except UnreachableStoreError:
            self.database.reconnect()
            prepare(self.database, create=False)
            self._shown = self.database.begin(_REVISIONS)
        return self._shown != before

    def release(self) -> None:
        self.database.end()

    def set_busy_timeout(self, milliseconds: int) -> None:
        self.database.set_limits(lock_timeout_ms=max(milliseconds, 1))

    def set_query_limit(self, seconds: float | None) -> None:
        self.database.set_limits(query_limit_ms=0 if seconds is None else max(int(seconds * 1000), 1))

    def interrupt(self) -> None:
        with suppress(psycopg.Error):  # it has been closed
            self.database.connection.cancel_safe(timeout=5)

    def _facts(self) -> tuple[str, int, int]:
        ((server,),) = self.database.fetch("SHOW server_version")
        ((size,),) = self.database.fetch(
            "SELECT CAST(coalesce(sum(pg_total_relation_size(oid)), 0) AS BIGINT) FROM pg_class"
            " WHERE relkind = 'r' AND relnamespace = (SELECT relnamespace FROM pg_class"
            " WHERE oid = to_regclass('tokctl_store'))"
        )
        return f"PostgreSQL {server.split()[0]}", read_version(self.database) or 0, size

    def find_damage(self, seconds: float = math.inf) -> Iterator[str]:  # noqa: ARG002 - it takes milliseconds
        """Yield the rows that every store has, and this one lacks. PostgreSQL checks the types of values itself."""
        for table, condition in SINGLE_ROWS:
            if not self.database.fetch(f"SELECT 1 FROM {table} WHERE {condition}"):
                yield f"{table} lacks the row {condition}"

    def find_problems(self) -> Iterator[str]:
        yield from super().find_problems()
        ((tokens,),) = self.database.fetch(
            "SELECT count(*) FROM token WHERE NOT EXISTS (SELECT FROM instance WHERE pk = instance)"
        )
        if tokens:
            yield (
                f"{tokens} tokens have no instance: an interrupted 'tokctl store prune' has left them over."
                " They are not shown, and the next one removes them"
            )
