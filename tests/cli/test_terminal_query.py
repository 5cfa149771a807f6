"""``tokctl diagram --image`` on terminals that answer as they should, as they should not, and not at all."""

from __future__ import annotations

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.diagrams import document
from support.terminal import AnsweringTerminal, Terminal
from support.terminal_pictures import open_png, read_iterm2, read_kitty, read_sixel
from tokctl.cli.terminal_query import CELL, TerminalAnswers, parse_answers

KITTY = b"\x1b_Gi=31;OK\x1b\\"
CELLS = b"\x1b[6;36;9t"
PLAIN, SIXEL = b"\x1b[?62;22c", b"\x1b[?62;4;22c"
REFUSAL = "error: this terminal supports neither the kitty, iTerm2 nor sixel protocol."

pytestmark = pytest.mark.slow  # starts programs


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "m.bpmn"
    steps = "".join(f'<task id="t{n}"/>' for n in range(3))
    flows = "".join(f'<sequenceFlow id="f{n}" sourceRef="t{n}" targetRef="t{n + 1}"/>' for n in range(2))
    path.write_text(document(steps + flows))
    return path


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (KITTY + PLAIN, {"kitty": True, "complete": True}),
        (b"\x1b_Gi=31;ENOTSUPPORTED:no\x1b\\" + PLAIN, {"complete": True}),
        (b"\x1b_Gi=7;OK\x1b\\" + PLAIN, {"complete": True}),
        (SIXEL, {"sixel": True, "complete": True}),
        (b"\x1b[?4c", {"complete": True}),  # a VT132, which has no sixels
        (b"\x1b[?62;14;44c", {"complete": True}),
        (b"\x1b]1337;Capabilities=T3CwLrMSc7FSx\x07" + PLAIN, {"iterm2": True, "complete": True}),
        (b"\x1b]1337;Capabilities=T3FtNo\x1b\\" + PLAIN, {"complete": True}),
        (b"\x1bP>|iTerm2 3.5.0\x1b\\" + PLAIN, {"iterm2": True, "complete": True}),
        (b"\x1bP>|XTerm(390)\x1b\\" + PLAIN, {"complete": True}),
        (b"abc" + CELLS + b"\x1b[A" + PLAIN, {"cell": (9, 36), "complete": True}),
        (b"\x1b[6;0;0t" + PLAIN, {"complete": True}),
        (KITTY, {"kitty": True}),
        (b"", {}),
    ],
)
def test_answers_are_understood(answers, expected):
    assert parse_answers(answers) == TerminalAnswers(**({"cell": CELL} | expected))


@given(st.lists(st.sampled_from([b"\x1b", b"_G", b"[", b"]", b"P>|", b"?", b";", b"c", b"\\", b"\0", b"4", KITTY])))
def test_any_bytes_can_be_read(pieces):
    parse_answers(b"".join(pieces))


# --- in a terminal ------------------------------------------------------------------------------------


def show(model, answers, **more):
    words = ("diagram", "--model", model, "--image", "--quiet")
    return AnsweringTerminal(*words, answers=answers, **more)


@pytest.mark.parametrize(
    ("answers", "read"),
    [
        (KITTY + CELLS + SIXEL, lambda raw: open_png(read_kitty(raw))),
        (b"\x1bP>|iTerm2 3.5.0\x1b\\" + CELLS + SIXEL, lambda raw: open_png(read_iterm2(raw))),
        (CELLS + SIXEL, read_sixel),
    ],
    ids=["kitty", "iterm2", "sixel"],
)
def test_a_terminal_shows_the_picture(model, answers, read):
    with show(model, answers, columns=50) as seen:
        assert seen.end() == 0
        assert seen.as_it_was
        picture = read(seen.raw)
        assert picture.width == 50 * 9
        assert len(picture.getcolors(picture.width * picture.height)) > 2
        assert seen.unread() == b""


@pytest.mark.parametrize(
    "answers",
    [PLAIN, b"", b"\x1b_Gi=31;EINVAL:what?\x1b\\\x1b[?1;2c", b"\x1b]1337;\x07\x1bP>|\xff\x00\x1b\\" + PLAIN],
    ids=["none", "silence", "refusal", "garbage"],
)
def test_a_terminal_without_pictures(model, answers):
    with show(model, answers) as seen:
        assert seen.end() == 2
        assert seen.text.replace("\n", "").startswith(REFUSAL)
        assert seen.as_it_was
        assert seen.unread() == b""


def test_sixels_without_their_library(model, tmp_path):
    (tmp_path / "PIL").mkdir()
    (tmp_path / "PIL" / "__init__.py").write_text("raise ImportError")
    with show(model, SIXEL, env={"PYTHONPATH": str(tmp_path)}, columns=150) as seen:
        assert seen.end() == 2
        assert "error: sixel pictures need Pillow, which is not installed. Install it: pip install" in seen.text


def test_inside_tmux_the_error_says_what_is_needed(model):
    with show(model, PLAIN, env={"TMUX": "/tmp/tmux/default,1,0"}, columns=200) as seen:
        assert seen.end() == 2
        assert "tmux needs to be built with sixel" in seen.text


def test_what_was_typed_before_remains(model):
    with Terminal("diagram", "--model", model, "--image") as seen:
        seen.type("ls\n")
        assert seen.end() == 2
        assert "there is input that no program has read. Try again." in seen.text.replace("\n", "")
        assert b"\x1b[c" not in seen.raw
        assert seen.as_it_was
        assert seen.unread() == b"ls\n"


def test_keys_that_are_pressed_meanwhile_are_put_back_or_reported(model):
    with AnsweringTerminal("diagram", "--model", model, "--image", answers=b"l" + KITTY + b"s\n" + PLAIN) as seen:
        assert seen.end() == 0
        assert seen.as_it_was
        is_lost = "Keys that were pressed while the terminal answered are lost." in seen.text
        assert seen.unread() == (b"" if is_lost else b"ls\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_the_terminal_is_restored_when_the_program_is_stopped(model, number, code):
    with show(model, b"") as seen:
        while not seen.asked:
            seen.read(0.1)
        seen.process.send_signal(number)
        assert seen.end() == code
        assert seen.as_it_was


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--format", "svg"], "error: --image cannot be used with --format. Remove one of them."),
        (["--out", "a.svg"], "error: --image cannot be used with --out. Remove one of them."),
        ([], "error: --image needs a terminal that can show pictures. Use --out FILE."),
    ],
)
def test_image_needs_a_terminal(shell, model, options, message):
    ran = shell("diagram", "--model", model, "--image", *options, env={"TERM": "xterm-256color"})
    assert (ran.code, ran.out, ran.err) == (2, "", f"{message}\n")


def test_a_dumb_terminal_is_not_asked(model):
    with show(model, KITTY + PLAIN, env={"TERM": "dumb"}) as seen:
        assert seen.end() == 2
        assert not seen.asked
