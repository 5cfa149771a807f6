"""Odd words and odd moments: bytes that are no text, spans without an end, runs that left something behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from support import serving
from support.commandline import NOW, clean_environment
from tokctl.api_tokens.custody.ledger import Ledger, LedgerEntry
from tokctl.api_tokens.custody.sinks import VaultSink
from tokctl.api_tokens.pepper import load_pepper
from tokctl.api_tokens.registries.protocol import ApiTokenSpec
from tokctl.api_tokens.secrets import is_tokctl_secret

NO_TEXT = "\udcff\udcfe"  # as bytes that are no UTF-8 come in from the command line
ENDLESS = "999999999d"


@pytest.fixture
def run(tokctl, own):
    """Run a command about the API tokens of a store of one's own."""
    return lambda command, *words: tokctl("api-tokens", command, "--store", own.path, *words)


@pytest.mark.parametrize(
    "words",
    [
        ("create", NO_TEXT, "--show-secret"),
        ("create", "new", "--show-secret", "--description", NO_TEXT),
        ("update", "ci", "--name", NO_TEXT),
        ("update", "ci", "--description", NO_TEXT),
        ("revoke", "ci", "--yes", "--reason", NO_TEXT),
        ("create", "new", "--save", f"file:{NO_TEXT}"),
        ("exec", "--name", NO_TEXT, "--", "true"),
        ("show", NO_TEXT),
        ("secret", NO_TEXT),
        ("rotate", NO_TEXT, "--show-secret"),
        ("audit", "--token", NO_TEXT),
    ],
    ids=lambda words: " ".join(words).replace(NO_TEXT, "X"),
)
def test_what_is_no_text_is_said_to_be_none(run, own, words):
    own.add("ci", expires_at=None, created_at=NOW)
    ran = run(*words)
    assert (ran.code, ran.out) == (2, "")
    assert "UTF-8" in ran.err
    assert own.names() == ["ci"]


def test_a_grace_behind_the_end_of_the_calendar_begins_nothing(run, own, tmp_path):
    assert run("create", "ci", "--save", f"file:{tmp_path}/kept").code == 0
    ran = run("rotate", "ci", "--grace", ENDLESS)
    assert (ran.code, own.names()) == (2, ["ci"])
    assert f"--grace {ENDLESS} is too long" in ran.err
    assert run("rotate", "ci").code == 0


def test_the_successor_of_one_that_hardly_expires_does_so_at_the_same_time(run, tokctl, own, tmp_path):
    assert run("create", "ci", "--expires", "9999-12-31", "--save", f"file:{tmp_path}/kept").code == 0
    assert tokctl("api-tokens", "rotate", "ci", "--store", own.path, now=NOW + timedelta(days=1)).code == 0
    assert own.get(2).expires_at == datetime(9999, 12, 31, tzinfo=UTC)


def test_a_program_is_lent_nothing_for_ever(run, own):
    ran = run("exec", "--ttl", ENDLESS, "--", "true")
    assert (ran.code, own.audit()) == (2, [])
    assert f"--ttl {ENDLESS} is too long" in ran.err


def test_a_secret_that_was_shown_is_nobodys_loss_because_an_earlier_run_was_killed(run, own):
    """That run came to nothing, and left word that it was about to create one of the same name."""
    ledger = Ledger(Path(own.environ["TOKCTL_STATE_DIR"]))
    ledger.folder.mkdir(parents=True)
    wanted = ApiTokenSpec(name="ci", scopes=("process",), expires_at=NOW + timedelta(days=90))
    known = {"name": "ci", "place": "keyring", "at": NOW - timedelta(minutes=1), "wanted": wanted}
    ledger.put(LedgerEntry(key="killed", origin=own.path.as_uri(), **known))
    assert run("create", "ci", "--show-secret").code == 0
    ran = run("revoke", "--orphans", "--yes", "-o", "json")
    assert (ran.code, json.loads(ran.out)["apiTokens"]) == (0, [])
    assert own.names() == ["ci"]


