"""The SQLite store: its file, its moment, and maintenance."""

from __future__ import annotations

import math
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tokctl.errors import StoreError
from tokctl.model.filters import InstanceFilter, TokenFilter, asks_for_live
from tokctl.model.states import FAILED as FAILED_STATE
from tokctl.store.sql.conditions import SqlCondition
from tokctl.store.sql.store import SqlStore
from tokctl.store.sql.variables import MAX_CHARACTER
from tokctl.store.sqlite.batch import SQLiteBatch
from tokctl.store.sqlite.connection import (
    LimitedConnection,
    OpenedFile,
    QueryLimit,
    is_stopped,
    open_file,
    read_fingerprint,
    refuse_views,
    translate_errors,
)
from tokctl.store.sqlite.database import SQLiteDatabase
from tokctl.store.sqlite.migration import find_schema_changes
from tokctl.store.sqlite.schema import SECTION, SECTION_BITS

if TYPE_CHECKING:
    from tokctl.store.sqlite.pruning import SQLitePruning

_SECTIONS = f"""WITH RECURSIVE sections (section) AS (
    SELECT min(pk) >> {SECTION_BITS} FROM instance UNION ALL
    SELECT (SELECT min(pk) >> {SECTION_BITS} FROM instance WHERE pk >= (section + 1) << {SECTION_BITS})
    FROM sections WHERE section IS NOT NULL
) SELECT section FROM sections WHERE section IS NOT NULL"""
"""The sections that have instances: few of all, because numbers of copied instances may be high."""
_LAST_OF_SECTION = f"""SELECT token_id FROM token WHERE {SECTION} = section AND token_id >= ? AND token_id < ?
    ORDER BY token_id LIMIT 1 OFFSET ?"""


class SQLiteQueries(SqlStore):
    """Hints for SQLite's planner, which does not know how small the indexes of FAILED and live tokens are."""

    database: SQLiteDatabase

    def _all_tokens_table(self, where: TokenFilter) -> str:
        if where.states == (FAILED_STATE,):
            return "token INDEXED BY token_failed"
        return "token INDEXED BY token_live" if asks_for_live(where) else "token"

    def _instance_table(self, where: InstanceFilter) -> str:
        if where.variables or where.business_keys:
            return "instance"
        if where.failed:
            return "instance INDEXED BY instance_failed"
        return "instance INDEXED BY instance_live" if where.stuck is not None else "instance"

    def _select_all_tokens(self, columns: str, where: TokenFilter, condition: SqlCondition, by: str, page: str) -> str:
        """In recorded order nothing is sorted, in others only row numbers are: a CROSS JOIN keeps their order."""
        pks = f"SELECT pk AS token_pk FROM {self._all_tokens_table(where)}{condition} ORDER BY {by}{page}"
        return f"""SELECT {columns} FROM ({pks}) CROSS JOIN token ON token.pk = token_pk
            CROSS JOIN (SELECT pk AS owner, instance_id, process_id FROM instance) ON owner = instance"""

    def _token_key(self, pk: int, token_id: str) -> SqlCondition:
        sql = super()._token_key(pk, token_id)
        sql.add(f"{SECTION} = ?", pk >> SECTION_BITS)
        return sql

    def _with_prefix(self, sql: SqlCondition, prefix: str, limit: int) -> str:
        end = prefix + MAX_CHARACTER
        sql.add("t.token_id >= ?", prefix)
        sql.add(f"t.token_id <= coalesce(({_LAST_OF_SECTION}), ?)", prefix, end, limit - 1, end)
        return f"({_SECTIONS}) CROSS JOIN token t ON t.{SECTION} = section"


