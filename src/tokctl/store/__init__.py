"""The store: process instances, their tokens and definitions in an SQL database.

``base`` says what a store does, ``open_store`` opens the kind that a URL names. Each kind is one
module, imported when it is opened.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

from tokctl.config.file import at_home
from tokctl.errors import UsageError
from tokctl.source import is_same_file

if TYPE_CHECKING:
    from tokctl.store.base import Store

STORES = {"sqlite": "tokctl.store.sqlite"}
"""URL scheme → module; each has ``open_store(location, write=…, create=…)``."""


def open_store(url: str, *, write: bool = False, create: bool = False) -> Store:
    """Open a store by its URL, or by the path of an SQLite file.

    Args:
        url: a path, or ``sqlite:PATH``.
        write: whether it will be written to; a store opened to be read shows one moment.
        create: whether to make it where there is none.

    Raises:
        StoreError: it is not there, cannot be opened, is no store, or is newer than this program.
        UsageError: nothing here opens such a URL.
    """
    scheme, location = _parts(url)
    if scheme not in STORES:
        raise UsageError(f"no kind of store is called '{scheme}'.", f"Known: {', '.join(STORES)}, or a path.")
    return cast("Store", import_module(STORES[scheme]).open_store(location, write=write, create=create))


def file_of(url: str) -> Path | None:
    """Return the file that a store is kept in; None where it is kept in none."""
    scheme, location = _parts(url)
    return at_home(location) if scheme == "sqlite" and location != ":memory:" else None


def holds(url: str, path: str) -> bool:
    """Tell whether a file is part of a store, so that writing to it would damage the store."""
    file = file_of(url)
    return file is not None and any(is_same_file(path, f"{file}{suffix}") for suffix in ("", "-wal", "-shm"))


def _parts(url: str) -> tuple[str, str]:
    """Split a URL into scheme and location; a path is SQLite's, and one letter is a Windows drive."""
    scheme, colon, location = url.partition(":")
    if url == ":memory:" or not colon or len(scheme) < 2 or not scheme.isalnum():
        return "sqlite", url
    return scheme, location
