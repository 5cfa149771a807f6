"""``tokctl auth``: a credential goes into the keyring once its server accepts it, and is shown nowhere."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from support.commandline import clean_environment
from support.keyrings import backends, entries, has_secret_service, secret_service
from support.terminal import Terminal

pytestmark = pytest.mark.slow  # starts programs, or waits for them

SECRET = "xvc_hunter2hunter2hunter2"
PASSWORD = "correct horse é"


def jwt(claims: object) -> str:
    """A token as servers give for a password; nobody checks its signature here."""
    return ".".join(
        base64.urlsafe_b64encode(part).decode().rstrip("=")
        for part in (b'{"alg":"HS256"}', json.dumps(claims).encode(), b"signature")
    )


TOKEN = jwt({"userId": 1, "email": "me@example.org", "exp": 1767225600})


class Guarded(BaseHTTPRequestHandler):
    """Asks for a credential as the servers of both documents do."""

    def answer(self, status, document, **headers):
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        kind = self.server.accepts.get((self.headers.get("Authorization") or "").removeprefix("Bearer "))
        if kind == "all":
            self.answer(200, {"success": True, "data": {"instances": []}})
        elif kind == "nothing":
            self.answer(403, {"success": False, "error": {"code": "FORBIDDEN", "message": "no"}})
        elif kind == "elsewhere":
            self.answer(404, {"error": "no such page"})
        else:
            self.answer(401, {"success": False, "error": {"code": "UNAUTHORIZED", "message": "who are you"}})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.posted.append((self.path, body, self.headers.get("Authorization")))
        if self.server.login == "tokens only":  # as tokctl serve: nothing there, and nothing told without a token
            self.answer(401, {"success": False}, **{"WWW-Authenticate": 'Bearer realm="tokctl"'})
        elif not self.server.login:
            self.answer(404, {"error": "not found"})
        elif body == {"email": "me@example.org", "password": PASSWORD}:
            self.answer(200, self.server.login)
        else:
            self.answer(401, {"error": f"wrong password {body['password']}"})

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    """A server that accepts some secrets; tells what it was asked."""
    made = ThreadingHTTPServer(("127.0.0.1", 0), Guarded)
    made.asked, made.posted = [], []
    made.accepts = {SECRET: "all", "forbidden-key-00000": "nothing", "key-of-others-00000": "elsewhere", TOKEN: "all"}
    made.login = {"jwt": TOKEN}
    made.url = f"http://127.0.0.1:{made.server_port}"
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.fixture
def environ(tmp_path):
    """An environment with a keyring that works, and no configuration."""
    return backends(tmp_path, "own_backends.Kept") | {"XDG_CONFIG_HOME": str(tmp_path / "config")}


@pytest.fixture
def configured(tmp_path, environ, server):
    """The same with contexts: one at the server, one beside it, one of a store."""
    file = tmp_path / "config" / "tokctl" / "config.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(f"""
current_context: prod
contexts:
  prod: {{server: "{server.url}"}}
  named: {{server: "{server.url}", credential: env:ENGINE_KEY}}
  down: {{server: "http://127.0.0.1:9", credential: file:/nonexistent}}
  local: {{store: x.db}}
