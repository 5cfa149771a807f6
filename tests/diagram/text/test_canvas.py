"""The grid of characters: what lines look like where they meet, and text of any width."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tokctl.diagram.text.canvas import CRITICAL, DASHED, HEAVY, PLAIN, UNREACHED, Canvas, Glyphs, Span


def shown(canvas):
    return ["".join(span.text for span in line) for line in canvas.lines()]


def drawn(*lines, unicode=True):
    """Draw lines: two cells, the number of their net, and their weight."""
    canvas = Canvas(Glyphs(unicode))
    for start, end, net, *weight in lines:
        canvas.draw(start, end, *(weight or [PLAIN]), net)
    return shown(canvas)


ACROSS, DOWN = ((0, 1), (2, 1)), ((1, 0), (1, 2))


def test_lines_of_one_net_join():
    assert drawn((*ACROSS, 0), ((1, 1), (1, 2), 0)) == ["", "─┬─", " │"]
    assert drawn((*DOWN, 0), ((0, 1), (1, 1), 0)) == [" │", "─┤", " │"]
    assert drawn(((0, 1), (1, 1), 0), ((1, 0), (1, 1), 0)) == [" │", "─┘"]


def test_where_nets_cross_the_vertical_line_passes_over():
    assert drawn((*ACROSS, 0), (*DOWN, 1)) == [" │", "─│─", " │"]
    assert drawn((*ACROSS, 0), (*DOWN, 1), unicode=False) == [" |", "-|-", " |"]


@pytest.mark.parametrize(
    ("weight", "signs", "ascii_signs", "role"),
    [(DASHED, "┄┆", ".:", UNREACHED), (PLAIN, "─│", "-|", ""), (HEAVY, "━┃", "-|", CRITICAL)],
)
def test_weights(weight, signs, ascii_signs, role):
    lines = ((0, 0), (2, 0), 0, weight), ((4, 0), (4, 2), 1, weight)
    assert drawn(*lines)[0] == f"{signs[0] * 3} {signs[1]}"
    assert drawn(*lines, unicode=False)[0] == f"{ascii_signs[0] * 3} {ascii_signs[1]}"
    canvas = Canvas(Glyphs())
    canvas.draw((0, 0), (2, 0), weight, 0)
    assert list(canvas.lines()) == [[Span(signs[0] * 3, role)]]


def test_the_heaviest_line_is_seen():
    assert drawn(((0, 0), (2, 0), 0, HEAVY), ((0, 0), (1, 0), 0, DASHED)) == ["━━━"]


def test_text_hides_lines():
    canvas = Canvas(Glyphs())
    canvas.draw((0, 0), (8, 0), PLAIN, 0)
    assert canvas.write(2, 0, "漢a\u0301b", "name") == 6
    assert shown(canvas) == ["──漢a\u0301b───"]
    assert not canvas.is_blank(3, 0)


def test_a_canvas_on_another():
    inner, outer = Canvas(Glyphs()), Canvas(Glyphs())
    inner.write(0, 0, "ab")
    inner.draw((0, 1), (1, 1), PLAIN, 0)
    outer.place(inner, 2, 1)
    assert shown(outer) == ["", "  ab", "  ──"]
    assert (outer.width, outer.height) == (4, 3)


@given(st.text(st.sampled_from("abc 漢字é\u0301"), max_size=20), st.integers(0, 12), st.booleans())
def test_text_is_cut_to_its_room(text, room, unicode):
    glyphs = Glyphs(unicode)
    fitted = glyphs.fit(text, room)
    assert cell_len(fitted) <= room
    assert fitted == text or fitted.endswith(glyphs.ellipsis[:room])
