"""The PostgreSQL store: its moment, limits and facts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING

import psycopg

from tokctl.errors import InputError, StoreError, UnreachableStoreError
from tokctl.store.postgresql.batch import PostgreSQLBatch
from tokctl.store.postgresql.connection import QUERY_LIMIT_SECONDS, UnstorableError
from tokctl.store.postgresql.database import PostgreSQLDatabase
from tokctl.store.postgresql.migration import is_current, prepare, read_version
from tokctl.store.postgresql.queries import PostgreSQLQueries
from tokctl.store.protocol import Revisions
from tokctl.store.sql.batch import SqlBatch
from tokctl.store.sql.database import Row
from tokctl.store.sql.dialect import SINGLE_ROWS

if TYPE_CHECKING:
    from tokctl.engines.protocol import ChangeSignal
    from tokctl.store.postgresql.copying import PostgreSQLCopying
    from tokctl.store.postgresql.pruning import PostgreSQLPruning

_REVISIONS = "SELECT kind, number FROM revision ORDER BY kind"
_OPENING = """SELECT kind, number FROM revision UNION ALL SELECT 'schema', schema_version FROM tokctl_store
    UNION ALL SELECT 'process_id', pg_backend_pid() ORDER BY kind"""
"""The revisions, and what has to be known of a store before it is used; also whether it is a copy (``FIND_COPY``)."""


class PostgreSQLStore(PostgreSQLQueries):
    """A store in a PostgreSQL database, or in one of its schemas (``search_path``)."""

    database: PostgreSQLDatabase

    def __init__(self, url: str, *, write: bool, create: bool, unfinished: bool = False) -> None:
        super().__init__(PostgreSQLDatabase(url))
        self._shown: list[Row] = []
        self._writes = write
        try:
            self._open(create=create, unfinished=unfinished)
        except BaseException:
            self.close()
            raise

    def _open(self, *, create: bool = False, unfinished: bool = False) -> None:
        """Check the store, in one exchange with the server if it is up to date. Raises as ``prepare``."""
        query_limit_ms = 0 if self._writes else int(QUERY_LIMIT_SECONDS * 1000)
        self.database.query_limit_ms = query_limit_ms
        if not self._read_opening(unfinished=unfinished):
            self.database.end()
            self.database.detect_pooler()
            self.database.set_limits(query_limit_ms=0)
            prepare(self.database, create=create, unfinished=unfinished)
            self.database.query_limit_ms = query_limit_ms
            self._read_opening(unfinished=unfinished)
        if self._writes:
            self.database.set_limits()

    def _read_opening(self, *, unfinished: bool) -> bool:
        """Read what has to be known before a store is used, and show that moment; returns whether that is enough."""
        try:
            rows = self.database.fetch(_OPENING) if self._writes else self.database.begin(_OPENING)
        except UnreachableStoreError:
            raise
        except StoreError:  # there are no tables, or other ones
            self.database.end()
            return False
        facts: dict[str, int] = dict(rows)
        self.database.note_server_process(facts["process_id"])
        self._shown = [row for row in rows if row[0] not in {"schema", "process_id"}]
        return is_current(facts.get("schema")) and (unfinished or "copy" not in facts)

    def revisions(self) -> Revisions:
        if self._writes or not self.database.is_in_transaction:
            return super().revisions()
        shown: dict[str, int] = dict(self._shown)
        return Revisions(process=shown["process"], access=shown["access"])

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
        """Show the present moment, over a new connection if the server has ended the old one.

        A writer has no moment: its store is checked as if it was opened again.
        """
        before = self._shown
        try:
            if self._writes:
                self._open()
            else:
                self._shown = self.database.begin(_REVISIONS)
        except UnreachableStoreError:
            self.database.reconnect()
            self._open()
        return self._shown != before

    def release(self) -> None:
        self.database.end()

    def listen(self) -> ChangeSignal | None:
        try:
            return self.database.listen()
        except StoreError:  # a standby server cannot tell
            return None

    def set_busy_timeout(self, milliseconds: int) -> None:
        self.database.set_limits(lock_timeout_ms=max(milliseconds, 1))

    def set_query_limit(self, seconds: float | None) -> None:
        self.database.set_limits(query_limit_ms=0 if seconds is None else max(int(seconds * 1000), 1))

    def interrupt(self) -> None:
        with suppress(psycopg.Error):  # it has been closed
            self.database.connection.cancel_safe()

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
