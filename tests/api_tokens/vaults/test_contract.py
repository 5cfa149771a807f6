"""What a secret can be put into: the same is true of all of it, and nothing of anybody's is lost on the way."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.commandline import clean_environment
from support.keyrings import backends, entries
from tokctl.api_tokens.vault_kinds import SINKS
from tokctl.api_tokens.vaults import open_sink
from tokctl.api_tokens.vaults.protocol import SecretSink, replace_anything, replace_nothing
from tokctl.errors import InputError, NotAllowedError, TokctlError, UsageError

FIRST, SECOND = "xvc_hunter1hunter1", "xvc_hunter2hunter2"
STEPS = """
import json, os, resource, sys
from tokctl.errors import TokctlError
from tokctl.api_tokens.vaults import open_sink
from tokctl.api_tokens.vaults.protocol import replace_anything

keeper = open_sink(sys.argv[1], "https://h:1/api-tokens/7", may_replace=replace_anything)

def limit(size):
    sys.dont_write_bytecode = True  # bytecode files would be cut short
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), resource.RLIM_INFINITY))

def become(uid):
    if os.geteuid() == 0:
        os.seteuid(int(uid))

done = []
for step in sys.argv[2:]:
    name, _, given = step.partition(" ")
    try:
        call = {"limit": limit, "become": become}.get(name) or getattr(keeper, name)
        done.append(call(*filter(None, [given])))
    except TokctlError as error:
        done.append([type(error).__name__, str(error)])
