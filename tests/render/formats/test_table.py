"""The layout of tables at any width, and screens as they are: ``tests/golden``.

``TOKCTL_GOLDEN=write pytest tests/render`` writes the screens anew; look at what has changed.
"""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from datetime import timedelta

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from msgspec.structs import replace
from rich.cells import cell_len

from support.builders import FIXTURES
from support.commandline import NOW, Stream
from support.paths import GOLDEN
from support.terminal import fits
from tokctl.render.formats.layout import (
    MAX_UNWRAPPED_WIDTH,
    fit_columns,
    width,
)
from tokctl.render.formats.plain import PlainWriter
from tokctl.render.formats.table import emit
from tokctl.render.formats.terminal import TerminalWriter
from tokctl.render.result import MIN_WRAPPED_WIDTH, Cell, Column, Detail, Field, Footer, Listing, Output, Section
from tokctl.render.text import age_cell, count, escape_controls, format_duration, localize_times, size, to_ascii

letters = st.characters(categories=["L", "N", "P", "S"], exclude_characters="\u3164\u115f\u1160\uffa0")
wide = st.sampled_from("漢字かな한글🎉👍ＡＢ")
texts = st.lists(st.one_of(letters, wide, st.just(" ")), max_size=60).map("".join)
columns_of = st.lists(
    st.builds(
        lambda fold, right, rank, title: {"fold": fold, "right": right, "rank": rank, "title": title},
        st.booleans(),
        st.booleans(),
        st.integers(0, 3),
        st.sampled_from(["A", "TITLE", "A LONG TITLE"]),
    ),
    min_size=1,
    max_size=6,
)


def output(room=80, **fields):
    settings = {"tty": True, "color": False, "unicode": True, "format": "table", "now": NOW}
    return Output(stream=Stream(), errors=Stream(), width=room, **(settings | fields))


def table(specs, rows):
    columns = tuple(
        Column(key=f"c{i}", value=lambda row, i=i: row[i], show=lambda row, i=i: Cell(row[i], "bold"), **spec)
        for i, spec in enumerate(specs)
    )
    return Listing(key="rows", items=rows, columns=columns, ident=str, document=dict)


def characters(text):
    return text.replace(" ", "")


# --- fit_columns ---------------------------------------------------------------------------------------------


@given(columns_of, st.data(), st.integers(20, 250))
def test_columns_fit_the_room_or_are_left_out(specs, data, room):
    columns = table(specs, []).columns
    natural = data.draw(st.lists(st.integers(1, 6000), min_size=len(columns), max_size=len(columns)))
    used = sorted(data.draw(st.sets(st.sampled_from(range(len(columns))), min_size=1)))
    shown, widths = fit_columns(list(columns), natural, room, used)
    assert shown
    assert len(shown) == len(widths)
    assert shown == [i for i in used if i in shown]  # in order
    assert sum(widths) + 2 * (len(shown) - 1) <= room
    assert all(2 <= cells <= max(natural[i], 2) or cells == natural[i] for i, cells in zip(shown, widths, strict=True))
    left = [columns[i].rank for i in used if i not in shown]
    assert not left or min(left) >= max((columns[i].rank for i in shown if columns[i].rank), default=0)
    assert len(shown) == 1 or all(rank > 0 for rank in left)


@given(columns_of, st.data())
def test_with_room_for_all_nothing_is_touched(specs, data):
    columns = table(specs, []).columns
    natural = data.draw(st.lists(st.integers(1, 50), min_size=len(columns), max_size=len(columns)))
    used = list(range(len(columns)))
    assert fit_columns(list(columns), natural, sum(natural) + 2 * len(used), used) == (used, natural)


