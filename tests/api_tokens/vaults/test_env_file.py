"""A secret as one variable of a file: a shell finds it there, and nothing else of the file changes."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tokctl.api_tokens.vaults.env_file import EnvFile
from tokctl.api_tokens.vaults.protocol import replace_anything
from tokctl.errors import InputError, UsageError

FIRST, SECOND = "xvc_hunter1hunter1", "xvc_hunter2hunter2"
PLAIN = st.text("abcXYZ019_./:+=@%-", min_size=1, max_size=8)
INNER = st.lists(st.sampled_from(["KEY=no", "export KEY=no\n", "\n", "#", " # ", " ", "=", "é", "a", "\t"])).map(
    "".join
)
SINGLE = INNER.map(lambda text: f"'{text}'")
DOUBLE = st.lists(INNER | st.sampled_from([r"\"", r"\\", "it's", r"\$", r"\`"])).map(
    lambda parts: f'"{"".join(parts)}"'
)
VALUE = st.one_of(
    st.just(""),
    PLAIN,
    PLAIN.map(lambda text: f"{text}#b"),
    SINGLE,
    DOUBLE,
    st.tuples(SINGLE, DOUBLE).map("".join),
    SINGLE.map(lambda text: rf"{text}\'{text}"),
)
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
    done = subprocess.run(
        ["sh", "-c", "set -a; . ./variables; exec /usr/bin/env -0"],
        cwd=path.parent,
        env={},
        capture_output=True,
        check=True,
    )
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
    keeper = EnvFile(path, "KEY", may_replace=replace_anything)
    keeper.write(secret)
    assert keeper.read_current() == secret
    assert variables(path) == before | {"KEY": secret.encode()}
    assert path.stat().st_mode & 0o777 == 0o600


@given(
    lines=st.lists(st.one_of(LINE, st.tuples(HEAD, NAME, ODD, COMMENT)), max_size=6),
    ending=st.sampled_from(["\n", "\r\n"]),
    is_ended=st.booleans(),
    mark=st.sampled_from(["", "\ufeff"]),
)
@example(lines=[("", "KEY", "x", "")], ending="\n", is_ended=True, mark="\ufeff")
def test_every_other_byte_stays_as_it_was(tmp_path, lines, ending, is_ended, mark):
    pieces = joined(lines, ending, is_ended=is_ended)
    path = tmp_path / "variables"
    text = mark + text_of(pieces)
    path.write_bytes(text.encode())
    path.chmod(0o600)
    EnvFile(path, "KEY", may_replace=replace_anything).write(SECOND)
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
    ("text", "read_current"),
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
def test_what_a_variable_holds(tmp_path, text, read_current):
    path = tmp_path / "variables"
    path.write_bytes(text.encode())
    path.chmod(0o600)
    assert EnvFile(path, "KEY").read_current() == read_current


@pytest.mark.parametrize("text", ["KEY=abc\n", "export KEY = 'abc' # of ci\n", "KEY=\nKEY=abc", 'KEY="a b'])
def test_a_value_that_is_there_is_kept_unless_it_may_be_replaced(tmp_path, text):
    path = tmp_path / "variables"
    path.write_text(text)
    path.chmod(0o600)
    for call in (EnvFile(path, "KEY").probe, lambda: EnvFile(path, "KEY").write(FIRST)):
        with pytest.raises(UsageError):
            call()
    assert path.read_text() == text
    EnvFile(path, "OTHER").write(FIRST)
    EnvFile(path, "KEY", may_replace=replace_anything).write(SECOND)
    assert (EnvFile(path, "OTHER").read_current(), EnvFile(path, "KEY").read_current()) == (FIRST, SECOND)


@pytest.mark.parametrize("text", ["KEY=\n", "KEY=''\n", 'KEY=""  # nothing yet', "KEY=abc\nKEY=\n"])
def test_a_variable_without_a_value_may_be_set(tmp_path, text):
    path = tmp_path / "variables"
    path.write_text(text)
    path.chmod(0o600)
    EnvFile(path, "KEY").probe()
    EnvFile(path, "KEY").write(FIRST)
    assert EnvFile(path, "KEY").read_current() == FIRST


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
    EnvFile(path, "KEY", may_replace=replace_anything).write(FIRST)
    assert time.monotonic() - begin < 5
