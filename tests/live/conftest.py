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
from live.scenarios import MORE_ENGINES, drive_all, drive_more
from support.commandline import Ran, shell, tokctl  # noqa: F401 - fixtures

ENGINES = ("operaton", "flowable")
"""Those that all tests run on; Camunda 7, which has the same API as Operaton, has one test of its own."""


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


def use_engine(name: str, run_folder: Path) -> Iterator[dict[str, LiveEngine]]:
    """Share a server for the rest of the test run; its engines by name."""
    more = ",".join(f"{one}:{level}" for one, level in MORE_ENGINES.items()) if name == "operaton" else ""
    options = [f"--tests.more-engines={more}"] if more else []

    def prepare(url: str) -> dict[str, dict[str, str]]:
        driver = DRIVERS[name](url)
        return {"default": drive_all(driver)} | (drive_more(driver) if more else {})

    with shared(name, run_folder / f"live-{name}", prepare, *options) as program:
        roots = {"default": program.url} | {one: f"{program.url}/engine-rest/engine/{one}" for one in MORE_ENGINES}
        yield {engine: LiveEngine(name, roots[engine], cases) for engine, cases in program.prepared.items()}


@pytest.fixture(scope="session")
def operatons(run_folder) -> Iterator[dict[str, LiveEngine]]:
    """All engines of an Operaton server; see ``scenarios.MORE_ENGINES``."""
    yield from use_engine("operaton", run_folder)


@pytest.fixture(scope="session")
def operaton(operatons) -> LiveEngine:
    """Operaton with all cases."""
    return operatons["default"]


@pytest.fixture(scope="session")
def flowable(run_folder) -> Iterator[LiveEngine]:
    """Flowable with all cases."""
    yield from (one["default"] for one in use_engine("flowable", run_folder))


@pytest.fixture(scope="session")
def camunda(run_folder) -> Iterator[LiveEngine]:
    """Camunda 7 with all cases."""
    yield from (one["default"] for one in use_engine("camunda", run_folder))


@pytest.fixture(params=ENGINES)
def live(request) -> LiveEngine:
    """Each of the engines. (Not a session's fixture with parameters: its engine would stop at every change.)"""
    return request.getfixturevalue(request.param)


@pytest.fixture(autouse=True)
def _in_this_process(tokctl, monkeypatch, tmp_path) -> None:  # noqa: F811 - the fixture
    """Run command lines in this process: a tenth of a second instead of a whole one."""

    def call(_: LiveEngine, *words: str) -> Ran:
        return tokctl(*words, now=datetime.now(UTC))

    monkeypatch.setenv("TOKCTL_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr(LiveEngine, "call", call)
