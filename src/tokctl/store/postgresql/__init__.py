"""Stores in PostgreSQL. Importing this package does not import psycopg."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tokctl.errors import UsageError

if TYPE_CHECKING:
    from tokctl.store.postgresql.store import PostgreSQLStore


def open_store(location: str, *, write: bool, create: bool) -> PostgreSQLStore:
    """Open the store in a database; ``location`` is its URL without the scheme. See ``store.open_store``."""
    try:
        import psycopg  # noqa: F401 - the extra
    except ImportError:
        raise UsageError(
            "stores in PostgreSQL need an additional package.", "Install it with 'pip install \"tokctl[postgres]\"'."
        ) from None
    from tokctl.store.postgresql.store import PostgreSQLStore

    return PostgreSQLStore(f"postgresql:{location}", write=write, create=create)


def is_temporary(location: str) -> bool:  # noqa: ARG001 - the same for every kind
    """Tell whether a store is deleted when it is closed: never."""
    return False


def files(location: str) -> tuple[Path, ...]:  # noqa: ARG001 - the same for every kind
    """Return no files: the store is in a database."""
    return ()