def test_quitting_from_the_keyboard_takes_back_what_was_lent(own, tmp_path):
    words = ("api-tokens", "exec", "--", "sh", "-c", f"trap 'exit 5' QUIT; : > {tmp_path}/begun; sleep 60 & wait")
    with subprocess.Popen(
        [sys.executable, "-m", "tokctl", *words], env=clean_environment(own.environ), start_new_session=True
    ) as process:
        deadline = time.monotonic() + 30
        while not (tmp_path / "begun").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGQUIT)  # the terminal sends it to all in front
        assert process.wait(30) == 5
    assert own.names() == []


@pytest.mark.parametrize("grace", ["0", "1h"])
def test_a_successor_keeps_the_file_that_the_old_secret_was_rescued_into(run, own, grace):
    assert run("create", "ci", "--save", "command:false").code == 8
    assert run("rotate", "ci", "--grace", grace).code == 0
    run("revoke", "1", "--yes")
    ran = run("secret", "ci")
    assert (ran.code, is_tokctl_secret(ran.out.rstrip())) == (0, True)
    assert run("revoke", "2", "--yes").code == 0
    assert list(Path(own.environ["TOKCTL_STATE_DIR"]).glob("*.tokctl-secret")) == []


def test_a_secret_is_saved_though_the_ledger_has_gone_meanwhile(tokctl, own, tmp_path, monkeypatch):
    own.add("admin", type="full-access", scopes=("*",), expires_at=None)
    monkeypatch.setattr(serving, "PEPPER", load_pepper(own.environ))
    ledger = Ledger(Path(own.environ["TOKCTL_STATE_DIR"])).folder
    with closing(serving.Served(own.path, secret=own.secrets["admin"])) as server:
        server.spoil = lambda _: shutil.rmtree(ledger, ignore_errors=True)  # and answers as ever
        monkeypatch.setenv("TOKCTL_API_KEY", own.secrets["admin"])
        words = ("--save", f"file:{tmp_path}/kept", "--expires", "2099-01-01", "--server", server.url)
        ran = tokctl("api-tokens", "create", "ci", *words)
    assert (ran.code, ran.err) == (0, "")
    assert sorted(own.names()) == ["admin", "ci"]
    assert is_tokctl_secret((tmp_path / "kept").read_text().rstrip())


@pytest.mark.parametrize("folder", ["/proc/none/state", "/dev/null"])
def test_where_no_ledger_can_be_nothing_is_created(run, own, tmp_path, monkeypatch, folder):
    monkeypatch.setenv("TOKCTL_STATE_DIR", folder)
    ran = run("create", "ci", "--save", f"file:{tmp_path}/kept")
    assert (ran.code, own.names()) == (6, [])
    assert f"cannot write the ledger {folder}/api-tokens" in ran.err


def test_no_path_at_all_is_none(tokctl):
    ran = tokctl("api-tokens", "scan", "--offline", "")
    assert ran.code == 3
    assert "ile or directory '' not found." in ran.err


def test_of_two_rotations_at_the_same_moment_one_begins(tokctl, own, tmp_path, monkeypatch):
    """The other has begun, and come to its end, while this one tries the place for the secret."""
    first = ("api-tokens", "create", "ci", "--save", f"file:{tmp_path}/kept", "--store", own.path)
    assert tokctl(*first).code == 0
    again = ("api-tokens", "rotate", "1", "--store", own.path)
    probe, others = VaultSink.probe, []

    def meanwhile(place: VaultSink) -> None:
        probe(place)
        if not others:
            others.append(None)
            others.append(tokctl(*again))

    monkeypatch.setattr(VaultSink, "probe", meanwhile)
    ran = tokctl(*again)
    assert (others[1].code, ran.code) == (0, 5)
    assert "another process is rotating API token 1." in ran.err
    assert own.names() == ["ci", "ci"]
