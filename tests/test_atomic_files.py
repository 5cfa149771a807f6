"""Private files: whatever kills a write, nobody finds a copy of it, and no umask opens them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.commandline import clean_environment
from tokctl import atomic_files
from tokctl.atomic_files import make_folder, make_own_folder, remove_leftovers, temporary_name, write_atomically

KILLED = """
import os, signal, sys
from pathlib import Path
from tokctl import atomic_files

def kill(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

if sys.argv[2] == "named":
    del os.O_TMPFILE
if sys.argv[3] == "replace":
    Path.replace = kill
else:
    setattr(os, sys.argv[3], kill)
atomic_files.write_atomically(Path(sys.argv[1]), b"TOKCTL_API_KEY=secret")
"""


def killed(path: Path, how: str, at: str) -> list[str]:
    """What is beside a file after a write of it was killed at a step."""
    words = [sys.executable, "-c", KILLED, str(path), how, at]
    assert subprocess.run(words, env=clean_environment(), check=False).returncode == -signal.SIGKILL
    return sorted(one.name for one in path.parent.iterdir() if one != path)


@pytest.mark.parametrize("at", ["write", "fsync", "link"])
def test_a_killed_write_leaves_nothing(tmp_path, at):
    path = tmp_path / ".env"
    path.write_text("old")
    assert killed(path, "unnamed", at) == []
    assert path.read_text() == "old"


@pytest.mark.parametrize(("how", "at"), [("unnamed", "replace"), ("named", "fsync")])
def test_what_a_killed_write_leaves_the_next_one_removes(tmp_path, how, at):
    path = tmp_path / ".env"
    (left,) = killed(path, how, at)
    assert (tmp_path / left).stat().st_mode & 0o777 == 0o600
    write_atomically(path, b"new")
    assert [one.name for one in tmp_path.iterdir()] == [".env"]


def test_only_what_nobody_uses_is_removed(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "O_TMPFILE")
    path = tmp_path / ".env"
    others = [tmp_path / name for name in ("..env.part", ".env.1.part", "..env.1.part.txt", "..envx.1.part")]
    for one in others:
        one.touch()
    descriptor, is_named = atomic_files._create_partial(temporary_name(path))
    assert is_named
    assert remove_leftovers(path) == []
    os.close(descriptor)
    (left,) = remove_leftovers(path)
    assert sorted(tmp_path.iterdir()) == sorted(others)
    assert left.name.startswith("..env.")


@pytest.mark.parametrize("umask", [0o000, 0o777])
def test_modes_do_not_depend_on_the_umask(tmp_path, monkeypatch, umask):
    before = os.umask(umask)
    try:
        make_folder(tmp_path / "a" / "b")
        write_atomically(tmp_path / "a" / "b" / "unnamed", b"x")
        monkeypatch.delattr(os, "O_TMPFILE")
        write_atomically(tmp_path / "a" / "b" / "named", b"x", new=True)
    finally:
        os.umask(before)
    modes = {one.name: one.stat().st_mode & 0o777 for one in tmp_path.rglob("*")}
    assert modes == {"a": 0o700, "b": 0o700, "named": 0o600, "unnamed": 0o600}


@pytest.mark.parametrize(("mode", "closed"), [(0o777, 0o755), (0o775, 0o755), (0o700, 0o700), (0o1777, 0o1777)])
def test_a_folder_of_ours_is_closed_to_others(tmp_path, mode, closed):
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours").chmod(mode)
    make_own_folder(tmp_path / "ours")
    assert (tmp_path / "ours").stat().st_mode & 0o7777 == closed


def test_what_is_no_folder_keeps_its_mode(tmp_path):
    """As /dev/null has to."""
    (tmp_path / "file").touch()
    (tmp_path / "file").chmod(0o666)
    with pytest.raises(NotADirectoryError):
        make_own_folder(tmp_path / "file")
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o666


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to make folders of others")
@pytest.mark.parametrize("whose", ["folder", "link"])
def test_a_folder_of_another_user_is_refused(tmp_path, whose):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "link").symlink_to("theirs")
    os.chown(tmp_path / ("theirs" if whose == "folder" else "link"), 1234, -1, follow_symlinks=False)
    with pytest.raises(PermissionError, match="belongs to another user"):
        make_own_folder(tmp_path / "link")
