"""After a rotation a name means the newest API token, and both are marked."""

from __future__ import annotations

import json

import pytest

from support.commandline import NOW
from support.own_api_tokens import DAY
from support.terminal import Terminal


@pytest.fixture
def rotated(own, tokctl, tmp_path, monkeypatch):
    """Runs commands after ``ci`` was rotated from 1 to 2."""
    for name, value in own.environ.items():
        monkeypatch.setenv(name, value)
    assert tokctl("keys", "create", "ci", "--save", f"file:{tmp_path}/kept").code == 0
    assert tokctl("keys", "rotate", "ci").code == 0
    return lambda *words, **more: tokctl("keys", *words, **more)


def test_a_name_means_the_newest(rotated, own):
    assert rotated("show", "ci", "-o", "id").out == "2\n"
    assert rotated("update", "ci", "--description", "new").code == 0
    assert own.get(2).description == "new"
    assert rotated("rotate", "ci").code == 0
    assert rotated("show", "ci", "-o", "id").out == "3\n"
    own.add("ci")  # by another user: that is not a rotation
    ran = rotated("show", "ci")
    assert ran.code == 3
    assert "several API tokens named 'ci'" in ran.err


def test_both_are_marked_and_the_end_of_the_grace_is_shown(rotated):
    _, first, second = rotated("list").out.splitlines()
    assert "ci (replaces 1)  " in first
    assert "ci (rotated to 2)  " in second
    assert "  in 1d  " in second
    new, old = json.loads(rotated("list", "-o", "json").out)["data"]
    assert (new["rotatedFrom"], "rotatedTo" in new) == ("1", False)
    assert (old["rotatedTo"], "rotatedFrom" in old) == ("2", False)
    shown = rotated("show", "2").out
    assert "replaces  API token 1, valid until 2025-01-12 10:40:00 UTC  (in 1d)" in shown
    shown = rotated("show", "1").out
    assert "rotated to  API token 2; this one is valid until 2025-01-12 10:40:00 UTC  (in 1d)" in shown
    assert "this one is expired" in rotated("show", "1", now=NOW + 2 * DAY).out
    assert json.loads(rotated("show", "1", "-o", "json").out)["rotatedTo"] == "2"
    assert rotated("revoke", "1", "--yes").code == 0
    assert "replaces  API token 1, revoked" in rotated("show", "2").out


def test_without_a_terminal_nothing_is_guessed(rotated, own):
    ran = rotated("revoke", "ci", "--yes")
    assert (ran.code, own.names()) == (3, ["ci", "ci"])
    assert "'ci': 2 (replaces 1), 1 (rotated to 2, valid until 2025-01-12 10:40 UTC). Use an id." in ran.err
    assert rotated("revoke", "ci", "--dry-run", "-o", "id").out == "2\n1\n"


@pytest.mark.slow
@pytest.mark.parametrize(("answer", "left"), [("1", [2]), ("all", []), ("3", [1, 2]), ("", [1, 2])])
def test_at_a_terminal_it_asks_which(rotated, own, answer, left):
    with Terminal("api-tokens", "revoke", "ci", env=own.environ, columns=200) as terminal:
        screen = terminal.until("[2, 1 or all]")
        assert "ci (rotated to 2)" in screen
        terminal.type(f"{answer}\r")
        if len(left) < 2:
            terminal.until("[y/N]")
            terminal.type("y\r")
        assert terminal.end() == (1 if len(left) == 2 else 0)
    assert [number for number in (1, 2) if own.get(number).revoked_at is None] == left


def test_a_chain_holds_without_a_link_in_its_middle(rotated, tokctl):
    assert rotated("rotate", "ci", "--grace", "0").code == 0  # 3 is the successor of 2, and 2 is revoked
    assert rotated("show", "ci", "-o", "id").out == "3\n"
    assert "ci (rotated to 3)" in rotated("list").out
    assert rotated("rotate", "ci").code == 0
    assert rotated("revoke", "3", "--yes").code == 0
    assert rotated("show", "ci", "-o", "id").out == "4\n"
    assert rotated("rotate", "ci", "--grace", "1h").code == 0
    later = NOW + DAY / 2  # 4 has expired, 1 is valid
    assert rotated("show", "ci", "-o", "id", now=later).out == "5\n"
    assert rotated("disable", "ci", now=later).code == 0
    checked = {one["check"]: one for one in json.loads(tokctl("doctor", "-o", "json", now=later).out)["checks"]}
    assert checked["api tokens"]["state"] == "ok", checked["api tokens"]
    assert [one["id"] for one in json.loads(rotated("list", "-o", "json", now=later).out)["data"]] == [5, 4, 1]
