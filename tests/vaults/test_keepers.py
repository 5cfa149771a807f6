"""What a secret can be put into: the same is true of all of it, and nothing of anybody's is lost on the way."""

from __future__ import annotations

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
from hypothesis import example, given
from hypothesis import strategies as st

from commandline import clean_environment
from keyrings import backends, entries
from tokctl.errors import InputError, NotAllowedError, TokctlError, UnreachableError, UsageError
from tokctl.vaults import KEEPERS, open_keeper
from tokctl.vaults.base import Keeper
from tokctl.vaults.envfile import EnvFile
from tokctl.vaults.receiver import Receiver

FIRST, SECOND = "xvc_hunter1hunter1", "xvc_hunter2hunter2"
STEPS = """
import json, os, resource, sys
from tokctl.errors import TokctlError
from tokctl.vaults import open_keeper

keeper = open_keeper(sys.argv[1], "https://h:1/api-tokens/7", replace=True)

def limit(size):
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
            "keyring": "", "file": f":{self.file}", "env-file": f":{self.file}#KEY",
            "command": f":sh -c 'cat > {self.file}'",
        }[kind]  # fmt: skip
        self.place = kind + rest
        self.environ = backends(folder, "own_backends.Kept") | {"PYTHONDONTWRITEBYTECODE": "1"}

    def steps(self, *steps: str) -> list:
        done = subprocess.run([sys.executable, "-c", STEPS, self.place, *steps], env=clean_environment(self.environ),
                              capture_output=True, text=True, check=False, timeout=60)  # fmt: skip
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


@pytest.fixture(params=[*KEEPERS])
def kind(request, tmp_path) -> Kind:
    return Kind(request.param, tmp_path)


def test_a_probe_leaves_nothing_behind(kind):
    assert kind.steps("probe", "held") == [None, None]
    assert kind.names() - {"kept"} == {"modules"}
    assert kind.kept() is None
    assert entries(kind.folder) == {}


def test_what_is_put_in_is_there_until_it_is_replaced_or_removed(kind):
    readable = kind.kind != "command"
    assert kind.steps("probe", f"write {FIRST}", "held") == [None, None, FIRST if readable else None]
    assert kind.kept() == FIRST
    assert kind.steps("probe", f"write {SECOND}", "held") == [None, None, SECOND if readable else None]
    assert kind.kept() == SECOND
    assert kind.steps("remove", "remove", "held") == [readable, False, None]
    if kind.kind == "env-file":
        assert kind.file.read_text() == ""
    else:
        assert kind.kept() == (None if readable else SECOND)
    assert kind.names() - {"kept"} == {"modules"}


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


def keeper_at(place: str, path: Path, *, replace: bool = True) -> Keeper:
    return open_keeper(f"{place}:{path}", "", replace=replace)


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
    before, error = kind.steps("become 65534", "held", "probe")[1:]
    assert before is None
    assert error[0] == "NotAllowedError"
    assert "may not be written. Check the rights of its folder." in error[1]
    assert list(foreign.iterdir()) == []


def test_a_folder_that_may_not_be_looked_into(place, tmp_path):
    kind = Kind(place, tmp_path)
    tmp_path.chmod(0o700)
    (tmp_path / "shut").mkdir(mode=0o000)
    kind.place = f"{place}:{tmp_path}/shut/kept"
    held, probed = kind.steps("become 65534", "held", "probe")[1:]
    assert held is None or held[0] == "NotAllowedError"
    assert probed[0] == "NotAllowedError"


@pytest.mark.parametrize(
    ("path", "error", "said"),
    [
        ("none/kept", InputError, "there is no such folder"),
        ("file/kept", (InputError, NotAllowedError), "Not a directory"),
        ("folder", InputError, "is no file"),
        ("pipe", InputError, "is no file"),
        ("/dev/full", InputError, "is no file"),
        ("loop", (InputError, NotAllowedError), "Too many levels of symbolic links"),
        ("x" * 300, (InputError, NotAllowedError), "File name too long"),
        ("x" * 250, InputError, "File name too long"),
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
        with pytest.raises(UsageError, match=r"is there already\. Name one that is not"):
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
    assert keeper_at(place, path).held() == keeper.held() == SECOND


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to make files of others")
def test_a_users_file_stays_the_users(place, tmp_path):
    path = tmp_path / "kept"
    keeper_at(place, path).write(FIRST)
    os.chown(path, 1234, 5678)
    keeper_at(place, path).write(SECOND)
    status = path.stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (1234, 5678, 0o600)


def test_nobody_ever_sees_half_of_it_or_a_file_that_others_may_read(place, tmp_path):
    path = tmp_path / "kept"
    secrets = {FIRST, SECOND * 500}
    keeper_at(place, path).write(FIRST)
    old, seen, wrong, is_over = os.umask(0), set(), [], threading.Event()

    def look() -> None:
        while not is_over.is_set():
            found = keeper_at(place, path).held()
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


# --- files of variables ------------------------------------------------------------------------------------

PLAIN = st.text("abcXYZ019_./:+=@%-", min_size=1, max_size=8)
INNER = st.lists(st.sampled_from(["KEY=no", "export KEY=no\n", "\n", "#", " # ", " ", "=", "é", "a", "\t"])).map(
    "".join
)
SINGLE = INNER.map(lambda text: f"'{text}'")
DOUBLE = st.lists(INNER | st.sampled_from([r"\"", r"\\", "it's", r"\$", r"\`"])).map(
    lambda parts: f'"{"".join(parts)}"'
)
VALUE = st.one_of(st.just(""), PLAIN, PLAIN.map(lambda text: f"{text}#b"), SINGLE, DOUBLE,
                  st.tuples(SINGLE, DOUBLE).map("".join), SINGLE.map(lambda text: rf"{text}\'{text}"))  # fmt: skip
NAME = st.sampled_from(["KEY", "KEY", "KEYS", "A_KEY", "B"])
HEAD = st.sampled_from(["", "export ", "  ", "\texport\t"])
COMMENT = st.sampled_from(["", " # it's KEY=no", "  #", " "])
ODD = st.sampled_from(["two words", "it's", "a;b"])  # no shell would take them
REMARK = st.sampled_from(["", "# a comment with KEY=no", "#KEY=no", "  # it's one", "   "]).map(
    lambda text: (text, "", "", "")
)
LINE = st.one_of(REMARK, st.tuples(HEAD, NAME, VALUE, COMMENT))
SECRETS = st.from_regex(r"xvc_[0-9A-Za-z]{4}", fullmatch=True) | st.text(
    [*map(chr, range(0x21, 0x7F))], min_size=1, max_size=12
)


def joined(lines, ending, *, is_ended=True) -> list[tuple[str, str, str, str]]:
    """The lines as pieces: what is before a value, the variable's name, its value, and what is behind it."""
    pieces = []
    for number, (head, name, value, tail) in enumerate(lines):
        end = ending if is_ended or number + 1 < len(lines) else ""
        pieces.append((f"{head}{name}=" if name else head, name, value, tail + end))
    return pieces


