"""Plain lines for pipes and files: aligned columns, one line a row, nothing folded, cut or left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice

from tokctl.render.formats.layout import COLUMN_GAP, cell_width, sanitize_cell, width
from tokctl.render.result import Cell, Column, Field, Output

SAMPLE_ROWS = 1000  # rows that determine the widths of the columns; longer cells below them shift the rest of their row
EMPTY = "-"  # what stands for an empty cell, so that every row has the same number of fields
_BATCH = 500


class PlainWriter:
    """Writes plain lines; notes go to stderr."""

    def __init__(self, out: Output) -> None:
        self.out = out

    def line(self, cells: Sequence[Cell], indent: int = 0) -> None:
        """Write cells as one line."""
        text = "".join(cell.stem + cell.text for cell in self._sanitize(cells))
        self.out.stream.write((" " * indent + text).rstrip() + "\n")

    def fields(self, fields: Sequence[Field], indent: int) -> None:
        """Write labels and values in two columns."""
        labels = self._sanitize(Cell(label) for label, _ in fields)
        room = max(map(cell_width, labels))
        for label, cell in zip(labels, self._sanitize(cell for _, cell in fields), strict=True):
            gap = " " * (room - cell_width(label) + COLUMN_GAP if room else 0)
            self.line((label, Cell(gap), cell), indent)

    def rows(self, columns: Sequence[Column], rows: Iterator[list[Cell]], indent: int) -> int:
        """Write a table, unless it is empty; returns the number of rows."""
        sample = list(islice(rows, SAMPLE_ROWS))
        if not sample:
            return 0
        titles = self._sanitize(Cell(column.title) for column in columns)
        rooms = [max(width(row[i].stem + row[i].text) for row in chain([titles], sample)) for i in range(len(columns))]
        gap = " " * COLUMN_GAP
        count = -1 if self.out.headers else 0
        lines: list[str] = []
        for row in chain([titles] if self.out.headers else [], sample, rows):
            parts = []
            for column, room, cell in zip(columns, rooms, row, strict=True):
                text = cell.stem + cell.text or EMPTY
                pad = " " * (room - width(text))
                parts.append(pad + text if column.right else text + pad)
            lines.append((" " * indent + gap.join(parts)).rstrip() + "\n")
            count += 1
            if len(lines) >= _BATCH:
                self.out.stream.writelines(lines)
                lines.clear()
        self.out.stream.writelines(lines)
        return count

    def note(self, text: str, *, whole: bool = False) -> None:  # noqa: ARG002 - no line is folded
        """Write a note to stderr, unless the output is quiet."""
        if self.out.quiet:
            return
        self.out.errors.write(f"{sanitize_cell(Cell(text), self.out).text}\n")

    def finish(self) -> None:
        """Do nothing: plain output has no footer."""

    def _sanitize(self, cells: Iterable[Cell]) -> list[Cell]:
        return [sanitize_cell(cell, self.out) for cell in cells]
