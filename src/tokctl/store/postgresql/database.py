"""The connection of a PostgreSQL store, as the queries use it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import count
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from tokctl.errors import StoreError, StoreOutcomeUnknownError, UnreachableStoreError
from tokctl.store.postgresql.connection import LOCK_TIMEOUT_SECONDS, connect, describe, translate_errors
from tokctl.store.postgresql.dialect import CHANNEL, POSTGRESQL
from tokctl.store.postgresql.outcome import IDENTITY, TransactionIdentity, find_outcome
from tokctl.store.sql.database import Database, Kind, Row, Values
from tokctl.verbose_log import trace

CHUNK_ROWS = 500  # of a result that are fetched at once
_NOT_STORED = "\U0010fffe"  # a code point that is no character
_DURABLE = (
    "SELECT set_config('synchronous_commit', 'on', true)"
    " WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply');"
)
"""Lets a transaction survive a power failure, and the loss of the primary if it has a synchronous standby."""
_PLACEHOLDER = re.compile(r"\?")


def number_placeholders(sql: str) -> str:
    """Return a statement with ``$1``, ``$2``, … for each ``?``."""
    numbers = count(1)
    return _PLACEHOLDER.sub(lambda _: f"${next(numbers)}", sql)


def _to_searched(value: Any) -> Any:
    """Return a value to search for. Texts with the character NUL are not stored, and cannot be sent."""
    if isinstance(value, list):
        return [_to_searched(one) for one in value]
    return value.replace("\0", _NOT_STORED) if isinstance(value, str) else value


class Notifications:
    """Tells of notifications that a connection has received; implements ``ChangeSignal``."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        self.is_set = False
        connection.add_notify_handler(self._note)

    def _note(self, _notification: psycopg.Notify) -> None:
        self.is_set = True

    def fileno(self) -> int:
        """Return the file descriptor of the connection."""
        return self._connection.fileno()


