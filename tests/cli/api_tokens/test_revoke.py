"""``tokctl api-tokens revoke``: by name, by filter, by secret; asked first; what follows from it."""

from __future__ import annotations

import json
import time

import pytest

from support import serving
from support.commandline import NOW
from support.keyrings import backends, entries
from support.own_api_tokens import DAY, PEPPER, USE
from support.terminal import PATIENCE, Terminal
from tokctl.api_tokens.custody.ledger import Ledger, LedgerEntry
from tokctl.api_tokens.pepper import load_pepper
from tokctl.api_tokens.secrets import generate

pytestmark = pytest.mark.slow

LAST_USE = {
    "lastUse": {
        "at": "2025-01-11T07:40:00.000Z",
        "address": USE.address,
        "userAgent": USE.user_agent,
        "endpoint": USE.endpoint,
    }
}
ALL = ["admin", "gone", "soon", "grafana", "idle"]


def test_by_id_and_name(tokctl, keys):
    ran = tokctl("api-tokens", "revoke", "1", "grafana", "2", "--yes", "--reason", "spring clean")
    assert (ran.code, ran.err) == (0, "")
    header, *rows = ran.out.splitlines()
    assert header.split() == ["ID", "NAME", "TYPE", "TOKEN", "LAST", "USED", "EXPIRES", "OUTCOME"]
    assert [(row.split()[1], row.split()[-1]) for row in rows] == [("idle", "revoked"), ("grafana", "revoked")]
    assert keys.names() == ["admin", "gone", "soon"]
    assert [keys.get(number).revoked_at for number in (1, 2)] == [NOW, NOW]
    assert [(one.action, one.token_id, one.details) for one in keys.audit()[5:]] == [
        ("revoke", 1, {"why": "spring clean"}),
        ("revoke", 2, {"why": "spring clean"} | LAST_USE),
    ]


def test_json(tokctl, keys):
    document = json.loads(tokctl("api-tokens", "revoke", "soon", "-y", "-o", "json").out)
    assert document["dryRun"] is False
    (one,) = document["apiTokens"]
    assert {name: one[name] for name in ("id", "name", "state", "revoked", "removedFrom", "error")} == {
        "id": 3,
        "name": "soon",
        "state": "revoked",
        "revoked": True,
        "removedFrom": None,
        "error": None,
    }


@pytest.mark.parametrize(
    ("words", "left"),
    [
        (["--expired"], ["admin", "soon", "grafana", "idle"]),
        (["--unused", "45d"], ["admin", "gone", "grafana"]),
        (["--expiring", "30d"], ["admin", "gone", "grafana", "idle"]),
        (["--type", "full-access"], ["gone", "soon", "grafana", "idle"]),
        (["--scope", "token", "--type", "read-only"], ["admin", "gone", "grafana", "idle"]),
        (["--created-by", "you@*"], ["admin", "soon", "grafana", "idle"]),
        (["--name", "g*"], ["admin", "soon", "idle"]),
    ],
)
def test_by_filter(tokctl, keys, words, left):
    ran = tokctl("api-tokens", "revoke", *words, "--dry-run")
    assert (ran.code, ran.err) == (0, "Dry run: nothing was revoked.\n")
    assert len(ran.out.splitlines()) == 1 + len(ALL) - len(left)
    assert "would be revoked" in ran.out
    assert keys.names() == ALL
    shown = tokctl("api-tokens", "revoke", *words, "--dry-run", "-o", "id").out
    assert tokctl("api-tokens", "revoke", *words, "--yes", "-o", "id").out == shown
    assert keys.names() == left
    ran = tokctl("api-tokens", "revoke", *words, "--yes")
    assert (ran.code, ran.out) == (0, "")
    assert "Nothing was revoked." in ran.err


