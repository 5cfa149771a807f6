"""``tokctl api-tokens list``: pages, filters, formats, screens."""

from __future__ import annotations

import json
import shutil

import click
import pytest

from support.commandline import NOW
from support.own_api_tokens import DAY
from tokctl.cli.app import Invocation
from tokctl.cli.command_tree import root_command
from tokctl.cli.completion import complete_api_token

NAMES = ["admin", "gone", "soon", "grafana", "idle"]


def names(ran) -> list[str]:
    assert ran.code in {0, 1}, ran.err
    return [token["name"] for token in json.loads(ran.out)["data"]]


def test_a_table(tokctl, keys):
    ran = tokctl("api-tokens", "list", width=160)
    assert ran.code == 0
    assert ran.err == ""
    shown = ran.out
    for secret in keys.secrets.values():
        shown = shown.replace(f"{secret[:8]}...", "xvc_abcd...")
    assert shown.splitlines() == [
        "ID  NAME     STATE    TYPE         SCOPES          TOKEN        LAST USED  EXPIRES  CREATED BY       CREATED",
        "5   admin    valid    full-access  *               xvc_abcd...      never    never  me@example.org       10d",
        "4   gone     expired  read-only    process         xvc_abcd...      never   2d ago  You@example.org      40d",
        "3   soon     valid    read-only    process, token  xvc_abcd...      never    in 5d  me@example.org       50d",
        "2   grafana  valid    read-only    process         xvc_abcd...         3h   in 90d  me@example.org      100d",
        "1   idle     valid    read-only    process         xvc_abcd...      never   in 90d  me@example.org      200d",
    ]


def test_a_narrow_terminal_keeps_what_matters(tokctl, keys):
    ran = tokctl("api-tokens", "list", "--color", "never", width=60, tty=True)
    assert ran.out.splitlines()[2].split() == ["ID", "NAME", "TYPE", "SCOPES", "LAST", "USED", "EXPIRES"]
    assert max(map(len, ran.out.splitlines())) <= 60


def test_what_has_expired_is_red_and_what_soon_will_is_yellow(tokctl, keys):
    lines = tokctl("api-tokens", "list", "--color", "always").out.splitlines()
    by_name = {name: next(line for line in lines if name in line) for name in NAMES}
    assert "\x1b[31m 2d ago" in by_name["gone"]
    assert "\x1b[33m  in 5d" in by_name["soon"]
    assert "\x1b[33mfull-access" in by_name["admin"]
    assert "\x1b[3" not in by_name["idle"]


def test_a_table_shows_ten_and_says_how_to_see_the_others(tokctl, own):
    for number in range(25):
        own.add(f"key-{number}", age=(25 - number) * DAY)
    ran = tokctl("api-tokens", "list")
    assert [line.split()[1] for line in ran.out.splitlines()[1:]] == [f"key-{n}" for n in range(24, 14, -1)]
    assert "Showing 1 to 10 of 25 API tokens. Use --page 2 for the next page, --all for all." in ran.err
    ran = tokctl("api-tokens", "list", "--page", 3)
    assert [line.split()[1] for line in ran.out.splitlines()[1:]] == [f"key-{n}" for n in range(4, -1, -1)]
    assert "Showing 21 to 25 of 25 API tokens. Use --page 2 for the previous page, --all for all." in ran.err
    ran = tokctl("api-tokens", "list", "--page", 9)
    assert (ran.code, ran.out) == (0, "")
    assert "There is no page 9: 25 API tokens on 3 pages." in ran.err
    ran = tokctl("api-tokens", "list", "--all")
    assert len(ran.out.splitlines()) == 26
    assert "Showing" not in ran.err
    assert len(tokctl("api-tokens", "list", "--query", "data[].name").out.splitlines()) == 25
    assert len(tokctl("api-tokens", "list", "-o", "id").out.splitlines()) == 25
    ran = tokctl("api-tokens", "list", "--page", 2, "--page-size", 7, "-o", "json")
    assert names(ran) == [f"key-{n}" for n in range(17, 10, -1)]
    assert json.loads(ran.out)["meta"] == {"pagination": {"page": 2, "pageSize": 7, "total": 25}}


