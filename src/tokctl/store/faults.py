"""Turns what SQLite says when it cannot go on into one clear line."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from tokctl.errors import StoreError

WAIT_SECONDS = 30
"""How long a writer waits for another one."""

_MEANINGS = (
    ("locked", f"is in use: another process has been writing to it for {WAIT_SECONDS} s.", "Try again later."),
    ("disk is full", "cannot grow: the disk is full.", "Nothing was changed; make room and try again."),
    ("readonly", "is read-only here.", "Check the rights of the file and of its folder."),
    ("unable to open", "cannot be opened.", "Check the rights of the file and of its folder."),
    ("not a database", "is no SQLite database.", "Name another file with --store."),
    ("malformed", "is damaged.", "Restore a backup, or save what can be read with 'tokctl store export'."),
    ("disk I/O error", "cannot be read or written: the disk reports an error.",
     "Check the disk and the room left on it; nothing was changed."),
)  # fmt: skip


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Raise StoreError for an error of SQLite's."""
    try:
        yield
    except sqlite3.Error as error:
        raise explain(error, path) from error
    except OverflowError as error:
        raise StoreError(f"the store {path} cannot hold a number this large: {error}.") from error


def explain(error: sqlite3.Error, path: str) -> StoreError:
    """Say what an error of SQLite's means for this store."""
    text = str(error)
    for sign, meaning, hint in _MEANINGS:
        if sign in text:
            return StoreError(f"the store {path} {meaning}", hint)
    return StoreError(f"the store {path} cannot do this: {text}.")
