"""What ``-v`` says at the end: how many requests were sent, how much was received, and how long it took."""

from __future__ import annotations

import re

import pytest

from support.commandline import fill
from support.documented_server import DocumentedServer
from support.guarded_server import CAMUNDA, serving

TOTAL = re.compile(r"tokctl: (\d+) requests?, [0-9.,]+ k?B, [0-9.]+ m?s(, [0-9.]+ m?s waiting for the rate limit)?")


@pytest.fixture
def server(store_path, orders):
    fill(store_path, orders)
    made = DocumentedServer(store_path)
    yield made
    made.close()


@pytest.fixture
def call(tokctl, monkeypatch, tmp_path):
    def run(*words: str):
        monkeypatch.setenv("TOKCTL_STATE_DIR", str(tmp_path / "state"))
        return tokctl(*words)

    return run


def test_the_total_is_the_last_line(call, server):
    ran = call("debug", "--server", server.url, "-v")
    found = TOTAL.fullmatch(ran.err.splitlines()[-1])
    assert found, ran.err
    assert int(found[1]) == len(server.asked)


def test_a_command_that_fails_has_one_too(call):
    with serving(CAMUNDA, password="demo:demo") as server:
        ran = call("debug", "--server", f"{server.url}/engine-rest", "-v")
        assert ran.code == 4
        found = TOTAL.fullmatch(ran.err.splitlines()[-1])
        assert found, ran.err
        assert int(found[1]) == len(server.asked)


def test_waits_are_shown(call, server):
    ran = call("instances", "list", "--server", server.url, "--rate", "4/s", "-v")
    assert "the rate is limited to 4/s" in ran.err
    found = TOTAL.fullmatch(ran.err.splitlines()[-1])
    assert found, ran.err
    assert found[2]


def test_without_requests_there_is_no_total(call, store_path, orders):
    ran = call("instances", "list", "--file", str(orders), "-v")
    assert not [line for line in ran.err.splitlines() if TOTAL.fullmatch(line)]


def test_without_the_option_nothing_is_said(call, server):
    assert call("instances", "list", "--server", server.url).err == ""


@pytest.mark.parametrize("rate", ["60", "0/s", "fast"])
def test_an_invalid_rate(call, rate):
    ran = call("instances", "list", "--server", "http://127.0.0.1:9", "--rate", rate)
    assert ran.code == 2
    assert "--rate: invalid rate" in ran.err


def test_the_rate_of_a_context(call, server, monkeypatch, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(f"rate: 1000/s\ncontexts: {{slow: {{server: '{server.url}', rate: 4/s}}}}\n")
    monkeypatch.setenv("TOKCTL_CONFIG", str(file))
    origin = call("config", "view", "--context", "slow", "--origin", "-o", "json")
    assert '"4/s"' in origin.out
    assert "limited to 4/s" in call("instances", "list", "--context", "slow", "-v").err
    assert '"1000/s"' in call("config", "view", "--server", server.url, "-o", "json").out