def text_of(pieces) -> str:
    return "".join(before + value + behind for before, _, value, behind in pieces)


def variables(path: Path) -> dict[str, bytes]:
    """What a shell makes of the file."""
    done = subprocess.run(["sh", "-c", "set -a; . ./variables; exec /usr/bin/env -0"], cwd=path.parent, env={},
                          capture_output=True, check=True)  # fmt: skip
    pairs = [pair.partition(b"=") for pair in done.stdout.split(b"\0") if pair]
    return {name.decode(): value for name, _, value in pairs if name.decode() not in {"PWD", "OLDPWD", "_", "SHLVL"}}


@given(lines=st.lists(LINE, max_size=6), secret=SECRETS, is_ended=st.booleans())
@example(lines=[("", "KEY", "", " # empty")], secret="xvc_1", is_ended=True)
def test_one_variable_is_replaced_and_a_shell_finds_it_and_all_others(tmp_path, lines, secret, is_ended):
    pieces = joined(lines, "\n", is_ended=is_ended)
    path = tmp_path / "variables"
    path.write_bytes(text_of(pieces).encode())
    path.chmod(0o600)
    before = variables(path)
    keeper = EnvFile(path, "KEY")
    keeper.write(secret)
    assert keeper.held() == secret
    assert variables(path) == before | {"KEY": secret.encode()}
    assert path.stat().st_mode & 0o777 == 0o600
    assert keeper.remove()
    assert keeper.held() is None
    assert variables(path) == {name: value for name, value in before.items() if name != "KEY"}


