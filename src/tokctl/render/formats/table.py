"""Output for people: ``-o table`` and ``-o wide``; one object as its sections with fields, lines, blocks and lists.

The order of the parts is decided here. ``terminal.TerminalWriter`` writes them to a terminal with Rich,
``plain.PlainWriter`` writes plain lines into a pipe or a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from msgspec.structs import replace

from tokctl.render.formats.layout import COLUMN_GAP, cell_width, sanitize_cell
from tokctl.render.result import Cell, Column, Detail, Field, Listing, Output, Result, Section, select_columns
from tokctl.render.text import DataStream, count, escape_control_lines


class ResultWriter(Protocol):
    """Writes the parts of an output for people. ``indent`` is in cells."""

    out: Output

    def line(self, cells: Sequence[Cell], indent: int = 0) -> None:
        """Write cells as one line."""

    def fields(self, fields: Sequence[Field], indent: int) -> None:
        """Write labels and values in two columns."""

    def rows(self, columns: Sequence[Column], rows: Iterator[list[Cell]], indent: int) -> int:
        """Write a table, unless it is empty; returns the number of rows."""

    def note(self, text: str, *, whole: bool = False) -> None:
        """Write a note on the output; ``whole``: it is not folded, as a command in it may be copied."""

    def finish(self) -> None:
        """Write the footer of the output."""


def open_writer(out: Output) -> ResultWriter:
    """Return the writer for the output."""
    if out.tty or out.color:
        from tokctl.render.formats.terminal import TerminalWriter

        return TerminalWriter(out)
    from tokctl.render.formats.plain import PlainWriter

    return PlainWriter(out)


def emit(result: Result, out: Output) -> None:
    """Write a list as a table, or as its sections if it has any; write one object as its sections."""
    writer = open_writer(out)
    if isinstance(result, Detail):
        _write_headline((), writer)
        writer.line(result.title)
        write_sections(result.sections, writer)
    else:
        _emit_listing(result, writer)
    writer.finish()


def _emit_listing(listing: Listing, writer: ResultWriter) -> None:
    out = writer.out
    with_sections = listing.sections is not None and out.columns is None
    most_urgent, shown = None, 0
    headline = listing.headline() if callable(listing.headline) else listing.headline
    if (with_sections or out.tty or out.color) and _write_headline(headline, writer):  # in a pipe, a table is only that
        writer.line(())
    if listing.sections is not None and with_sections:
        write_sections(listing.sections(), writer, gap=False)
    else:
        most_urgent = _MostUrgent(listing)
        shown = write_listing(replace(listing, items=most_urgent), writer)
        if not shown:
            writer.note(listing.empty)
    notes = listing.notes(shown)
    for text in notes:
        writer.note(text)
    if listing.footer is not None and most_urgent is not None and shown and out.tty:
        if listing.footer.thing and not notes:
            writer.note(f"{count(shown, listing.footer.thing)} shown.")
        if out.prefix:
            writer.note(f"Next: {listing.footer.next_command(most_urgent.item)}", whole=True)


class _MostUrgent:
    """The items of a list; once they are read, ``item`` is the first with the highest urgency."""

    def __init__(self, listing: Listing) -> None:
        self._items = listing.items
        self._urgency = listing.footer.urgency if listing.footer is not None else lambda _: 0
        self.item: Any = None

    def __iter__(self) -> Iterator[Any]:
        highest = None
        for item in self._items:
            urgency = self._urgency(item)
            if highest is None or urgency > highest:
                highest, self.item = urgency, item
            yield item


def _write_headline(headline: Sequence[Cell], writer: ResultWriter) -> bool:
    """Write where the data comes from, the time, and the headline; on one line if they fit. Tell if there are any."""
    out = writer.out
    if out.source and out.tty:
        source = (Cell(out.source, "bold"), Cell(f"  {out.now:%H:%M:%S} {out.now.tzname()}", "dim"))
        if sum(map(cell_width, (*source, *headline))) + COLUMN_GAP <= out.width:
            headline = (*source, Cell(" " * COLUMN_GAP if headline else ""), *headline)
        else:
            writer.line(source)
    if headline:
        writer.line(headline)
    return bool(headline) or bool(out.source and out.tty)


def write_sections(sections: Iterable[Section], writer: ResultWriter, *, gap: bool = True) -> None:
    """Write sections, each after a blank line. Empty sections are left out.

    Without ``gap``, there is no blank line before the first one.
    """
    for section in sections:
        if not section.fields and not section.block and section.listing is None and not section.lines:
            continue
        if gap:
            writer.line(())
        gap = True
        if section.title:
            writer.line([Cell(section.title, "bold")] if isinstance(section.title, str) else section.title)
        if section.fields:
            writer.fields(section.fields, COLUMN_GAP)
        for line in section.lines:
            writer.line(line, COLUMN_GAP)
        if section.block:
            lines = escape_control_lines(section.block).splitlines()
            DataStream(writer.out).write("".join(f"{' ' * COLUMN_GAP}{line}\n" for line in lines))
        if section.listing is not None and not write_listing(section.listing, writer, COLUMN_GAP):
            writer.line((Cell(section.listing.empty, "dim"),), COLUMN_GAP)


def write_listing(listing: Listing, writer: ResultWriter, indent: int = 0) -> int:
    """Write a list as a table while it is read; returns the number of rows."""
    out = writer.out
    columns = select_columns(listing, out)
    rows = ([sanitize_cell(column.cell(item), out) for column in columns] for item in listing.items)
    return writer.rows(columns, rows, indent)
