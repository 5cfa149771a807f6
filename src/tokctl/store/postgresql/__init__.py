"""Stores in PostgreSQL. Importing this package does not import psycopg."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from tokctl.errors import UsageError

if TYPE_CHECKING:
    from tokctl.store.postgresql.store import PostgreSQLStore


def open_store(location: str, *, write: bool, create: bool, unfinished: bool) -> PostgreSQLStore:
    """Open the store in a database; ``location`` is its URL without the scheme. See ``store.open_store``."""
    _require_psycopg()
    from tokctl.store.postgresql.store import PostgreSQLStore

    return PostgreSQLStore(f"postgresql:{location}", write=write, create=create, unfinished=unfinished)


def schema_versions(location: str) -> tuple[int, int]:
    """Return the version of a store's schema, and the latest one; see ``store.schema_versions``."""
    _require_psycopg()
    from tokctl.store.postgresql.database import PostgreSQLDatabase
    from tokctl.store.postgresql.migration import check_version
    from tokctl.store.postgresql.schema import SCHEMA_VERSION

    with closing(PostgreSQLDatabase(f"postgresql:{location}")) as database:
        return check_version(database), SCHEMA_VERSION


def account_name(url: str) -> str:
    """Return the name of a store in the keyring, from its URL. Raises UsageError: the URL is invalid."""
    _require_psycopg()
    from tokctl.store.postgresql.connection import locate
    from tokctl.store.postgresql.passwords import account_name

    return account_name(locate(url))


def check_password(url: str, password: str | None) -> bool:
    """Connect to the database of a store with a password, or as usual; returns whether it asked for one.

    Raises StoreError.
    """
    _require_psycopg()
    from tokctl.store.postgresql.connection import connect

    with connect(url, password) as connection:
        return bool(connection.pgconn.used_password)


def _require_psycopg() -> None:
    try:
        import psycopg  # noqa: F401 - the extra
    except ImportError:
        raise UsageError(
            "stores in PostgreSQL need an additional package.", "Install it with 'pip install \"tokctl[postgres]\"'."
        ) from None


def is_temporary(location: str) -> bool:  # noqa: ARG001 - the same for every kind
    """Tell whether a store is deleted when it is closed: never."""
    return False


def files(location: str) -> tuple[Path, ...]:  # noqa: ARG001 - the same for every kind
    """Return no files: the store is in a database."""
    return ()
