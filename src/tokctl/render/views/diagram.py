"""A process as a drawing on a terminal: boxes and lines, with tokens in the colours of their states."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from tokctl.diagram.activity_marks import Heat
from tokctl.diagram.text.boxes import HEAT_SIGNS, Pen
from tokctl.diagram.text.canvas import COUNT, CRITICAL, FLOW, TITLE, TYPE, UNREACHED, Glyphs
from tokctl.diagram.text.drawing import TextDrawing, draw_text
from tokctl.render.formats.table import open_writer
from tokctl.render.result import Cell, Output
from tokctl.render.text import count, state_cell, state_style, to_ascii
from tokctl.services.diagram import DiagramFacts

PIPE_WIDTH = 80
"""Columns of a drawing in a pipe or a file, unless COLUMNS is set."""
_STYLES = {
    UNREACHED: "dim",
    CRITICAL: "bold",
    TITLE: "bold",
    TYPE: "dim",
    COUNT: "cyan",
    FLOW: "italic",
    "heat-1": "blue",
    "heat-2": "cyan",
    "heat-3": "yellow",
    "heat-4": "red",
    "heat-5": "bold red",
}


def write_drawing(facts: DiagramFacts, out: Output, columns: int, lines: int | None = None) -> None:
    """Write the drawing of a model in a number of columns, with its captions and the meaning of its signs.

    If it has more than a number of ``lines``, one box stands for a straight sequence in which there is nothing to see.
    """
    pen = Pen(Glyphs(out.unicode), str if out.unicode else to_ascii, _find_sign if out.unicode else "{}:".format)
    draw = partial(
        draw_text,
        *(facts.model.elements, pen, columns),
        process=facts.process_id,
        activity=facts.activity,
        heat=facts.heat,
    )
    drawing = draw()
    if lines is not None and len(drawing.lines) > lines and facts.heat is None:
        drawing = draw(folded=True)
    writer = open_writer(out)
    for n, caption in enumerate(facts.captions):
        writer.line([Cell(caption, "dim" if n else "bold")])
    if facts.captions:
        writer.line(())
    for line in drawing.lines:
        writer.line([Cell(text, find_style(role)) for text, role in line])
    legend = list(describe_signs(drawing, out))
    if legend:
        writer.line(())
        writer.line(legend)
    if hidden := sum(len(sequence) for sequence in drawing.sequences.values()):
        boxes = count(len(drawing.sequences), "box", "boxes")
        writer.note(f"{boxes} for {hidden} elements of straight sequences. --full draws each of them.")
    writer.finish()


def _find_sign(state: str) -> str:
    return state_cell(state).sign


def find_style(role: str) -> str:
    """Return the Rich style of a role."""
    return state_style(role.removeprefix("state:")) if role.startswith("state:") else _STYLES.get(role, "")


def describe_signs(drawing: TextDrawing, out: Output) -> Iterator[Cell]:
    """Yield the signs that a drawing uses, and what they mean."""
    marked = drawing.marked
    if marked is None:
        return
    dashed, heavy = ("┄┄", "━━") if out.unicode else ("..", "--")
    roles = {role for line in drawing.lines for _, role in line}
    states = dict.fromkeys(state for marks in marked.marks.values() for state, _ in marks.live)
    for state in states if out.unicode else ():
        cell = state_cell(state)
        yield Cell(f"{cell.signed}  ", cell.style)
    for role, sign, meaning in ((UNREACHED, dashed, "not reached"), (CRITICAL, heavy, "critical path")):
        if role in roles and (out.unicode or out.color or role == UNREACHED):
            yield Cell(f"{sign} {meaning}  ", find_style(role))
    if COUNT in roles:
        yield Cell("× visits, tokens  ", find_style(COUNT))
    if marked.heat is not None:
        what = "time spent" if marked.heat is Heat.TIME else "visits"
        for n, sign in enumerate(HEAT_SIGNS, 1):
            yield Cell(sign, find_style(f"heat-{n}"))
        yield Cell(f" {what}, little to much")
