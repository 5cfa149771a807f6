"""Fixtures: the engines, started once in a test run and driven into every case of ``scenarios``.

No test changes them: those that have to, start an engine of their own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from live.driving import DRIVERS
from live.engine_programs import shared
from live.live_engines import LiveEngine
from live.scenarios import drive_all
from support.commandline import tokctl  # noqa: F401 - a fixture

ENGINES = tuple(DRIVERS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all that needs a real engine, and give it the time to be built."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.live)
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory) -> Path:
    """A folder that all workers of the test run share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def use_engine(name: str, run_folder: Path) -> Iterator[LiveEngine]:
    """Share an engine for the rest of the test run."""
    with shared(name, run_folder / f"live-{name}", lambda url: drive_all(DRIVERS[name](url))) as program:
        yield LiveEngine(name, program.url, program.prepared)


@pytest.fixture(scope="session")
def operaton(run_folder) -> Iterator[LiveEngine]:
    """Operaton with all cases."""
    yield from use_engine("operaton", run_folder)


@pytest.fixture(scope="session")
def flowable(run_folder) -> Iterator[LiveEngine]:
    """Flowable with all cases."""
    yield from use_engine("flowable", run_folder)


@pytest.fixture(params=ENGINES)
def live(request) -> LiveEngine:
    """Each of the engines. (Not a session's fixture with parameters: its engine would stop at every change.)"""
    return request.getfixturevalue(request.param)


@pytest.fixture(autouse=True)
def _in_this_process(tokctl, monkeypatch, tmp_path) -> None:  # noqa: F811 - the fixture
    """Run command lines in this process: a tenth of a second instead of a whole one."""
    monkeypatch.setenv("TOKCTL_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr(LiveEngine, "call", lambda _, *words: tokctl(*words, now=datetime.now(UTC)))
