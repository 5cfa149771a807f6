"""A connection is cut at any message of a command: a clear error, and nothing is lost, done by half or misreported."""

from __future__ import annotations

import os
import random

import pytest

from support.database_faults import PEPPER, Scene, socket_of, steps_of, strike_at
from support.tcp_proxy import proxied

MANY = bool(os.environ.get("TOKCTL_TEST_KILLS"))
STRIDE = 1 if MANY else 10
"""The usual run cuts some of the messages, other ones each time."""
VERDICTS = ["drop", "lose", "half"]
COMMANDS = sorted(name.removeprefix("_case_") for name in dir(Scene) if name.startswith("_case_"))
CONTINUED = {"copy", "migrate", "prune", "rotate", "upgrade"}
"""Commands of several transactions: the same command does the rest."""


@pytest.fixture
def proxy(postgresql):
    with proxied(socket_of(postgresql)) as running:
        yield running


@pytest.fixture
def scene(postgresql, proxy, tokctl, tmp_path, monkeypatch):
    monkeypatch.setenv("TOKCTL_PEPPER", PEPPER)
    monkeypatch.setenv("TOKCTL_STATE_DIR", str(tmp_path / "state"))
    return Scene(tmp_path, tokctl, postgresql.new_schema, proxy.url)


@pytest.mark.parametrize("verdict", VERDICTS if MANY else ["any"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_cut_connection(scene, proxy, command, verdict):
    prepare = scene.cases()[command]
    words, _ = prepare()
    steps = steps_of(proxy, lambda: scene.run(*words))
    assert steps > 8
    for step in range(random.randrange(STRIDE), steps, STRIDE):
        case = prepare()
        with proxy.ruled(strike_at(step, verdict if MANY else random.choice(VERDICTS))):
            ran = scene.run(*case.words)
        assert ran.code in {0, 5}, (step, ran)
        done = case.is_done()
        if ran.code == 0 or command not in CONTINUED:
            assert done in {ran.code == 0, None}, (step, ran)
        else:
            assert scene.run(*case.words).code == 0, (step, ran)
            assert case.is_done() is not False
    if command in {"create", "rotate", "revoke"}:
        scene.check_api_tokens()


@pytest.mark.parametrize("verdict", VERDICTS)
@pytest.mark.parametrize("command", [command for command in COMMANDS if command != "read"])
def test_the_answer_to_a_commit_is_lost(scene, proxy, command, verdict):
    """What was saved is not reported as a failure, and what was not saved is not reported as saved."""
    struck = []

    def rule(data):
        if b"COMMIT\0" in data and not struck:
            struck.append(data)
            return verdict
        return None

    case = scene.cases()[command]()
    with proxy.ruled(rule):
        ran = scene.run(*case.words)
    assert struck
    if command == "upgrade":
        assert (ran.code, case.is_done()) == (0, True), ran
    elif command not in CONTINUED:
        assert ran.code == (5 if verdict == "drop" else 0), ran
        assert case.is_done() is (verdict != "drop")
    elif ran.code:
        assert scene.run(*case.words).code == 0
    assert "unknown" not in ran.err
