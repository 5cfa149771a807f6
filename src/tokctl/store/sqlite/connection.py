"""Opens the file of an SQLite store: creation, read-only directories, schema upgrades.

Errors of SQLite become StoreErrors that say what to do.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any

from msgspec import Struct

from tokctl.atomic_files import PRIVATE_FILE, is_foreign, make_folder
from tokctl.errors import MissingStoreError, StoreError, WrongStoreError
from tokctl.store.sql.dialect import FIND_COPY, unfinished_copy_error
from tokctl.store.sqlite.migration import find_schema_changes, find_views, migrate
from tokctl.store.sqlite.schema import APPLICATION_ID, SCHEMA_VERSION
from tokctl.verbose_log import trace

CACHE_KIB = 16 << 10
BUSY_TIMEOUT_SECONDS = 30
"""Seconds that a writer waits for another one."""
QUERY_LIMIT_SECONDS = 120.0
"""Seconds until a query of a reader has its next row: ten times as long as sorting 20 million tokens takes."""
STEPS_PER_CHECK = 100_000
"""Instructions of SQLite's virtual machine, a few milliseconds, between two checks of a query's time."""

_IN_USE = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_READ_ONLY = sqlite3.SQLITE_READONLY
_CANNOT_OPEN = sqlite3.SQLITE_CANTOPEN
"""Primary result codes (https://www.sqlite.org/rescode.html)."""
_DEFENSIVE = 1010
"""SQLITE_DBCONFIG_DEFENSIVE: statements cannot write to SQLite's own tables."""

_IN_USE_TEXT = f"is locked: another process has been writing to it for {BUSY_TIMEOUT_SECONDS} s.", "Try again later."
_TEXTS = {
    **dict.fromkeys(_IN_USE, _IN_USE_TEXT),
    sqlite3.SQLITE_FULL: ("cannot grow: the disk is full.", "Nothing was changed. Free disk space and try again."),
    _READ_ONLY: ("is read-only.", "Check the permissions of the file and its directory."),
    _CANNOT_OPEN: ("cannot be opened.", "Check the permissions of the file and its directory."),
    sqlite3.SQLITE_NOTADB: ("is not an SQLite database.", "Use another file with --store."),
    sqlite3.SQLITE_CORRUPT: (
        "is damaged.",
        "Restore a backup, or export the readable data with 'tokctl store export'.",
    ),
    sqlite3.SQLITE_INTERRUPT: (
        "needs too long for a query, which was stopped.",
        "Check it with 'tokctl store check'.",
    ),
    sqlite3.SQLITE_IOERR: (
        "cannot be read or written: disk I/O error.",
        "Nothing was changed. Check the disk and its free space.",
    ),
}
"""The problem and what to do, by primary result code."""


@contextmanager
def translate_errors(path: str) -> Iterator[None]:
    """Raise StoreError instead of an error of SQLite."""
    try:
        yield
    except sqlite3.Error as error:
        code = _primary_code(error) or 0
        if code == sqlite3.SQLITE_INTERRUPT:
            is_reached, QueryLimit.is_reached = QueryLimit.is_reached, False
            if not is_reached and current_thread() is main_thread():
                raise KeyboardInterrupt from None
        if str(error).startswith("Could not decode to UTF-8"):  # the message has the text
            code = sqlite3.SQLITE_CORRUPT
        meaning, hint = _TEXTS.get(code, (f"reports an error: {error}.", ""))
        raise StoreError(f"the store {path} {meaning}", hint) from error
    except UnicodeDecodeError as error:  # SQLite's own message about a damaged schema has damaged names
        raise StoreError(f"the store {path} {_TEXTS[sqlite3.SQLITE_CORRUPT][0]}", "Restore a backup.") from error
    except OverflowError as error:
        raise StoreError(f"the store {path} cannot store a number of this size: {error}.") from error


def is_stopped(error: StoreError) -> bool:
    """Tell whether an error of ``translate_errors`` means that a query took longer than its limit."""
    cause = error.__cause__
    return isinstance(cause, sqlite3.Error) and _primary_code(cause) == sqlite3.SQLITE_INTERRUPT


def _primary_code(error: sqlite3.Error) -> int | None:
    """Return SQLite's primary result code of an error; None for one of the Python module itself."""
    try:
        return error.sqlite_errorcode & 0xFF  # the other bits are the extended code
    except AttributeError:
        return None


class QueryLimit:
    """The maximum time in seconds until a query has its next row, None for no limit.

    SQLite calls ``check`` now and then, and stops the query if it returns True. It also stops if Ctrl-C raises
    KeyboardInterrupt there, but hides this exception; ``translate_errors`` raises it again.
    """

    is_reached = False  # by the last query that was stopped, by this limit or another thread

    def __init__(self) -> None:
        self.seconds: float | None = None
        self.has_row = True  # since the last check
        self._checked_at = 0.0

    def check(self) -> bool:
        """Return whether the query has to stop."""
        now = time.monotonic()
        if self.has_row:
            self.has_row = False
            self._checked_at = now
        if self.seconds is None or now - self._checked_at <= self.seconds:
            return False
        QueryLimit.is_reached = True
        return True


class LimitedConnection(sqlite3.Connection):
    """A connection with a time limit for its queries."""

    limit: QueryLimit

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        """Begin a query; its rows should be read at once."""
        self.limit.has_row = True
        return super().execute(*arguments)

    def rows(self, *arguments: Any) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a query; the time in which the caller does something else does not count."""
        limit = self.limit
        for row in self.execute(*arguments):
            yield row
            limit.has_row = True


class Fingerprint(Struct, frozen=True):
    """Identifies a file, and detects changes of it."""

    file: tuple[int, int]
    state: tuple[int, int, int]


class OpenedFile(Struct, frozen=True):
    """A connection to a store, and the fingerprint of its file when it was opened; None for a store in memory.

    An ``immutable`` connection takes no locks and sees no changes.
    """

    connection: LimitedConnection
    fingerprint: Fingerprint | None = None
    immutable: bool = False


def open_memory() -> OpenedFile:
    """Return an empty store in memory, which is deleted when it is closed."""
    connection = _secure(sqlite3.connect(":memory:", isolation_level=None, factory=LimitedConnection))
    migrate(connection)
    return OpenedFile(connection)


def open_file(path: Path, *, write: bool, create: bool, unfinished: bool = False) -> OpenedFile:
    """Open the store in a file and upgrade its schema; see ``store.open_store``."""
    trace("the store %s: opened to %s", path, "write" if write else "read")
    with translate_errors(str(path)):
        if not _exists(path):
            if not create:
                raise _missing_error(path)
            _create(path)
        if write:
            _close_to_others(path, stat.S_IWOTH)
        fingerprint = read_fingerprint(path)  # before it is opened, to detect a file that replaces it later
        connection, immutable = (_connect(path, "mode=rw"), False) if write else _connect_read_only(path)
        try:
            if _check(connection, path, write=write) < SCHEMA_VERSION:
                with closing(_connect(path, "mode=rw")) as upgrading:
                    migrate(upgrading)
            if not unfinished:
                _refuse_unfinished_copy(connection, path)
            if write:
                connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            else:
                connection.limit.seconds = QUERY_LIMIT_SECONDS
                connection.execute("BEGIN")  # everything a command shows is of one moment
        except BaseException:
            connection.close()
            raise
    return OpenedFile(connection, fingerprint, immutable)


def check_version(path: Path) -> int:
    """Return the schema version of a store that this program can open, without upgrading it. Raises StoreError."""
    with translate_errors(str(path)):
        if not _exists(path):
            raise _missing_error(path)
        with closing(_connect_read_only(path)[0]) as connection:
            return _check(connection, path, write=False)


def _missing_error(path: Path) -> MissingStoreError:
    return MissingStoreError(
        f"no store found at {path}.",
        "Fill one with 'tokctl store import' or 'tokctl simulate', try "
        "'tokctl demo', or use another store with --store.",
    )


def _refuse_unfinished_copy(connection: LimitedConnection, path: Path) -> None:
    with suppress(sqlite3.Error):  # damage is reported by what reads the store
        if connection.execute(FIND_COPY).fetchone() is not None:
            raise unfinished_copy_error(str(path))


def refuse_views(connection: sqlite3.Connection, path: Path) -> None:
    """Raise StoreError if the schema has a view, whose query could be endless, or a virtual table."""
    _refuse_schema(find_views(connection), path, "read")


def _refuse_schema(changes: Iterator[str], path: Path, action: str) -> None:
    for change in changes:
        raise StoreError(
            f"the store {path} {change}, so it is not {action}: it could change what is read or written.",
            "Another program has changed it. Restore a backup.",
        )


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"cannot open the store {path}: {error.strerror}.") from None


def _exists(path: Path) -> bool:
    status = _stat(path)
    if status is None:
        return False
    if not stat.S_ISREG(status.st_mode):
        what = "a directory" if stat.S_ISDIR(status.st_mode) else "a device or a pipe"
        raise WrongStoreError(f"the store {path} is {what}, not a file.", "Use a file with --store.")
    return status.st_size > 0


def _create(path: Path) -> None:
    """Create an empty store that only its owner can read."""
    try:
        make_folder(path.parent)
        with open(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, PRIVATE_FILE)) as file:  # noqa: PTH123 - modes
            if is_foreign(os.fstat(file.fileno())):  # it was there, and empty
                raise PermissionError(0, "it belongs to another user")
            _close_to_others(path, stat.S_IRWXG | stat.S_IRWXO)
            os.fchmod(file.fileno(), PRIVATE_FILE)  # the umask may have removed bits
    except OSError as error:
        raise StoreError(
            f"cannot create the store {path}: {error.strerror}.", "Use another path with --store."
        ) from None
    with closing(_connect(path, "mode=rw")) as connection:
        deadline = time.monotonic() + BUSY_TIMEOUT_SECONDS
        while True:  # SQLite's busy timeout does not cover the change of journal mode
            try:
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
                connection.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError as error:
                if _primary_code(error) not in _IN_USE or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        migrate(connection)


def _close_to_others(path: Path, bits: int) -> None:
    """Remove bits from the mode of a store, and say so: others could change or read it. Raises StoreError."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if not mode & bits:
        return
    try:
        path.chmod(mode & ~bits)
    except OSError:
        raise StoreError(
            f"other users can change the store {path} (mode {mode:04o}), and it is not yours.", "Use another store."
        ) from None
    sys.stderr.write(f"warning: the store {path} was open to other users (mode {mode:04o}); it is closed now.\n")


def _connect(path: Path, mode: str) -> LimitedConnection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?{mode}",
        uri=True,
        timeout=BUSY_TIMEOUT_SECONDS,
        isolation_level=None,
        check_same_thread=False,  # a simulation records from a thread with a deep stack, one at a time
        factory=LimitedConnection,
    )
    _secure(connection)
    connection.execute("PRAGMA foreign_keys = ON")
    if mode == "mode=rw":  # this pragma reads the file, which may fail for a reader
        connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def _secure(connection: LimitedConnection) -> LimitedConnection:
    """Let the schema call no functions but harmless ones, and limit queries."""
    connection.limit = QueryLimit()
    connection.set_progress_handler(connection.limit.check, STEPS_PER_CHECK)
    connection.execute("PRAGMA trusted_schema = OFF")
    if hasattr(connection, "setconfig"):  # Python 3.12
        connection.setconfig(_DEFENSIVE, True)
    return connection


