"""Text in a picture."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tokctl.diagram.labels import draw_lines, escape_text, number, quote_attribute, text_width, wrap

any_text = st.text(max_size=60)


@given(any_text, st.floats(20, 200), st.integers(1, 4))
@example("a" * 10_000, 90.0, 3)
@example("a\n" * 10_000, 90.0, 3)
def test_lines_fit(name, width, most):
    lines = wrap(name, width, most)
    assert len(lines) <= most
    assert all(text_width(line) <= width or len(line) == 1 for line in lines)
    assert all(sign.isprintable() for line in lines for sign in line)


@given(st.lists(st.text("abc", min_size=1, max_size=5), min_size=1, max_size=6))
def test_words_are_kept(words):
    assert " ".join(wrap(" ".join(words), 60, 100)).split() == words


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("compensate-catch", ["compensate-", "catch"]),
        ("first\nsecond", ["first", "second"]),
        ("one two three four five six seven", ["one two three", "four five si…"]),
        ("", []),
        ("\x00\u202e \x1b", []),
    ],
)
def test_breaks(name, lines):
    assert wrap(name, 80, 2) == lines


@given(any_text | st.just('"><script>alert(1)</script>') | st.just("\ud800\x00\ufffe]]>"))
def test_text_is_never_markup(text):
    parsed = ET.fromstring(f"<a b={quote_attribute(text)}>{escape_text(text)}{draw_lines([text], 1, 2)}</a>")
    assert [part.tag for part in parsed.iter()] == ["a", "text", "tspan"]
    shown = "".join(sign if sign.isprintable() else "" for sign in parsed.text or "")
    assert (
        "".join(sign for sign in text if sign.isprintable()) in {shown, shown.replace("\ufffd", "")}
        or "\ufffd" in shown
    )


@pytest.mark.parametrize(("value", "text"), [(1.0, "1"), (-0.001, "0"), (1.256, "1.26"), (100, "100"), (-2.5, "-2.5")])
def test_numbers_are_short(value, text):
    assert number(value) == text
