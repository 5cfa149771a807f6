"""Creates and upgrades the tables of a store: once, however many processes start at the same time."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg.errors import InsufficientPrivilege

from tokctl.errors import MissingStoreError, StoreError, UnreachableStoreError, WrongStoreError
from tokctl.store.postgresql.database import PostgreSQLDatabase
from tokctl.store.postgresql.schema import COMPATIBLE_VERSION, MIGRATIONS, SCHEMA_VERSION
from tokctl.store.sql.dialect import FIND_COPY, unfinished_copy_error

_LOCK = 0x746F6B63  # "tokc", of the lock on migrations


def prepare(database: PostgreSQLDatabase, *, create: bool, unfinished: bool = False) -> None:
    """Upgrade the tables of a store; with ``create`` a missing one is created.

    Raises:
        MissingStoreError: there is no store.
        WrongStoreError: it was written by a newer version.
        StoreError: it is an unfinished copy, and not ``unfinished``; or a new one, and the database is not in UTF8.
    """
    is_new = create and read_version(database) is None
    if is_new:
        _check_encoding(database)
    version = 0 if is_new else check_version(database)
    if version < SCHEMA_VERSION:
        _migrate(database, version)
    if not unfinished and database.fetch(FIND_COPY):
        raise unfinished_copy_error(database.location)


def check_version(database: PostgreSQLDatabase) -> int:
    """Return the version of the schema of a store that this program can open. Raises as ``prepare``."""
    version = read_version(database)
    if version is None:
        raise MissingStoreError(
            f"no store found at {database.location}.", "Fill one with 'tokctl store import' or 'tokctl simulate'."
        )
    if version > SCHEMA_VERSION and not _is_compatible(database):
        raise WrongStoreError(
            f"the store {database.location} was written by a newer tokctl"
            f" (schema {version}, supported: {SCHEMA_VERSION}).",
            "Upgrade tokctl.",
        )
    return version


def _check_encoding(database: PostgreSQLDatabase) -> None:
    encoding = database.connection.info.parameter_status("server_encoding")
    if encoding not in {None, "UTF8"}:
        raise StoreError(
            f"the database of the store {database.location} has the encoding {encoding}.",
            "Create a database with ENCODING 'UTF8' TEMPLATE template0.",
        )


def is_current(version: int | None) -> bool:
    """Return whether a store of this version needs no migration, and is not newer than this program."""
    return version == SCHEMA_VERSION


def _is_compatible(database: PostgreSQLDatabase) -> bool:
    """Return whether this program can use a store that a newer one has upgraded."""
    ((oldest,),) = database.fetch("SELECT compatible_version FROM tokctl_store")
    return int(oldest) <= SCHEMA_VERSION


def read_version(database: PostgreSQLDatabase) -> int | None:
    """Return the version of the schema; None if there is no store."""
    # to_regclass may not see a table that another process has created since the transaction began.
    if not database.fetch(
        "SELECT 1 FROM pg_tables WHERE tablename = 'tokctl_store' AND schemaname = ANY(current_schemas(false))"
    ):
        return None
    rows = database.fetch("SELECT schema_version FROM tokctl_store")
    if len(rows) != 1:
        raise StoreError(f"the store {database.location} has no schema version.", "Restore a backup of the database.")
    return int(rows[0][0])


def _migrate(database: PostgreSQLDatabase, version: int) -> None:
    try:
        try:
            _run_steps(database)
        except UnreachableStoreError:  # perhaps only the answer was lost: what is done is not run again
            database.reconnect()
            database.set_limits()
            _run_steps(database)
    except StoreError as error:
        if version and isinstance(error.__cause__, InsufficientPrivilege):
            raise StoreError(
                f"the store {database.location} has schema {version}; this tokctl needs {SCHEMA_VERSION}.",
                "Run 'tokctl store migrate' as the owner of its tables.",
            ) from error
        raise


def _run_steps(database: PostgreSQLDatabase) -> None:
    for number, step in enumerate(MIGRATIONS):
        _run_step(database, number, (step,) if isinstance(step, str) else step)


def _run_step(database: PostgreSQLDatabase, number: int, transactions: Sequence[str]) -> None:
    for statements in transactions:
        with database.translated_errors(), database.connection.transaction():
            database.connection.execute("SELECT pg_advisory_xact_lock(hashtext(current_schema()), $1)", [_LOCK])
            if (read_version(database) or 0) > number:
                return  # another process has run it
            database.connection.execute(statements)
            if statements is transactions[-1]:
                version = number + 1
                oldest = f", compatible_version = {version}" if version == COMPATIBLE_VERSION else ""
                database.connection.execute(f"UPDATE tokctl_store SET schema_version = {version}{oldest}")
