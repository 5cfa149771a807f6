"""Removes instances from an SQLite store, and returns the space to the file system."""

from __future__ import annotations

import sqlite3
import time
from contextlib import suppress

from tokctl.store.sql.pruning import Pruning
from tokctl.store.sqlite.connection import translate_errors
from tokctl.store.sqlite.database import SQLiteDatabase

PAUSE_SECONDS = 0.02
"""SQLite has no queue: another writer tries again up to ten times a second, and has to find the store unlocked."""
FREED_PAGES = 2000  # in one transaction


class SQLitePruning(Pruning):
    """Removes instances; their tokens go with them by the foreign key."""

    database: SQLiteDatabase

    def pause(self) -> None:
        time.sleep(PAUSE_SECONDS)

    def finish(self) -> None:
        connection = self.database.connection
        with translate_errors(self.database.location), suppress(sqlite3.OperationalError):  # a writer needs too long
            (free,) = connection.execute("PRAGMA freelist_count").fetchone()
            for _ in range(0, free, FREED_PAGES):
                connection.executescript(f"PRAGMA incremental_vacuum({FREED_PAGES})")  # execute would free one page
                self.pause()