@given(
    lines=st.lists(st.one_of(LINE, st.tuples(HEAD, NAME, ODD, COMMENT)), max_size=6),
    ending=st.sampled_from(["\n", "\r\n"]), is_ended=st.booleans(), mark=st.sampled_from(["", "\ufeff"]),
)  # fmt: skip
@example(lines=[("", "KEY", "x", "")], ending="\n", is_ended=True, mark="\ufeff")
def test_every_other_byte_stays_as_it_was(tmp_path, lines, ending, is_ended, mark):
    pieces = joined(lines, ending, is_ended=is_ended)
    path = tmp_path / "variables"
    text = mark + text_of(pieces)
    path.write_bytes(text.encode())
    path.chmod(0o600)
    EnvFile(path, "KEY").write(SECOND)
    ours = [number for number, piece in enumerate(pieces) if piece[1] == "KEY"]
    if ours:
        before, name, _, behind = pieces[ours[-1]]
        pieces[ours[-1]] = before, name, SECOND, behind
        expected = mark + text_of(pieces)
    else:
        crlf = "\r\n" if "\r\n" in text else "\n"
        expected = text + (crlf if text and not text.endswith("\n") else "") + f"KEY={SECOND}{crlf}"
    assert path.read_bytes() == expected.encode()


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("KEY=abc # comment\n", "abc"),
        ("KEY = abc\n", "abc"),
        ("KEY=a#b", "a#b"),
        ("KEY='abc' # comment\r\n", "abc"),
        ('export KEY="abc"\n', "abc"),
        ("KEY=\n", None),
        ('KEY=""\n', None),
        ("KEY= # nothing yet\n", None),
        ("#KEY=abc\n", None),
        ("KEYS=abc\nMY_KEY=abc\n", None),
        ("A='\nKEY=abc\n'\n", None),
        ("KEY=abc\nKEY=def\n", "def"),
        ("KEY='abc\n", "'abc"),
    ],
)
def test_what_a_variable_holds(tmp_path, text, held):
    path = tmp_path / "variables"
    path.write_bytes(text.encode())
    path.chmod(0o600)
    assert EnvFile(path, "KEY").held() == held


def test_a_file_that_is_no_text_or_too_large_stays_as_it_was(tmp_path):
    path = tmp_path / "variables"
    path.touch(0o600)
    for data in (b"KEY=\xff\xfe\n", b"#" * (1 << 20) + b"\n"):
        path.write_bytes(data)
        for call in (EnvFile(path, "KEY").probe, lambda: EnvFile(path, "KEY").write(FIRST)):
            with pytest.raises(InputError):
                call()
        assert path.read_bytes() == data


def test_many_variables_do_not_take_long(tmp_path):
    path = tmp_path / "variables"
    path.touch(0o600)
    path.write_text("NAME='a value'\n" * 20_000 + "KEY=x")
    begin = time.monotonic()
    EnvFile(path, "KEY").write(FIRST)
    assert time.monotonic() - begin < 5


# --- programs ----------------------------------------------------------------------------------------------


