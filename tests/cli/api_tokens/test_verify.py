"""``tokctl api-tokens verify``: whose a secret is, without showing it."""

from __future__ import annotations

import json

import pytest

from support.terminal import Terminal
from tokctl.api_tokens.secrets import generate


def test_a_valid_one(tokctl, keys):
    secret = keys.secrets["grafana"]
    ran = tokctl("api-tokens", "verify", stdin=secret + "\n")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        "grafana  API token 2  valid",
        "",
        "  type     read-only",
        "  scopes   process",
        "  expires  2025-04-11 10:40:00 UTC  (in 90d)",
    ]
    assert keys.get(2).last_used_at.hour == 7  # to ask is no use of it


def test_json(tokctl, keys):
    ran = tokctl("api-tokens", "verify", "--scope", "process,job", "-o", "json", stdin=keys.secrets["grafana"])
    assert ran.code == 1
    assert json.loads(ran.out) == {
        "state": "valid",
        "valid": True,
        "id": 2,
        "name": "grafana",
        "type": "read-only",
        "scopes": ["process"],
        "expiresAt": "2025-04-11T10:40:00.000Z",
        "allows": {"process": True, "job": False},
    }
    ran = tokctl("api-tokens", "verify", "-o", "json", stdin=generate())
    assert (ran.code, ran.err) == (1, "")
    assert json.loads(ran.out) == {
        "state": "unknown",
        "valid": False,
        "id": None,
        "name": None,
        "type": None,
        "scopes": None,
        "expiresAt": None,
    }


@pytest.mark.parametrize(
    ("name", "words", "code", "state"),
    [
        ("gone", [], 1, "expired"),
        ("idle", [], 1, "revoked"),
        ("grafana", ["--scope", "process"], 0, "valid"),
        ("grafana", ["--scope", "process", "--scope", "job"], 1, "valid"),
        ("admin", ["--scope", "job,token"], 0, "valid"),
    ],
)
def test_the_exit_code(tokctl, keys, name, words, code, state):
    assert tokctl("api-tokens", "revoke", "idle", "--yes").code == 0
    ran = tokctl("api-tokens", "verify", *words, stdin=keys.secrets[name])
    assert ran.code == code
    assert ran.out.splitlines()[0].split() == [
        name,
        "API",
        "token",
        str(["idle", "grafana", "soon", "gone", "admin"].index(name) + 1),
        state,
    ]
    assert ("not allowed" in ran.out) is (bool(words) and code == 1)


@pytest.mark.parametrize("form", ["table", "json", "yaml", "csv", "id"])
@pytest.mark.parametrize("name", ["grafana", "gone", None])
def test_the_secret_is_not_shown(tokctl, keys, form, name):
    secret = keys.secrets[name] if name else generate()
    ran = tokctl("api-tokens", "verify", "-o", form, stdin=secret)
    assert secret[8:] not in ran.out + ran.err


@pytest.mark.parametrize(
    ("given", "code", "said"),
    [
        (b"", 7, "is empty"),
        (b"two words", 7, "not start with a secret"),
        ("xvc_schlüssel".encode(), 7, "not start with a secret"),
    ],
)
def test_what_is_no_secret(tokctl, keys, given, code, said):
    ran = tokctl("api-tokens", "verify", stdin=given)
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err
    assert "schl" not in ran.err


def test_a_permission_that_there_is_not(tokctl, keys):
    ran = tokctl("api-tokens", "verify", "--scope", "tokens", stdin=keys.secrets["grafana"])
    assert (ran.code, ran.out) == (2, "")
    assert "did you mean 'token'" in ran.err


def test_at_a_terminal_it_is_typed_without_echo(keys):
    with Terminal("api-tokens", "verify", env=keys.environ) as terminal:
        terminal.until("Secret of the API token:")
        terminal.type(keys.secrets["admin"] + "\r")
        assert terminal.end() == 0
        assert "admin  API token 5  valid" in terminal.text
        assert keys.secrets["admin"][8:] not in terminal.text
        assert terminal.as_it_was
