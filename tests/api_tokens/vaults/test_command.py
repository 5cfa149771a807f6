"""A program that takes a secret on its stdin: whatever it does, the secret is seen nowhere, nobody waits for long."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from tokctl.api_tokens.vaults.command import CommandSink, CommandSource
from tokctl.errors import InputError, NotAllowedError, UnreachableError, UsageError

FIRST = "xvc_hunter1hunter1"


def test_a_program_gets_the_secret_alone_on_its_stdin_and_nowhere_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    script = "cat > got; tr '\\0' ' ' < /proc/self/cmdline > line; cat /proc/$PPID/cmdline >> line; env > env"
    CommandSink(["sh", "-c", script]).write(FIRST)
    assert Path("got").read_bytes() == FIRST.encode()
    assert "hunter1" not in Path("line").read_text() + Path("env").read_text()


def test_a_program_inherits_no_secret_of_ours(tmp_path, monkeypatch):
    (tmp_path / "config.yaml").write_text("contexts: {x: {server: https://x.example, credential: env:X_KEY}}")
    monkeypatch.setenv("TOKCTL_CONFIG", str(tmp_path / "config.yaml"))
    for name in ("TOKCTL_API_KEY", "TOKCTL_PEPPER", "X_KEY"):
        monkeypatch.setenv(name, "hunter2")
    monkeypatch.setenv("OTHER", "inherited")
    CommandSink(["sh", "-c", f"env > {tmp_path}/sink"]).write(FIRST)
    assert CommandSource(["sh", "-c", f"env > {tmp_path}/source; echo xvc_read"]).read() == "xvc_read"
    for name in ("sink", "source"):
        env = (tmp_path / name).read_text()
        assert "OTHER=inherited" in env
        assert "hunter2" not in env


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sh", "-c", "cat; exit 3"], "cannot save the secret: the command sh failed with exit code 3."),
        (["sh", "-c", "cat; kill -9 $$"], "cannot save the secret: the command sh was killed by signal 9."),
    ],
)
def test_a_program_that_fails_and_repeats_the_secret(capsys, words, said):
    with pytest.raises(NotAllowedError) as caught:
        CommandSink(words).write(FIRST)
    assert str(caught.value) == said
    assert capsys.readouterr() == ("", "xvc_hunt...\n")


def test_what_it_says_is_passed_on_masked_and_not_at_length(capsys):
    CommandSink(["sh", "-c", "read secret; echo got $secret; echo no >&2; yes $secret | head -n 9999"]).write(FIRST)
    out, err = capsys.readouterr()
    assert out == ""
    assert "hunter1" not in err
    assert len(err) < 2100
    CommandSink(["sh", "-c", "read secret; echo got $secret; echo no >&2"]).write(FIRST)
    assert capsys.readouterr().err == "got xvc_hunt...\nno\n"


@pytest.mark.parametrize("script", ["exit 0", "exec 0<&-; sleep 0.2"])
def test_one_that_does_not_read_is_believed(script):
    CommandSink(["sh", "-c", script]).write(FIRST)


@pytest.mark.parametrize("script", ["sleep 61 & echo $! > $0; wait", "echo $$ > $0; exec yes"])
def test_one_that_does_not_end_is_ended_with_all_that_it_runs(tmp_path, capsys, script):
    begin = time.monotonic()
    with pytest.raises(UnreachableError, match=r"the command sh did not exit within 1 s\."):
        CommandSink(["sh", "-c", script, str(tmp_path / "pid")], timeout=1).write(FIRST)
    assert time.monotonic() - begin < 5
    assert len(capsys.readouterr().err) < 2100
    status = Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}/status")
    deadline = time.monotonic() + 10
    while is_running(status):  # a killed process takes a moment to end
        assert time.monotonic() < deadline, status.read_text()
        time.sleep(0.01)


def is_running(status: Path) -> bool:
    try:
        return "zombie" not in status.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_what_it_leaves_running_is_not_waited_for(tmp_path, capsys):
    begin = time.monotonic()
    CommandSink(["sh", "-c", f"sleep 20 & cat > {tmp_path}/got; echo fine"]).write(FIRST)
    assert time.monotonic() - begin < 5
    assert (tmp_path / "got").read_text() == FIRST
    assert capsys.readouterr().err == "fine\n"


def test_one_that_cannot_be_run(tmp_path):
    (tmp_path / "words").write_text("no program")
    (tmp_path / "words").chmod(0o755)
    (tmp_path / "not").write_text("#!/bin/sh")
    with pytest.raises(UsageError, match=r"cannot save the secret: program no-such not found\."):
        CommandSink(["no-such"]).probe()
    with pytest.raises(UsageError, match="not found"):
        CommandSink([str(tmp_path / "not")]).probe()
    with pytest.raises(InputError, match=rf"cannot run .*: {os.strerror(errno.ENOEXEC)}\."):
        CommandSink([str(tmp_path / "words")]).write(FIRST)