def _connect_read_only(path: Path) -> tuple[LimitedConnection, bool]:
    """Return a connection, and whether it takes no locks and sees no changes."""
    connection = _connect(path, "mode=ro")
    try:
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        connection.close()
        # In a read-only directory WAL cannot create its index. Without a log there is nothing in it.
        if _primary_code(error) in {_CANNOT_OPEN, _READ_ONLY} and not _log_size(path):
            return _connect(path, "immutable=1"), True
        raise
    return connection, False


def read_fingerprint(path: Path) -> Fingerprint:
    """Return the fingerprint of a file as it is now. Raises StoreError if there is none."""
    status = _stat(path)
    if status is None:
        raise MissingStoreError(f"no store found at {path}.")
    return Fingerprint((status.st_dev, status.st_ino), (status.st_mtime_ns, status.st_size, _log_size(path)))


def _log_size(path: Path) -> int:
    try:
        return path.with_name(path.name + "-wal").stat().st_size
    except OSError:
        return 0


def _check(connection: sqlite3.Connection, path: Path, *, write: bool) -> int:
    """Return the schema version of a store that this program can open."""
    connection.execute("BEGIN")  # another process may be creating the same store: read everything at one moment
    try:
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        _check_version(path, tables, application, version)
        if write or version < SCHEMA_VERSION:
            _refuse_schema(find_schema_changes(connection, version), path, "written to")
        else:
            refuse_views(connection, path)
    finally:
        connection.execute("COMMIT")
    return int(version)


def _check_version(path: Path, tables: int, application: int, version: int) -> None:
    if application != APPLICATION_ID and (tables or application):
        raise WrongStoreError(f"{path} is not a tokctl store.", "Use another file with --store.")
    if version > SCHEMA_VERSION:
        raise WrongStoreError(
            f"the store {path} was written by a newer tokctl (schema {version}, supported: {SCHEMA_VERSION}).",
            "Upgrade tokctl.",
        )
    if version < 0:
        raise WrongStoreError(f"the store {path} has an invalid schema version ({version}).", "Restore a backup.")
