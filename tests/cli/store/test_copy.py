"""``tokctl store copy``: what it says, and what it refuses."""

from __future__ import annotations

import json

import pytest

from tokctl.store import open_store


def test_the_parts_are_counted(tokctl, known, tmp_path):
    ran = tokctl("store", "copy", known, tmp_path / "new" / "copy.db", "-o", "json")
    assert (ran.code, ran.err) == (0, "")
    with open_store(str(known)) as store:
        facts = store.info()
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