def test_room_is_found_in_order():
    def columns(*specs):
        return list(table([{"title": "T", "fold": fold, "rank": rank} for fold, rank in specs], []).columns)

    text_and_id = columns((True, 1), (False, 0))
    assert fit_columns(text_and_id, [50, 30], 82, [0, 1]) == ([0, 1], [50, 30])
    assert fit_columns(text_and_id, [50, 30], 60, [0, 1]) == ([0, 1], [28, 30])  # what may fold does
    assert fit_columns(text_and_id, [50, 30], 46, [0, 1]) == ([0, 1], [MIN_WRAPPED_WIDTH, 30])
    assert fit_columns(text_and_id, [50, 30], 45, [0, 1]) == ([1], [30])  # then a column goes
    assert fit_columns(text_and_id, [50, 30], 20, [0, 1]) == ([1], [20])  # an id folds last of all
    assert fit_columns(text_and_id, [50, 5000], 80, [0, 1]) == (
        [0, 1],
        [38, MAX_UNWRAPPED_WIDTH],
    )  # but no id is that long
    ranks = columns((False, 0), (False, 2), (False, 1))
    assert fit_columns(ranks, [10, 10, 10], 34, [0, 1, 2]) == ([0, 1, 2], [10, 10, 10])
    assert fit_columns(ranks, [10, 10, 10], 33, [0, 1, 2]) == ([0, 2], [10, 10])  # the highest rank first
    assert fit_columns(ranks, [10, 10, 10], 21, [0, 1, 2]) == ([0], [10])


# --- cells --------------------------------------------------------------------------------------------------


@given(texts, st.integers(2, 100), st.sampled_from(["├─ ", "│  │  └─ ", "|  |- ", "│  " * 24]))
@example("a" * 100, 2, "├─ ")
@example("漢" * 9, 3, "└─ ")
def test_branches_fit_and_nothing_is_lost(text, room, stem):
    lines = branch(text, room, stem)
    assert lines
    if room >= 6:
        assert all(fits(line, room) for line in lines)
    if room > len(stem) * 2:
        assert "".join(characters(line[len(stem) :]) for line in lines) == characters(text)


def branch(text, room, stem):
    """The lines of a table's cell behind the branches of a tree."""
    out = output(room)
    TerminalWriter(out).rows([Column("k", "T" * room, fold=True, min_width=2)], iter([[Cell(text, "", stem)]]), 0)
    return [line.rstrip() for line in out.stream.written().splitlines()[1:]]


def test_branches_go_on_below():
    assert branch("one two", 9, "├─ ") == ["├─ one", "│  two"]
    assert branch("one two", 9, "└─ ") == ["└─ one", "   two"]
    assert branch("one two", 12, "│  ├─ ") == ["│  ├─ one", "│  │  two"]
    assert branch("one two", 9, "|- ") == ["|- one", "|  two"]
    assert branch("one two", 9, "`- ") == ["`- one", "   two"]


def test_a_stem_that_leaves_no_room_is_cut():
    lines = branch("name of it", 30, "│  " * 20 + "└─ ")
    assert all(width(line) <= 30 for line in lines)
    assert lines[0].startswith("⋯")
    assert lines[0].endswith("└─ name of it")


@given(texts)
def test_width_is_what_a_terminal_takes(text):
    assert width(text) == cell_len(text)


# --- tables ---------------------------------------------------------------------------------------------------


@given(columns_of, st.data(), st.integers(20, 130), st.booleans())
def test_no_line_of_a_table_is_wider_than_the_terminal(specs, data, room, unicode):
    assume(sum(not spec["rank"] for spec in specs) <= 4)
    rows = data.draw(st.lists(st.lists(texts, min_size=len(specs), max_size=len(specs)), min_size=1, max_size=5))
    out = output(room, unicode=unicode)
    emit(table(specs, rows), out)
    lines = out.stream.written().splitlines()
    assert all(fits(line, room) for line in lines)
    left = re.findall(r"c\d", " ".join(lines).partition("Hidden columns:")[2].partition(".")[0])
    for i, spec in enumerate(specs):
        if f"c{i}" in left:
            assert spec["rank"]


@given(st.lists(texts.filter(str.strip), min_size=1, max_size=6), st.integers(20, 60), st.booleans())
def test_nothing_of_a_cell_is_lost(cells, room, unicode):
    out = output(room, unicode=unicode)
    emit(table([{"title": "T", "fold": True}], [[text] for text in cells]), out)
    shown = "".join(out.stream.written().splitlines()[1:])
    expected = "".join(escape_controls(text) if unicode else to_ascii(escape_controls(text)) for text in cells)
    assert characters(shown) == characters(expected)


