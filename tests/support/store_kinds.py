"""Stores of every kind, for tests of what they have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tokctl.store import STORES, open_store
from tokctl.store.protocol import Store


class StoreKind:
    """A kind of store: places for new ones, and empty ones for the examples of a property."""

    def __init__(self, name: str, make_place: Callable[[], str]) -> None:
        self.name = name
        self.last_place = ""
        self._make_place = make_place
        self._idle: list[Store] = []

    def new_place(self) -> str:
        """Return the URL of a store that does not exist."""
        self.last_place = self._make_place()
        return self.last_place

    @contextmanager
    def empty(self) -> Iterator[Store]:
        """Return an empty store; making one in a server takes longer than emptying one."""
        if self.name == "sqlite":
            with open_store(":memory:", write=True, create=True) as store:
                yield store
            return
        store = self._idle.pop() if self._idle else open_store(self.new_place(), write=True, create=True)
        try:
            yield store
        finally:
            for table in ("token", "instance", "definition"):
                store.database.execute(f"DELETE FROM {table}")
            self._idle.append(store)

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()


@pytest.fixture(params=sorted(STORES))
def store_kind(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StoreKind]:
    """Each kind of store."""
    if request.param == "sqlite":
        numbers = iter(range(1000))
        kind = StoreKind("sqlite", lambda: f"sqlite:{tmp_path / f'{next(numbers)}.db'}")
    else:
        kind = StoreKind(request.param, request.getfixturevalue("postgresql").new_schema)
    yield kind
    kind.close()


sqlite_only = pytest.mark.parametrize("store_kind", ["sqlite"], indirect=True)
"""Marks a test of what only files have."""
