"""The place of a secret was fine when it was tried, and fails when the secret comes.

That is not lost, and nobody sees it. It goes to the terminal, else into a file, else the API token is revoked.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support import serving
from support.commandline import Ran
from support.interruptions import SIGNALS, Runs
from support.keyrings import backends
from support.terminal import Terminal
from tokctl.api_tokens.pepper import load_pepper
from tokctl.api_tokens.secrets import is_tokctl_secret
from tokctl.store import open_store

PEPPER = "a pepper that is used by tests alone"
SECRET = re.compile(r"xvc_[0-9A-Za-z]{16,}")
ELSEWHERE = """
import os, sys
for number, name in ((1, "out"), (2, "err")):
    os.dup2(os.open(name, os.O_CREAT | os.O_WRONLY), number)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


class Here:
    """A store, a ledger, a home and a keyring of a test's own."""

    def __init__(self, folder: Path, shell: Callable[..., Ran], backend: str = "own_backends.Kept") -> None:
        self.folder = folder
        self.shell = shell
        self.store = folder / "own.db"
        (folder / "config.yaml").write_text("{}")
        (folder / "home").mkdir()
        self.env = backends(folder, backend) | {
            "HOME": str(folder / "home"),
            "TOKCTL_STATE_DIR": str(folder / "state"),
            "TOKCTL_PEPPER": PEPPER,
            "TOKCTL_CONFIG": str(folder / "config.yaml"),
            "TOKCTL_STORE": str(self.store),
        }

    def ask(self, *words: Any, **more: Any) -> Ran:
        """Run a command line without a terminal."""
        return self.shell("api-tokens", *words, env=self.env, start_new_session=True, **more)

    def listed(self) -> list[str]:
        with open_store(str(self.store)) as store:
            return [str(one.id) for one in store.api_tokens.list()]

    def orphans(self, *where: str) -> list[str]:
        """Those that the doctor names."""
        checks = json.loads(self.shell("doctor", "-o", "json", *where, env=self.env).out)["checks"]
        return [str(one["id"]) for one in next(c for c in checks if c["check"] == "api tokens").get("orphans", [])]

    def files(self) -> list[Path]:
        return [*self.folder.rglob("*.tokctl-secret")]

    def is_valid(self, secret: str) -> bool:
        return self.ask("verify", stdin=secret).code == 0

    def is_in_a_file(self, ran: Ran) -> None:
        """See that the secret is in one file, which the message names, and nowhere else."""
        (file,) = self.files()
        secret = file.read_text().removesuffix("\n")
        assert is_tokctl_secret(secret)
        assert self.is_valid(secret)
        assert file.stat().st_mode & 0o777 == 0o600
        assert f"The secret is in {file} (readable only by you)" in ran.err
        assert ran.code == 8
        assert ran.err.startswith("error: API token 1 'ci' was created, but its secret was not saved in ")
        assert ran.err.count("\n") == 1
        assert SECRET.search(ran.out + ran.err) is None
        assert self.ask("secret", "1") == (0, f"{secret}\n", "")
        assert self.orphans() == []


@pytest.fixture
def make(tmp_path, shell) -> Callable[..., Here]:
    return lambda *more: Here(tmp_path, shell, *more)


@pytest.mark.parametrize(
    ("backend", "why"),
    [
        ("own_backends.Telling", "cannot use the keyring (ValueError)"),
        ("own_backends.Twisting", "does not return the saved secret"),
    ],
)
def test_a_keyring_that_fails_when_it_matters(make, backend, why):
    here = make(backend)
    ran = here.ask("create", "ci")
    assert why in ran.err
    assert ran.out == ""
    here.is_in_a_file(ran)


def test_a_program_that_fails_and_repeats_it(make):
    here = make()
    ran = here.ask("create", "ci", "--save", "command:sh -c 'cat; exit 3'")
    said, _, message = ran.err.partition("\n")
    assert re.fullmatch(r"xvc_\w{4}\.\.\.", said)
    assert "cannot save the secret: the command sh failed with exit code 3." in message
    here.is_in_a_file(ran._replace(err=message))


@pytest.fixture
def runs(tmp_path_factory) -> Iterator[Runs]:
    standing_by = Runs(backends(tmp_path_factory.mktemp("runs"), "own_backends.Kept"))
    yield standing_by
    standing_by.close()


def test_a_disk_that_is_full_when_it_matters(make, runs, tmp_path):
    """Neither the file nor another can be written then, and the store not either."""
    here = make()
    words = ("api-tokens", "create", "ci", "--save", f"file:{tmp_path}/secret")
    steps = runs.run(*words, env=here.env).steps
    (tmp_path / "secret").unlink()
    here.store.unlink()
    ended = runs.run(*words, env=here.env, at=steps.index("VaultSink.save"), what="disk")
    assert (ended.code, ended.out) == (8, "")
    assert "was not saved in the file" in ended.err
    assert "File too large. The API token could not be revoked. Its secret is lost. Run 'tokctl api-tokens" in ended.err
    assert ended.err.count("\n") == 1
    assert not (tmp_path / "secret").exists()
    assert here.orphans() == here.listed() == ["1"]
    assert here.ask("revoke", "--orphans", "--yes").code == 0
    assert here.orphans() == here.listed() == []