def test_a_dry_run_wins_over_yes(tokctl, keys):
    assert "would be revoked" in tokctl("api-tokens", "revoke", "--expired", "--dry-run", "--yes").out
    assert keys.names() == ALL


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["grafana"], "there is no terminal. Nothing was revoked. Use --yes"),
        (["--expired"], "there is no terminal"),
        (["--secret-stdin"], "there is no terminal"),
        (["--yes"], "no API token selected"),
        (["grafana", "--expired", "--yes"], "cannot be used together"),
        (["--secret-stdin", "--expired", "--yes"], "cannot be used together"),
        (["grafana", "--yes", "-o", "tabel"], "did you mean 'table'"),
        (["grafana", "--yes", "--columns", "nam"], "did you mean 'name'"),
        (["", "--yes"], "is empty"),
        (["--name", "", "--yes"], "--name is empty"),
        (["--type", "x", "--yes"], "unknown type 'x'"),
    ],
)
def test_what_cannot_be_revokes_nothing(tokctl, keys, words, said):
    ran = tokctl("api-tokens", "revoke", *words, stdin=keys.secrets["grafana"])
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
    assert ran.err.count("\n") == 1
    assert keys.names() == ALL


def test_one_that_is_not_there_does_not_keep_back_the_others(tokctl, keys):
    ran = tokctl("api-tokens", "revoke", "nobody", "soon", "99", "--yes")
    assert ran.code == 3
    assert [line.split(" in the store")[0] for line in ran.err.splitlines()] == [
        "API token 'nobody' not found",
        "API token 99 not found",
    ]
    assert keys.names() == ["admin", "gone", "grafana", "idle"]
    ran = tokctl("api-tokens", "revoke", "nobody", "--yes")
    assert (ran.code, ran.out, ran.err.count("\n")) == (3, "", 1)


def test_one_that_cannot_be_revoked_is_told_and_the_others_go_on(tokctl, keys, monkeypatch):
    """On a server: its scopes are more than those of the caller."""
    keys.add("manager", type="full-access", scopes=("api-tokens", "process"), expires_at=None)
    monkeypatch.setenv("TOKCTL_API_KEY", keys.secrets["manager"])
    monkeypatch.setattr(serving, "PEPPER", load_pepper({"TOKCTL_PEPPER": PEPPER}))
    server = serving.Served(keys.path, secret=keys.secrets["manager"])
    try:
        place = ("--server", server.url)
        ran = tokctl("api-tokens", "revoke", "gone", "soon", "idle", "nobody", "--yes", *place, width=160)
        assert ran.code == 4
        assert "API token 3 'soon' was not revoked: " in ran.err
        outcome = {row.split()[1]: row.rpartition("  ")[2] for row in ran.out.splitlines()[1:]}
        assert outcome == {"gone": "revoked", "soon": "not revoked", "idle": "revoked"}
        assert keys.names() == ["manager", "admin", "soon", "grafana"]
        ran = tokctl("api-tokens", "revoke", "grafana", "soon", "-y", "-o", "json", *place)
        grafana, soon = json.loads(ran.out)["apiTokens"]
        assert (grafana["revoked"], grafana["error"], soon["revoked"], soon["state"]) == (True, None, False, "valid")
        assert "scopes that you do not hold" in soon["error"]
        assert tokctl("api-tokens", "revoke", "soon", "-y", "-o", "id", *place).out == ""
    finally:
        server.close()


# --- by the secret ---


def test_a_leaked_secret(tokctl, keys):
    ran = tokctl("api-tokens", "revoke", "--secret-stdin", "-y", "--reason", "leaked", stdin=keys.secrets["soon"])
    assert (ran.code, ran.err) == (0, "")
    assert "soon" in ran.out
    assert keys.secrets["soon"][8:] not in ran.out
    assert keys.names() == ["admin", "gone", "grafana", "idle"]
    assert keys.audit()[-1].details == {"why": "leaked"}
    ran = tokctl("api-tokens", "revoke", "--secret-stdin", "-y", stdin=keys.secrets["soon"])
    assert (ran.code, ran.out) == (0, "")
    assert ran.err == "The API token with this secret is revoked already. It is API token 3 'soon'.\n"
    assert len(keys.audit()) == 6


def test_an_expired_secret_is_revoked_all_the_same(tokctl, keys):
    assert tokctl("api-tokens", "revoke", "--secret-stdin", "-y", stdin=keys.secrets["gone"]).code == 0
    assert "gone" not in keys.names()


def test_a_secret_that_is_nobodys(tokctl, keys):
    secret = generate()
    ran = tokctl("api-tokens", "revoke", "--secret-stdin", "--yes", stdin=secret)
    assert (ran.code, ran.out, ran.err.count("\n")) == (3, "", 1)
    assert "has no API token with this secret" in ran.err
    assert secret[8:] not in ran.err
    assert keys.names() == ALL