class SQLiteStore(SQLiteQueries):
    """A store in an SQLite file, or in memory."""

    def __init__(self, opened: OpenedFile, path: Path) -> None:
        super().__init__(SQLiteDatabase(opened.connection, str(path)))
        self.path = path
        self._opened = opened
        self._version: tuple[int, int] | None = None
        self._query_limit = opened.connection.limit.seconds

    @property
    def connection(self) -> LimitedConnection:
        """The connection to the file."""
        return self.database.connection

    def _batch(self) -> SQLiteBatch:
        return SQLiteBatch(self.database)

    def _pruning(self, moment: datetime, *, incidents: bool) -> SQLitePruning:
        from tokctl.store.sqlite.pruning import SQLitePruning

        return SQLitePruning(self.database, moment, incidents=incidents)

    def close(self) -> None:
        self.connection.close()

    def refresh(self) -> bool:
        """Show the present moment: three statements that read no table, unless the file was replaced.

        Raises:
            StoreError: the file was deleted. (SQLite would continue to show its old content.)
        """
        before, immutable = self._opened.fingerprint, self._opened.immutable
        if before is not None:
            now = read_fingerprint(self.path)
            if now.file != before.file or (immutable and now.state != before.state):
                self._reopen()
        with translate_errors(str(self.path)):
            self.release()
            self.connection.execute("BEGIN")
            (version,) = self.connection.execute("PRAGMA data_version").fetchone()  # of the data that the BEGIN shows
            last, self._version = self._version, (version, self.connection.total_changes)
            if self._version != last:
                refuse_views(self.connection, self.path)
        return self._version != last

    def _reopen(self) -> None:
        opened = open_file(self.path, write=False, create=False)
        self.close()
        self._opened = opened
        self.database.connect(opened.connection)
        self.set_query_limit(self._query_limit)
        self._version = None

    def release(self) -> None:
        """End the read transaction: a writer's log can only be reset when there is no reader."""
        if self.connection.in_transaction:
            with suppress(sqlite3.Error):  # the next BEGIN reports it
                self.connection.execute("ROLLBACK")

    def set_busy_timeout(self, milliseconds: int) -> None:
        with translate_errors(str(self.path)):
            self.connection.execute(f"PRAGMA busy_timeout = {milliseconds}")

    def set_query_limit(self, seconds: float | None) -> None:
        self._opened.connection.limit.seconds = self._query_limit = seconds

    def interrupt(self) -> None:
        QueryLimit.is_reached = True
        with suppress(sqlite3.ProgrammingError):  # it has been closed
            self.connection.interrupt()

    def _facts(self) -> tuple[str, int, int]:
        ((version,),) = self.database.fetch("PRAGMA user_version")
        files = [self.path, self.path.with_name(self.path.name + "-wal")]
        size = sum(file.stat().st_size for file in files if file.exists())
        return f"SQLite {sqlite3.sqlite_version}", version, size

    def find_damage(self, seconds: float = math.inf) -> Iterator[str]:
        from tokctl.store.sqlite.values import find_odd_values

        limit = self._query_limit
        self.set_query_limit(None if seconds == math.inf else max(seconds, 1.0))
        try:
            with translate_errors(str(self.path)):
                (version,) = self.connection.execute("PRAGMA user_version").fetchone()
                for change in find_schema_changes(self.connection, version):
                    yield f"the store {change}"
                yield from find_odd_values(self.connection, seconds)
        except StoreError as error:
            if not is_stopped(error):
                raise
        finally:
            self.set_query_limit(limit)

    def find_problems(self) -> Iterator[str]:
        self.set_query_limit(None)
        with translate_errors(str(self.path)):
            for (text,) in self.connection.execute("PRAGMA integrity_check"):
                if text != "ok":
                    yield f"SQLite: {text}"
            for table, row, parent, _ in self.connection.execute("PRAGMA foreign_key_check"):
                yield f"row {row} of table {table} has no {parent}"
        yield from super().find_problems()

    def backup(self, target: Path) -> None:
        if target.exists():
            raise StoreError(f"{target} already exists.", "Use a path that does not exist.")
        partial = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            with translate_errors(str(target)), closing(sqlite3.connect(partial)) as copy:
                self.connection.backup(copy, pages=4096)
                copy.execute("PRAGMA journal_mode = DELETE")
            try:
                os.link(partial, target)  # unlike rename, this never replaces a file that was just created
            except FileExistsError:
                raise
            except OSError:  # not every file system has links
                os.close(os.open(target, os.O_CREAT | os.O_EXCL, 0o600))
                partial.replace(target)
        except OSError as error:
            raise StoreError(f"cannot write the backup {target}: {error.strerror}.") from None
        finally:
            partial.unlink(missing_ok=True)
