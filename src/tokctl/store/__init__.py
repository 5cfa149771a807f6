"""Stores: process instances, their tokens and definitions, and API tokens, in a database.

``protocol`` describes a store, ``open_store`` opens the kind that a URL names. Each kind is one package, imported
when it is used.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokctl.config.store_urls import refuse_password
from tokctl.errors import UsageError
from tokctl.input_files import is_same_file

if TYPE_CHECKING:
    from tokctl.store.protocol import Store

STORES = {"sqlite": "tokctl.store.sqlite", "postgresql": "tokctl.store.postgresql"}
"""URL scheme → module; each has ``open_store``, ``schema_versions``, ``files`` and ``is_temporary``."""

_DEFAULT_SCHEME = "sqlite"  # of a path


def open_store(url: str, *, write: bool = False, create: bool = False, unfinished: bool = False) -> Store:
    """Open a store by its URL (``sqlite:PATH``, ``postgresql://USER@HOST/DATABASE``), or by the path of an SQLite file.

    Without ``write`` it is read-only and shows one moment; with ``create`` a missing store is created. An
    unfinished copy of another store is opened only with ``unfinished``.

    Raises:
        StoreError: it does not exist, cannot be opened, is not a store, is newer than this program, or unfinished.
        UsageError: the URL's scheme is unknown, or it contains a password.
    """
    kind, location = _find_kind(url)
    store: Store = kind.open_store(location, write=write, create=create, unfinished=unfinished)
    return store


def schema_versions(url: str) -> tuple[int, int]:
    """Return the version of a store's schema, and the latest one, to which opening the store would upgrade it.

    Raises as ``open_store``.
    """
    kind, location = _find_kind(url)
    versions: tuple[int, int] = kind.schema_versions(location)
    return versions


def _find_kind(url: str) -> tuple[Any, str]:
    """Return the module of the kind of store that a URL names, and the location."""
    scheme, location = _split_url(refuse_password(url))
    if scheme not in STORES:
        raise UsageError(f"unknown kind of store '{scheme}'.", f"Known: {', '.join(STORES)}, or use a path.")
    return import_module(STORES[scheme]), location


def store_file(url: str) -> Path | None:
    """Return the file of a store; None if it has none."""
    return next(iter(_files(url)), None)


def is_temporary(url: str) -> bool:
    """Tell whether a store is deleted when it is closed."""
    scheme, location = _split_url(url)
    return scheme in STORES and bool(import_module(STORES[scheme]).is_temporary(location))


def store_name(url: str) -> str:
    """Return a short name of a store for people: that of its file, or its URL without parameters."""
    file = store_file(url)
    return url.partition("?")[0] if file is None else file.name


def is_store_file(url: str, path: str) -> bool:
    """Tell whether a file is part of a store, so that writing to it would damage the store."""
    return any(is_same_file(path, str(file)) for file in _files(url))


def _files(url: str) -> tuple[Path, ...]:
    scheme, location = _split_url(url)
    if scheme not in STORES:
        return ()
    files: tuple[Path, ...] = import_module(STORES[scheme]).files(location)
    return files


def _split_url(url: str) -> tuple[str, str]:
    """Split a URL into scheme and location; one letter before a colon is a Windows drive of a path."""
    scheme, colon, location = url.partition(":")
    if not colon or len(scheme) < 2 or not scheme.isalnum():
        return _DEFAULT_SCHEME, url
    return scheme, location
