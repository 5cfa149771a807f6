"""The keyring and the many ways in which it fails: none of them loses a secret, shows one, or holds us up."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from support.commandline import clean_environment
from support.keyrings import backends, entries, has_secret_service, secret_service
from tokctl.api_tokens.vaults.keyring import is_keyring_absent

SECRET = "xvc_hunter2hunter2"
PROGRAM = """
import json, sys
from tokctl.errors import TokctlError
from tokctl.api_tokens.vaults.keyring import Keyring

vault = Keyring("https://h:1", timeout=float(sys.argv[2]))
try:
    steps = {"probe": vault.probe, "write": lambda: vault.write("xvc_hunter2hunter2"), "read": vault.read,
             "remove": vault.remove}
    print(json.dumps([steps[step]() for step in sys.argv[1].split(",")]))
except TokctlError as error:
    print(json.dumps([type(error).__name__, str(error)]))
import os
sys.stdout.flush()
os._exit(0)  # as the program itself does: a thread that hangs is left to itself
"""


def steps(environ, words, timeout=5.0):
    """Run steps on a keyring in a process of its own; returns what each returned, or the error."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, words, str(timeout)],
        env=clean_environment(environ),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stderr == ""
    assert "hunter2" not in done.stdout or "read" in words
    return json.loads(done.stdout)


def test_what_is_put_in_comes_out(tmp_path):
    environ = backends(tmp_path, "own_backends.Kept")
    assert steps(environ, "read,probe,write,read") == [None, None, None, SECRET]
    assert entries(tmp_path) == {"tokctl https://h:1": SECRET}  # and the canary is gone
    assert steps(environ, "remove,remove,read") == [True, False, None]


@pytest.mark.parametrize(
    ("backend", "words", "said"),
    [
        ("keyring.backends.null.Keyring", "probe", "the null backend stores nothing"),
        ("keyring.backends.null.Keyring", "read", "the null backend stores nothing"),
        ("keyring.backends.fail.Keyring", "probe", "no keyring found"),
        ("keyrings.alt.file.PlaintextKeyring", "probe", "keyrings.alt stores secrets in a plain file"),
        ("keyrings.cryptfile.cryptfile.CryptFileKeyring", "probe", "keyrings.cryptfile asks for a password"),
        ("own_chain.Poor", "probe", "keyrings.alt stores secrets in a plain file"),
        ("own_backends.Forgetful", "probe", "does not return the saved secret"),
        ("own_backends.Twisting", "probe,write", "does not return the saved secret"),
        ("own_backends.Locked", "read", "the keyring is locked"),
        ("own_backends.Locked", "probe", "the keyring is locked"),
        ("own_backends.Asking", "probe", "cannot use the keyring (EOFError)"),
        ("own_backends.Telling", "probe,write", "cannot use the keyring (ValueError)"),
        (
            "own_backends.None",
            "read",
            "cannot load the keyring backend own_backends.None (set by PYTHON_KEYRING_BACKEND)",
        ),
        ("no_such_module.Keyring", "read", "(set by PYTHON_KEYRING_BACKEND): ModuleNotFoundError"),
        ("nonsense", "read", "(set by PYTHON_KEYRING_BACKEND): ValueError"),
    ],
)
def test_one_that_is_not_fit_is_refused_with_a_line(tmp_path, backend, words, said):
    kind, message = steps(backends(tmp_path, backend), words)
    assert said in message
    assert "\n" not in message
    assert kind in {"NotAllowedError", "NoKeyringError"}
    assert (kind == "NoKeyringError") == ("fail" in backend)
    assert not [entry for entry in entries(tmp_path) if "canary" in entry]
    if "write" not in words:
        assert entries(tmp_path) == {}


def test_of_a_chain_the_first_that_is_fit_is_used(tmp_path):
    environ = backends(tmp_path, "own_chain.Mixed")
    assert steps(environ, "probe,write,read") == [None, None, SECRET]


def test_one_that_never_answers_is_left_to_itself(tmp_path):
    begin = time.monotonic()
    kind, message = steps(backends(tmp_path, "own_backends.Frozen"), "read", timeout=1)
    assert kind == "UnreachableError"
    assert "did not respond within 1 s" in message
    assert time.monotonic() - begin < 10


def test_where_no_bus_is_nothing_is_looked_for(monkeypatch, tmp_path):
    nowhere = {"XDG_CONFIG_HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    monkeypatch.setattr(sys, "platform", "linux")
    assert is_keyring_absent(nowhere)
    assert is_keyring_absent(nowhere) == (steps(nowhere, "read")[0] == "NoKeyringError")
    assert not is_keyring_absent(nowhere | {"DBUS_SESSION_BUS_ADDRESS": "unix:path=/x"})
    assert not is_keyring_absent(nowhere | {"PYTHON_KEYRING_BACKEND": "x"})
    (tmp_path / "bus").touch()
    assert not is_keyring_absent(nowhere)
    (tmp_path / "bus").unlink()
    (tmp_path / "python_keyring").mkdir()
    (tmp_path / "python_keyring" / "keyringrc.cfg").touch()
    assert not is_keyring_absent(nowhere)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not is_keyring_absent({})


def test_a_bus_address_that_leads_nowhere(tmp_path):
    environ = {"DBUS_SESSION_BUS_ADDRESS": f"unix:path={tmp_path}/gone", "XDG_CONFIG_HOME": str(tmp_path)}
    assert steps(environ, "probe")[0] == "NoKeyringError"


def test_a_configuration_of_keyring_that_names_nothing(tmp_path):
    (tmp_path / "python_keyring").mkdir()
    (tmp_path / "python_keyring" / "keyringrc.cfg").write_text("[backend]\ndefault-keyring=no.such.Keyring\n")
    assert (
        "cannot load the keyring backend set by keyringrc.cfg" in steps({"XDG_CONFIG_HOME": str(tmp_path)}, "read")[1]
    )


@pytest.mark.skipif(not has_secret_service(), reason="needs dbus, gnome-keyring and secret-tool")
def test_a_real_secret_service(tmp_path):
    with secret_service(tmp_path) as environ:
        assert steps(environ, "read,probe,write,read") == [None, None, None, SECRET]
        outside = ["secret-tool", "lookup", "service", "tokctl", "username", "https://h:1"]
        found = subprocess.run(outside, env=clean_environment(environ), capture_output=True, text=True, check=True)
        assert found.stdout == SECRET
        listed = subprocess.run(
            ["secret-tool", "search", "--all", "service", "tokctl"],
            env=clean_environment(environ),
            capture_output=True,
            text=True,
            check=True,
        )
        assert listed.stdout.count("secret = ") == 1  # no canary is left
        assert steps(environ, "remove,read") == [True, None]


@pytest.mark.skipif(not has_secret_service(), reason="needs dbus, gnome-keyring and secret-tool")
def test_a_real_secret_service_that_is_locked_holds_nobody_up(tmp_path):
    with secret_service(tmp_path, unlocked=False) as environ:
        begin = time.monotonic()
        kind, message = steps(environ, "probe", timeout=3)
        assert time.monotonic() - begin < 20
        assert kind in {"NotAllowedError", "UnreachableError"}
        assert "locked" in message
