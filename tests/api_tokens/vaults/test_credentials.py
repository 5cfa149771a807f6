"""Secrets from variables, files and commands: what is taken, what is refused, and that none is ever repeated."""

from __future__ import annotations

import os
import shlex
import sys
import time

import pytest

from tokctl.api_tokens.vault_kinds import SOURCES
from tokctl.api_tokens.vaults import open_source
from tokctl.api_tokens.vaults.command import CommandSource
from tokctl.api_tokens.vaults.credentials import (
    Credential,
    format_place,
    resolve_connection,
    server_account_name,
)
from tokctl.api_tokens.vaults.protocol import MAX_SECRET_BYTES, SecretSource
from tokctl.config import Settings
from tokctl.errors import InputError, NotAllowedError, TokctlError, UnreachableError, UsageError

SECRET = "xvc_hunter2hunter2"


@pytest.fixture
def kept(tmp_path):
    """A file with the secret, for its owner only."""
    path = tmp_path / "secret"
    path.write_text(SECRET + "\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def python(tmp_path):
    """Make a command of a program."""

    def make(code: str) -> str:
        path = tmp_path / "program.py"
        path.write_text(code)
        return f"command:{shlex.quote(sys.executable)} {shlex.quote(str(path))}"

    return make


@pytest.mark.parametrize("text", [SECRET, SECRET + "\n", SECRET + "\r\nmore\n", f"  {SECRET}\t\n\n", "\ufeff" + SECRET])
def test_the_first_line_is_the_secret(kept, monkeypatch, python, text):
    kept.write_text(text)
    monkeypatch.setenv("OWN", text)
    assert open_source(f"file:{kept}", "").read() == SECRET
    assert open_source("env:OWN", "").read() == SECRET
    assert open_source(python(f"import sys; sys.stdout.buffer.write({text.encode()!r})"), "").read() == SECRET


@pytest.mark.parametrize(
    "text",
    ["", "\n" + SECRET, " \n", f"{SECRET} {SECRET}", SECRET + "é", SECRET + "\x07", "x" * (MAX_SECRET_BYTES + 1)],
)
def test_what_is_no_secret_is_refused_and_not_repeated(kept, monkeypatch, python, text):
    kept.write_text(text)
    monkeypatch.setenv("OWN", text)
    for place in (f"file:{kept}", "env:OWN", python(f"import sys; sys.stdout.buffer.write({text.encode()!r})")):
        with pytest.raises(NotAllowedError if place == "env:OWN" and not text else InputError) as caught:
            open_source(place, "").read()
        assert "hunter2" not in f"{caught.value} {caught.value!r}"


# --- files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o610, 0o666, 0o601])
def test_a_file_that_others_can_get_at_is_refused(kept, tmp_path, mode):
    kept.chmod(mode)
    link = tmp_path / "link"
    link.symlink_to(kept)
    for path in (kept, link):
        with pytest.raises(NotAllowedError, match=r"others can read or change it.*chmod 600"):
            open_source(f"file:{path}", "").read()
    kept.chmod(0o400)
    assert open_source(f"file:{link}", "").read() == SECRET


def test_what_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "folder").mkdir(mode=0o700)
    begin = time.monotonic()
    for name, kind in (("pipe", InputError), ("folder", InputError), ("nothing", NotAllowedError)):
        with pytest.raises(kind):
            open_source(f"file:{tmp_path / name}", "").read()
    assert time.monotonic() - begin < 2


def test_a_home_that_nobody_knows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotAllowedError, match=r"the file ~nonesuch/x.* does not exist"):
        open_source("file:~nonesuch/x", "").read()


def test_a_home_is_found(kept, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_source("file:~/secret", "").read() == SECRET


# --- commands --------------------------------------------------------------------------------------------------


def test_no_shell_is_between(tmp_path):
    made = tmp_path / "made"
    vault = open_source(f"command:echo $HOME;touch {made}", "")
    with pytest.raises(InputError):  # two words are no secret
        vault.read()
    assert not made.exists()


def test_its_words_may_be_quoted():
    assert open_source("command:printf '%s-%s' 'a' \"b\"", "").read() == "a-b"
    with pytest.raises(UsageError, match="quote"):
        open_source("command:printf 'a", "")


def test_what_it_says_beside_goes_to_the_terminal(capfd, python):
    assert (
        open_source(python(f"import sys; print('unlock me', file=sys.stderr); print('{SECRET}')"), "").read() == SECRET
    )
    assert capfd.readouterr().err == "unlock me\n"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import sys; print('xvc_hunter2'); sys.exit(3)", "failed with exit code 3"),
        ("import os; os.kill(os.getpid(), 9)", "was killed by signal 9"),
    ],
)
def test_one_that_fails_gives_nothing(python, code, said):
    with pytest.raises(NotAllowedError, match=said) as caught:
        open_source(python(code), "").read()
    assert "hunter2" not in str(caught.value)
    assert "program.py" not in str(caught.value)  # its arguments are nobody's business


