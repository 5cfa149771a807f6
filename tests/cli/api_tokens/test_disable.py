"""``tokctl api-tokens disable`` and ``enable``: rejected for a while, and recorded."""

from __future__ import annotations

import json

from support.fake_xiver import FakeXiver


def test_disabled_and_enabled_again(tokctl, keys):
    before = keys.get(2)
    ran = tokctl("api-tokens", "disable", "grafana")
    assert ran.code == 0
    assert ran.out.splitlines() == ["grafana  API token 2  updated", "", "  disabled  no → yes"]
    verdict = tokctl("api-tokens", "verify", stdin=keys.secrets["grafana"])
    assert (verdict.code, verdict.out.splitlines()[0]) == (1, "grafana  API token 2  disabled")
    assert "disabled" in tokctl("api-tokens", "show", "grafana").out.splitlines()[0]
    (row,) = [line for line in tokctl("api-tokens", "list", width=200).out.splitlines() if "grafana" in line]
    assert "disabled" in row
    assert "grafana (disabled)" in tokctl("api-tokens", "list", width=80).out  # without the column STATE
    again = tokctl("api-tokens", "disable", "2", "-o", "json")
    assert json.loads(again.out)["changes"] == {}
    done = json.loads(tokctl("api-tokens", "enable", "2", "-o", "json").out)
    assert (done["state"], done["changes"]) == ("valid", {"disabled": [True, False]})
    assert tokctl("api-tokens", "verify", stdin=keys.secrets["grafana"]).code == 0
    after = keys.get(2)
    assert (after.expires_at, after.scopes, after.type) == (before.expires_at, before.scopes, before.type)
    disabled, enabled = keys.audit()[-2:]
    assert (disabled.action, enabled.action) == ("disable", "enable")
    assert disabled.details["lastUse"] == {
        "at": "2025-01-11T07:40:00.000Z",
        "address": "192.0.2.4",
        "userAgent": "curl/8.5",
        "endpoint": "GET /api/v1/processes",
    }


def test_the_last_use_is_shown(tokctl, keys):
    assert "used by    192.0.2.4, curl/8.5, GET /api/v1/processes" in tokctl("api-tokens", "show", "grafana").out


def test_a_disabled_one_is_not_about_to_expire(tokctl, keys):
    assert tokctl("api-tokens", "list", "--expiring", "365d", "--name", "grafana", "--fail-if-any").code == 1
    tokctl("api-tokens", "disable", "grafana")
    assert tokctl("api-tokens", "list", "--expiring", "365d", "--name", "grafana", "--fail-if-any").code == 0


def test_a_server_without_it_is_left_alone(tokctl, monkeypatch):
    with FakeXiver() as fake:
        fake.add("ci")
        monkeypatch.setenv("TOKCTL_API_KEY", fake.jwt)
        before = [dict(one) for one in fake.records.values()]
        for words in (("disable", "ci"), ("enable", "ci"), ("create", "new", "--allowed-cidr", "10.0.0.0/8")):
            ran = tokctl("api-tokens", *words, "--server", fake.url)
            assert (ran.code, ran.out) == (2, "")
            assert ran.err.count("\n") == 1
            assert "cannot" in ran.err
        assert [*fake.records.values()] == before


def test_one_line_for_what_is_no_network(tokctl, keys):
    ran = tokctl("api-tokens", "create", "new", "--allowed-cidr", "10.0.0.1/8", "--show-secret")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        "error: '10.0.0.1/8' has bits of an address behind its prefix. Use 10.0.0.0/8, or 10.0.0.1 for one address.\n"
    )
