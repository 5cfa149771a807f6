"""Fixtures of the tests of PostgreSQL stores: the command line, and an empty store."""

from collections.abc import Iterator

import pytest

from support.commandline import *  # noqa: F403
from tokctl.store import open_store
from tokctl.store.postgresql.batch import PostgreSQLBatch
from tokctl.store.protocol import Store


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch) -> None:
    """Let short imports have several chunks."""
    monkeypatch.setattr(PostgreSQLBatch, "tokens_per_chunk", 1000)


@pytest.fixture
def place(postgresql) -> str:
    """The URL of a schema without a store."""
    return postgresql.new_schema()


@pytest.fixture
def store(place) -> Iterator[Store]:
    """A new store at the place."""
    with open_store(place, write=True, create=True) as opened:
        yield opened