def test_a_program_gets_the_secret_alone_on_its_stdin_and_nowhere_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    script = "cat > got; tr '\\0' ' ' < /proc/self/cmdline > line; cat /proc/$PPID/cmdline >> line; env > env"
    Receiver(["sh", "-c", script]).write(FIRST)
    assert Path("got").read_bytes() == FIRST.encode()
    assert "hunter1" not in Path("line").read_text() + Path("env").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sh", "-c", "cat; exit 3"], "the command sh, which was to take the secret, ended with exit code 3."),
        (["sh", "-c", "cat; kill -9 $$"], "the command sh, which was to take the secret, ended by signal 9."),
    ],
)
def test_a_program_that_fails_and_repeats_the_secret(capsys, words, said):
    with pytest.raises(NotAllowedError) as caught:
        Receiver(words).write(FIRST)
    assert str(caught.value) == said
    assert capsys.readouterr() == ("", "xvc_hunt...\n")


def test_what_it_says_is_passed_on_masked_and_not_at_length(capsys):
    Receiver(["sh", "-c", "read secret; echo got $secret; echo no >&2; yes $secret | head -n 9999"]).write(FIRST)
    out, err = capsys.readouterr()
    assert out == ""
    assert "hunter1" not in err
    assert len(err) < 2100
    Receiver(["sh", "-c", "read secret; echo got $secret; echo no >&2"]).write(FIRST)
    assert capsys.readouterr().err == "got xvc_hunt...\nno\n"


@pytest.mark.parametrize("script", ["exit 0", "exec 0<&-; sleep 0.2"])
def test_one_that_does_not_read_is_believed(script):
    Receiver(["sh", "-c", script]).write(FIRST)


@pytest.mark.parametrize("script", ["sleep 61 & echo $! > $0; wait", "echo $$ > $0; exec yes"])
def test_one_that_does_not_end_is_ended_with_all_that_it_runs(tmp_path, capsys, script):
    begin = time.monotonic()
    with pytest.raises(UnreachableError, match=r"the command sh has not ended within 1 s\."):
        Receiver(["sh", "-c", script, str(tmp_path / "pid")], patience=1).write(FIRST)
    assert time.monotonic() - begin < 5
    assert len(capsys.readouterr().err) < 2100
    status = Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}/status")
    assert not status.exists() or "zombie" in status.read_text()


def test_what_it_leaves_running_is_not_waited_for(tmp_path, capsys):
    begin = time.monotonic()
    Receiver(["sh", "-c", f"sleep 20 & cat > {tmp_path}/got; echo fine"]).write(FIRST)
    assert time.monotonic() - begin < 5
    assert (tmp_path / "got").read_text() == FIRST
    assert capsys.readouterr().err == "fine\n"


def test_one_that_cannot_be_run(tmp_path):
    (tmp_path / "words").write_text("no program")
    (tmp_path / "words").chmod(0o755)
    (tmp_path / "not").write_text("#!/bin/sh")
    with pytest.raises(UsageError, match=r"there is no program no-such, which is to take the secret\."):
        Receiver(["no-such"]).probe()
    with pytest.raises(UsageError, match="there is no program"):
        Receiver([str(tmp_path / "not")]).probe()
    with pytest.raises(InputError, match=r"cannot be run: Exec format error\."):
        Receiver([str(tmp_path / "words")]).write(FIRST)


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
    for kind in KEEPERS:
        keeper = open_keeper(said.get(kind, given[kind]), "http://h/api-tokens/1")
        assert keeper.name == given[kind]
        assert open_keeper(keeper.name, "http://h/api-tokens/1").name == given[kind]


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("keyrin", "did you mean 'keyring'"),
        ("", "a secret cannot be saved in ''"),
        ("keyring:x", "--save keyring takes no name"),
        ("file", "--save file does not say where"),
        ("file: ", "--save file does not say where"),
        ("env:NAME", "a secret cannot be saved in 'env'"),
        ("env-file:#KEY", "names no variable in a file"),
        ("env-file:x#", "names no variable in a file"),
        ("env-file:x#A-B", "names no variable in a file"),
        ("command:sh 'x", "A quote may be missing"),
        ("/etc/secret", "a secret cannot be saved in '/etc/secret'. Valid: keyring, file:PATH"),
    ],
)
def test_what_is_no_place(place, said):
    with pytest.raises(TokctlError) as caught:
        open_keeper(place, "")
    assert isinstance(caught.value, UsageError)
    assert said in str(caught.value)
