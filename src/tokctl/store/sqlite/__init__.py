"""Stores in SQLite. Importing this package does not import sqlite3."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tokctl.config.paths import expand_user

if TYPE_CHECKING:
    from tokctl.store.sqlite.store import SQLiteStore

MEMORY = ":memory:"
"""The location of a store in memory, which is deleted when it is closed."""


def open_store(location: str, *, write: bool, create: bool, unfinished: bool) -> SQLiteStore:
    """Open the store in a file; see ``store.open_store``."""
    from tokctl.store.sqlite.connection import open_file, open_memory
    from tokctl.store.sqlite.store import SQLiteStore

    if location == MEMORY:
        return SQLiteStore(open_memory(), Path(MEMORY))
    path = expand_user(location)
    return SQLiteStore(open_file(path, write=write, create=create, unfinished=unfinished), path)


def schema_versions(location: str) -> tuple[int, int]:
    """Return the version of a store's schema, and the latest one; see ``store.schema_versions``."""
    from tokctl.store.sqlite.connection import check_version
    from tokctl.store.sqlite.schema import SCHEMA_VERSION

    return SCHEMA_VERSION if location == MEMORY else check_version(expand_user(location)), SCHEMA_VERSION


def is_temporary(location: str) -> bool:
    """Tell whether a store is in memory."""
    return location == MEMORY


def files(location: str) -> tuple[Path, ...]:
    """Return the files of a store, the store itself first; none for a store in memory."""
    if location == MEMORY:
        return ()
    path = expand_user(location)
    return (path, *(path.with_name(path.name + suffix) for suffix in ("-wal", "-shm")))
