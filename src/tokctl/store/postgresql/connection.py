"""Connects to PostgreSQL. Its errors become StoreErrors of one line, without values and secrets."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tokctl.errors import StoreError, StorePermissionError, UnreachableStoreError, UsageError, WrongStoreError
from tokctl.store.postgresql.liveness import KEEPALIVES, WatchedConnection, watch
from tokctl.store.postgresql.passwords import find_password, find_saved_password, forget_passwords
from tokctl.verbose_log import trace

logging.getLogger("psycopg").addHandler(logging.NullHandler())  # its warnings are our errors

OLDEST_VERSION = 13_00_00
"""The oldest server that is supported, as libpq writes its version."""
CONNECT_TIMEOUT_SECONDS = 5  # as for other servers
LOCK_TIMEOUT_SECONDS = 30
"""Seconds that a writer waits for another one."""
QUERY_LIMIT_SECONDS = 120.0
"""Seconds until a query of a reader has its next rows."""

_FATAL = re.compile(r"FATAL:\s*(.+)")
_TEMPORARY = re.compile(
    r"starting up|not (yet )?accepting connections|shutting down|recovery mode|too many|remaining connection slots"
    r"|no more connections|query_wait_timeout|client_login_timeout|server_login_retry|cannot connect to server"
)
"""What PostgreSQL says, or PgBouncer, if it may accept a connection later."""
_USE = f"Use PostgreSQL {OLDEST_VERSION // 10_000} or newer."
_RESTORE = "Restore a backup of the database."
_LOST = ("57P", "08", "25P03", "25P04")
"""The beginnings of the SQLSTATE of errors after which a connection is closed: by the administrator, by a timeout."""


class UnstorableError(UsageError):
    """A value cannot be stored: PostgreSQL has no character NUL."""


def connect(url: str, password: str | None = None) -> psycopg.Connection:
    """Connect as the URL says, and the variables and files of libpq: PGPASSWORD, ~/.pgpass, services.

    The password is, in this order: the given one, that of the credential that the user has set, what libpq finds, and
    that in the keyring.

    Raises:
        UsageError: the URL is invalid.
        UnreachableStoreError: there is no server, or no trusted connection to it.
        StoreError: the server refuses the connection, or is too old.
    """
    location = locate(url)
    try:
        own = {"client_encoding": "UTF8", "fallback_application_name": "tokctl"}
        if "connect_timeout" not in conninfo_to_dict(url) and not os.environ.get("PGCONNECT_TIMEOUT"):
            own["connect_timeout"] = str(CONNECT_TIMEOUT_SECONDS)
        given = conninfo_to_dict(url)
        own |= {name: value for name, value in KEEPALIVES.items() if name not in given}
        trace("the store %s: connecting", location)
        connection = _connect(url, location, own, find_password(url, location) if password is None else password)
    except psycopg.ProgrammingError as error:
        raise _invalid_url(error) from None
    except psycopg.OperationalError as error:
        forget_passwords()
        raise _connection_error(error, location) from error
    watch(connection)
    if connection.info.server_version < OLDEST_VERSION:
        version = connection.info.parameter_status("server_version")
        connection.close()
        raise StoreError(f"the server of the store {location} has version {version}, which is too old.", _USE)
    return connection


def _connect(url: str, location: str, own: dict[str, str], password: str | None) -> WatchedConnection:
    try:
        given = own if password is None else own | {"password": password}
        return WatchedConnection.connect(make_conninfo(url, **given), autocommit=True, cursor_factory=psycopg.RawCursor)
    except psycopg.OperationalError as error:
        needs_password = error.pgconn is not None and error.pgconn.needs_password
        saved = find_saved_password(location) if password is None and needs_password else None
        if saved is None:
            raise
    return _connect(url, location, own, saved)


def locate(url: str) -> str:
    """Return what ``describe`` returns. Raises UsageError: the URL is invalid."""
    try:
        return describe(url)
    except psycopg.ProgrammingError as error:
        raise _invalid_url(error) from None


def _invalid_url(error: psycopg.Error) -> UsageError:
    return UsageError(
        f"the URL of the store is invalid: {_one_line(error)}.", "Use postgresql://USER@HOST:PORT/DATABASE."
    )


def describe(url: str) -> str:
    """Return what users see as the location of a store: its URL without parameters. Raises psycopg.ProgrammingError."""
    given = conninfo_to_dict(url)
    user, host, port = (str(given.get(name) or "") for name in ("user", "host", "port"))
    where = quote(host, safe=":,.[]") + (f":{port}" if port else "")
    return f"postgresql://{quote(user)}{'@' * bool(user)}{where}/{quote(str(given.get('dbname') or ''))}"


def _connection_error(error: psycopg.OperationalError, location: str) -> StoreError:
    pgconn = error.pgconn
    if pgconn is not None and pgconn.needs_password:
        return StoreError(
            f"the store {location} requires a password, and none is set.",
            "Save it with 'tokctl auth login --store URL', or set PGPASSWORD.",
        )
    if refused := _FATAL.search(str(error)):
        message = refused[1].strip()
        kind = UnreachableStoreError if _TEMPORARY.search(message) else StoreError
        hint = "Try again later." if kind is UnreachableStoreError else "Check user, password and database."
        return kind(f"the store {location} refuses the connection: {message}.", hint)
    if "SSL" in str(error) or "certificate" in str(error):
        return UnreachableStoreError(
            f"cannot connect to the store {location} over TLS: {_one_line(error)}.", "Check sslmode and sslrootcert."
        )
    return UnreachableStoreError(
        f"cannot connect to the store {location}: {_one_line(error)}.", "Check the address, or start the server."
    )


def _one_line(error: psycopg.Error) -> str:
    """Return the first line of an error about a connection, without what names the address again."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return line.rpartition(" failed: ")[2].removeprefix("connection is bad: ").rstrip(".")


