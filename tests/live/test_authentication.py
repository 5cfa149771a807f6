"""Engines that want a user name and a password, and users who may not see everything."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from live.conftest import ENGINES
from live.driving import DRIVERS, MODELS
from live.engine_programs import make_pipe, need_java, start
from support.commandline import Ran

PASSWORD = "pass word:ü"
WRONG = "pass word:x"
"""Of a user that no other test needs: the engine locks users after it."""
OPTIONS = {
    "operaton": (
        "--operaton.bpm.authorization.enabled=true",
        "--operaton.bpm.admin-user.id=admin",
        f"--operaton.bpm.admin-user.password={PASSWORD}",
    ),
    "flowable": (
        "--spring.autoconfigure.exclude=",
        "--spring.security.user.name=admin",
        f"--spring.security.user.password={PASSWORD}",
    ),
}
READ_HISTORY = {"type": 1, "permissions": ["READ_HISTORY"], "userId": "auditor", "resourceType": 6, "resourceId": "*"}

Run = Callable[..., Ran]


@pytest.fixture(scope="module", params=ENGINES)
def guarded(request, tmp_path_factory) -> Iterator[tuple[str, str]]:
    """The name and the address of an engine that wants a password; Operaton has an instance that has failed."""
    need_java()
    folder: Path = tmp_path_factory.mktemp(f"guarded-{request.param}")
    users, stdin = make_pipe(folder / "users.pipe")
    try:
        _, url = start(request.param, stdin, folder, *OPTIONS[request.param])
        if request.param == "operaton":
            prepare_operaton(url)
        yield request.param, url
    finally:
        os.close(stdin)
        os.close(users)


def prepare_operaton(url: str) -> None:
    """Let an instance fail; make users who may see nothing, may see the history, and give a wrong password."""
    driver = DRIVERS["operaton"](url)
    driver.client.auth = (b"admin", PASSWORD.encode())
    driver.deploy("failing.bpmn", (MODELS / "failing.bpmn").read_text(encoding="utf-8"))
    driver.start("failing", "guarded")
    driver.settle()
    for user in ("nobody", "auditor", "careless"):
        body = {"profile": {"id": user}, "credentials": {"password": PASSWORD}}
        driver.ask("POST", "/user/create", json=body)
    driver.ask("POST", "/authorization/create", json=READ_HISTORY)


@pytest.fixture
def run_as(guarded, tokctl, monkeypatch) -> Run:
    """Run a command line on the engine as a user: ``NAME:PASSWORD``, or '' for none."""
    _, url = guarded

    def run(user: str, *words: str) -> Ran:
        monkeypatch.setenv("TOKCTL_API_KEY", user) if user else monkeypatch.delenv("TOKCTL_API_KEY", raising=False)
        return tokctl(*words, "--server", url, now=datetime.now(UTC))

    return run


def test_a_password_is_asked_for(run_as):
    done = run_as("", "debug")
    assert done.code == 4
    assert "auth login --user" in done.err
    assert done.out == ""


def test_a_wrong_password_is_sent_once(run_as):
    done = run_as(f"careless:{WRONG}", "debug", "-v")
    assert done.code == 4
    assert "rejected the user name or the password" in done.err
    sent = [line for line in done.err.splitlines() if "GET" in line and line.partition(": 401")[1]]
    assert len(sent) <= 2  # the first one without a credential
    assert WRONG not in done.err


def test_the_right_password_opens_everything(run_as, guarded):
    done = run_as(f"admin:{PASSWORD}", "incidents", "list", "-o", "json")
    assert (done.code, done.err) == (0, "")
    assert len(json.loads(done.out)["incidents"]) == (guarded[0] == "operaton")
    for words in (("auth", "status"), ("doctor",)):
        done = run_as(f"admin:{PASSWORD}", *words, "-o", "json")
        assert PASSWORD not in done.out + done.err
    assert run_as(f"admin:{PASSWORD}", "auth", "status").code == 0
    assert run_as(f"careless:{WRONG}", "auth", "status").code == 1


@pytest.mark.parametrize("words", ["debug", "incidents list", "instances list", "tokens list -A --state FAILED"])
@pytest.mark.parametrize(
    ("user", "told"), [("nobody", "Nothing was found, but"), ("auditor", "The credential lacks rights")]
)
@pytest.mark.parametrize("guarded", ["operaton"], indirect=True)  # Flowable hides no rows
def test_what_a_user_may_not_see_is_not_presented_as_nothing(run_as, user, told, words):
    done = run_as(f"{user}:{PASSWORD}", *words.split())
    assert done.code == 0
    assert told in done.err