def test_json_is_the_documented_answer_with_states(tokctl, keys):
    document = json.loads(tokctl("api-tokens", "list", "-o", "json").out)
    assert document["meta"] == {"pagination": {"page": 1, "pageSize": 5, "total": 5}}
    assert [one["state"] for one in document["data"]] == ["valid", "expired", "valid", "valid", "valid"]
    assert document["data"][3] == {
        "id": 2,
        "name": "grafana",
        "description": "dashboards",
        "type": "read-only",
        "scopes": ["process"],
        "allowedCidrs": [],
        "disabled": False,
        "token": keys.secrets["grafana"][:8] + "...",
        "lastUsedAt": "2025-01-11T07:40:00.000Z",
        "lastUse": {"address": "192.0.2.4", "userAgent": "curl/8.5", "endpoint": "GET /api/v1/processes"},
        "expiresAt": "2025-04-11T10:40:00.000Z",
        "createdBy": {"id": 1, "email": "me@example.org"},
        "createdAt": "2024-10-03T10:40:00.000Z",
        "updatedAt": "2024-10-03T10:40:00.000Z",
        "state": "valid",
    }


@pytest.mark.parametrize("form", ["table", "wide", "json", "ndjson", "yaml", "csv", "id"])
def test_no_format_holds_a_secret(tokctl, keys, form):
    ran = tokctl("api-tokens", "list", "-o", form, width=300)
    assert ran.code == 0
    assert ("grafana" in ran.out) is (form != "id")
    assert not [secret for secret in keys.secrets.values() if secret[8:] in ran.out + ran.err]


def test_other_formats(tokctl, keys):
    header, first, *_ = tokctl("api-tokens", "list", "-o", "csv").out.splitlines()
    row = dict(zip(header.split(","), first.split(","), strict=True))
    assert (row["name"], row["state"], row["createdBy"], row["createdAt"]) == (
        "admin",
        "valid",
        "me@example.org",
        "2025-01-01T10:40:00.000Z",
    )
    assert tokctl("api-tokens", "list", "-o", "id").out.split() == ["5", "4", "3", "2", "1"]
    assert "DESCRIPTION" in tokctl("api-tokens", "list", "-o", "wide", width=300).out
    assert tokctl("api-tokens", "list", "--columns", "name,state").out.split()[:4] == [
        "NAME",
        "STATE",
        "admin",
        "valid",
    ]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--expired"], ["gone"]),
        (["--expiring", "30d"], ["soon"]),
        (["--expiring", "90d"], ["soon", "grafana", "idle"]),
        (["--unused", "45d"], ["soon", "idle"]),
        (["--type", "full-access"], ["admin"]),
        (["--scope", "token"], ["admin", "soon"]),
        (["--scope", "token,process", "--type", "read-only"], ["soon"]),
        (["--created-by", "you@*"], ["gone"]),
        (["--created-by", "7"], ["gone"]),
        (["--name", "g*"], ["gone", "grafana"]),
        (["--name", "nothing"], []),
    ],
)
def test_filters(tokctl, keys, words, expected):
    ran = tokctl("api-tokens", "list", *words, "-o", "json")
    assert names(ran) == expected
    assert json.loads(ran.out)["meta"]["pagination"]["total"] == len(expected)
    ran = tokctl("api-tokens", "list", *words, "--fail-if-any")
    assert ran.code == (1 if expected else 0)
    assert ("No API tokens match." in ran.err) is (not expected)


def test_a_filter_is_not_cut_into_pages(tokctl, own):
    for number in range(15):
        own.add(f"old-{number}", expires_at=NOW - DAY)
    ran = tokctl("api-tokens", "list", "--expired")
    assert len(ran.out.splitlines()) == 16
    assert ran.err == ""


