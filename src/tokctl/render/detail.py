"""The picture of one thing: its fields, its lists and blocks one below the other."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import zip_longest

from msgspec.structs import replace

from tokctl.render.human import DataStream, safe_lines
from tokctl.render.result import Cell, Detail, Output, Section
from tokctl.render.table import GAP, clean, join_line, no_room, note, paint, width, wrap, write_listing

INDENT = " " * GAP


def emit_detail(detail: Detail, out: Output) -> None:
    """Write the title and the sections below it."""
    out.stream.write(join_line(detail.title, out) + "\n")
    write_sections(detail.sections, out)


def write_sections(sections: Iterable[Section], out: Output, *, gap: bool = True) -> None:
    """Write sections one below the other, a blank line before each; one with nothing in it is left out.

    Without ``gap`` there is none before the first.
    """
    left_out: list[str] = []
    narrow = replace(out, width=out.width - len(INDENT))
    for section in sections:
        if not section.fields and not section.block and section.listing is None and not section.lines:
            continue
        if gap:
            out.stream.write("\n")
        gap = True
        if section.title:
            title = [Cell(section.title, "bold")] if isinstance(section.title, str) else section.title
            out.stream.write(join_line(title, out) + "\n")
        if section.fields:
            _fields(section, out)
        for line in section.lines:
            out.stream.write(INDENT + join_line(line, narrow).replace("\n", f"\n{INDENT}") + "\n")
        if section.block:
            lines = safe_lines(section.block).splitlines()
            DataStream(out).write("".join(f"{INDENT}{line}\n" for line in lines))
        if section.listing is not None and not write_listing(section.listing, out, indent=INDENT, left_out=left_out):
            note(INDENT + section.listing.empty, out)
    if left_out:
        no_room(left_out, out)


def _fields(section: Section, out: Output) -> None:
    """Write labels and values in two columns; a label takes a third of the room at most, and both fold."""
    rows = [(clean(Cell(label, "dim"), out), clean(cell, out)) for label, cell in section.fields]
    room = out.width - len(INDENT)
    label_room = min(max(width(label.text) for label, _ in rows), room // 3)
    gap = " " * GAP if label_room else ""
    for label, value in rows:
        labels = wrap(label.text, label_room)
        values = wrap(value.text, room - label_room - len(gap))
        for left, right in zip_longest(labels, values, fillvalue=""):
            pad = " " * (label_room - width(left))
            line = INDENT + paint(left, label.style, out) + pad + gap + paint(right, value.style, out)
            out.stream.write(line.rstrip() + "\n")
