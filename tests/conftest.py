"""Fixtures that many tests share."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import keyring
import pytest
from hypothesis import HealthCheck, settings
from keyring.backends import fail

from support.browser import browser, shared_browser  # noqa: F401 - fixtures
from support.builders import DOCUMENTED
from support.paths import TESTS
from support.postgresql_server import postgresql  # noqa: F401 - fixtures
from support.store_kinds import store_kind  # noqa: F401
from tokctl.store import open_store
from tokctl.store.protocol import Store

PROFILES = {"fast": 10, "regular": 32, "thorough": 100}
"""Examples for each property; ``--hypothesis-profile`` picks one. Every run tries others: the seed is random."""
for _name, _examples in PROFILES.items():
    settings.register_profile(
        _name,
        max_examples=_examples,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
settings.load_profile("regular")

os.environ["TZ"] = "UTC"
time.tzset()

# No test finds the state of the user who runs them, nor leaves something there.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="tokctl-state-")
atexit.register(shutil.rmtree, os.environ["XDG_STATE_HOME"], ignore_errors=True)

# No test in this process uses the machine's keyring; and none finds the one that an earlier test chose, as keyring
# remembers its first choice.
keyring.set_keyring(fail.Keyring())

SLOW_FOLDERS = {
    "client",
    "custody",
    "docs",
    "engines",
    "recorder",
    "registries",
    "server",
    "simulation",
    "ui",
    "vaults",
}
SLOW_PATHS = tuple(
    TESTS / path
    for path in (
        "cli/api_tokens",
        "cli/config",
        "cli/test_shared_options.py",
        "documents/test_catalog.py",
        "readers/test_stream.py",
        "render/test_safety.py",
        "test_structure.py",
    )
)
SLOW_FIXTURES = {"shell", "doctor", "lent", "browser"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that ``make test-fast`` leaves out: by folder, and by fixtures that start programs.

    A module or a test elsewhere that takes long has the mark itself.
    """
    for item in items:
        folders, fixtures = item.path.relative_to(TESTS).parts, getattr(item, "fixturenames", ())
        is_slow_path = any(item.path.is_relative_to(path) for path in SLOW_PATHS)
        if is_slow_path or SLOW_FOLDERS.intersection(folders) or SLOW_FIXTURES.intersection(fixtures):
            item.add_marker(pytest.mark.slow)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name bytes by their parameter: compressed data contains the time, and all processes need the same names."""
    return argname if isinstance(val, bytes) else None


@pytest.fixture(autouse=True)
def _own_memory(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the kinds of servers that an earlier test has met, perhaps at the same port, out of this one."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / f"state-{next(_TESTS)}"))


_TESTS = count()


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
