"""Fixtures that many tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from builders import DOCUMENTED
from tokctl.store import open_store
from tokctl.store.base import Store

settings.register_profile(
    "tokctl", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
settings.load_profile("tokctl")


@pytest.fixture
def documented() -> bytes:
    """The documented example, as it stands in the document."""
    return DOCUMENTED.read_bytes()


@pytest.fixture
def store_path(tmp_path: Path) -> Path:
    """Where a test's store goes; nothing is there yet."""
    return tmp_path / "data" / "tokctl.db"


@pytest.fixture
def open_at(store_path: Path) -> Iterator[Callable[..., Store]]:
    """Opens the test's store, and closes it after the test."""
    opened: list[Store] = []

    def opening(path: Path | str = store_path, **options: Any) -> Store:
        store = open_store(str(path), **options)
        opened.append(store)
        return store

    yield opening
    for store in opened:
        store.close()


@pytest.fixture
def store(open_at: Callable[..., Store]) -> Store:
    """A new store, open to be written to."""
    return open_at(write=True, create=True)