def test_what_is_left_out_is_named_and_what_is_empty_is_not():
    out = output(30, format="wide")
    specs = [{"title": "ID"}, {"title": "B", "rank": 2}, {"title": "EMPTY", "rank": 3}, {"title": "C", "rank": 1}]
    emit(table(specs, [["x" * 20, "y" * 20, "", "z" * 6]]), out)
    assert [line.rstrip() for line in out.stream.written().splitlines()] == [
        "ID                    C",
        f"{'x' * 20}  zzzzzz",
        "",
        "Hidden columns: c1. Widen the",
        "terminal or use --columns.",
    ]
    out = output(30)  # which of the default columns there is room for is not worth a note
    emit(table(specs, [["x" * 20, "y" * 20, "", "z" * 6]]), out)
    assert "No room" not in out.stream.written()


@given(columns_of, st.data())
def test_a_row_is_a_line_with_all_columns_in_a_pipe(specs, data):
    cells = texts.map(lambda text: " ".join(text.split()))
    rows = data.draw(st.lists(st.lists(cells, min_size=len(specs), max_size=len(specs)), min_size=1, max_size=5))
    out = output(20, tty=False)
    emit(table(specs, rows), out)
    lines = out.stream.written().splitlines()
    assert len(lines) == len(rows) + 1
    assert [re.split("  +", line.strip()) for line in lines[1:]] == [
        [escape_controls(text) or "-" for text in row] for row in rows
    ]
    assert not any(line.endswith(" ") for line in lines)
    assert not out.errors.written()


def test_a_long_table_is_written_while_it_is_read():
    for writer, tty in ((TerminalWriter, True), (PlainWriter, False)):
        out = output(40, tty=tty)
        seen = []

        def rows(out=out, seen=seen):
            for n in range(3000):
                if n == 2500:
                    seen.append(out.stream.written())
                yield [Cell(str(n + 1000)), Cell("x" * (n % 5))]

        assert writer(out).rows([Column("a", "A", right=True), Column("b", "B")], rows(), 0) == 3000
        assert "2499" in seen[0]
        lines = out.stream.written().splitlines()
        assert len(lines) == 3001
        assert len({line.index(line.strip()[0]) + len(line.split()[0]) for line in lines}) == 1  # all in line


def test_wide_characters_stand_in_columns():
    out = output(60)
    emit(
        table(
            [{"title": "NAME", "fold": True}, {"title": "N", "right": True}],
            [["漢字", "1"], ["ab", "22"], ["e\u0301é", "3"]],
        ),
        out,
    )
    assert [line.rstrip() for line in out.stream.written().splitlines()] == [
        "NAME   N",
        "漢字   1",
        "ab    22",
        "e\u0301é     3",
    ]


@pytest.mark.parametrize(
    ("fields", "notes", "shown"),
    [
        ({}, [], ["", "3 rows shown.", "Next: tokctl explain b"]),
        ({}, ["Showing 1 to 3 of 9 rows."], ["", "Showing 1 to 3 of 9 rows.", "Next: tokctl explain b"]),
        ({"prefix": ""}, [], ["", "3 rows shown."]),
        ({"quiet": True}, [], []),
        ({"tty": False}, [], []),
    ],
)
def test_a_table_ends_with_the_number_of_rows_and_the_next_command(fields, notes, shown):
    listing = table([{"title": "ID"}], [["a"], ["b"], ["b2"]])
    footer = Footer(lambda row: f"tokctl explain {row[0]}", lambda row: int(row[0].startswith("b")), "row")
    out = output(**fields)
    emit(replace(listing, footer=footer, notes=lambda _: notes), out)
    assert [line.rstrip() for line in out.stream.written().splitlines()[4:]] == shown


def test_a_theme_changes_the_styles_of_cells():
    out = output(color=True, theme={"failed": "bold magenta", "ok": "none"})
    TerminalWriter(out).line([Cell("bad", "bold red"), Cell("good", "green"), Cell("slow", "yellow")])
    assert out.stream.written() == "\x1b[1;35mbad\x1b[0mgood\x1b[33mslow\x1b[0m\n"