print(json.dumps(done))
"""
FILES = ("file", "env-file")


class Kind:
    """One kind of keeper, and a look past it at what it keeps."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.folder = folder
        self.file = folder / "kept"
        rest = {
            "keyring": "",
            "file": f":{self.file}",
            "env-file": f":{self.file}#KEY",
            "command": f":sh -c 'cat > {self.file}'",
        }[kind]
        self.place = kind + rest
        self.environ = backends(folder, "own_backends.Kept") | {"PYTHONDONTWRITEBYTECODE": "1"}

    def steps(self, *steps: str) -> list:
        done = subprocess.run(
            [sys.executable, "-c", STEPS, self.place, *steps],
            env=clean_environment(self.environ),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert "Traceback" not in done.stderr
        return json.loads(done.stdout)

    def kept(self) -> str | None:
        """The secret that is there, by itself."""
        if self.kind == "keyring":
            return entries(self.folder).get("tokctl https://h:1/api-tokens/7")
        if not self.file.exists():
            return None
        head, tail = {"file": ("", "\n"), "env-file": ("KEY=", "\n"), "command": ("", "")}[self.kind]
        text = self.file.read_text()
        assert text == f"{head}{text.removeprefix(head).removesuffix(tail)}{tail}"
        return text.removeprefix(head).removesuffix(tail)

    def names(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()}


@pytest.fixture(params=[*SINKS])
def kind(request, tmp_path) -> Kind:
    return Kind(request.param, tmp_path)


def test_a_probe_leaves_nothing_behind(kind):
    assert kind.steps("probe", "read_current") == [None, None]
    assert kind.names() - {"kept"} == {"modules"}
    assert kind.kept() is None
    assert entries(kind.folder) == {}


def test_what_is_put_in_is_there_until_it_is_replaced(kind):
    readable = kind.kind != "command"
    assert kind.steps("probe", f"write {FIRST}", "read_current") == [None, None, FIRST if readable else None]
    assert kind.kept() == FIRST
    assert kind.steps("probe", f"write {SECOND}", "read_current") == [None, None, SECOND if readable else None]
    assert kind.kept() == SECOND


def test_a_full_disk_takes_nothing_that_was_there(kind):
    assert kind.steps(f"write {FIRST}") == [None]
    probed, written = kind.steps("limit 5", "probe", f"write {SECOND}")[1:]
    for name, message in [written] if kind.kind == "command" else [probed, written]:
        assert name in {"InputError", "NotAllowedError"}
        assert "hunter" not in message
        assert "\n" not in message
    if kind.kind != "command":  # what it does is its own affair
        assert kind.kept() == FIRST
    assert {name for name in kind.names() if not name.startswith("kept.")} == {"modules", "kept"}


# --- files -----------------------------------------------------------------------------------------------


@pytest.fixture(params=FILES)
def place(request) -> str:
    """The kind of a file, and its path."""
    return request.param


def keeper_at(place: str, path: Path, *, replace: bool = True) -> SecretSink:
    return open_sink(f"{place}:{path}", "", may_replace=replace_anything if replace else replace_nothing)


@pytest.fixture
def foreign() -> Iterator[Path]:
    """A folder that only its owner may write to, and that everybody may look at."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o555)
        yield folder
        folder.chmod(0o700)


def test_a_folder_that_may_not_be_written_to(place, foreign):
    kind = Kind(place, foreign.parent / f"{foreign.name}-not")
    kind.place = f"{place}:{foreign}/kept"
    before, error = kind.steps("become 65534", "read_current", "probe")[1:]
    assert before is None
    assert error[0] == "NotAllowedError"
    assert "permission denied. Check the permissions of its directory." in error[1]
    assert list(foreign.iterdir()) == []


def test_a_folder_that_may_not_be_looked_into(place, tmp_path):
    kind = Kind(place, tmp_path)
    tmp_path.chmod(0o700)
    (tmp_path / "shut").mkdir(mode=0o000)
    kind.place = f"{place}:{tmp_path}/shut/kept"
    read_current, probed = kind.steps("become 65534", "read_current", "probe")[1:]
    assert read_current is None or read_current[0] == "NotAllowedError"
    assert probed[0] == "NotAllowedError"


@pytest.mark.parametrize(
    ("path", "error", "said"),
    [
        ("none/kept", InputError, "the directory does not exist"),
        ("file/kept", (InputError, NotAllowedError), os.strerror(errno.ENOTDIR)),
        ("folder", InputError, "is not a file"),
        ("pipe", InputError, "is not a file"),
        ("/dev/full", InputError, "is not a file"),
        ("loop", (InputError, NotAllowedError), os.strerror(errno.ELOOP)),
        ("x" * 300, (InputError, NotAllowedError), os.strerror(errno.ENAMETOOLONG)),
        ("x" * 250, InputError, os.strerror(errno.ENAMETOOLONG)),
        ("open", NotAllowedError, "others can read or change it"),
        ("link", NotAllowedError, "others can read or change it"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_what_cannot_take_a_secret_is_told_before_there_is_one(place, tmp_path, path, error, said):
    (tmp_path / "folder").mkdir(mode=0o700)
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "open").write_text(f"KEY={FIRST}\n" if place == "env-file" else FIRST)
    (tmp_path / "open").chmod(0o640)
    (tmp_path / "link").symlink_to("open")
    (tmp_path / "file").write_text("")
    before = sorted(tmp_path.iterdir())
    begin = time.monotonic()
    with pytest.raises(error) as caught:
        keeper_at(place, tmp_path / path).probe()
    assert said in caught.value.message
    assert "hunter" not in str(caught.value)
    assert time.monotonic() - begin < 2
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("what", ["file", "folder", "pipe", "link", "dangling"])
def test_a_new_file_takes_no_others_place(tmp_path, what):
    path = tmp_path / "kept"
    (tmp_path / "there").write_text("precious")
    {
        "file": lambda: path.write_text("precious"),
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "link": lambda: path.symlink_to("there"),
        "dangling": lambda: path.symlink_to("nowhere"),
    }[what]()
    before = path.lstat()
    keeper = keeper_at("file", path, replace=False)
    for call in (keeper.probe, lambda: keeper.write(FIRST)):  # it may have come between the two
        with pytest.raises(UsageError, match=r"already exists\. Use a path that does not exist"):
            call()
    assert path.lstat() == before
    assert not (tmp_path / "nowhere").exists()
    assert (tmp_path / "there").read_text() == "precious"


def test_what_is_replaced_is_the_file_and_not_a_link_to_it(place, tmp_path):
    (tmp_path / "far").mkdir()
    path, link = tmp_path / "far" / "kept", tmp_path / "link"
    keeper_at(place, path).write(FIRST)
    link.symlink_to("far/kept")
    keeper = keeper_at(place, link)
    keeper.probe()
    keeper.write(SECOND)
    assert link.is_symlink()
    assert keeper_at(place, path).read_current() == keeper.read_current() == SECOND


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to make files of others")
@pytest.mark.parametrize("whose", ["file", "link"])
def test_a_file_or_a_link_of_another_user_is_refused(place, tmp_path, whose):
    """He could read what is written into the file, and turn the link to another one."""
    path, link = tmp_path / "kept", tmp_path / "link"
    keeper_at(place, path).write(FIRST)
    link.symlink_to("kept")
    os.chown(path if whose == "file" else link, 1234, 5678, follow_symlinks=False)
    keeper = keeper_at(place, link)
    for call in (keeper.probe, keeper.read_current, lambda: keeper.write(SECOND)):
        with pytest.raises(NotAllowedError, match=r"link belongs to another user \(uid 1234\)"):
            call()
    assert FIRST in path.read_text()


def test_nobody_ever_sees_half_of_it_or_a_file_that_others_may_read(place, tmp_path):
    path = tmp_path / "kept"
    secrets = {FIRST, SECOND * 500}
    keeper_at(place, path).write(FIRST)
    old, seen, wrong, is_over = os.umask(0), set(), [], threading.Event()

    def look() -> None:
        while not is_over.is_set():
            found = keeper_at(place, path).read_current()
            seen.add(found)
            wrong.extend([found] if found not in secrets else [])
            for one in os.scandir(tmp_path):
                try:
                    mode = one.stat().st_mode
                except FileNotFoundError:
                    continue
                wrong.extend([oct(mode)] if mode & 0o077 else [])

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for turn in range(60):
            keeper_at(place, path).write(FIRST if turn % 2 else SECOND * 500)
    finally:
        is_over.set()
        reader.join()
        os.umask(old)
    assert wrong == []
    assert seen == secrets


def test_room_is_proven_for_all_of_a_file(tmp_path):
    kind = Kind("env-file", tmp_path)
    kind.file.write_text(f"KEY={FIRST}\n" + "#" * 100_000)
    kind.file.chmod(0o600)
    assert kind.steps("limit 50000", "probe")[1][0] == "InputError"
    assert kind.steps("limit 200000", "probe")[1] is None


# --- their names ---------------------------------------------------------------------------------------------


def test_every_kind_is_a_keeper_whose_name_opens_it_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    given = {
        "keyring": "keyring",
        "file": f"file:{tmp_path}/x",
        "env-file": f"env-file:{tmp_path}/home/.env#TOKCTL_API_KEY",
        "command": "command:gh secret set 'A B'",
    }
    said = {"file": "file:x", "env-file": " ENV-FILE: ~/.env", "command": "command: gh  secret set A\\ B"}
    for kind in SINKS:
        keeper = open_sink(said.get(kind, given[kind]), "http://h/api-tokens/1")
        assert keeper.name == given[kind]
        assert open_sink(keeper.name, "http://h/api-tokens/1").name == given[kind]


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("keyrin", "did you mean 'keyring'"),
        ("", "unknown place for a secret: ''"),
        ("keyring:x", "--save keyring takes no argument"),
        ("file", "--save file needs an argument"),
        ("file: ", "--save file needs an argument"),
        ("env:NAME", "unknown place for a secret: 'env'"),
        ("env-file:#KEY", "invalid place"),
        ("env-file:x#", "invalid place"),
        ("env-file:x#A-B", "invalid place"),
        ("command:sh 'x", "Check the quotes"),
        ("/etc/secret", "unknown place for a secret: '/etc/secret'. Valid: keyring, file:PATH"),
    ],
)
def test_what_is_no_place(place, said):
    with pytest.raises(TokctlError) as caught:
        open_sink(place, "")
    assert isinstance(caught.value, UsageError)
    assert said in str(caught.value)