def test_one_that_is_not_there():
    with pytest.raises(NotAllowedError, match=r"program nonesuch not found.*config view --origin"):
        open_source("command:nonesuch x", "").read()


def test_what_it_leaves_running_is_not_waited_for():
    code = f"import os, time; print('{SECRET}', flush=True); os.fork() or time.sleep(20)"
    begin = time.monotonic()
    assert CommandSource([sys.executable, "-c", code]).read() == SECRET
    assert time.monotonic() - begin < 10


@pytest.mark.parametrize(
    "code",
    [
        "import time; time.sleep(60)",
        "import os, time; os.close(1); time.sleep(60)",
        "import os, time; print('x', flush=True); os.fork(); time.sleep(60)",
    ],
)
def test_one_that_takes_too_long_is_ended(code):
    begin = time.monotonic()
    with pytest.raises(UnreachableError, match="printed nothing within 1 s"):
        CommandSource([sys.executable, "-c", code], timeout=1).read()
    assert time.monotonic() - begin < 5


def test_one_that_prints_for_ever_is_ended():
    begin = time.monotonic()
    with pytest.raises(InputError, match="too long for a secret"):
        open_source("command:yes", "").read()
    assert time.monotonic() - begin < 5


def test_it_reads_nothing_of_ours(monkeypatch):
    read, write = os.pipe()
    os.write(write, b"ours\n")
    os.close(write)
    old = os.dup(0)
    os.dup2(read, 0)
    try:
        with pytest.raises(InputError, match="empty"):
            open_source("command:cat", "").read()
        assert os.read(0, 10) == b"ours\n"
    finally:
        os.dup2(old, 0)


# --- which one for which server ------------------------------------------------------------------------------------


def test_the_credential_is_read_when_it_is_asked_for_and_shown_nowhere(kept):
    settings = Settings(server="https://h:1", credential=f"file:{kept}.not.yet")
    connection = resolve_connection(settings)
    kept.rename(f"{kept}.not.yet")
    assert connection.credential() == SECRET
    assert "hunter2" not in repr(connection) + repr(connection.credential) + repr(settings)
    assert format_place("command:vault read -token=hunter2") == "command:vault"
    assert "hunter2" not in repr(Credential("http://h", "command:vault read -token=hunter2"))


def test_the_key_in_the_environment_goes_before_the_keyring(monkeypatch):
    monkeypatch.setenv("TOKCTL_API_KEY", SECRET)
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "no.such.Backend")
    assert resolve_connection(Settings(server="http://h")).credential() == SECRET


def test_api_tokens_may_have_a_server_of_their_own(monkeypatch):
    monkeypatch.setenv("A", "first")
    monkeypatch.setenv("B", "second")
    settings = Settings(server="http://a", credential="env:A", timeout=3.0)
    assert resolve_connection(settings, registry=True) == resolve_connection(settings)
    other = resolve_connection(
        Settings(server="http://a", credential="env:A", registry_server="http://b", registry_credential="env:B"),
        registry=True,
    )
    assert (other.url, other.credential()) == ("http://b", "second")
    assert resolve_connection(settings).timeout == 3.0


def test_no_server_is_told():
    with pytest.raises(UsageError, match="--server"):
        resolve_connection(Settings())


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://Engine.Example:27555/base/", "https://engine.example:27555"),
        ("https://h", "https://h"),
        ("https://h:443/x", "https://h"),
        ("http://h:80", "http://h"),
        ("http://h:443", "http://h:443"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("http://[0:0::1]:80/x", "http://[::1]"),
        ("https://[FE80::1%25eth0]/x", "https://[fe80::1%eth0]"),
        ("unix:///run/tokctl.sock", "unix:/run/tokctl.sock"),
    ],
)
def test_a_keyring_knows_a_server_by_its_origin(url, name):
    assert server_account_name(url) == name


def test_every_kind_is_a_vault(monkeypatch):
    from importlib import import_module

    places = {"keyring": "keyring", "env": "env:X", "file": "file:/x", "command": "command:x"}
    assert set(places) == set(SOURCES)
    for kind, place in places.items():
        vault: SecretSource = open_source(place, "http://h")
        assert type(vault).__module__ == SOURCES[kind].module == import_module(SOURCES[kind].module).__name__
        assert isinstance(vault.where, str)
    with pytest.raises(UsageError):
        open_source("hunter2", "")


def test_errors_are_one_line():
    for place in ("env:NOPE\u0000", "file:/no\x00pe", "command:\x00"):
        with pytest.raises(TokctlError) as caught:
            open_source(place, "").read()
        assert "\n" not in str(caught.value)
