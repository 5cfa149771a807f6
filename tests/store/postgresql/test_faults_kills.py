"""Commands on a PostgreSQL store are killed or interrupted at any moment: each of their changes is whole or absent.

Few times in a usual run; ``make test-kills`` does it many times.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from support import database_faults
from support.database_faults import PEPPER, Scene
from support.interruptions import Ended, Runs

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("TOKCTL_TEST_KILLS", "3"))
CODES = {"": -14, "INT": 130, "TERM": -15}
"""The exit code after each signal; the first one ends the process as SIGKILL does."""


@pytest.fixture(scope="module")
def runs() -> Iterator[Runs]:
    with closing(Runs({"TOKCTL_PEPPER": PEPPER})) as standing_by:
        yield standing_by


@pytest.fixture
def scene(postgresql, runs, tmp_path, monkeypatch) -> Scene:
    monkeypatch.setattr(database_faults, "IMPORTED", 12_000)
    monkeypatch.setenv("TOKCTL_PEPPER", PEPPER)
    env = {"TOKCTL_STATE_DIR": str(tmp_path / "state")}

    def call(*words: object, **more: object) -> Ended:
        return runs.run(*words, env=env, **more)

    return Scene(tmp_path, call, postgresql.new_schema, str)


@pytest.mark.parametrize("command", ["import", "migrate", "prune", "copy", "upgrade"])
def test_interruptions_at_random_moments(scene, command):
    prepare = scene.cases()[command]
    assert scene.call(*prepare().words).code == 0  # which waits for everything to be imported
    case, began = prepare(), time.monotonic()
    assert scene.call(*case.words).code == 0
    usual = time.monotonic() - began
    for _ in range(KILLS):
        case, what = prepare(), random.choice([*CODES])
        ended = scene.call(*case.words, after=random.uniform(0.1, 1) * usual, what=what)
        assert ended.code in {0, CODES[what]}, ended
        is_done = case.is_done()
        assert is_done or ended.err in {"", "tokctl: interrupted.\n"}
        assert "Traceback" not in ended.err
        assert is_done or ended.code
        again = scene.call(*case.words)
        assert again.code == 0 or is_done, again
        assert case.is_done()
