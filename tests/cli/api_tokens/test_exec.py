"""``tokctl api-tokens exec``: an API token that lives as long as a program."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from support import serving
from support.commandline import clean_environment
from tokctl.api_tokens.pepper import load_pepper

VERIFY = f"{sys.executable} -m tokctl api-tokens verify"


class Lent:
    """Runs ``exec`` on a test's own store."""

    def __init__(self, own, folder: Path) -> None:
        self.own = own
        self.folder = folder

    def start(self, *words: str, options: tuple[str, ...] = (), **popen) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-m", "tokctl", "api-tokens", "exec", *options, "--", *words],
            cwd=self.folder,
            env=clean_environment(self.own.environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **popen,
        )

    def run(self, *words: str, stdin: str = "", **more) -> tuple[int, str, str]:
        """Run it to its end, after which nothing may be left."""
        process = self.start(*words, stdin=subprocess.PIPE, **more)
        out, err = process.communicate(stdin, timeout=60)
        assert self.own.names() == []
        assert list((self.folder / "state" / "api-tokens").glob("*.json")) == []
        return process.returncode, out, err

    def until(self, name: str) -> str:
        """Wait for the program to write a file; returns what is in it."""
        deadline = time.monotonic() + 30
        while not (self.folder / name).exists() or not (self.folder / name).read_text():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return (self.folder / name).read_text().strip()


@pytest.fixture
def lent(own, tmp_path) -> Lent:
    return Lent(own, tmp_path)


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 0", 0), ("exit 3", 3), ("exit 255", 255), ("kill -9 $$", 137), ("kill -TERM $$", 143), ("exit 130", 130)],
)
def test_the_exit_code_is_the_programs(lent, script, code):
    assert lent.run("sh", "-c", script)[:2] == (code, "")


def test_a_program_that_is_not_there_or_cannot_be_run(lent, own, tmp_path):
    (tmp_path / "words").write_text("no program")
    (tmp_path / "words").chmod(0o755)
    assert lent.run("no-such") == (127, "", "error: program no-such not found. Nothing was created.\n")
    assert own.audit() == []
    assert lent.run("./words") == (126, "", f"error: cannot run ./words: {os.strerror(errno.ENOEXEC)}.\n")
    assert [entry.action for entry in own.audit()] == ["create", "revoke"]


