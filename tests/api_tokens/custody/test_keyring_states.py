"""The keyring fails in many ways. Each is seen before anything is created; the good case runs against a real one."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.commandline import Ran, clean_environment
from support.keyrings import backends, entries, has_secret_service, secret_service

HINT = (
    "Nothing was created. Choose another place: --save file:PATH, env-file:PATH or command:WORDS, or use --show-secret."
)
SECRET = re.compile(r"xvc_[0-9A-Za-z]{16,}")
BY_BACKEND = {
    "keyring.backends.null.Keyring": (4, "the null backend stores nothing"),
    "keyring.backends.fail.Keyring": (4, "no keyring found."),
    "keyrings.alt.file.PlaintextKeyring": (4, "keyrings.alt stores secrets in a plain file"),
    "keyrings.cryptfile.cryptfile.CryptFileKeyring": (4, "keyrings.cryptfile asks for a password each time"),
    "own_chain.Poor": (4, "keyrings.alt stores secrets in a plain file"),
    "own_backends.Locked": (4, "the keyring is locked."),
    "own_backends.Asking": (4, "cannot use the keyring (EOFError)."),
    "own_backends.Forgetful": (4, "the keyring does not return the saved secret."),
    "own_backends.None": (4, "cannot load the keyring backend own_backends.None (set by PYTHON_KEYRING_BACKEND)"),
    "no_such_module.Keyring": (4, "(set by PYTHON_KEYRING_BACKEND): ModuleNotFoundError."),
}


class Here:
    """A store, a ledger and an environment of a test's own, without any keyring unless one is given."""

    def __init__(self, folder: Path, shell: Callable[..., Ran]) -> None:
        self.folder = folder
        self.shell = shell
        self.store = folder / "own.db"
        (folder / "config.yaml").write_text("{}")
        self.env = {
            "HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder / "etc"),
            "XDG_RUNTIME_DIR": str(folder / "none"),
            "DBUS_SESSION_BUS_ADDRESS": "",
            "TOKCTL_STATE_DIR": str(folder / "state"),
            "TOKCTL_CONFIG": str(folder / "config.yaml"),
            "TOKCTL_PEPPER": "a pepper that is used by tests alone",
            "TOKCTL_STORE": str(self.store),
        }

    def ask(self, *words: Any, **more: Any) -> Ran:
        return self.shell("api-tokens", *words, env=self.env, start_new_session=True, **more)

    def listed(self) -> list[dict[str, Any]]:
        return json.loads(self.ask("list", "-o", "json").out)["data"]

    def refused(self, code: int, said: str) -> float:
        """Try to create one, which has to leave no trace; returns how long that took."""
        begin = time.monotonic()
        ran = self.ask("create", "ci")
        took = time.monotonic() - begin
        assert (ran.code, ran.out) == (code, ""), ran.err
        assert said in ran.err
        assert ran.err.endswith(f"{HINT}\n")
        assert ran.err.startswith("error: ")
        assert ran.err.count("\n") == 1
        assert self.listed() == []
        assert list((self.folder / "state").rglob("*.json")) == []
        assert entries(self.folder) == {}
        return took


@pytest.fixture
def here(tmp_path, shell) -> Here:
    return Here(tmp_path, shell)


@pytest.mark.parametrize("name", BY_BACKEND)
def test_a_backend_that_is_not_fit(here, tmp_path, name):
    here.env |= backends(tmp_path, name)
    assert here.refused(*BY_BACKEND[name]) < 12


@pytest.mark.parametrize("address", ["", "unix:path=/nonexistent/bus"])
def test_no_bus(here, address):
    here.env["DBUS_SESSION_BUS_ADDRESS"] = address
    here.refused(4, "no keyring found.")


@pytest.mark.parametrize("how", ["file", "show"])
def test_another_place_is_taken_only_when_it_is_named(here, tmp_path, how):
    here.env |= backends(tmp_path, "keyring.backends.null.Keyring")
    words = ["--show-secret"] if how == "show" else ["--save", f"file:{tmp_path}/secret"]
    ran = here.ask("create", "ci", *words)
    assert ran.code == 0, ran.err
    secret = ran.out if how == "show" else (tmp_path / "secret").read_text()
    assert SECRET.fullmatch(secret.strip())
    assert [one["name"] for one in here.listed()] == ["ci"]


# --- a real one --------------------------------------------------------------------------------------------


def is_installed() -> None:
    if not has_secret_service():
        assert os.environ.get("CI") != "true", "dbus, gnome-keyring and secret-tool have to be installed"
        pytest.skip("needs dbus, gnome-keyring and secret-tool")


@pytest.fixture
def real(here, tmp_path) -> Iterator[Here]:
    is_installed()
    with secret_service(tmp_path) as environ:
        here.env |= environ
        yield here


def daemon() -> int:
    """The process number of the keyring's daemon that this process has started."""
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            text = status.read_text()
        except OSError:
            continue  # it has ended
        if "gnome-keyring-d" in text and f"PPid:\t{os.getpid()}\n" in text:
            return int(status.parent.name)
    raise AssertionError("there is none")


def test_a_daemon_that_is_frozen(real):
    os.kill(daemon(), signal.SIGSTOP)
    assert real.refused(5, "the keyring did not respond within 5 s") < 12


def test_a_collection_that_is_locked(here, tmp_path):
    is_installed()
    with secret_service(tmp_path, unlocked=False) as environ:
        here.env |= environ
        begin = time.monotonic()
        ran = here.ask("create", "ci")
        assert time.monotonic() - begin < 12
        assert ran.code in {4, 5}
        assert "locked" in ran.err
        assert ran.err.endswith(f"{HINT}\n")
        assert here.listed() == []


def test_the_real_keyring_keeps_it_where_other_programs_find_it(real):
    def outside(*words: str) -> str:
        done = subprocess.run(words, env=clean_environment(real.env), capture_output=True, text=True, check=False)
        return done.stdout.removesuffix("\n")

    def found(number: int) -> str:
        """What two other programs find, which has to be the same."""
        name = f"file://{real.store}/api-tokens/{number}"
        found = outside("secret-tool", "lookup", "service", "tokctl", "username", name)
        assert found == outside(sys.executable, "-m", "keyring", "get", "tokctl", name)
        return found

    def count() -> int:
        return outside("secret-tool", "search", "--all", "service", "tokctl").count("secret = ")

    ran = real.ask("create", "ci")
    assert ran.code == 0, ran.err
    first = found(1)
    assert SECRET.fullmatch(first)
    assert count() == 1  # no canary is left
    assert first[8:] not in ran.out + ran.err
    assert "in the keyring" in ran.out
    assert real.ask("secret", "ci") == (0, f"{first}\n", "")
    assert real.ask("verify", stdin=first).code == 0

    ran = real.ask("rotate", "ci", "--grace", "1h")
    assert ran.code == 0, ran.err
    second = found(2)
    assert SECRET.fullmatch(second)
    assert second != first
    assert found(1) == first  # for the hour of grace
    assert count() == 2
    assert real.ask("secret", "ci") == (0, f"{second}\n", "")
    assert all(secret[8:] not in ran.out + ran.err for secret in (first, second))

    assert real.ask("revoke", "1", "2", "--yes").code == 0
    assert (found(1), found(2), count()) == ("", "", 0)
    assert real.ask("secret", "2").code == 3
