"""Opens the file of an SQLite store: creation, read-only directories, schema upgrades.

Errors of SQLite become StoreErrors that say what to do.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from msgspec import Struct

from tokctl.atomic_files import PRIVATE_FILE, is_foreign, make_folder
from tokctl.errors import StoreError, WrongStoreError
from tokctl.store.sqlite.schema import APPLICATION_ID, MIGRATIONS, SCHEMA_VERSION
from tokctl.verbose_log import trace

CACHE_KIB = 16 << 10
BUSY_TIMEOUT_SECONDS = 30
"""Seconds that a writer waits for another one."""

_IN_USE = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_READ_ONLY = sqlite3.SQLITE_READONLY
_CANNOT_OPEN = sqlite3.SQLITE_CANTOPEN
"""Primary result codes (https://www.sqlite.org/rescode.html)."""

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
        meaning, hint = _TEXTS.get(_primary_code(error) or 0, (f"reports an error: {error}.", ""))
        raise StoreError(f"the store {path} {meaning}", hint) from error
    except OverflowError as error:
        raise StoreError(f"the store {path} cannot store a number of this size: {error}.") from error


@contextmanager
def transaction(connection: sqlite3.Connection, *, keep: bool = True) -> Iterator[None]:
    """Run a write transaction; roll it back after an error, and without ``keep``."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT" if keep else "ROLLBACK")
    except BaseException:
        with suppress(sqlite3.Error):  # a full disk has rolled it back already
            connection.execute("ROLLBACK")
        raise


def _primary_code(error: sqlite3.Error) -> int | None:
    """Return SQLite's primary result code of an error; None for one of the Python module itself."""
    try:
        return error.sqlite_errorcode & 0xFF  # the other bits are the extended code
    except AttributeError:
        return None


class Fingerprint(Struct, frozen=True):
    """Identifies a file, and detects changes of it."""

    file: tuple[int, int]
    state: tuple[int, int, int]


class OpenedFile(Struct, frozen=True):
    """A connection to a store, and the fingerprint of its file when it was opened; None for a store in memory.

    An ``immutable`` connection takes no locks and sees no changes.
    """

    connection: sqlite3.Connection
    fingerprint: Fingerprint | None = None
    immutable: bool = False


def open_memory() -> OpenedFile:
    """Return an empty store in memory, which is deleted when it is closed."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection)
    return OpenedFile(connection)


def open_file(path: Path, *, write: bool, create: bool) -> OpenedFile:
    """Open the store in a file and upgrade its schema; see ``store.open_store``."""
    trace("the store %s: opened to %s", path, "write" if write else "read")
    with translate_errors(str(path)):
        if not _exists(path):
            if not create:
                raise StoreError(
                    f"no store found at {path}.",
                    "Fill one with 'tokctl store import' or 'tokctl simulate', try "
                    "'tokctl demo', or use another store with --store.",
                )
            _create(path)
        if write:
            _close_to_others(path, stat.S_IWOTH)
        fingerprint = read_fingerprint(path)  # before it is opened, to detect a file that replaces it later
        connection, immutable = (_connect(path, "mode=rw"), False) if write else _connect_read_only(path)
        try:
            version = _check(connection, path)
            if version < SCHEMA_VERSION:
                with closing(_connect(path, "mode=rw")) as upgrading:
                    migrate(upgrading)
            if write:
                connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            else:
                connection.execute("BEGIN")  # everything a command shows is of one moment
        except BaseException:
            connection.close()
            raise
    return OpenedFile(connection, fingerprint, immutable)


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
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, PRIVATE_FILE))
        if is_foreign(path.stat()):  # it was there, and empty
            raise PermissionError(0, "it belongs to another user")
        _close_to_others(path, stat.S_IRWXG | stat.S_IRWXO)
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


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?{mode}",
        uri=True,
        timeout=BUSY_TIMEOUT_SECONDS,
        isolation_level=None,
        check_same_thread=False,  # a simulation records from a thread with a deep stack, one at a time
    )
    connection.execute("PRAGMA foreign_keys = ON")
    if mode == "mode=rw":  # this pragma reads the file, which may fail for a reader
        connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def _connect_read_only(path: Path) -> tuple[sqlite3.Connection, bool]:
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
        raise StoreError(f"no store found at {path}.")
    return Fingerprint((status.st_dev, status.st_ino), (status.st_mtime_ns, status.st_size, _log_size(path)))


def _log_size(path: Path) -> int:
    try:
        return path.with_name(path.name + "-wal").stat().st_size
    except OSError:
        return 0


def _check(connection: sqlite3.Connection, path: Path) -> int:
    """Return the schema version of a store that this program can open."""
    connection.execute("BEGIN")  # another process may be creating the same store: read all three at one moment
    try:
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    finally:
        connection.execute("COMMIT")
    if application != APPLICATION_ID and (tables or application):
        raise WrongStoreError(f"{path} is not a tokctl store.", "Use another file with --store.")
    if version > SCHEMA_VERSION:
        raise WrongStoreError(
            f"the store {path} was written by a newer tokctl (schema {version}, supported: {SCHEMA_VERSION}).",
            "Upgrade tokctl.",
        )
    return int(version)


def migrate(
    connection: sqlite3.Connection, steps: tuple[str | Callable[[sqlite3.Connection], None], ...] = MIGRATIONS
) -> None:
    """Upgrade a store's schema to the last of the steps, in one transaction."""
    with transaction(connection):
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        for step in steps[version:]:
            if callable(step):
                step(connection)
                continue
            for statement in _statements(step):
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {max(version, len(steps))}")


def _statements(step: str) -> Iterator[str]:
    """Yield the statements of a script; a trigger is one statement."""
    statement = ""
    for part in step.split(";"):
        statement += part + ";"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
