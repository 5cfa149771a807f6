"""Text from data never steers a terminal, and is never taken for markup."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import subprocess
import sys
import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.commandline import NOW, Stream, clean_environment
from support.examples import scaled
from tokctl.kinds import FORMATS
from tokctl.render import emit
from tokctl.render.result import Cell, Column, Detail, Field, Listing, Output, Section
from tokctl.render.text import escape_control_lines, escape_controls, escape_json_controls, to_ascii

NASTY = [
    "\x1b[41mred\x1b[0m",
    "\x1b]0;title\x07",
    "\x1b]8;;http://x\x1b\\link",
    "\x9b31mC1",
    "\x90q\x9c",
    "line\nbreak\r\nand\ttab",
    "over\rwrite",
    "back\b\b\bspace",
    "nul\x00bell\x07",
    "\x7fdel\x85nel",
    "\u202egnp.exe\u202c",
    "\u2066iso\u2069",
    "\u200b\u200d\ufeff",
    "\u2028ls\u2029ps",
    "\U000e0041tag\U000e007f",
    "\u3164\u115f\uffa0",
    "\u061c\u180e\u00ad",
    "[red]x[/red] [/] [link=file:///etc/passwd]y[/link]",
]


def steers(character: str) -> bool:
    """Whether a character could do more than stand there: the definition here is Unicode's, not the program's."""
    return (
        unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"}
        or unicodedata.bidirectional(character) in {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
        or character in "\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\u061c\u00ad"
        or 0xE0000 <= ord(character) <= 0xE00FF
    )


def dangers(text: str) -> set[str]:
    return {character for character in text if character != "\n" and steers(character)}


dangerous = st.one_of(
    st.characters(categories=["Cc", "Zl", "Zp"]),
    st.integers(0x2000, 0x206F).map(chr).filter(steers),
    st.integers(0xE0000, 0xE00FF).map(chr),
    st.sampled_from("\ufeff\u061c\u00ad"),
)
wild = st.lists(st.one_of(dangerous, st.sampled_from(NASTY), st.text(max_size=3), st.characters()), max_size=6).map(
    "".join
)


@given(wild)
def test_safe_text_has_one_harmless_line(text):
    assert not dangers(escape_controls(text))
    assert "\n" not in escape_controls(text)
    assert not dangers(escape_control_lines(text))
    assert to_ascii(escape_controls(text)).isascii()


@given(wild)
def test_what_is_harmless_is_left_alone(text):
    harmless = "".join(c for c in text if c.isprintable() and not unicodedata.category(c).startswith("C"))
    kept = escape_controls(harmless)
    assert kept == harmless or "\\u" in kept  # fillers that look like nothing are printable, too


@given(st.recursive(wild, lambda inner: st.dictionaries(wild, inner, max_size=3) | st.lists(inner, max_size=3)))
def test_json_keeps_its_meaning(value):
    text = json.dumps(value, ensure_ascii=False)
    assert json.loads(escape_json_controls(text)) == value
    assert not dangers(escape_json_controls(text))


def results(text: str, stem: str = "├─ ") -> list[Listing | Detail]:
    columns = (
        Column(key=text or "k", title="TITLE", value=lambda item: item, fold=True),
        Column(key="other", title="OTHER", value=lambda item: {item: [item]}, show=lambda item: Cell(item, "red")),
        Column(key="stem", title="TREE", value=lambda item: item, show=lambda item: Cell(item, "", stem), fold=True),
    )
    listing = Listing(
        key="items",
        items=[text, text * 30],
        columns=columns,
        ident=lambda item: item,
        document=lambda item: {item: item},
        head={text: text},
        tail=lambda: {text + "x": text},
        headline=(Cell(text, "bold"), Cell(text * 30)),
        notes=lambda _: [text],
        empty=text,
    )
    empty = Listing(key="items", items=[], columns=columns, ident=str, document=dict, empty=text)
    inner = Listing(key="items", items=[text], columns=columns, ident=str, document=dict)
    detail = Detail(
        ident=text,
        document={text: [text]},
        title=(Cell(text, "bold"),),
        sections=(
            Section(title=text, fields=(Field(text, Cell(text, "dim")),)),
            Section(listing=inner),
            Section(listing=empty),
            Section(block=json.dumps({text: text}, indent=2, ensure_ascii=False)),
        ),
    )
    return [listing, empty, detail]


@settings(max_examples=scaled(0.3))
@given(
    wild,
    st.sampled_from([*FORMATS]),
    st.integers(20, 90),
    st.booleans(),
    st.sampled_from([None, "*", "items", "[@, @]"]),
)
def test_nothing_that_steers_reaches_a_terminal(text, form, width, unicode, query):
    for result in results(text, "├─ " if unicode else "|- "):
        out = Output(
            stream=Stream(tty=True),
            errors=Stream(tty=True),
            format=form,
            tty=True,
            color=False,
            unicode=unicode,
            width=width,
            now=NOW,
            query=query,
        )
        emit(result, out)
        assert not dangers(out.stream.written())
        assert not dangers(out.errors.written())
        assert unicode or out.stream.written().isascii()


@settings(max_examples=scaled(0.3))
@given(wild, st.sampled_from(["table", "wide", "id"]))
def test_nor_a_table_anywhere(text, form):
    for result in results(text):
        out = Output(
            stream=Stream(), errors=Stream(), format=form, tty=False, color=False, unicode=True, width=60, now=NOW
        )
        emit(result, out)
        assert not dangers(out.stream.written())
        assert not dangers(out.errors.written())


@settings(max_examples=scaled(0.3))
@given(wild)
def test_colours_are_all_that_is_added(text):
    for result in results(text):
        out = Output(
            stream=Stream(tty=True),
            errors=Stream(tty=True),
            format="table",
            tty=True,
            color=True,
            unicode=True,
            width=60,
            now=NOW,
        )
        emit(result, out)
        written = out.stream.written()
        for code in ("\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[0m"):
            written = written.replace(code, "")
        assert not dangers(written)


# --- through the real entry point ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nasty(tmp_path_factory):
    """A file in which every text is a nasty one."""
    tokens = [
        {
            "instance_id": f"i\x1b[2J{NASTY[10]}",
            "process_id": f"p{NASTY[1]}",
            "token_id": f"t{n}{text}".replace("\0", "~"),
            "element_id": text,
            "element_name": text,
            "element_type": text,
            "state": text if n % 2 else "ACTIVE",
            "created_at": f"2025-01-11T10:{n:02}:00Z",
            "parent_token_id": f"t{n - 1}{NASTY[n - 1]}".replace("\0", "~") if n else None,
            "child_tokens": [text],
            "variables": {text: text},
            "execution_context": {"worker_id": text, text: text, "d": {text: text}},
            "flow_history": [{"from_element": text, "via_flow": text}],
            text: text,
        }
        for n, text in enumerate(NASTY)
    ]
    path = tmp_path_factory.mktemp("nasty") / "nasty.json"
    path.write_text(json.dumps(tokens))
    return path


COMMANDS = [
    ["instances", "list"],
    ["instances", "show"],
    ["tokens", "list"],
    ["tokens", "list", "--variables"],
    ["tokens", "tree"],
    ["tokens", "history"],
    *(["tokens", "show", f"t{n}{text[:3]}".replace("\0", "~")] for n, text in enumerate(NASTY)),
    ["tokens", "show", "t0\x1b\u202e\x9b"],
    ["tokens", "list", "no\x1b\u202e\x9bsuch"],
    ["tokens", "list", "--state", "\x1b[41m"],
    ["tokens", "list", "--\x1b[41m"],
    ["\x1b[41m"],
]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: ascii(" ".join(words)))
def test_commands_on_a_nasty_file(tokctl, nasty, words, form):
    ran = tokctl("--file", nasty, "-o", form, *words, tty=True, width=80)
    assert ran.code in {0, 2, 3}
    out = ran.out
    for code in (
        "\x1b[0m",
        "\x1b[1m",
        "\x1b[2m",
        "\x1b[31m",
        "\x1b[32m",
        "\x1b[33m",
        "\x1b[35m",
        "\x1b[36m",
        "\x1b[32m",
        "\x1b[1;36m",
        "\x1b[1;31m",
    ):
        out = out.replace(code, "")
    assert not dangers(out)
    assert not dangers(ran.err)


def test_upkeep_of_a_nasty_store(tokctl, nasty, tmp_path):
    store = tmp_path / "s.db"
    for words in (
        ["store", "import", nasty],
        ["store", "check"],
        ["store", "info"],
        ["tokens", "tree"],
        ["instances", "list"],
    ):
        ran = tokctl(*words, "--store", store, width=60)
        assert ran.code in {0, 1}
        assert not dangers(ran.out + ran.err)
    assert json.loads(tokctl("store", "export", "--store", store).out)["data"]["tokens"][0]["element_id"] == NASTY[0]


def test_refused_tokens_and_odd_file_names(tokctl, tmp_path):
    file = tmp_path / "a\x1b[31m\u202e\n.json"
    file.write_text(json.dumps([{"token_id": "\x1b[31m\n", "element_id": "\x9b", "state": 7}]))
    rejects = tmp_path / "r"
    for words in (
        ["store", "import", file],
        ["store", "import", file, "--rejects", rejects],
        ["tokens", "list", "--file", file],
    ):
        ran = tokctl(*words, "--store", tmp_path / "s\x1b.db" if words[0] == "store" else "x")
        assert not dangers(ran.out + ran.err)
    ran = tokctl("store", "info", "--store", tmp_path / "absent\x1b\n.db")
    assert ran.code == 6
    assert ran.err.count("\n") == 1
    assert not dangers(ran.err)


def test_markup_in_data_is_shown_as_it_is(tokctl, nasty):
    text = NASTY[-1]
    for words in (
        ["tokens", "list"],
        ["tokens", "tree"],
        ["tokens", "history"],
        ["tokens", "show", f"t{len(NASTY) - 1}"],
    ):
        ran = tokctl(*words, "--file", nasty, "--color", "always", width=2000)
        assert text in ran.out
    ran = tokctl("tokens", "list", "[red]x[/red]", "--file", nasty)
    assert "'[red]x[/red]'" in ran.err


# --- a real terminal --------------------------------------------------------------------------------------------


def at_a_terminal(*words, columns=80):
    """Run tokctl with a pseudo-terminal for all its streams; returns exit code and what a terminal would get."""
    main, other = pty.openpty()
    environment = clean_environment({"TERM": "xterm", "COLUMNS": str(columns)})
    running = subprocess.Popen(
        [sys.executable, "-m", "tokctl", *map(str, words)],
        stdin=other,
        stdout=other,
        stderr=other,
        env=environment,
        start_new_session=True,
    )
    os.close(other)
    pieces, until = [], time.monotonic() + 30
    while time.monotonic() < until:
        if select.select([main], [], [], 0.1)[0]:
            with contextlib.suppress(OSError):
                if piece := os.read(main, 65536):
                    pieces.append(piece)
                    continue
            break
    os.close(main)
    return running.wait(timeout=10), b"".join(pieces).decode().replace("\r\n", "\n")


@pytest.mark.parametrize("form", ["table", "json", "yaml", "csv", "id"])
def test_a_real_terminal(nasty, form):
    code, written = at_a_terminal("tokens", "list", "-o", form, "--file", nasty)
    assert code == 0
    assert ("\x1b[1m" in written) is (form == "table")
    for sequence in ("\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[32m", "\x1b[33m", "\x1b[1;32m", "\x1b[1;36m"):
        written = written.replace(sequence, "")
    assert not dangers(written)


def test_an_error_at_a_real_terminal():
    code, written = at_a_terminal("tokens", "list", "\x1b]0;owned\x07", "--store", "/nonexistent/\x1b[2J")
    assert code == 6
    assert not dangers(written)


def test_a_progress_bar_only_at_a_terminal(tmp_path, orders):
    name = tmp_path / "odd\x1b[2J[red]name.ndjson"
    name.write_bytes(orders.read_bytes())
    code, written = at_a_terminal("store", "import", name, "--store", tmp_path / "s.db")
    assert code == 0
    assert "\x1b[2J" not in written
    assert "ADDED" in written