def test_it_is_valid_while_the_program_runs_and_is_seen_by_it_alone(lent, tmp_path):
    pepper = tmp_path / "own-pepper"  # what is in a variable, the program does not get
    pepper.touch(0o600)
    pepper.write_text(lent.own.environ.pop("TOKCTL_PEPPER"))
    lent.own.environ["TOKCTL_PEPPER_FILE"] = str(pepper)
    script = f"""
    printf %s "$TOKCTL_API_KEY" > secret
    printf %s "$TOKCTL_API_KEY" | {VERIFY} -o json > verified; echo $? > code
    tr '\\0' ' ' < /proc/$$/cmdline > lines; tr '\\0' ' ' < /proc/$PPID/cmdline >> lines
    cat /proc/$PPID/environ > environ; cat; echo said >&2
    """
    assert lent.run("sh", "-c", script, stdin="handed over") == (0, "handed over", "said\n")
    secret = (tmp_path / "secret").read_text()
    assert (tmp_path / "code").read_text() == "0\n"
    verified = json.loads((tmp_path / "verified").read_text())
    assert "valid" in json.dumps(verified)
    assert secret.startswith("xvc_")
    for name in ("lines", "environ", "verified"):
        assert secret[8:] not in (tmp_path / name).read_text()
    done = subprocess.run(
        [sys.executable, "-m", "tokctl", "api-tokens", "verify"],
        input=secret,
        text=True,
        env=clean_environment(lent.own.environ),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1
    assert "revoked" in done.stdout
    for file in tmp_path.rglob("*"):
        if file.is_file() and file.name != "secret":
            assert secret[8:].encode() not in file.read_bytes(), file


def test_what_it_may_and_how_long(lent, own):
    process = lent.start(
        "sh",
        "-c",
        "echo here > begun; echo $KEY; cat",
        stdin=subprocess.PIPE,
        options=(
            "--ttl",
            "2h",
            "--scope",
            "process,token",
            "--type",
            "full-access",
            "--env",
            "KEY",
            "--name",
            "nightly",
        ),
    )
    lent.until("begun")
    token = own.get(1)
    assert (token.name, token.type, token.scopes) == ("nightly", "full-access", ("process", "token"))
    assert abs(token.expires_at - datetime.now(UTC) - timedelta(hours=2)) < timedelta(minutes=1)
    out, _ = process.communicate("", timeout=30)
    assert out.startswith("xvc_")
    assert own.names() == []


@pytest.mark.parametrize("name", ["TERM", "HUP"])
@pytest.mark.parametrize("is_caught", [True, False])
def test_a_signal_is_passed_on_to_it(lent, own, name, is_caught):
    number = signal.Signals[f"SIG{name}"]
    trap = f"trap 'echo caught; exit 7' {name}; " if is_caught else ""
    process = lent.start("sh", "-c", f"{trap}echo here > begun; while :; do sleep 0.05; done")
    lent.until("begun")
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == ((7, "caught\n") if is_caught else (128 + number, ""))
    assert "Traceback" not in err
    assert own.names() == []


def test_an_interruption_from_the_keyboard_is_for_it(lent, own):
    process = lent.start(
        "sh", "-c", "trap 'exit 5' INT; echo here > begun; while :; do sleep 0.05; done", start_new_session=True
    )
    lent.until("begun")
    os.killpg(process.pid, signal.SIGINT)  # the terminal sends it to all in front
    process.communicate(timeout=30)
    assert process.returncode == 5
    assert own.names() == []


def test_one_whose_lender_is_killed_is_an_orphan_and_expires(lent, own, shell):
    process = lent.start("sh", "-c", "echo $$ > begun; exec sleep 60", options=("--ttl", "10m"))
    program = int(lent.until("begun"))
    process.kill()
    os.kill(program, signal.SIGKILL)
    process.communicate(timeout=30)
    token = own.get(1)
    assert token.expires_at - datetime.now(UTC) <= timedelta(minutes=10)
    checks = json.loads(shell("doctor", "-o", "json", env=own.environ).out)["checks"]
    found = next(one for one in checks if one["check"] == "api tokens")
    assert found["orphans"] == [{"id": 1, "name": token.name}]
    assert shell("api-tokens", "revoke", "--orphans", "--yes", env=own.environ).code == 0
    assert own.names() == []


def test_one_that_cannot_be_taken_back_is_told(lent, own, monkeypatch):
    own.add("admin", type="full-access", scopes=("*",), expires_at=None)
    monkeypatch.setattr(serving, "PEPPER", load_pepper(own.environ))
    server = serving.Served(own.path, secret=own.secrets["admin"])
    own.environ["TOKCTL_API_KEY"] = own.secrets["admin"]
    on_server = ("--server", server.url)
    server.spoil = lambda target: (500, b"{}") if target.endswith("/2") else None
    process = lent.start("sh", "-c", "exit 3", options=on_server)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (8, "")
    assert "could not be revoked" in err
    assert "It expires on its own. To revoke it earlier, run 'tokctl api-tokens revoke --orphans'." in err
    server.spoil = lambda _: None
    process = subprocess.run(
        [sys.executable, "-m", "tokctl", "api-tokens", "revoke", "--orphans", "--yes", *on_server],
        env=clean_environment(own.environ),
        check=True,
        capture_output=True,
    )
    assert own.names() == ["admin"]
    server.close()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--env", "A-B"], "invalid --env 'A-B': not the name of a variable"),
        (["--env", "Ä"], "not the name of a variable"),
        (["--ttl", "soon"], "soon"),
        (["--scope", "tokens"], "did you mean 'token'"),
        (["--type", "full-acces"], "did you mean 'full-access'"),
    ],
)
def test_what_cannot_be_runs_nothing(tokctl, own, tmp_path, options, said):
    ran = tokctl("api-tokens", "exec", *options, "--store", own.path, "--", "touch", tmp_path / "ran")
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
    assert not (tmp_path / "ran").exists()
    assert own.audit() == []


def test_what_cannot_be_run_creates_nothing(lent, own):
    (lent.folder / "plain").write_text("echo")
    assert lent.run("./plain")[0] == 126
    assert lent.run("true", options=("--ttl", "0s"))[0] == 2
    assert own.audit() == []


def test_it_gets_no_other_secret_of_ours(lent):
    """Neither that of a variable of ours, nor of one that the configuration names as the source of a credential."""
    context = "{server: https://x.example, credential: env:X_KEY, registry_credential: env:R_KEY}"
    Path(lent.own.environ["TOKCTL_CONFIG"]).write_text(f"contexts: {{x: {context}}}")
    secrets = ("TOKCTL_API_KEY", "TOKCTL_CREDENTIAL", "MY_KEY", "X_KEY", "R_KEY")
    lent.own.environ |= dict.fromkeys(secrets, "an administrator's") | {"TOKCTL_CREDENTIAL": "env:MY_KEY"}
    options = ("--env", "KEY", "--store", str(lent.own.path))
    code, out, _ = lent.run("env", options=options)
    assert (code, "KEY=xvc_" in out) == (0, True)
    assert "an administrator's" not in out
    assert lent.own.environ["TOKCTL_PEPPER"] not in out
    code, out, _ = lent.run("env", options=(*options, "--pass-env", "MY_KEY"))
    assert out.count("an administrator's") == 1
    assert "MY_KEY=an administrator's" in out