def test_times_within_a_text_are_in_the_zone_of_the_screen(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        text = "It FAILED at 2025-07-01T08:00:05Z, twice."
        assert localize_times(text, NOW.astimezone()) == "It FAILED at 2025-07-01 10:00:05 CEST, twice."
        assert localize_times(text, NOW) == "It FAILED at 2025-07-01 08:00:05 UTC, twice."
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_note_is_one_line_in_a_pipe_and_folds_on_a_terminal():
    for tty in (False, True):
        out = output(30, tty=tty)
        emit(Listing(key="k", items=[], columns=(), ident=str, document=dict, empty="word " * 20), out)
        lines = (out.stream if tty else out.errors).written().splitlines()
        assert (len(lines) == 1) is not tty
        assert not tty or max(map(len, lines)) <= 30


@given(st.lists(texts, min_size=1, max_size=8), st.integers(20, 100), st.booleans())
def test_a_headline_folds_and_loses_nothing(parts, room, color):
    cells = [Cell(text, "bold" if n % 2 else "") for n, text in enumerate(parts)]
    out = output(room, color=color)
    TerminalWriter(out).line(cells)
    joined = re.sub("\x1b\\[[0-9;]*m", "", out.stream.written())
    assert all(fits(line, room) for line in joined.split("\n"))
    assert characters(joined).replace("\n", "") == characters("".join(map(escape_controls, parts)))


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=5), st.integers(20, 100))
def test_the_fields_of_one_thing_fit_and_lose_nothing(pairs, room):
    out = output(room)
    fields = tuple(Field(label, Cell(text, "bold")) for label, text in pairs)
    emit(Detail(ident="", document={}, title=(Cell("T"),), sections=(Section(fields=fields),)), out)
    lines = out.stream.written().split("\n")
    assert all(fits(line, room) for line in lines)
    shown = Counter(characters("".join(lines[1:])))
    assert shown == Counter(characters("".join(label + text for label, text in pairs)))


# --- for people ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0ms"),
        (0.0004, "0ms"),
        (0.9994, "999ms"),
        (0.9996, "1s"),
        (1, "1s"),
        (2.7, "2.7s"),
        (59.94, "59.9s"),
        (59.96, "1m"),
        (245, "4m 05s"),
        (3599.6, "1h"),
        (12000, "3h 20m"),
        (86399.6, "1d"),
        (1051200, "12d 4h"),
        (59_400_000, "1y 322d"),
        (-5, "-5s"),
    ],
)
def test_spans(seconds, text):
    assert format_duration(seconds) == text


@given(st.floats(-1e12, 1e12) | st.floats(allow_nan=False, allow_infinity=False))
def test_a_span_is_short(seconds):
    assert len(format_duration(seconds)) <= 12


def test_ages_counts_and_sizes():
    assert age_cell(NOW - timedelta(minutes=5), NOW).text == "5m"
    assert age_cell(NOW + timedelta(minutes=5), NOW).text == "in 5m"
    assert age_cell(None, NOW).text == "?"
    assert (count(1, "token"), count(0, "token"), count(12345, "token")) == ("1 token", "0 tokens", "12,345 tokens")
    assert [size(n) for n in (0, 999, 1000, 1_440_000, 2.5e9, 3e12)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "1.4 MB",
        "2.5 GB",
        "3.0 TB",
    ]


# --- screens ----------------------------------------------------------------------------------------------------------

