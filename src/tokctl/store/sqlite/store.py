"""The SQLite store: transactions and maintenance. Reading is in ``queries``, writing in ``batch``."""

from __future__ import annotations

import math
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tokctl.errors import StoreError
from tokctl.model.times import from_micros, to_micros
from tokctl.store.protocol import StoreInfo
from tokctl.store.sqlite.batch import SQLiteBatch
from tokctl.store.sqlite.connection import (
    OpenedFile,
    QueryLimit,
    is_stopped,
    open_file,
    read_fingerprint,
    refuse_views,
    translate_errors,
)
from tokctl.store.sqlite.migration import find_schema_changes, transaction
from tokctl.store.sqlite.queries import SQLiteQueries
from tokctl.store.sqlite.schema import FINAL, INCREMENT_REVISION, LIVE
from tokctl.store.sqlite.variables import find_stale_variables

if TYPE_CHECKING:
    from tokctl.store.sqlite.api_tokens import PageStarts, SQLiteApiTokens
    from tokctl.store.sqlite.audit import SQLiteAudit


class SQLiteStore(SQLiteQueries):
    """A store in an SQLite file, or in memory."""

    def __init__(self, opened: OpenedFile, path: Path) -> None:
        super().__init__(opened.connection, str(path))
        self.path = path
        self._opened = opened
        self._version: tuple[int, int] | None = None
        self._query_limit = opened.connection.limit.seconds
        self._starts: PageStarts | None = None

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
        self._use(opened.connection)
        self.set_query_limit(self._query_limit)
        self._version = None

    def release(self) -> None:
        """End the read transaction: a writer's log can only be reset when there is no reader."""
        if self.connection.in_transaction:
            with suppress(sqlite3.Error):  # the next BEGIN reports it
                self.connection.execute("ROLLBACK")

    @contextmanager
    def write(self, *, keep: bool = True) -> Iterator[SQLiteBatch]:
        """Begin a transaction; waits for another writer up to BUSY_TIMEOUT_SECONDS."""
        with translate_errors(str(self.path)):
            if keep:
                self.connection.execute("PRAGMA journal_mode = WAL")  # a backup has no WAL
            with transaction(self.connection, keep=keep):
                batch = SQLiteBatch(self.connection)
                yield batch
                batch.finish()

    @property
    def api_tokens(self) -> SQLiteApiTokens:
        from tokctl.store.sqlite.api_tokens import PageStarts, SQLiteApiTokens

        if self._starts is None:
            self._starts = PageStarts()
        return SQLiteApiTokens(self.connection, str(self.path), self._starts)

    @property
    def audit(self) -> SQLiteAudit:
        from tokctl.store.sqlite.audit import SQLiteAudit

        return SQLiteAudit(self.connection, str(self.path))

    def set_busy_timeout(self, milliseconds: int) -> None:
        with translate_errors(str(self.path)):
            self.connection.execute(f"PRAGMA busy_timeout = {milliseconds}")

    def set_query_limit(self, seconds: float | None) -> None:
        self._opened.connection.limit.seconds = self._query_limit = seconds

    def interrupt(self) -> None:
        QueryLimit.is_reached = True
        with suppress(sqlite3.ProgrammingError):  # it has been closed
            self.connection.interrupt()

    def info(self) -> StoreInfo:
        with translate_errors(str(self.path)):
            instances, tokens, live, oldest, newest = self.connection.execute(
                "SELECT count(*), coalesce(sum(total_tokens), 0), coalesce(sum(live_tokens), 0),"
                " min(coalesce(started_at, first_at)), max(coalesce(updated_at, last_at)) FROM instance"
            ).fetchone()
            (definitions,) = self.connection.execute("SELECT count(*) FROM definition").fetchone()
            (version,) = self.connection.execute("PRAGMA user_version").fetchone()
        files = [self.path, self.path.with_name(self.path.name + "-wal")]
        return StoreInfo(
            location=str(self.path),
            kind=f"SQLite {sqlite3.sqlite_version}",
            schema_version=version,
            size_bytes=sum(file.stat().st_size for file in files if file.exists()),
            instances=instances,
            tokens=tokens,
            live_tokens=live,
            definitions=definitions,
            oldest=from_micros(oldest),
            newest=from_micros(newest),
        )

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
            wrong = self.connection.execute(
                f"""SELECT i.instance_id, i.total_tokens, i.live_tokens, count(t.pk), coalesce(sum(t.{LIVE}), 0)
                    FROM instance i LEFT JOIN token t ON t.instance = i.pk GROUP BY i.pk
                    HAVING count(t.pk) != i.total_tokens OR coalesce(sum(t.{LIVE}), 0) != i.live_tokens"""
            )
            for instance_id, total, live, real_total, real_live in wrong:
                yield (
                    f"instance {instance_id}: the counters say {total} tokens, {live} live; "
                    f"found {real_total}, {real_live} live"
                )
            kept, counted = self.connection.execute(
                "SELECT (SELECT number FROM api_token_count), count(*) FROM api_token WHERE revoked_at IS NULL"
            ).fetchone()
            if kept != counted:
                yield f"the counter says {kept} API tokens; found {counted}"
            for instance_id in find_stale_variables(self.connection):
                yield f"instance {instance_id}: the searchable variables differ from its variables"

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

    _FINISHED_CONDITION = (
        "(live_tokens = 0 AND coalesce(completed_at, cancelled_at, end_at) < ?1"
        f" AND coalesce(status, derived_status, 'COMPLETED') IN ({FINAL}))"  # without a status, an end is enough
    )
    _FAILED_CONDITION = (
        "(failed_tokens > 0 AND live_tokens = failed_tokens AND coalesce(completed_at, cancelled_at) < ?1"
        f" AND coalesce(status, 'FAILED') IN ({FINAL}, 'FAILED'))"
    )

    def _prunable(self, *, incidents: bool) -> str:
        return f"{self._FINISHED_CONDITION} OR {self._FAILED_CONDITION}" if incidents else self._FINISHED_CONDITION

    def count_prunable(self, moment: datetime, *, incidents: bool = False) -> tuple[int, int]:
        with translate_errors(str(self.path)):
            instances, tokens = self.connection.execute(
                "SELECT count(*), coalesce(sum(total_tokens), 0) FROM instance"
                f" WHERE {self._prunable(incidents=incidents)}",
                (to_micros(moment),),
            ).fetchone()
        return instances, tokens

    def prune(self, moment: datetime, *, incidents: bool = False) -> tuple[int, int]:
        with self.write():
            counted = self.count_prunable(moment, incidents=incidents)
            self.connection.execute(INCREMENT_REVISION, ["process"])
            where = self._prunable(incidents=incidents)
            self.connection.execute(f"DELETE FROM instance WHERE {where}", (to_micros(moment),))
        with (
            translate_errors(str(self.path)),
            suppress(sqlite3.OperationalError),
        ):
            self.connection.executescript("PRAGMA incremental_vacuum")  # execute would free a single page
        return counted