# --- at a terminal ---


@pytest.mark.parametrize(
    ("answer", "code"), [("y\r", 0), ("YES\r", 0), ("\r", 1), ("n\r", 1), ("\x04", 1), ("\x03", 130)]
)
def test_it_shows_them_and_asks(keys, answer, code):
    with Terminal("api-tokens", "revoke", "--name", "[si]*", env=keys.environ, columns=60) as terminal:
        screen = terminal.until("[y/N]")
        assert [line.split()[:2] for line in screen.splitlines()[:3]] == [["ID", "NAME"], ["3", "soon"], ["1", "idle"]]
        assert "Revoke these 2 of the store" in screen
        assert keys.names() == ALL
        terminal.type(answer)
        assert terminal.end() == code
        assert ("Nothing was revoked." in terminal.text) is (code == 1)
    assert keys.names() == (["admin", "gone", "grafana"] if code == 0 else ALL)


def test_a_typed_secret(keys):
    with Terminal("api-tokens", "revoke", "--secret-stdin", env=keys.environ) as terminal:
        terminal.until("Secret to revoke:")
        terminal.type(keys.secrets["soon"] + "\r")
        terminal.until("Revoke this API token of the store")
        terminal.type("y\r")
        assert terminal.end() == 0
        assert keys.secrets["soon"][8:] not in terminal.text
    assert "soon" not in keys.names()


# --- what follows ---


def origin(keys) -> str:
    return keys.path.resolve().as_uri()


def test_its_secret_goes_out_of_the_keyring(shell, keys, tmp_path):
    environ = keys.environ | backends(tmp_path, "own_backends.Kept")
    secrets = {1: "xvc_of-another-that-had-this-id", 2: keys.secrets["grafana"], 3: keys.secrets["soon"]}
    kept = {f"tokctl {origin(keys)}/api-tokens/{number}": secret for number, secret in secrets.items()}
    (tmp_path / "kept").write_text(json.dumps(kept))
    ran = shell("api-tokens", "revoke", "grafana", "idle", "--yes", "-o", "json", env=environ)
    assert ran.code == 0, ran.err
    assert sorted(entries(tmp_path)) == [f"tokctl {origin(keys)}/api-tokens/{number}" for number in (1, 3)]
    removed = [one["removedFrom"] for one in json.loads(ran.out)["apiTokens"]]
    assert "keyring" in removed[0]
    assert removed[1] is None
    ran = shell("api-tokens", "revoke", "soon", "--yes", env=environ | {"COLUMNS": "160"})
    assert f"revoked, and removed from {removed[0]}" in ran.out
    assert list(entries(tmp_path)) == [f"tokctl {origin(keys)}/api-tokens/1"]


def test_the_ledger_forgets_it(tokctl, keys, tmp_path):
    ledger = Ledger(tmp_path / "state")
    (tmp_path / "state" / "api-tokens").mkdir(parents=True)
    for number in (2, 3):
        token = keys.get(number)
        known = {"name": token.name, "token_id": str(number), "created_at": token.created_at}
        ledger.put(LedgerEntry(key=f"k{number}", origin=origin(keys), place="keyring", at=NOW, **known))
    assert tokctl("api-tokens", "revoke", "grafana", "--yes").code == 0
    assert [entry.token_id for entry in ledger.entries()] == ["3"]


def test_an_interruption_says_how_many_are_gone(keys, tmp_path):
    environ = keys.environ | backends(tmp_path, "own_backends.Frozen")
    with Terminal("api-tokens", "revoke", "grafana", "idle", "--yes", env=environ) as terminal:
        end = time.monotonic() + PATIENCE
        while "grafana" in keys.names() and time.monotonic() < end:
            terminal.read(0.05)
        terminal.type("\x03")
        assert terminal.end() == 130
        assert "Revoked 1 of 2 API tokens before the interruption." in terminal.text
    assert keys.names() == ["admin", "gone", "soon", "idle"]


def test_many(tokctl, own):
    for number in range(60):
        own.add(f"old-{number}", expires_at=NOW - DAY)
    own.add("new")
    ran = tokctl("api-tokens", "revoke", "--expired", "--yes")
    assert (ran.code, len(ran.out.splitlines())) == (0, 61)
    assert own.names() == ["new"]