@contextmanager
def translate_errors(location: str, connection: psycopg.Connection[Any] | None = None) -> Iterator[None]:
    """Raise StoreError or UnstorableError instead of an error of psycopg, without details: they have values of rows.

    If the ``connection`` has been closed, that is the reason of an error that the server did not send.
    """
    try:
        yield
    except psycopg.Error as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None  # older versions of psycopg hide it if the connection is lost
        is_lost = connection is not None and connection.closed and error.sqlstate is None
        raise _convert(error, location, is_lost=is_lost) from error
    except UnicodeEncodeError as error:
        raise StoreError(f"the store {location} cannot store a text: {error.reason}.") from None


_LACKS = "is on a server that lacks what tokctl requires: {}"
_TEXTS: tuple[tuple[type[psycopg.Error], str, str], ...] = (
    (errors.LockNotAvailable, "is locked: another process has been writing to it", "Try again later."),
    (errors.QueryCanceled, "needs too long for a query, which was stopped", "Run ANALYZE in the database."),
    (errors.ReadOnlySqlTransaction, "is read-only", "Connect to the primary server."),
    (errors.InvalidSchemaName, "has no such schema: {}", "Create it with CREATE SCHEMA, or correct search_path."),
    (errors.DiskFull, "cannot grow: the disk is full", "Nothing was changed. Free disk space and try again."),
    (errors.SerializationFailure, "has ended the transaction: {}", "Try again."),
    (errors.DeadlockDetected, "has ended the transaction: {}", "Try again."),
    (errors.FeatureNotSupported, _LACKS, _USE),
    (errors.SyntaxError, _LACKS, _USE),
    (errors.UndefinedFunction, _LACKS, _USE),
    (errors.UndefinedObject, _LACKS, _USE),
    (errors.UndefinedTable, "is damaged: {}", _RESTORE),
    (errors.UndefinedColumn, "is damaged: {}", _RESTORE),
)
"""The kind of error, what happened (with PostgreSQL's own words), and what to do."""


def _convert(error: psycopg.Error, location: str, *, is_lost: bool) -> StoreError | UsageError:
    if isinstance(error, errors.DuplicateTable):
        return WrongStoreError(
            f"{location} has a table of another program: {error.diag.message_primary}.",
            "Use another database, or another schema.",
        )
    # About a value: an error of psycopg itself, or of the server where psycopg 3.2 sends a NUL to it.
    if isinstance(error, psycopg.DataError) and error.sqlstate in {None, errors.CharacterNotInRepertoire.sqlstate}:
        reason = error.diag.message_primary or error
        return UnstorableError(f"the store {location} cannot store a value: {reason}.")
    message = error.diag.message_primary or type(error).__name__
    if error.sqlstate is None:
        is_lost = is_lost or isinstance(error, psycopg.OperationalError)
    if is_lost or (error.sqlstate or "").startswith(_LOST):
        reason = f": {message}" if error.sqlstate else ""
        return UnreachableStoreError(f"the connection to the store {location} was lost{reason}.", "Try again.")
    if isinstance(error, errors.InsufficientPrivilege):
        hint = "Use another user, or grant the permission."
        return StorePermissionError(f"the store {location} does not allow this: {message}.", hint)
    for kind, text, hint in _TEXTS:
        if isinstance(error, kind):
            return StoreError(f"the store {location} {text.format(message)}.", hint)
    return StoreError(f"the store {location} reports an error: {message}.")
