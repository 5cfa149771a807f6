"""Engines of each kind over the same records, and a decorator that runs a test over each of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import note

from support import remote
from support.postgresql_server import postgresql_is_there
from tokctl.engines.file import FileEngine
from tokctl.engines.protocol import Engine
from tokctl.store import open_store
from tokctl.store.importing import import_records


def from_store(records: list) -> Engine:
    store = open_store(":memory:", write=True, create=True)
    with store.write() as batch:
        import_records(batch, records, lambda reject: pytest.fail(str(reject)))
    return store


def from_file(records: list) -> Engine:
    return FileEngine(records, name="answer.json")


MAKERS: dict[str, Callable[[list], Engine]] = {
    "store": from_store,
    "file": from_file,
    "rest": remote.from_rest,
    "bare": remote.from_bare,
}
if postgresql_is_there():
    MAKERS["postgresql"] = remote.from_postgresql
"""Each makes an engine of some records, in place of the one that it made before."""


def each_engine(test: Callable[..., None], without: frozenset[str] = frozenset()) -> Callable[..., None]:
    """Put the same examples to every engine, one after another: to make them up takes longer than to answer."""

    def ask(*example: Any) -> None:
        for maker in sorted(MAKERS.keys() - without):
            note(maker)
            test(MAKERS[maker], *example)

    signature = inspect.signature(test)
    _, *several = signature.parameters.values()  # the first is the maker
    ask.__name__, ask.__qualname__, ask.__module__ = test.__name__, test.__qualname__, test.__module__
    ask.__doc__ = test.__doc__
    ask.__signature__ = signature.replace(parameters=several)  # type: ignore[attr-defined]
    return ask


each_but_bare = partial(each_engine, without=frozenset({"bare"}))
"""A server that cannot be asked for prefixes is not read as a whole for an id that is there."""