SCREENS = {
    "instances": ["instances", "list"],
    "instances-wide": ["instances", "list", "-o", "wide"],
    "instance": ["instances", "show", "ord-1002"],
    "list": ["tokens", "list", "ord-1002"],
    "list-wide": ["tokens", "list", "ord-1002", "-o", "wide"],
    "list-some": ["tokens", "list", "ord-1001", "-n", "2", "--page", "2"],
    "show": ["tokens", "show", "b3-pick"],
    "tree-loop": ["tokens", "tree", "ord-1001"],
    "tree-expanded": ["tokens", "tree", "ord-1001", "--expand"],
    "tree-split": ["tokens", "tree", "ord-1002"],
    "tree-state": ["tokens", "tree", "ord-1002", "--state", "WAITING"],
    "tree-depth": ["tokens", "tree", "ord-1002", "--depth", "1"],
    "tree-contradictions": ["tokens", "tree", "pay-2001"],
    "tree-documented": ["tokens", "tree", "srv1-"],
    "history": ["tokens", "history", "ord-1001"],
    "history-token": ["tokens", "history", "ord-1002", "b6-join"],
    "trace": ["tokens", "trace", "ord-1002"],
    "trace-summary": ["tokens", "trace", "ord-1001", "--format", "summary"],
    "perf": ["perf"],
    "perf-worker": ["perf", "ord-1002", "--by", "worker,element"],
    "perf-compare": ["perf", "ord-1001", "--compare", "ord-1002"],
    "flow": ["flow", "ord-1001"],
    "flow-live": ["flow", "ord-1002"],
    "flow-unsure": ["flow", "pay-2001", "--variables"],
    "debug": ["debug"],
    "debug-none": ["debug", "ord-1001"],
    "debug-rules": ["debug", "--list-rules"],
    "check": ["store", "check"],
}
COLOURED = ("instances", "list", "tree-contradictions", "history", "show", "flow-live", "debug")
IN_ASCII = ("list", "tree-split", "tree-loop", "history", "perf", "flow-live", "debug")


def at_known(tokctl, known, *words, **options):
    """Run a command over the known store without naming it: debug says again what stands on the command line."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOKCTL_STORE", str(known))
        return tokctl(*words, **options)


def screen(tokctl, known, words, room, *, color):
    when = "auto" if color else "never"
    ran = at_known(tokctl, known, *words, "--color", when, width=room, tty=True, err_tty=True)
    assert ran.code in {0, 1}
    printed = "".join(f"{line.rstrip()}\n" for line in ran.out.splitlines())
    return f"$ tokctl {' '.join(words)}\n{printed}" + (f"--- stderr\n{ran.err}" if ran.err else "")


@pytest.mark.parametrize("room", [50, 80, 120, 200])
@pytest.mark.parametrize("name", SCREENS)
def test_screens(tokctl, known, name, room):
    text = screen(tokctl, known, SCREENS[name], room, color=False)
    assert all(fits(line, room) for line in text.splitlines()[1:])
    compare(f"{name}-{room}.txt", text)


@pytest.mark.parametrize("name", COLOURED)
def test_screens_in_colour(tokctl, known, name):
    compare(f"{name}-colour.txt", screen(tokctl, known, SCREENS[name], 80, color=True).replace("\x1b", "␛"))


@pytest.mark.parametrize("name", IN_ASCII)
def test_screens_in_ascii(tokctl, known, name):
    ran = at_known(tokctl, known, *SCREENS[name], "--color", "never", width=80, encoding="ascii", tty=True)
    assert all(len(line) <= 80 for line in ran.out.splitlines())
    compare(f"{name}-ascii.txt", "".join(f"{line.rstrip()}\n" for line in ran.out.splitlines()))


@pytest.mark.parametrize("room", [20, 25, 40])
@pytest.mark.parametrize("name", SCREENS)
def test_very_narrow_screens_fit(tokctl, known, name, room):
    ran = tokctl(*SCREENS[name], "--store", known, width=room, tty=True, encoding="utf-8")
    lines = re.sub("\x1b\\[[0-9;]*m", "", ran.out).splitlines()
    block = lines.index("Variables") if "Variables" in lines else len(lines)  # JSON is not folded
    assert all(fits(line, room) for line in lines[:block])


def compare(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("TOKCTL_GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


def test_no_screen_is_left_over():
    names = {f"{name}-{room}.txt" for name in SCREENS for room in (50, 80, 120, 200)}
    names |= {f"{name}-colour.txt" for name in COLOURED} | {f"{name}-ascii.txt" for name in IN_ASCII}
    names |= {f"explain-{place}-{room}.txt" for place in ("waits", "blocker", "incident", "dead") for room in (80, 120)}
    names |= {f"watch-{room}.txt" for room in (80, 120)}
    endings = (".svg", *(f"-{room}.txt" for room in (40, 80, 200)))
    names |= {f"diagram-{what}{ending}" for what in ("instance", "process", "model") for ending in endings}
    names |= {"diagram-colour.txt", "diagram-ascii.txt"}
    assert {path.name for path in GOLDEN.iterdir()} == names
    assert (FIXTURES / "orders.ndjson").is_file()