@pytest.mark.parametrize("form", ["table", "json", "id"])
def test_a_check_looks_at_what_is_shown(tokctl, keys, form):
    assert tokctl("api-tokens", "list", "--fail-if-any", "-o", form).code == 1
    assert tokctl("api-tokens", "list", "--fail-if-any", "--name", "x", "-o", form).code == 0


def test_an_empty_list_says_what_to_do(tokctl, own):
    ran = tokctl("api-tokens", "list")
    assert (ran.code, ran.out) == (0, "")
    assert "Create one with 'tokctl api-tokens create NAME'" in ran.err
    assert tokctl("api-tokens", "list", "--all") == tokctl("api-tokens", "list", "--page", 3) == ran
    document = json.loads(tokctl("api-tokens", "list", "-o", "json").out)
    assert document == {"data": [], "meta": {"pagination": {"page": 1, "pageSize": 0, "total": 0}}}
    assert tokctl("api-tokens", "list", "--fail-if-any").code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--type", "full"], "unknown type 'full'"),
        (["--type", "full-acces"], "did you mean 'full-access'"),
        (["--scope", "tokens"], "did you mean 'token'"),
        (["--scope", ""], "--scope is empty"),
        (["--name", ""], "--name is empty"),
        (["--created-by", " "], "--created-by is empty"),
        (["--unused", "long"], "invalid duration: 'long'"),
        (["--expiring", ""], "invalid duration: ''"),
        (["--expired", "--expiring", "3d"], "cannot be used together"),
        (["--expired", "--page", "2"], "without pages"),
        (["--all", "--page-size", "2"], "--all shows all"),
        (["--page", "0"], "--page"),
        (["--page-size", "101"], "--page-size"),
    ],
)
def test_what_cannot_mean_anything(tokctl, keys, words, said):
    ran = tokctl("api-tokens", "list", *words)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
    assert ran.err.count("\n") == 1


def test_the_alias_is_the_same_and_no_list_shows_it(tokctl, keys):
    assert tokctl("keys", "list") == tokctl("api-tokens", "list")
    assert "\n│ keys" not in tokctl("--help", width=100).out
    assert "tokctl keys" in tokctl("--help", width=100).out
    assert tokctl("key", "list").code == 2


def test_a_name_cannot_steer_the_terminal(tokctl, own):
    own.add("a\x1b]0;b\nc")
    ran = tokctl("api-tokens", "list", "--color", "never", tty=True)
    assert "\x1b" not in ran.out
    assert "a\\u001b]0;b\\nc" in ran.out


def test_an_answer_of_the_api_is_no_place_for_them(tokctl, keys, orders):
    ran = tokctl("--file", orders, "api-tokens", "list")
    assert ran.code == 2
    assert "API tokens are in a store or on a server" in ran.err


# --- completion ---


def complete(word: str) -> list[str]:
    return complete_api_token(click.Context(root_command(), obj=Invocation(lambda: NOW)), word)


def test_ids_and_names_are_completed(monkeypatch, keys):
    assert complete("g") == ["gone", "grafana"]
    assert complete("4") == ["4"]
    assert len(complete("")) == 10
    monkeypatch.setenv("TOKCTL_REGISTRY_SERVER", "http://127.0.0.1:1")
    assert complete("g") == []
    monkeypatch.delenv("TOKCTL_REGISTRY_SERVER")
    monkeypatch.setenv("TOKCTL_STORE", "/nowhere/x.db")
    assert complete("g") == []


def test_a_server_is_not_asked_at_a_keystroke(monkeypatch, keys, tmp_path):
    monkeypatch.delenv("TOKCTL_STORE")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    (tmp_path / "tokctl").mkdir()
    shutil.copy(keys.path, tmp_path / "tokctl" / "tokctl.db")
    assert complete("g") == ["gone", "grafana"]
    monkeypatch.setenv("TOKCTL_SERVER", "http://127.0.0.1:1")
    assert complete("g") == []
