"""``tokctl api-tokens show``, and how an API token is named."""

from __future__ import annotations

import json
import re

import pytest

from support.commandline import NOW
from support.own_api_tokens import DAY


def test_everything_known(tokctl, keys):
    ran = tokctl("api-tokens", "show", "grafana")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        "grafana  API token 2  valid",
        "",
        "  type         read-only",
        "  scopes       process",
        f"  token        {keys.secrets['grafana'][:8]}...",
        "  description  dashboards",
        "  created by   me@example.org",
        "",
        "Times",
        "  created    2024-10-03 10:40:00 UTC  (100d ago)",
        "  updated    2024-10-03 10:40:00 UTC  (100d ago)",
        "  last used  2025-01-11 07:40:00 UTC  (3h ago)",
        "  used by    192.0.2.4, curl/8.5, GET /api/v1/processes",
        "  expires    2025-04-11 10:40:00 UTC  (in 90d)",
    ]


def test_what_is_not_known_is_said(tokctl, own):
    own.add("bare", scopes=(), created_by=None, expires_at=None)
    out = tokctl("api-tokens", "show", "1").out
    assert re.findall(r"  (scopes|description|created by|last used|expires) +(.*)", out) == [
        ("scopes", "none"),
        ("description", "none"),
        ("created by", "unknown"),
        ("last used", "never"),
        ("expires", "never"),
    ]


def test_json(tokctl, keys):
    document = json.loads(tokctl("api-tokens", "show", "gone", "-o", "json").out)
    assert (document["id"], document["state"], document["createdBy"]) == (
        4,
        "expired",
        {"id": 7, "email": "You@example.org"},
    )
    assert tokctl("api-tokens", "show", "gone", "-o", "id").out == "4\n"


def test_an_id_wins_over_a_name_that_is_the_same_number(tokctl, own):
    own.add("first")
    own.add("1")
    own.add("77")
    assert tokctl("api-tokens", "show", "1").out.startswith("first  API token 1")
    assert tokctl("api-tokens", "show", "77").out.startswith("77  API token 3")


def test_a_name_that_several_have(tokctl, own):
    for days in (3, 2):
        own.add("twin", age=days * DAY)
    ran = tokctl("api-tokens", "show", "twin")
    assert (ran.code, ran.out) == (3, "")
    assert "has several API tokens named 'twin': 2, 1. Use an id." in ran.err


@pytest.mark.parametrize(
    ("word", "code", "said"),
    [
        ("grafanna", 3, "API token 'grafanna' not found in the store "),
        ("grafanna", 3, "(did you mean 'grafana'?)"),
        ("99", 3, "API token 99 not found in the store "),
        ("9" * 30, 3, "API token 999999"),
        ("²", 3, "API token '²' not found"),
        ("٣", 3, "API token '٣' not found"),
        ("", 2, "is empty"),
    ],
)
def test_one_that_is_not_there(tokctl, keys, word, code, said):
    ran = tokctl("api-tokens", "show", word)
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err
    assert ran.err.count("\n") == 1


def test_a_revoked_one_is_gone(tokctl, keys):
    assert tokctl("api-tokens", "revoke", "idle", "--yes").code == 0
    assert tokctl("api-tokens", "show", "idle").code == tokctl("api-tokens", "show", "1").code == 3


@pytest.mark.parametrize("command", ["show", "revoke", "update"])
def test_a_secret_in_the_place_of_a_name_is_not_repeated(tokctl, keys, command):
    secret = keys.secrets["grafana"]
    more = {"revoke": ["--yes"], "update": ["--name", "x"]}.get(command, [])
    ran = tokctl("api-tokens", command, secret, *more)
    assert ran.code == 2
    assert "this is a secret" in ran.err
    assert secret[8:] not in ran.err
    assert "grafana" in keys.names()


def test_where_there_is_no_store_none_is_made(tokctl, own, tmp_path):
    for words in (["show", "1"], ["list"], ["revoke", "1", "--yes"], ["update", "1", "--name", "x"], ["audit"]):
        ran = tokctl("api-tokens", *words, "--store", tmp_path / "none.db")
        assert ran.code == 6, words
        assert "no store found at" in ran.err
    assert not (tmp_path / "none.db").exists()


def test_the_moment_of_the_screen_is_that_of_the_clock(tokctl, keys):
    assert "expired" in tokctl("api-tokens", "show", "soon", now=NOW + 5 * DAY).out.splitlines()[0]
    assert "valid" in tokctl("api-tokens", "show", "soon").out.splitlines()[0]
