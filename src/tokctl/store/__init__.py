"""The store: process instances, their tokens and definitions in an SQL database.

``base`` says what a store does, ``open_store`` opens the kind that a URL names. Each kind is one
module, imported when it is opened.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from tokctl.errors import UsageError

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
    scheme, colon, location = url.partition(":")
    if (
        url == ":memory:" or not colon or len(scheme) < 2 or not scheme.isalnum() or "/" in scheme
    ):  # one letter is a Windows drive
        scheme, location = "sqlite", url
    if scheme not in STORES:
        raise UsageError(f"no kind of store is called '{scheme}'.", f"Known: {', '.join(STORES)}, or a path.")
    return cast("Store", import_module(STORES[scheme]).open_store(location, write=write, create=create))
