"""Damaged stores of every kind: each command ends, with a result or one clear line."""

from __future__ import annotations

import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from support.damaged_stores import damage
from support.running_server import PEPPER, make_secret, make_store

CASES = 40
COMMANDS_PER_CASE = 6
EXIT_CODES = {0, 1, 3, 5, 6}
COMMANDS = """
instances list -o json --limit 0
instances list --stuck
instances list --var orderId=ORD-13
instances show small -o json
incidents list --by error
tokens list -A -o json
tokens list -A --live
tokens show large l7
tokens tree large
tokens history large
tokens trace small
debug --all -o json
perf
flow large
explain small
store info
store check
store export
api-tokens list --all -o json
api-tokens show 1
api-tokens audit -o json
api-tokens audit verify
doctor
api-tokens update 1 --description y
api-tokens revoke 1 --yes
api-tokens rotate 1 --save file:{folder}/secret
store prune --completed-before 1d --yes
store backup {folder}/copy.db
store copy {folder}/own.db sqlite:{folder}/new.db
""".strip().splitlines()


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    """A store to damage copies of."""
    path = make_store(tmp_path_factory.mktemp("sound") / "sound.db")
    make_secret(path, "one", "*", type_="full-access")
    return path


@pytest.mark.parametrize("seed", range(CASES))
def test_a_damaged_store_is_reported(sound, tmp_path, tokctl, monkeypatch, seed):
    monkeypatch.setenv("TOKCTL_PEPPER", PEPPER)
    monkeypatch.setenv("TOKCTL_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    store = tmp_path / "own.db"
    shutil.copy(sound, store)
    what = damage(store, seed)
    for words in random.Random(seed).sample(COMMANDS, COMMANDS_PER_CASE):
        source = () if words.startswith("store copy") else ("--store", store)
        ran = tokctl(*words.format(folder=tmp_path).split(), *source)
        assert ran.code in EXIT_CODES, (what, words, ran.err)
        assert "internal error" not in ran.err, (what, words, ran.err)
        assert "a bug" not in ran.out, (what, words, ran.out)


def test_what_is_wrong_with_a_value_is_said(sound, tmp_path, tokctl):
    store = tmp_path / "own.db"
    shutil.copy(sound, store)
    with closing(sqlite3.connect(store, isolation_level=None)) as connection:
        connection.execute("UPDATE instance SET last_at = '9999999999999999999999' WHERE instance_id = 'small'")
        connection.execute("UPDATE definition SET document = ''")
    ran = tokctl("instances", "list", "--store", store)
    assert (ran.code, ran.out) == (6, "")
    assert "instance.last_at" in ran.err or "definition.document" in ran.err
    checked = tokctl("store", "check", "--store", store)
    assert "1 value of instance.last_at" in checked.out + checked.err
