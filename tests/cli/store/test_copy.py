"""``tokctl store copy``: what it says, and what it refuses."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing

import pytest

from support.builders import token
from support.conformity import check_conformity
from tokctl.documents.store import CopyDocument
from tokctl.store import open_store


def test_the_parts_are_counted(tokctl, known, tmp_path):
    ran = tokctl("store", "copy", known, tmp_path / "new" / "copy.db", "-o", "json")
    assert (ran.code, ran.err) == (0, "")
    with open_store(str(known)) as store:
        facts = store.info()
    check_conformity(json.loads(ran.out), CopyDocument)
    parts = {part["part"]: part["records"] for part in json.loads(ran.out)["parts"]}
    assert parts == {
        "definitions": facts.definitions,
        "instances": facts.instances,
        "tokens": facts.tokens,
        "api_tokens": 0,
        "audit": 0,
    }
    with open_store(str(tmp_path / "new" / "copy.db")) as copied:
        assert copied.info().tokens == facts.tokens


def test_a_prepared_copy_is_finished_with_what_has_changed(tokctl, known, tmp_path):
    original, target = tmp_path / "original.db", tmp_path / "copy.db"
    shutil.copy(known, original)
    prepared = tokctl("store", "copy", "--prepare", original, target)
    assert prepared.code == 0
    assert "unfinished" in prepared.err
    ran = tokctl("store", "info", "--store", target)
    assert (ran.code, ran.out) == (6, "")
    with open_store(str(original), write=True) as store, store.write() as batch:
        batch.put_tokens([token("new", "another instance")])
    ran = tokctl("store", "copy", original, target, "-o", "json")
    assert (ran.code, ran.err) == (0, "")
    parts = json.loads(ran.out)["parts"]
    assert {part["part"]: part["copied"] for part in parts if part["copied"]} == {"instances": 1, "tokens": 1}
    assert next(part["records"] for part in parts if part["part"] == "tokens") > 1
    assert tokctl("store", "info", "--store", target).code == 0


@pytest.mark.parametrize(
    ("original", "target", "code"),
    [
        ("{known}", ":memory:", 2),
        ("{known}", "postgresql://user:hidden@db.example/tokctl", 2),
        ("{known}", "oracle:copy", 2),
        ("{known}", "{known}", 6),
        ("missing.db", "copy.db", 6),
    ],
)
def test_what_cannot_be_copied(tokctl, known, tmp_path, monkeypatch, original, target, code):
    monkeypatch.chdir(tmp_path)
    ran = tokctl("store", "copy", original.format(known=known), target.format(known=known))
    assert (ran.code, ran.out) == (code, "")
    assert ran.err.startswith("error: ")
    assert ran.err.count("\n") == 1
    assert "hidden" not in ran.err
    assert not list(tmp_path.glob("*.db"))


UNREADABLE = (
    "UPDATE token SET element_id = CAST(x'ff' AS TEXT) WHERE pk = 2",
    "DELETE FROM identity",
    "DELETE FROM revision",
    "DELETE FROM instance WHERE pk = 1",
)
OF_OTHER_TYPES = (
    "UPDATE token SET execution_context = x'00ff' WHERE pk = 2",
    "UPDATE token SET created_at = 'x' WHERE pk = 2",
)
"""PostgreSQL refuses them. A copy in SQLite has the same damage as the original."""


@pytest.mark.parametrize(
    ("kind", "change"),
    [*(("sqlite", one) for one in UNREADABLE), *(("postgresql", one) for one in (UNREADABLE[-1], *OF_OTHER_TYPES))],
)
def test_a_damaged_original_is_an_error_of_one_line(tokctl, known, tmp_path, request, kind, change):
    damaged = tmp_path / "damaged.db"
    shutil.copy(known, damaged)
    with closing(sqlite3.connect(damaged, isolation_level=None)) as connection:
        connection.execute(change)
    target = tmp_path / "copy.db" if kind == "sqlite" else request.getfixturevalue("postgresql").new_schema()
    ran = tokctl("store", "copy", damaged, target)
    assert (ran.code, ran.out) == (6, "")
    assert ran.err.startswith("error: ")
    assert ran.err.count("\n") == 1