""")
    return environ


def clean(ran):
    """No secret is in what was said."""
    for hidden in (SECRET, "hunter2", PASSWORD, TOKEN, TOKEN.split(".")[1]):
        assert hidden not in ran.out + ran.err
    return ran


def test_login_status_logout(shell, environ, server, tmp_path):
    ran = clean(shell("auth", "login", "--server", server.url + "/base", "--stdin", stdin=SECRET + "\n", env=environ))
    assert (ran.code, ran.out) == (0, f"Saved the credential for {server.url} in the keyring.\n")
    assert ran.err == ""
    assert entries(tmp_path) == {f"tokctl {server.url}": SECRET}
    assert server.asked[-1] == ("/base/api/v1/processes?limit=1", f"Bearer {SECRET}")
    assert all(path.startswith("/base/") for path, _ in server.asked)
    ran = clean(shell("auth", "status", "--server", server.url, "-o", "json", env=environ))
    assert json.loads(ran.out)["servers"] == [
        {
            "context": None,
            "current": False,
            "server": server.url,
            "credential": "keyring",
            "secret": "xvc_hunt...",
            "accepted": True,
            "note": "",
        }
    ]
    assert clean(shell("auth", "logout", "--server", server.url, env=environ)).code == 0
    assert entries(tmp_path) == {}
    ran = shell("auth", "logout", "--server", server.url, env=environ)
    assert (ran.code, ran.out) == (3, "")
    assert f"no credential for {server.url}" in ran.err


def test_what_the_server_refuses_is_not_stored(shell, environ, server, tmp_path):
    ran = shell("auth", "login", "--server", server.url, "--stdin", stdin="xvc_hunter2wrong\n", env=environ)
    assert (ran.code, ran.out) == (4, "")
    assert "rejected the secret (401: who are you)" in ran.err
    assert "hunter2" not in ran.err
    assert entries(tmp_path) == {}


@pytest.mark.parametrize(
    ("secret", "note"),
    [("forbidden-key-00000", "without access to processes"), ("key-of-others-00000", "no processes endpoint")],
)
def test_what_cannot_be_told_apart_is_stored_with_a_note(shell, environ, server, tmp_path, secret, note):
    ran = shell("auth", "login", "--server", server.url, "--stdin", stdin=secret, env=environ)
    assert ran.code == 0
    assert note in ran.err
    assert list(entries(tmp_path).values()) == [secret]


def test_a_server_that_cannot_be_reached(shell, environ, tmp_path):
    words = ["auth", "login", "--server", "http://127.0.0.1:9", "--stdin"]
    ran = clean(shell(*words, stdin=SECRET, env=environ))
    assert (ran.code, ran.out) == (5, "")
    assert entries(tmp_path) == {}
    assert clean(shell(*words, "--no-verify", stdin=SECRET, env=environ)).code == 0
    assert entries(tmp_path) == {"tokctl http://127.0.0.1:9": SECRET}


@pytest.mark.parametrize("given", ["", "\n", "two words\n", "x" * 70_000, "é\n", "\x00\n"])
def test_what_is_no_secret(shell, environ, server, tmp_path, given):
    ran = shell("auth", "login", "--server", server.url, "--stdin", stdin=given, env=environ)
    assert (ran.code, ran.out, ran.err.count("\n")) == (7, "", 1)
    assert server.asked == []
    assert entries(tmp_path) == {}


def test_without_a_server(shell, environ):
    for words in (["login", "--stdin"], ["logout"]):
        ran = shell("auth", *words, env=environ)
        assert (ran.code, "no server" in ran.err) == (2, True)
    assert shell("auth", "status", env=environ).code == 0


def test_without_a_terminal(shell, environ, server):
    ran = shell("auth", "login", "--server", server.url, env=environ)
    assert (ran.code, "--stdin" in ran.err) == (2, True)


@pytest.mark.parametrize("backend", ["keyring.backends.null.Keyring", "own_backends.Forgetful", "own_backends.Locked"])
def test_a_keyring_that_is_not_fit_is_told_before_the_secret_is_asked_for(shell, tmp_path, server, backend):
    environ = backends(tmp_path, backend) | {"XDG_CONFIG_HOME": str(tmp_path)}
    ran = clean(shell("auth", "login", "--server", server.url, "--stdin", stdin=SECRET, env=environ))
    assert (ran.code, ran.out, ran.err.count("\n")) == (4, "", 1)
    assert "TOKCTL_API_KEY" in ran.err
    assert server.asked == []


def test_a_fault_while_storing_repeats_nothing(shell, tmp_path, server):
    environ = backends(tmp_path, "own_backends.Telling") | {"XDG_CONFIG_HOME": str(tmp_path)}
    words = ["auth", "login", "--server", server.url, "--stdin"]
    assert clean(shell(*words, stdin=SECRET, env=environ)).code == 4
    ran = clean(shell(*words, "--debug-traceback", stdin=SECRET, env=environ))
    assert "Traceback" in ran.err


# --- with a password -----------------------------------------------------------------------------------------------


def test_login_with_a_password(shell, environ, server, tmp_path):
    words = ["auth", "login", "--server", server.url, "--email", "me@example.org", "--stdin"]
    ran = clean(shell(*words, stdin=PASSWORD + "\n", env=environ | {"TOKCTL_API_KEY": "another"}))
    assert ran.code == 0
    assert "It expires at 2026-01-01 00:00:00 UTC." in ran.out
    assert "It is not used: env:TOKCTL_API_KEY takes precedence (environment TOKCTL_API_KEY)" in ran.err
    assert entries(tmp_path) == {f"tokctl {server.url}": TOKEN}
    assert [(path, given) for path, _, given in server.posted] == [("/api/auth/login", None)]  # no key goes with it


@pytest.mark.parametrize(
    ("login", "password", "code", "said"),
    [
        ({"jwt": TOKEN}, "wrong hunter2", 4, "rejected the email address and password"),
        (None, PASSWORD, 3, "has no login"),
        ("tokens only", PASSWORD, 3, "has no login"),
        ({"token": TOKEN}, PASSWORD, 7, "returned no token"),
        ({"jwt": 5}, PASSWORD, 7, "returned no token"),
        ([TOKEN], PASSWORD, 7, "returned no token"),
        ({"jwt": "two words"}, PASSWORD, 7, "not start with a secret"),
        ({"jwt": TOKEN}, "", 7, "no password"),
    ],
)
def test_a_password_that_leads_to_nothing(shell, environ, server, tmp_path, login, password, code, said):
    server.login = login
    words = ["auth", "login", "--server", server.url, "--email", "me@example.org", "--stdin"]
    ran = clean(shell(*words, stdin=password, env=environ))
    assert (ran.code, ran.out, ran.err.count("\n")) == (code, "", 1)
    assert said in ran.err
    assert entries(tmp_path) == {}


@pytest.mark.parametrize("secret", ["a.b.c", jwt({"exp": "soon"}), jwt({"exp": 1e300}), jwt([1]), "..", jwt({})])
def test_an_expiry_that_nobody_can_read_is_none(secret):
    from tokctl.api_tokens.vaults.credentials import jwt_expiry

    assert jwt_expiry(secret) is None


# --- several contexts -------------------------------------------------------------------------------------------------


def test_status_of_all_contexts(shell, configured, server, tmp_path):
    assert shell("auth", "login", "--stdin", stdin=SECRET, env=configured).code == 0
    ran = clean(shell("auth", "status", "-o", "json", env=configured | {"ENGINE_KEY": "nobody-knows-this-one"}))
    assert ran.code == 1  # one is not accepted
    found = {one["context"]: one for one in json.loads(ran.out)["servers"]}
    assert list(found) == ["prod", "named", "down"]
    assert (found["prod"]["current"], found["prod"]["accepted"], found["prod"]["secret"]) == (True, True, "xvc_hunt...")
    assert (found["named"]["accepted"], found["named"]["credential"]) == (False, "env:ENGINE_KEY")
    assert found["down"]["accepted"] is None
    assert "/nonexistent" in found["down"]["note"]
    ran = clean(shell("auth", "status", env=configured))
    assert "prod *" in ran.out


def test_a_key_in_the_environment_is_sent_to_the_current_server_only(shell, configured, server):
    environ = configured | {"TOKCTL_API_KEY": "the-key-of-prod-000"}
    assert shell("auth", "status", env=environ).code == 1
    given = [key for path, key in server.asked]
    assert [key for path, key in server.asked if "processes" in path].count("Bearer the-key-of-prod-000") == 1
    assert set(given) == {"Bearer the-key-of-prod-000", None}


def test_status_shows_nothing_of_a_short_secret_and_may_ask_nobody(shell, configured, server):
    ran = shell("auth", "status", "--no-check", "-o", "json", env=configured | {"ENGINE_KEY": "hunter2"})
    assert (ran.code, server.asked) == (0, [])
    assert {one["context"]: one["secret"] for one in json.loads(ran.out)["servers"]}["named"] == "..."
    assert "hunter2" not in ran.out


def test_commands_use_what_was_stored(shell, configured, server):
    assert shell("auth", "login", "--stdin", stdin=SECRET, env=configured).code == 0
    server.asked.clear()
    shell("instances", "list", "--engine-kind", "rest", env=configured)
    assert {key for _, key in server.asked} == {f"Bearer {SECRET}"}


def test_the_registry_has_a_credential_of_its_own(shell, environ, server, tmp_path):
    words = ["auth", "login", "--registry", "--stdin", "--server", "http://127.0.0.1:9"]
    assert shell(*words, stdin=SECRET, env=environ | {"TOKCTL_REGISTRY_SERVER": server.url}).code == 0
    assert entries(tmp_path) == {f"tokctl {server.url}": SECRET}


# --- at a terminal -----------------------------------------------------------------------------------


def test_the_secret_is_typed_without_echo(environ, server, tmp_path):
    with Terminal("auth", "login", "--server", server.url, env=environ) as terminal:
        terminal.until(f"API key for {server.url}:")
        terminal.type(SECRET + "\n")
        assert terminal.end() == 0
        assert "in the keyring" in terminal.text
        assert b"hunter2" not in terminal.raw
        assert terminal.as_it_was
    assert list(entries(tmp_path).values()) == [SECRET]


@pytest.mark.parametrize(("typed", "code"), [("\x03", 130), ("\x04", 7), ("\n", 7)])
def test_nothing_is_typed(environ, server, tmp_path, typed, code):
    with Terminal("auth", "login", "--server", server.url, env=environ) as terminal:
        terminal.until("API key")
        terminal.type(typed)
        assert terminal.end() == code
        assert terminal.as_it_was
        assert "Traceback" not in terminal.text
    assert entries(tmp_path) == {}


def test_no_secret_is_in_the_process_list(environ, server):
    process = subprocess.Popen(
        [sys.executable, "-m", "tokctl", "auth", "login", "--server", server.url, "--stdin"],
        env=clean_environment(environ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdin.write(SECRET.encode())
    process.stdin.flush()  # it waits for the end of the line
    time.sleep(1.5)
    words = subprocess.run(["ps", "-o", "args=", "-p", str(process.pid)], capture_output=True, check=True).stdout
    assert b"auth login" in words
    assert b"hunter2" not in words
    os.kill(process.pid, signal.SIGINT)
    process.communicate()
    assert process.returncode == 130


@pytest.mark.skipif(not has_secret_service(), reason="needs dbus, gnome-keyring and secret-tool")
def test_a_real_secret_service_keeps_it(shell, server, tmp_path):
    with secret_service(tmp_path) as environ:
        assert clean(shell("auth", "login", "--server", server.url, "--stdin", stdin=SECRET, env=environ)).code == 0
        outside = ["secret-tool", "lookup", "service", "tokctl", "username", server.url]
        found = subprocess.run(outside, env=clean_environment(environ), capture_output=True, text=True, check=True)
        assert found.stdout == SECRET
        server.asked.clear()
        shell("instances", "list", "--server", server.url, "--engine-kind", "rest", env=environ)
        assert {key for _, key in server.asked} == {f"Bearer {SECRET}"}
        assert shell("auth", "logout", "--server", server.url, env=environ).code == 0
