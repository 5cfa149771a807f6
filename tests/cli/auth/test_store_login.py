"""The password of a database: from the keyring and every other place, and shown nowhere."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import psycopg
import pytest

from support.builders import tokens
from support.commandline import clean_environment
from support.keyrings import backends, entries, has_secret_service, secret_service
from support.postgresql_server import temporary_server
from support.running_server import ENVIRONMENT, make_secret, serving
from tokctl.store import open_store

PASSWORD = "s3cret-Word"
WRONG = "wr0ng-Word"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The store of joe, whose database requires his password."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
    with temporary_server(listen_addresses="127.0.0.1", port=str(port), synchronous_commit="on") as server:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute(f"CREATE ROLE joe SUPERUSER LOGIN PASSWORD '{PASSWORD}'")
        with open_store(server.url(), write=True, create=True) as store, store.write() as batch:
            batch.put_tokens(tokens(3))
        make_secret(server.url(), "reader", "*")
        (server.data / "pg_hba.conf").write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
        server.stop()
        server.start()
        yield f"postgresql://joe@127.0.0.1:{port}/tests"


@pytest.fixture
def run(tmp_path):
    """Run a command line in an environment of its own; no password may be in what it writes."""

    def call(*words: object, env: dict[str, str] | None = None, stdin: str = "") -> subprocess.CompletedProcess[str]:
        home = {"HOME": str(tmp_path), "TOKCTL_CONFIG": str(tmp_path / "config.yaml"), "PGPASSFILE": "/dev/null"}
        (tmp_path / "config.yaml").touch()
        ran = subprocess.run(
            [sys.executable, "-m", "tokctl", *map(str, words)],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=clean_environment(home | (env or {})),
        )
        for secret in (PASSWORD, WRONG):
            assert secret not in ran.stdout + ran.stderr
        return ran

    return call


@pytest.mark.parametrize("kind", ["secret service", "backend"])
def test_a_password_is_saved_used_and_removed(url, run, tmp_path, kind):
    if kind == "backend":
        keyring = nullcontext(backends(tmp_path, "own_backends.Kept"))
    elif has_secret_service():
        keyring = secret_service(tmp_path)
    else:
        pytest.skip("needs a Secret Service")
    with keyring as env:
        info = ("store", "info", "--store", url, "-v")
        ran = run(*info, env=env)
        assert (ran.returncode, "Save it with 'tokctl auth login --store URL'" in ran.stderr) == (6, True)
        login = ("auth", "login", "--store", url, "--stdin", "--debug-traceback")
        assert run(*login, env=env, stdin=f"{WRONG}\n").returncode
        assert run(*info, env=env).returncode == 6  # nothing was saved
        ran = run(*login[:-1], env=env, stdin=f"{PASSWORD}\n")
        assert (ran.returncode, ran.stdout) == (0, f"Saved the password for {url} in the keyring.\n")
        assert "127.0.0.1" in run(*info, env=env).stdout
        if kind == "backend":
            assert entries(tmp_path) == {f"tokctl {url}": PASSWORD}
        assert run("auth", "logout", "--store", url, env=env).returncode == 0
        assert run("auth", "logout", "--store", url, env=env).returncode == 3
        assert run(*info, "--debug-traceback", env=env).returncode


def test_the_server_uses_the_keyring(url, run, tmp_path):
    env = backends(tmp_path, "own_backends.Kept")
    assert run("auth", "login", "--store", url, "--stdin", env=env, stdin=PASSWORD).returncode == 0
    with serving(url, "--workers", "2", env=env | ENVIRONMENT) as served:
        assert served.get("/health").status_code == 200
        assert PASSWORD not in "".join(served.lines)


def list_places(folder: Path, password: str) -> Iterator[tuple[str, dict[str, str]]]:
    file = folder / "password"
    file.write_text(f"{password}\n")
    file.chmod(0o600)
    yield f"file:{file}", {}
    yield "env:DATABASE_PASSWORD", {"DATABASE_PASSWORD": password}
    yield f"command:cat {file}", {}


def test_a_credential_names_the_place(url, run, tmp_path):
    """In the environment, or in the context of the store, which overrides it."""
    show = ("tokens", "list", "i1", "-o", "id", "-v")
    for place, env in list_places(tmp_path, PASSWORD):
        ran = run(*show, env=env | {"TOKCTL_STORE": url, "TOKCTL_STORE_CREDENTIAL": place})
        assert ran.stdout.split() == ["t0", "t1", "t2"], ran
        (tmp_path / "config.yaml").write_text(f"contexts: {{a: {{store: '{url}', credential: '{place}'}}}}")
        ran = run(*show, "--context", "a", env=env | {"TOKCTL_STORE_CREDENTIAL": "env:UNSET"})
        assert ran.stdout.split() == ["t0", "t1", "t2"], ran
        (tmp_path / "config.yaml").write_text("")
    for place, env in list_places(tmp_path, WRONG):
        ran = run(*show, env=env | {"TOKCTL_STORE": url, "TOKCTL_STORE_CREDENTIAL": place})
        assert (ran.returncode, "password authentication failed" in ran.stderr) == (6, True)


def ask_status(run, *words: str, env: dict[str, str]) -> tuple[int, dict[str | None, dict]]:
    """The exit code of ``auth status``, and what it shows of each context."""
    ran = run("auth", "status", "-o", "json", *words, env=env)
    return ran.returncode, {one["context"]: one for one in json.loads(ran.stdout)["servers"]}


def test_the_status_shows_where_passwords_are_and_whether_they_are_accepted(url, run, tmp_path):
    keyring = backends(tmp_path, "own_backends.Kept")
    assert run("auth", "login", "--store", url, "--stdin", env=keyring, stdin=PASSWORD).returncode == 0
    places = dict(list_places(tmp_path, PASSWORD))
    env = keyring | {name: value for one in places.values() for name, value in one.items()}
    named = [f"context{n}: {{store: '{url}?application_name={n}', credential: '{p}'}}" for n, p in enumerate(places)]
    named += [f"saved: {{store: '{url}'}}", "files: {store: orders.db}"]
    (tmp_path / "config.yaml").write_text(f"contexts: {{{', '.join(named)}}}\nserve: {{store: '{url}?options='}}")
    code, found = ask_status(run, env=env)
    assert code == 0
    shown = [place if not place.startswith("command") else "command:cat" for place in places]
    assert [one["credential"] for one in found.values()] == [*shown, "keyring", "keyring"]
    assert {(one["server"], one["secret"], one["accepted"], one["note"]) for one in found.values()} == {
        (url, "...", True, "")
    }
    code, found = ask_status(run, "--no-check", env=env | {"DATABASE_PASSWORD": WRONG})
    assert (code, {one["accepted"] for one in found.values()}) == (0, {None})
    code, found = ask_status(run, env=env | {"DATABASE_PASSWORD": WRONG})
    assert (code, [one["accepted"] for one in found.values()].count(False)) == (1, 1)
    code, found = ask_status(run, env=keyring)
    assert (found["context1"]["secret"], found["context1"]["accepted"]) == (None, None)
    assert "DATABASE_PASSWORD is not set" in found["context1"]["note"]


def test_a_password_in_the_environment_is_for_the_store_in_use(url, run, tmp_path):
    without = {"PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"}
    (tmp_path / "config.yaml").write_text(f"contexts: {{a: {{store: '{url}'}}}}")
    for variables in ({"PGPASSWORD": PASSWORD}, {"TOKCTL_STORE_CREDENTIAL": "env:KEY", "KEY": PASSWORD}):
        code, found = ask_status(run, "--context", "a", env=without | variables)
        assert (code, found["a"]["secret"], found["a"]["accepted"]) == (0, "...", True)
        code, found = ask_status(run, env=without | variables)
        assert (code, found["a"]["secret"], found["a"]["accepted"]) == (0, None, None)
        code, found = ask_status(run, "--store", url, env=without | variables)
        assert (code, found[None]["secret"], found[None]["accepted"]) == (0, "...", True)
    code, found = ask_status(run, env=without)
    assert (code, found["a"]["accepted"], "requires a password" in found["a"]["note"]) == (1, False, True)
    code, found = ask_status(run, "--store", "postgresql://joe@127.0.0.1:1/tests", env=without)
    assert (found[None]["accepted"], "cannot connect" in found[None]["note"]) == (None, True)


def test_the_doctor_checks_the_password(url, run):
    without = {"PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring", "KEY": PASSWORD}
    for credential, state, said in (
        ("env:KEY", "ok", "accepts the password from env:KEY"),
        ("env:UNSET", "warning", "UNSET is not set"),
        ("", "problem", "requires a password"),
    ):
        ran = run("doctor", "-o", "json", "--store", url, env=without | {"TOKCTL_STORE_CREDENTIAL": credential})
        (found,) = (one for one in json.loads(ran.stdout)["checks"] if one["check"] == "store password")
        assert (found["state"], said in found["found"]) == (state, True), found


@pytest.mark.parametrize(
    ("place", "said"),
    [("env:UNSET", "UNSET is not set"), ("file:/no/such", "/no/such"), ("keyring", "keyring"), (PASSWORD, "invalid")],
)
def test_a_place_without_a_password(url, run, tmp_path, place, said):
    env = {"PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring", "TOKCTL_STORE_CREDENTIAL": place}
    ran = run("store", "info", "--store", url, env=env)
    assert (ran.returncode, ran.stderr.count("\n"), said in ran.stderr) == (6, 1, True), ran


def test_a_context_of_another_store_gives_no_password(url, run, tmp_path):
    (tmp_path / "config.yaml").write_text(
        "current_context: a\ncontexts: {a: {store: 'postgresql://joe@other.example/x', credential: 'env:OTHER'}}"
    )
    ran = run("store", "info", "--store", url, env={"OTHER": PASSWORD})
    assert (ran.returncode, "requires a password" in ran.stderr) == (6, True)


def test_options_that_do_not_apply(url, run):
    assert run("auth", "login", "--store", url, "--user", "joe").returncode == 2
    assert run("auth", "login", "--store", "orders.db", "--stdin").returncode == 2
