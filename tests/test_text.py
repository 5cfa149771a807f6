"""Texts that are quoted in messages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokctl.text import edit_distance, one_line, shorten, suggest


@given(st.text(max_size=500), st.integers(1, 60))
def test_text_from_outside_is_one_printable_line(text, length):
    line = one_line(text, length)
    assert line.isprintable()
    assert len(line) <= length
    assert line == line.strip()


def test_one_line_keeps_the_words():
    assert one_line("  a\tb\r\n\x1b[31mc\u202e d ") == "a b [31mc d"


def test_a_long_text_is_cut():
    assert (shorten("x" * 5, 5), shorten("x" * 6, 5)) == ("xxxxx", "xxxx…")


def test_only_something_close_is_suggested():
    assert suggest("sevrer", ["server", "store"]) == " (did you mean 'server'?)"
    assert suggest("nothing", ["server", "store"]) == ""
    assert suggest("nothing", []) == ""
    assert suggest("--instance", ["--insecure", "--context"]) == ""
    assert suggest("stat", ["state", "start", "status"]) == " (did you mean 'state'?)"
    assert suggest("x" * 1_000_000, ["state"]) == ""


@pytest.mark.parametrize(
    ("first", "second", "edits"),
    [("", "", 0), ("abc", "abc", 0), ("abc", "", 3), ("ab", "ba", 1), ("kitten", "sitting", 3), ("ca", "abc", 3)],
)
def test_edit_distance(first, second, edits):
    assert edit_distance(first, second) == edit_distance(second, first) == edits