# --- a terminal ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_captured", [False, True])
def test_with_a_terminal_it_is_shown_there_once(make, tmp_path, monkeypatch, is_captured):
    here = make("own_backends.Telling")
    monkeypatch.chdir(tmp_path)
    shell = ("-c", ELSEWHERE) if is_captured else ()
    with Terminal("api-tokens", "create", "ci", columns=200, env=here.env, shell=shell) as terminal:
        assert terminal.end() == 8
    (secret,) = SECRET.findall(terminal.raw.decode())
    assert here.is_valid(secret)
    assert f"The secret of API token 1: {secret}\r" in terminal.raw.decode()
    message = Path("err").read_text() if is_captured else terminal.raw.decode()
    assert "The secret is shown once on the terminal. Save it now." in message
    if is_captured:
        assert Path("out").read_text() == ""
        assert SECRET.search(message) is None
    assert here.files() == []
    assert here.orphans() == []


# --- neither that nor a file ---------------------------------------------------------------------------


def sabotage(here: Here) -> str:
    """A program that takes the folders away, in which the secret might be saved, and fails."""
    state, home = here.env["TOKCTL_STATE_DIR"], here.env["HOME"]
    script = f"rm -r {state} {home}; touch {state} {home}; exit 1"
    return f"command:sh -c {shlex.quote(script)}"


def test_where_nothing_takes_it_the_token_is_revoked(make):
    here = make()
    ran = here.ask("create", "ci", "--save", sabotage(here))
    assert (ran.code, ran.out) == (8, "")
    assert "No other place could save it, so the API token was revoked. Fix this and try again." in ran.err
    assert SECRET.search(ran.err) is None
    assert here.files() == []
    assert here.listed() == []


@pytest.fixture
def served(make, monkeypatch) -> Iterator[tuple[Here, serving.Served]]:
    """A server, and a client that may do everything there."""
    here = make()
    ran = here.ask("create", "admin", "--type", "full-access", "--scope", "*", "--expires", "never", "--show-secret")
    here.env["TOKCTL_API_KEY"] = ran.out.strip()
    monkeypatch.setattr(serving, "PEPPER", load_pepper(here.env))
    server = serving.Served(here.store, secret=ran.out.strip())
    here.env["TOKCTL_STORE"] = str(here.folder / "none.db")
    yield here, server
    server.close()


FILL = "import os, resource; resource.prlimit(os.getppid(), resource.RLIMIT_FSIZE, (0, -1)); raise SystemExit(1)"


@pytest.mark.parametrize("can_revoke", [True, False])
def test_on_a_server(served, can_revoke):
    """The disk of the client is full, all at once; the server has one of its own."""
    here, server = served
    on_server = ("--server", server.url)
    if not can_revoke:
        server.spoil = lambda target: (500, b"{}") if re.fullmatch(r"/api/api-tokens/\d+", target) else None
    place = f"command:{shlex.quote(sys.executable)} -c {shlex.quote(FILL)}"
    ran = here.ask("create", "ci", *on_server, "--save", place)
    assert (ran.code, ran.out) == (8, "")
    assert ran.err.count("\n") == 1
    assert SECRET.search(ran.err) is None
    assert here.files() == []
    server.spoil = lambda _: None
    if can_revoke:
        assert "so the API token was revoked." in ran.err
    else:
        assert "The API token could not be revoked. Its secret is lost" in ran.err
        assert here.listed() == ["2", "1"]
        assert here.orphans(*on_server) == ["2"]
        assert here.ask("revoke", "--orphans", "--yes", *on_server).code == 0
    assert here.orphans(*on_server) == []
    assert here.listed() == ["1"]


# --- the output ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [[], ["-o", "json"]], ids=["alone", "json"])
@pytest.mark.parametrize("where", ["/dev/full", "a reader that is gone"])
def test_an_output_that_does_not_take_it(make, where, words):
    here = make()
    if where == "/dev/full":
        output = os.open(where, os.O_WRONLY)
    else:
        reading, output = os.pipe()
        os.close(reading)
    ran = here.ask("create", "ci", "--show-secret", *words, stdout=output)
    os.close(output)
    assert "was not saved in the output" in ran.err
    here.is_in_a_file(ran)


# --- one that is lent to a program -------------------------------------------------------------------------


@pytest.mark.parametrize("what", [*SIGNALS])
def test_one_that_is_lent_is_taken_back_whatever_comes_and_when(make, runs, tmp_path, what):
    here = make()
    words = ("api-tokens", "exec", "--", "true")
    ended = runs.run(*words, env=here.env)
    assert ended.code == 0, ended.err
    assert here.listed() == []
    assert {"StoreRegistry.create", "StoreRegistry.revoke", "Ledger.put", "Ledger.drop"} <= set(ended.steps)
    codes = set()
    for at in range(len(ended.steps)):
        codes.add(runs.run(*words, env=here.env, at=at, what=what).code)
        if what == "KILL":
            left = here.listed()
            if left:
                assert here.orphans() == left
                assert here.ask("revoke", "--orphans", "--yes").code == 0
        assert here.listed() == []
    assert here.orphans() == []
    assert codes <= {0, -SIGNALS[what], 128 + SIGNALS[what]}
    assert codes & {-SIGNALS[what], 128 + SIGNALS[what]}
