"""Output that is longer than the terminal goes through a pager; see ``tokctl.cli.pager``."""

from __future__ import annotations

import re
import sys

import pytest

from support.builders import ndjson, tokens
from support.terminal import Terminal
from tokctl.cli.pager import choose_pager

pytestmark = pytest.mark.slow  # starts programs

PAGER = """
import sys
text = sys.stdin.read()
print(f"paged {len(text.splitlines())} lines")
"""


@pytest.fixture
def many(tmp_path):
    path = tmp_path / "many.ndjson"
    path.write_bytes(ndjson(tokens(60)))
    return path


def pager(tmp_path, code=PAGER) -> str:
    path = tmp_path / "pager.py"
    path.write_text(code)
    return f"{sys.executable} {path}"


def test_only_what_does_not_fit_is_paged(many, tmp_path):
    env = {"TOKCTL_PAGER": pager(tmp_path)}
    with Terminal("tokens", "list", "--file", many, env=env) as seen:
        assert seen.end() == 0
        assert re.match(r"paged 6\d lines", seen.text)  # the source, the instance, two gaps, the headings, the rows
    with Terminal("tokens", "list", "--file", many, "-n", "5", env=env) as seen:
        assert seen.end() == 0
        assert "paged" not in seen.text
        assert "t4" in seen.text


@pytest.mark.parametrize(
    ("words", "env"),
    [
        (["--no-pager"], {}),
        ([], {"TOKCTL_PAGER": ""}),
        ([], {"TOKCTL_PAGER": "cat"}),
        ([], {"TOKCTL_PAGER": "/nowhere/pager"}),
        ([], {"TERM": "dumb"}),
    ],
)
def test_without_a_pager(many, tmp_path, words, env):
    with Terminal(
        "tokens", "list", "--file", many, *words, lines=80, env={"TOKCTL_PAGER": pager(tmp_path)} | env
    ) as seen:
        seen.process.wait()
        assert seen.end() == 0
        assert "paged" not in seen.text
        assert "t59" in seen.text


def test_less_shows_utf_8_in_any_locale(many, tmp_path):
    command = pager(tmp_path, "import os; print('charset', os.environ.get('LESSCHARSET'))")
    with Terminal("tokens", "list", "--file", many, env={"TOKCTL_PAGER": command, "LC_ALL": "C"}) as seen:
        assert seen.end() == 0
        assert seen.text.strip() == "charset utf-8"


def test_a_pager_that_is_quit_ends_the_command(many, tmp_path):
    quits = pager(tmp_path, "import sys; print(sys.stdin.readline()); sys.exit(0)")
    many.write_bytes(ndjson(tokens(20_000)))
    words = ("debug", "--file", many, "--by", "finding", "--limit", "0", "--fail-on", "low")
    with Terminal("tokens", "list", "--file", many, "-n", "0", env={"TOKCTL_PAGER": quits}) as seen:
        assert seen.end() == 0
        assert seen.text.startswith("many.ndjson")
    many.write_bytes(ndjson(tokens(20_000, state="FAILED")))
    with Terminal(*words, env={"TOKCTL_PAGER": quits}) as seen:
        assert seen.end() == 1  # what has been found stays found


def test_the_variables_in_their_order(monkeypatch):
    assert choose_pager({"TOKCTL_PAGER": "most", "PAGER": "more"}) == "most"
    assert choose_pager({"PAGER": "more"}) == "more"
    assert choose_pager({"TOKCTL_PAGER": "", "PAGER": "more"}) == ""
    monkeypatch.setenv("PATH", "/nowhere")
    assert choose_pager({}) == ""
