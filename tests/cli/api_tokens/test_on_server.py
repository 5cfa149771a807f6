"""The commands about API tokens say and do the same on a server as on its store."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from support import serving
from support.own_api_tokens import PEPPER
from tokctl.api_tokens.custody.ledger import Ledger
from tokctl.api_tokens.pepper import load_pepper
from tokctl.api_tokens.secrets import generate

pytestmark = pytest.mark.slow


@pytest.fixture
def served(keys, monkeypatch):
    """The store, behind a server, with the credential of one that may do everything."""
    monkeypatch.setattr(serving, "PEPPER", load_pepper({"TOKCTL_PEPPER": PEPPER}))
    server = serving.Served(keys.path, secret=keys.secrets["admin"])
    monkeypatch.setenv("TOKCTL_API_KEY", keys.secrets["admin"])
    yield server
    server.close()


@pytest.mark.parametrize(
    "words",
    [
        ["list"],
        ["list", "--page", "2", "--page-size", "2"],
        ["list", "--scope", "token", "--fail-if-any"],
        ["list", "--expired"],
        ["show", "grafana"],
        ["show", "2"],
        ["show", "grafanna"],
        ["audit"],
        ["audit", "--token", "grafana", "-n", "1"],
        ["audit", "verify"],
        ["revoke", "--name", "g*", "--dry-run"],
        ["revoke", "idle", "--dry-run"],
        ["update", "grafana", "--name", "idle"],
    ],
    ids=" ".join,
)
def test_the_same_is_said(tokctl, keys, served, words):
    def said(*place: str) -> tuple:
        ran = tokctl("api-tokens", *words, *place, "-o", "json")
        document = json.loads(ran.out) if ran.out else {}
        for one in document.get("data", ()):
            if one["name"] == "admin":
                del one["lastUsedAt"]  # it is in use
        return ran.code, document, ran.err.replace(served.url, "HERE").replace(f"the store {keys.path}", "HERE")

    assert said("--server", served.url) == said("--store", str(keys.path))


def test_the_same_is_done(tokctl, keys, served):
    on_server = ("--server", served.url)
    ran = tokctl("api-tokens", "update", "grafana", "--scope", "process,job", "--expires", "2099-01-01", *on_server)
    assert ran.code == 0, ran.err
    assert "it allows job; it expires later" in ran.err
    assert keys.get(2).scopes == ("process", "job")
    assert keys.get(2).expires_at.year == 2099
    ran = tokctl("api-tokens", "verify", "--scope", "job", *on_server, stdin=keys.secrets["grafana"])
    assert ran.code == 0
    assert "grafana  API token 2  valid" in ran.out
    ran = tokctl("api-tokens", "revoke", "grafana", "nobody", "-y", "--reason", "over", *on_server)
    assert ran.code == 3
    assert "grafana" not in keys.names()
    entry = keys.audit()[-1]
    assert (entry.action, entry.token_id, entry.actor.name, entry.actor.kind) == ("revoke", 2, "admin", "api-token")
    ran = tokctl("api-tokens", "verify", *on_server, stdin=keys.secrets["grafana"])
    assert ran.code == 1
    assert "revoked" in ran.out
    for stdin, code, said in (
        (keys.secrets["soon"], 0, ""),
        (keys.secrets["soon"], 0, "revoked already"),
        (generate(), 3, "has no API token"),
    ):
        ran = tokctl("api-tokens", "revoke", "--secret-stdin", "--yes", *on_server, stdin=stdin)
        assert ran.code == code
        assert said in ran.err
        assert stdin[8:] not in ran.out + ran.err
    assert keys.names() == ["admin", "gone", "idle"]


@pytest.mark.parametrize(
    ("caller", "words", "advice"),
    [
        ("manager", ["create", "new"], "It has the scopes api-tokens. Use a credential with more."),
        (
            "manager",
            ["create", "new", "--scope", "api-tokens,job"],
            "You cannot grant scopes that you do not hold: job",
        ),
        ("manager", ["update", "grafana", "--scope", "job"], "with scopes that you do not hold: process"),
        ("reader", ["create", "new"], "tokctl api-tokens create NAME --type full-access --scope api-tokens,process"),
        ("auditor", ["create", "new"], "Use a credential with more rights, such as a full-access API token."),
    ],
)
def test_a_caller_who_lacks_a_right_is_told_what_to_do(
    tokctl, keys, served, monkeypatch, tmp_path, caller, words, advice
):
    keys.add("manager", type="full-access", scopes=("api-tokens",), expires_at=None)
    keys.add("reader", type="full-access", scopes=("process",), expires_at=None)
    keys.add("auditor", type="read-only", scopes=("api-tokens",), expires_at=None)
    monkeypatch.setenv("TOKCTL_API_KEY", keys.secrets[caller])
    save = ["--expires", "never", "--save", f"file:{tmp_path}/new"] if words[0] == "create" else []
    ran = tokctl("api-tokens", *words, *save, "--server", served.url)
    assert (ran.code, ran.out) == (4, ""), ran.err
    assert ran.err.count("\n") == 1
    assert advice in ran.err
    assert "new" not in keys.names()


def test_a_server_that_cannot_be_reached(tokctl, keys):
    ran = tokctl("api-tokens", "list", "--server", "http://127.0.0.1:1")
    assert (ran.code, ran.out) == (5, "")
    assert ran.err.count("\n") == 1


def test_a_default_expiry_gives_way_to_the_limit_of_the_server(tokctl, keys, served, monkeypatch, tmp_path):
    """An API token cannot create one that outlives it; an expiry that was asked for is refused instead."""
    soon = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)
    keys.add("manager", type="full-access", scopes=("api-tokens", "process"), expires_at=soon)
    monkeypatch.setenv("TOKCTL_API_KEY", keys.secrets["manager"])
    place, on_server = ("--save", f"file:{tmp_path}/secret"), ("--server", served.url)
    ran = tokctl("api-tokens", "create", "asked", "--expires", "40d", *place, *on_server, now=datetime.now(UTC))
    assert (ran.code, ran.out, ran.err.count("\n")) == (4, "", 1)
    assert "outlive" in ran.err
    assert not (tmp_path / "secret").exists()
    assert "asked" not in keys.names()
    ran = tokctl("api-tokens", "create", "default", *place, *on_server, "-o", "json", now=datetime.now(UTC))
    assert ran.code == 0, ran.err
    assert f"allows no expiry after {soon:%Y-%m-%d %H:%M} UTC" in ran.err
    made = json.loads(ran.out)
    assert datetime.fromisoformat(made["expiresAt"]) == soon
    later = datetime.now(UTC) + timedelta(hours=1)  # with the lifetime of before, it would end an hour later
    ran = tokctl("api-tokens", "rotate", "default", "--grace", "2h", *on_server, "-o", "json", now=later)
    assert ran.code == 0, ran.err
    assert datetime.fromisoformat(json.loads(ran.out)["expiresAt"]) == soon
    assert keys.names()[:2] == ["default", "default"]
    requested = [entry.wanted for entry in Ledger().entries()]  # an orphan would be recognized by its expiry
    assert [one.expires_at for one in requested] == [soon, soon]
