"""``tokctl api-tokens audit``: what was done, and whether nobody has changed the record of it."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest

from support.own_api_tokens import DAY
from tokctl.api_tokens.audit import GENESIS_HASH


@pytest.fixture
def done(tokctl, keys):
    """Five that were created, one that was changed and one that was revoked."""
    assert tokctl("api-tokens", "update", "grafana", "--type", "full-access", "--expires", "10d").code == 0
    assert tokctl("api-tokens", "revoke", "idle", "--yes", "--reason", "nobody needs it").code == 0
    return keys


def test_the_newest_first(tokctl, done):
    ran = tokctl("api-tokens", "audit", width=200)
    assert (ran.code, ran.err) == (0, "")
    header, *rows = ran.out.splitlines()
    assert header.split() == ["NO", "TIME", "ACTION", "TOKEN", "NAME", "BY", "FROM", "DETAILS"]
    assert [row.split()[0] for row in rows] == list("7654321")
    assert rows[0].split()[:5] == ["7", "2025-01-11", "10:40:00", "UTC", "revoke"]
    assert rows[0].endswith("nobody needs it")
    assert rows[1].endswith("type read-only → full-access; expires 2025-04-11T10:40:00.000Z → 2025-01-21T10:40:00.000Z")
    assert rows[2].split() == [
        "5",
        "2025-01-01",
        "10:40:00",
        "UTC",
        "create",
        "5",
        "admin",
        "tester",
        "test",
        "full-access;",
        "*;",
        "never",
        "expires",
    ]
    assert rows[4].endswith("read-only; process, token; expires 2025-01-16")


def test_a_last_use_is_told_in_words(tokctl, keys):
    tokctl("api-tokens", "disable", "grafana")
    tokctl("api-tokens", "enable", "grafana")
    tokctl("api-tokens", "revoke", "grafana", "--yes", "--reason", "done")
    _, *rows = tokctl("api-tokens", "audit", "-n", "3", width=300).out.splitlines()
    used = "last used 2025-01-11T07:40:00.000Z, "
    assert [row.split()[4] for row in rows] == ["revoke", "enable", "disable"]
    assert f"  done; {used}" in rows[0]
    assert f"  {used}" in rows[1]
    assert f"  {used}" in rows[2]
    assert "{" not in "".join(rows)


def test_json_holds_all_of_an_entry(tokctl, done):
    first = json.loads(tokctl("api-tokens", "audit", "-o", "json").out)["entries"][-1]
    assert len(first.pop("hash")) == 64
    assert first == {
        "number": 1,
        "at": "2024-06-25T10:40:00.000Z",
        "action": "create",
        "actor": {"kind": "cli", "id": "tester", "name": ""},
        "from": "test",
        "token": {"id": 1, "name": "idle"},
        "details": {
            "name": "idle",
            "description": None,
            "type": "read-only",
            "scopes": ["process"],
            "allowedCidrs": [],
            "expiresAt": "2025-04-11T10:40:00.000Z",
        },
    }


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        (["--token", "2"], ["6", "2"]),
        (["--token", "grafana"], ["6", "2"]),
        (["--token", "1"], ["7", "1"]),  # it is revoked
        (["--token", "99"], []),
        (["--limit", "2"], ["7", "6"]),
        (["-n", "1", "--token", "2"], ["6"]),
        (["--limit", "0"], list("7654321")),
        (["--all", "--limit", "2"], list("7654321")),
    ],
)
def test_which_ones(tokctl, done, words, numbers):
    ran = tokctl("api-tokens", "audit", *words, width=200)
    assert [row.split()[0] for row in ran.out.splitlines()[1:]] == numbers
    assert tokctl("api-tokens", "audit", *words, "-o", "id").out.split() == numbers
    assert ("Showing the newest" in ran.err) is (
        "--all" not in words and words[0] in {"--limit", "-n"} and words[1] != "0"
    )
    assert ("No audit entries" in ran.err) is (not numbers)


def test_a_table_shows_fifty(tokctl, own):
    for number in range(60):
        own.add(f"k{number}", age=DAY)
    ran = tokctl("api-tokens", "audit")
    assert len(ran.out.splitlines()) == 51
    assert "Showing the newest 50" in ran.err
    assert len(tokctl("api-tokens", "audit", "-o", "ndjson").out.splitlines()) == 60
    assert len(tokctl("api-tokens", "audit", "--query", "entries[].number").out.splitlines()) == 60


@pytest.mark.parametrize("width", [60, 80])
def test_a_narrow_terminal(tokctl, done, width):
    ran = tokctl("api-tokens", "audit", "--color", "never", width=width, tty=True)
    assert max(map(len, ran.out.splitlines())) <= width


def test_a_name_of_one_that_is_gone(tokctl, done):
    ran = tokctl("api-tokens", "audit", "--token", "idle")
    assert (ran.code, ran.out) == (3, "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["verfy"], "unknown argument 'verfy'"),
        (["--head", "12345678"], "--head needs 'audit verify'"),
        (["verify", "--head", ""], "not a hash"),
        (["verify", "--head", "1234567"], "not a hash"),
        (["verify", "--head", "x" * 64], "not a hash"),
        (["verify", "--limit", "3"], "the whole chain"),
        (["verify", "--token", "3"], "the whole chain"),
        (["--limit", "-1"], "--limit"),
    ],
)
def test_what_cannot_mean_anything(tokctl, done, words, said):
    ran = tokctl("api-tokens", "audit", *words)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
    assert ran.err.count("\n") == 1


# --- verify ---


def verified(tokctl, *words) -> tuple[int, dict]:
    ran = tokctl("api-tokens", "audit", "verify", *words, "-o", "json")
    assert ran.err == ""
    return ran.code, json.loads(ran.out)


def change(keys, statement: str) -> None:
    """Change the file as one does who may write to it, and removes what keeps the audit from being changed."""
    with closing(sqlite3.connect(keys.path)) as connection, connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(statement)


def test_a_whole_chain(tokctl, done):
    head = done.audit()[-1].hash
    assert tokctl("api-tokens", "audit", "verify").out == f"The audit log is valid: 7 entries.\n\n  head  {head}\n"
    assert verified(tokctl) == (0, {"whole": True, "entries": 7, "head": {"number": 7, "hash": head}, "fault": None})
    assert tokctl("api-tokens", "audit", "verify", "-o", "id").out == f"{head}\n"
    noted = done.audit()[2].hash
    for text in (noted, noted[:8], noted.upper(), f" {head} "):
        assert verified(tokctl, "--head", text)[0] == 0


def test_an_empty_one(tokctl, own):
    assert tokctl("api-tokens", "audit", "verify").out == "The audit log is empty.\n"
    assert verified(tokctl)[1]["head"] == {"number": 0, "hash": GENESIS_HASH}
    assert verified(tokctl, "--head", "12345678")[0] == 1
    ran = tokctl("api-tokens", "audit")
    assert (ran.code, ran.out) == (0, "")


@pytest.mark.parametrize(
    ("statement", "entries", "fault"),
    [
        ("UPDATE audit SET entry = replace(entry, 'grafana', 'grafanb') WHERE number = 2", 1, "entry 2 was changed"),
        ("UPDATE audit SET hash = substr(hash, 2) || 'x' WHERE number = 5", 4, "entry 5 was changed"),
        ("UPDATE audit SET entry = '[]' WHERE number = 1", 0, "entry 1 was changed"),
        ("UPDATE audit SET entry = CAST(x'22ff22' AS TEXT) WHERE number = 1", 0, "entry 1 was changed"),
        ("UPDATE audit SET entry = printf('%.*c', 30000, '[') WHERE number = 1", 0, "entry 1 was changed"),
        (
            'UPDATE audit SET entry = replace(entry, \'{"number"\', \'{"x":1,"number"\') WHERE number = 4',
            3,
            "entry 4 was changed",
        ),
        ("UPDATE audit SET token = 9 WHERE number = 4", 3, "entry 4 was changed"),  # --token would not show it
        ("UPDATE audit SET number = number * 10", 0, "entry 1 is missing"),
        ("DELETE FROM audit WHERE number = 3", 2, "entry 3 is missing"),
        ("DELETE FROM audit WHERE number > 5", 5, "2 entries are missing at the end"),
        ("UPDATE audit_head SET number = 6", 7, "the end of the audit log differs from its recorded head"),
        (
            "UPDATE audit_head SET number = 'x', hash = x'ff'",
            7,
            "the end of the audit log differs from its recorded head",
        ),
    ],
)
def test_what_was_changed_is_found(tokctl, done, statement, entries, fault):
    change(done, statement)
    code, document = verified(tokctl)
    assert (code, document["whole"], document["entries"], document["fault"]) == (1, False, entries, fault)
    ran = tokctl("api-tokens", "audit", "verify")
    assert ran.code == 1
    assert ran.out.splitlines()[0] == f"The audit log was modified: {fault}."


def test_a_head_that_was_noted_finds_a_chain_made_anew(tokctl, done):
    noted = done.audit()[-1].hash
    change(done, "DELETE FROM audit WHERE number > 6")
    change(done, "UPDATE audit_head SET number = 6, hash = (SELECT hash FROM audit WHERE number = 6)")
    assert verified(tokctl)[0] == 0
    code, document = verified(tokctl, "--head", noted)
    assert (code, document["fault"]) == (1, "the given head is not in the audit log")