class PostgreSQLDatabase(Database):
    """A connection to PostgreSQL. There is one writer of each kind of changes at a time."""

    dialect = POSTGRESQL

    def __init__(self, url: str) -> None:
        self.url = url
        self.connection = connect(url)
        self.location = describe(url)
        self.is_pooled = False
        self._notifications: Notifications | None = None
        self._cursors = count()
        self._ended_cursors: list[str] = []
        self._moment = 0  # counts the transactions: a cursor ends with its own
        self.lock_timeout_ms = LOCK_TIMEOUT_SECONDS * 1000
        self.query_limit_ms = 0

    def detect_pooler(self) -> None:
        """Ask which process of the server serves the connection; see ``note_server_process``."""
        ((process_id,),) = self.fetch("SELECT pg_backend_pid()")
        self.note_server_process(process_id)

    def note_server_process(self, process_id: int) -> None:
        """Note the id of the process that serves the connection; a pooler has told the client another one.

        Behind a pooler each transaction may have another process, so nothing is left in the session.
        """
        self.is_pooled = process_id != self.connection.info.backend_pid
        if self.is_pooled:
            trace("the store %s: connected through a pooler", self.location)
            self.connection.prepare_threshold = None

    @property
    def is_in_transaction(self) -> bool:
        """Whether a transaction has begun."""
        return self.connection.info.transaction_status is not TransactionStatus.IDLE

    def _limits(self) -> str:
        """Return the statements that limit a transaction."""
        return f"SET LOCAL lock_timeout = {self.lock_timeout_ms}; SET LOCAL statement_timeout = {self.query_limit_ms};"

    def translated_errors(self) -> AbstractContextManager[None]:
        """Raise StoreError instead of an error of psycopg."""
        return translate_errors(self.location, self.connection)

    def set_limits(self, *, lock_timeout_ms: int | None = None, query_limit_ms: int | None = None) -> None:
        """Set how long a statement waits for a lock, or takes. 0 is no limit.

        Behind a pooler, this applies to transactions only.
        """
        if lock_timeout_ms is not None:
            self.lock_timeout_ms = lock_timeout_ms
        if query_limit_ms is not None:
            self.query_limit_ms = query_limit_ms
        with self.translated_errors():
            if self.is_in_transaction:
                self.connection.execute(self._limits())
            elif not self.is_pooled:
                self.connection.execute(self._limits().replace("SET LOCAL", "SET"))

    def reconnect(self) -> None:
        """Replace the connection by a new one."""
        self.close()
        self.connection = connect(self.url)
        self._notifications = None
        if self.is_pooled:
            self.connection.prepare_threshold = None

    def close(self) -> None:
        """Close the connection."""
        self._end_moment()
        with suppress(psycopg.Error):
            self.connection.close()

    def _end_moment(self) -> None:
        self._moment += 1
        self._ended_cursors.clear()

    def listen(self) -> Notifications | None:
        """Return what tells of changes since ``begin``; None if a pooler does not pass it on. Raises StoreError."""
        if self.is_pooled or self.is_in_transaction:
            return None
        with self.translated_errors():
            if self._notifications is None:
                notifications = Notifications(self.connection)
                ((oid,),) = self.fetch("SELECT CAST(CAST('revision' AS regclass) AS oid)")
                self.connection.execute(f"LISTEN {CHANNEL}{oid}")
                notifications.is_set = True  # there may have been a change before
                self._notifications = notifications
        return self._notifications

    def begin(self, query: str) -> list[Row]:
        """Show the present moment from now on; returns the rows of a query, in one exchange with the server.

        The lock keeps the partitions whose instances the moment shows: they are removed by dropping tables.
        """
        with self.translated_errors():
            self._end_moment()
            end = "COMMIT;" if self.is_in_transaction else ""
            if self._notifications is not None:
                self._notifications.is_set = False
            lock = "LOCK TABLE ONLY token IN ACCESS SHARE MODE;"
            return self._fetch_last(
                f"{end} BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {self._limits()} {lock} {query}"
            )

    def _fetch_last(self, statements: str) -> list[Row]:
        """Run several statements in one exchange with the server; returns the rows of the last one."""
        cursor = self.connection.execute(statements)
        while cursor.nextset():
            pass
        return cursor.fetchall()

    def end(self) -> None:
        """End the transaction of ``begin``, if there is one."""
        self._end_moment()
        with suppress(psycopg.Error):  # the next begin reports it
            if self.is_in_transaction:
                self.connection.execute("COMMIT")

    def rows(self, sql: str, values: Values = ()) -> Iterator[Row]:
        for chunk in self.chunks(sql, values, CHUNK_ROWS):
            yield from chunk

    def chunks(self, sql: str, values: Values, size: int) -> Iterator[list[Row]]:
        if not self.is_in_transaction:  # a cursor needs a transaction
            found = self.fetch(sql, values)
            yield from (found[start : start + size] for start in range(0, len(found), size))
            return
        name, moment = f"rows_{next(self._cursors)}", self._moment
        with self.translated_errors():
            chunk = self._open_cursor(name, sql, values, size)
            try:
                while chunk:
                    yield chunk
                    if len(chunk) < size:
                        return
                    if self._moment != moment:
                        raise StoreError("the moment of a result has passed: it cannot be read further.")
                    chunk = self.connection.execute(f"FETCH {size} FROM {name}").fetchall()
            finally:
                if self._moment == moment:  # otherwise it has ended with its transaction
                    self._ended_cursors.append(name)

    def _open_cursor(self, name: str, sql: str, values: Values, size: int) -> list[Row]:
        """Declare a cursor, and return its first rows; close those that have been read. All of it is one exchange."""
        with self.connection.pipeline():
            for ended in self._ended_cursors:
                self.connection.execute(f"CLOSE {ended}")
            self._ended_cursors.clear()
            self._execute(f"DECLARE {name} NO SCROLL CURSOR FOR {sql}", values)
            cursor = self.connection.execute(f"FETCH {size} FROM {name}")
        return cursor.fetchall()

    def fetch(self, sql: str, values: Values = ()) -> list[Row]:
        with self.translated_errors():
            return self._execute(sql, values).fetchall()

    def execute(self, sql: str, values: Values = ()) -> int:
        with self.translated_errors():
            return max(self._execute(sql, values).rowcount, 0)

    def _execute(self, sql: str, values: Values) -> psycopg.Cursor[Row]:
        if sql.startswith(("SELECT", "DECLARE")):
            values = [_to_searched(value) for value in values]
        return self.connection.execute(number_placeholders(sql), values or None)

    def execute_many(self, sql: str, several: Iterable[Values]) -> None:
        with self.translated_errors():
            self.connection.cursor().executemany(number_placeholders(sql), several)

    def insert_missing(self, table: str, columns: Sequence[str], rows: Sequence[Values]) -> None:
        if rows:  # as a list for each column
            lists = [list(values) for values in zip(*rows, strict=True)]
            types = ("bigint" if isinstance(values[0], int) else "text" for values in lists)
            source = f"SELECT * FROM unnest({', '.join(f'CAST(? AS {kind}[])' for kind in types)})"
            self.execute(f"INSERT INTO {table} ({', '.join(columns)}) {source} ON CONFLICT DO NOTHING", lists)

    def copy(self, table: str, columns: Sequence[str], rows: Iterable[Values]) -> None:
        """Copy rows into a table."""
        statement = f"COPY {table} ({', '.join(columns)}) FROM STDIN"
        with self.translated_errors(), self.connection.cursor().copy(statement) as copy:
            for row in rows:  # they are sent in parts: while the server reads one, the next one is made
                copy.write_row(row)

    @contextmanager
    def transaction(self, kind: Kind, *, keep: bool = True) -> Iterator[None]:
        locked = "use" if kind == "salts" else kind
        to_commit: TransactionIdentity | None = None
        limits = self._limits()
        if kind == "access":
            limits += _DURABLE
        try:
            with self.translated_errors(), self.connection.transaction(force_rollback=not keep):
                self._end_moment()
                rows = self._fetch_last(f"{limits} SELECT {IDENTITY} FROM revision WHERE kind = '{locked}' FOR UPDATE")
                if locked == "use":
                    self.increment_revision(locked)
                yield
                to_commit = TransactionIdentity(*rows[0]) if keep and rows else None
        except UnreachableStoreError:
            if to_commit is None:
                raise
            self._find_outcome(to_commit)
        self._end_moment()

    def _find_outcome(self, transaction: TransactionIdentity) -> None:
        """Connect again after the answer to COMMIT was lost. Raises StoreError, except if the changes were saved."""
        is_committed = find_outcome(self.url, transaction)
        if is_committed is None:
            with suppress(StoreError):
                self.reconnect()  # so that callers can look for what they have changed
            raise StoreOutcomeUnknownError(
                f"the connection to the store {self.location} was lost: it is unknown whether the change was saved.",
                "Check that before you repeat the command.",
            )
        if not is_committed:
            raise UnreachableStoreError(
                f"the connection to the store {self.location} was lost: the change was not saved.", "Try again."
            )
        self.reconnect()
