"""``tokctl api-tokens update``: what is given, and nothing else."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from support.commandline import NOW
from support.own_api_tokens import DAY


@pytest.mark.parametrize(
    ("words", "member", "value", "shown"),
    [
        (["--name", "panels"], "name", "panels", "name  grafana → panels"),
        (["--name", " panels "], "name", "panels", "name  grafana → panels"),
        (["--description", "for ops"], "description", "for ops", "description  dashboards → for ops"),
        (["--description", ""], "description", None, "description  dashboards → none"),
        (["--type", "Full-Access"], "type", "full-access", "type  read-only → full-access"),
        (["--scope", "job", "--scope", "token,job"], "scopes", ("token", "job"), "scopes  process → token, job"),
        (
            ["--allowed-cidr", "10.0.0.0/8,2001:db8::1", "--allowed-cidr", "10.0.0.0/8"],
            "allowed_cidrs",
            ("10.0.0.0/8", "2001:db8::1/128"),
            "networks  none → 10.0.0.0/8, 2001:db8::1/128",
        ),
        (["--allowed-cidr", "Any", "--description", "for ops"], "description", "for ops", "dashboards → for ops"),
        (
            ["--expires", "10d"],
            "expires_at",
            NOW + 10 * DAY,
            "expires  2025-04-11T10:40:00.000Z → 2025-01-21T10:40:00.000Z",
        ),
        (["--expires", "2026-01-01"], "expires_at", datetime(2026, 1, 1, tzinfo=UTC), "→ 2026-01-01T00:00:00.000Z"),
        (["--expires", "Never"], "expires_at", None, "expires  2025-04-11T10:40:00.000Z → none"),
    ],
)
def test_one_member_and_nothing_else(tokctl, keys, words, member, value, shown):
    before = keys.get(2)
    ran = tokctl("api-tokens", "update", "grafana", *words)
    assert ran.code == 0
    assert keys.get(2) == msgspec.structs.replace(before, **{member: value}, updated_at=NOW)
    title, _, change = ran.out.splitlines()
    assert title == f"{'panels' if member == 'name' else 'grafana'}  API token 2  updated"
    assert shown in change
    assert len(keys.audit()) == 6
    assert keys.audit()[-1].action == "update"


def test_several_at_once_in_json(tokctl, keys):
    ran = tokctl("api-tokens", "update", "2", "--name", "panels", "--expires", "never", "-o", "json")
    document = json.loads(ran.out)
    assert (document["id"], document["name"], document["expiresAt"], document["state"]) == (2, "panels", None, "valid")
    assert document["changes"] == {"name": ["grafana", "panels"], "expiresAt": ["2025-04-11T10:40:00.000Z", None]}


def test_an_expiry_is_of_whole_seconds_as_servers_keep_it(tokctl, keys):
    moment = NOW + timedelta(microseconds=700_000)
    assert tokctl("api-tokens", "update", "grafana", "--expires", "10d", now=moment).code == 0
    assert keys.get(2).expires_at == NOW + 10 * DAY


def test_what_is_so_already_is_no_change(tokctl, keys):
    ran = tokctl("api-tokens", "update", "grafana", "--name", "grafana", "--type", "read-only")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == "grafana  API token 2  unchanged: it already has these values\n"
    assert len(keys.audit()) == 5


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["grafana", "--type", "full-access"], "it has full access"),
        (["grafana", "--scope", "process,job"], "it allows job"),
        (["grafana", "--scope", "*"], "it allows *"),
        (["grafana", "--expires", "91d"], "it expires later"),
        (["grafana", "--expires", "never"], "it never expires"),
        (["gone", "--expires", "1d", "--type", "full-access"], "it has full access; it expires later"),
        (["grafana", "--expires", "89d"], ""),
        (["admin", "--type", "read-only"], ""),
        (["admin", "--scope", "process,token"], ""),
        (["admin", "--expires", "900d"], ""),
        (["soon", "--scope", "process"], ""),
        (["grafana", "--description", "x"], ""),
    ],
)
def test_what_widens_is_told(tokctl, keys, words, told):
    ran = tokctl("api-tokens", "update", *words)
    assert ran.code == 0
    assert ran.err == (f"The API token has more rights than before: {told}.\n" if told else "")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["grafana"], 2, "nothing to change"),
        (["grafana", "--name", " "], 2, "--name is empty"),
        (["grafana", "--name", "idle"], 2, "the name 'idle' is in use by API token 1"),
        (["grafana", "--type", "full-acces"], 2, "did you mean 'full-access'"),
        (["grafana", "--scope", "tokens"], 2, "did you mean 'token'"),
        (["grafana", "--scope", ""], 2, "--scope is empty"),
        (["grafana", "--expires", "2020-01-01"], 2, "is in the past"),
        (["grafana", "--expires", "0d"], 2, "is in the past"),
        (["grafana", "--expires", "soon"], 2, "invalid time"),
        (["grafana", "--expires", "9999999w"], 2, "year 9999"),
        (["grafana", "--name", "x", "-o", "tabel"], 2, "did you mean 'table'"),
        (["nobody", "--name", "x"], 3, "API token 'nobody' not found"),
    ],
)
def test_what_cannot_be_changes_nothing(tokctl, keys, words, code, said):
    before = [keys.get(number) for number in range(1, 6)]
    ran = tokctl("api-tokens", "update", *words)
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err
    assert ran.err.count("\n") == 1
    assert [keys.get(number) for number in range(1, 6)] == before
    assert len(keys.audit()) == 5
