"""``tokctl auth login --user``: a user name and a password for servers with HTTP Basic authentication."""

from __future__ import annotations

import json
from base64 import b64encode

import pytest

from support.guarded_server import CAMUNDA, FLOWABLE, serving
from support.keyrings import backends, entries
from support.terminal import Terminal

pytestmark = pytest.mark.slow  # starts programs

PASSWORD = "pässword with spaces"
SERVERS = {
    "camunda7": (CAMUNDA, {"public": ("/engine-rest/engine",)}, "/engine-rest"),
    "flowable": (FLOWABLE, {}, "/process-api"),
}


@pytest.fixture
def environ(tmp_path):
    """An environment with a keyring that works, and no configuration."""
    state = {"XDG_CONFIG_HOME": str(tmp_path / "config"), "TOKCTL_STATE_DIR": str(tmp_path / "state")}
    return backends(tmp_path, "own_backends.Kept") | state


@pytest.fixture(params=SERVERS)
def server(request):
    """A server that accepts one password only."""
    documents, options, root = SERVERS[request.param]
    with serving(documents, password=f"demo:{PASSWORD}", **options) as made:
        made.kind, made.root = request.param, root
        yield made


def log_in(shell, environ, url, *words, password=PASSWORD):
    ran = shell(
        "auth", "login", "--server", url, "--user", "demo", "--stdin", *words, stdin=password + "\n", env=environ
    )
    encoded = b64encode(f"demo:{password}".encode()).decode()
    for text in (ran.out, ran.err):
        assert password not in text
        assert encoded not in text
    return ran


def test_it_is_saved_and_used(shell, environ, server, tmp_path):
    ran = log_in(shell, environ, server.url)
    assert (ran.code, ran.err) == (0, "")
    assert entries(tmp_path) == {f"tokctl {server.url}": f"demo:{PASSWORD}"}
    server.asked.clear()
    for address in (server.url, server.url + server.root):  # the same server, pasted both ways
        ran = shell("auth", "status", "--server", address, "-o", "json", "-v", env=environ)
        (status,) = json.loads(ran.out)["servers"]
        assert (status["accepted"], status["secret"], ran.code) == (True, "demo:...", 0)
        assert b64encode(f"demo:{PASSWORD}".encode()).decode() not in ran.err
        assert PASSWORD not in ran.err + ran.out
    assert not server.locked


def test_a_wrong_password_is_not_saved_and_sent_once(shell, environ, server, tmp_path):
    ran = log_in(shell, environ, server.url, password="wrong one")
    assert (ran.code, ran.out, entries(tmp_path)) == (4, "", {})
    assert "rejected" in ran.err
    assert sum(one.authorization is not None for one in server.asked) == 1


def test_it_may_be_saved_unchecked(shell, environ, server, tmp_path):
    assert log_in(shell, environ, server.url, "--no-verify").code == 0
    assert server.asked == []
    assert list(entries(tmp_path).values()) == [f"demo:{PASSWORD}"]


def test_the_password_is_typed_without_echo(environ, server, tmp_path):
    words = ("auth", "login", "--server", server.url, "--user", "demo")
    with Terminal(*words, env=environ) as terminal:
        terminal.until("Password of demo")
        terminal.type(PASSWORD + "\n")
        assert terminal.end() == 0
        assert b"with spaces" not in terminal.raw
        assert terminal.as_it_was
    assert list(entries(tmp_path).values()) == [f"demo:{PASSWORD}"]


@pytest.mark.parametrize("user", ["", " ", "a:b", "a\tb"])
def test_invalid_user_names(shell, environ, user):
    ran = shell("auth", "login", "--server", "http://127.0.0.1:9", "--user", user, "--stdin", stdin="x\n", env=environ)
    assert ran.code == 2
    assert "--user" in ran.err


def test_user_and_email_exclude_each_other(shell, environ):
    words = ("auth", "login", "--server", "http://127.0.0.1:9", "--user", "a", "--email", "b@c")
    assert shell(*words, env=environ).code == 2


def test_a_command_with_a_wrong_password_asks_once(shell, environ, server):
    environ |= {"TOKCTL_API_KEY": "demo:wrong one"}
    for kind in ((), ("--engine-kind", server.kind)):
        server.asked.clear()
        server.locked = False
        ran = shell("debug", "--server", server.url + server.root, *kind, env=environ)
        assert (ran.code, ran.out) == (4, "")
        assert "rejected the user name or the password" in ran.err
        assert "wrong one" not in ran.err
        assert sum(one.authorization is not None for one in server.asked) == 1


@pytest.mark.parametrize("with_root", [True, False])
def test_doctor_sends_a_wrong_password_once(shell, environ, server, with_root):
    environ |= {"TOKCTL_API_KEY": "demo:wrong-one"}
    address = server.url + (server.root if with_root else "")
    ran = shell("doctor", "--server", address, "-o", "json", env=environ)
    assert "wrong-one" not in ran.out + ran.err
    sent = [one.authorization for one in server.asked if one.authorization is not None]
    assert len([one for one in sent if "tokctl-doctor" not in one]) == 1
    found = {check["check"]: check for check in json.loads(ran.out)["checks"]}
    assert (found["credential"]["state"], ran.code) == ("problem", 1)


def test_doctor_finds_that_a_password_is_accepted(shell, environ, server):
    environ |= {"TOKCTL_API_KEY": f"demo:{PASSWORD}"}
    ran = shell("doctor", "--server", server.url, "-o", "json", env=environ)
    found = {check["check"]: check for check in json.loads(ran.out)["checks"]}
    assert (found["kind"]["kind"], found["credential"]["accepted"], ran.code) == (server.kind, True, 0)
    assert not server.locked
