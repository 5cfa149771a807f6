"""Fixtures of the tests of PostgreSQL stores: the command line, and an empty store."""

from collections.abc import Iterator

import pytest

from support.commandline import *  # noqa: F403
from tokctl.store import open_store
from tokctl.store.protocol import Store


@pytest.fixture
def place(postgresql) -> str:
    """The URL of a schema without a store."""
    return postgresql.new_schema()


@pytest.fixture
def store(place) -> Iterator[Store]:
    """A new store at the place."""
    with open_store(place, write=True, create=True) as opened:
        yield opened
