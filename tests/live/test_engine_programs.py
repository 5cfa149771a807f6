"""Where Java and Maven are missing, the tests of real engines are skipped; in CI they fail."""

from __future__ import annotations

import os

import pytest

from live.engine_programs import join, make_pipe, need_java


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_missing_programs(monkeypatch, ci, outcome):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="not installed: java, javac, mvn"):
        need_java()


def test_nobody_joins_a_program_that_has_ended(tmp_path):
    write, read = make_pipe(tmp_path / "pipe")
    other = join(tmp_path / "pipe")
    assert other is not None
    for end in (read, write, other):
        os.close(end)
    assert join(tmp_path / "pipe") is None
    assert join(tmp_path / "none") is None
