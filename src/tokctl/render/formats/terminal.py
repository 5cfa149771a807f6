"""Output on a terminal, with Rich: tables that fit its width, folded text, colours.

A long table is written in blocks of the same widths while it is read. The widths are chosen from the first rows
(``layout``), because Rich would measure every cell otherwise, which takes as long as drawing it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table
from rich.text import Text
from rich.theme import Theme

from tokctl.kinds import THEME_STYLES
from tokctl.render.formats.layout import COLUMN_GAP, cell_width, fit_columns, sanitize_cell, width
from tokctl.render.result import MIN_WRAPPED_WIDTH, Cell, Column, Field, Output

SAMPLE_ROWS = 1000  # rows that determine the widths of a list; wider cells below them fold
BLOCK_ROWS = 500


class OutputConsole(Console):
    """A console that reports a closed pipe like any other stream."""

    def on_broken_pipe(self) -> None:
        """Raise BrokenPipeError, where Rich would end the program."""
        raise BrokenPipeError


def open_console(out: Output) -> Console:
    """Return the console of an output. Cells name the default styles, so a theme redefines these."""
    return OutputConsole(
        file=out.stream,
        width=out.width,
        force_terminal=True,
        color_system="standard" if out.color else None,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
        theme=Theme({THEME_STYLES[name]: style for name, style in out.theme.items()}) if out.theme else None,
    )


class TerminalWriter:
    """Writes Rich renderables to one console; notes stand below the result."""

    def __init__(self, out: Output, console: Console | None = None) -> None:
        self.out = out
        self._console = console or open_console(out)
        self._hidden: list[str] = []
        self._has_notes = False
        self._needs_gap = False  # before the notes

    def line(self, cells: Sequence[Cell], indent: int = 0) -> None:
        """Write cells as one line, or as several lines if they are too long."""
        text = _assemble([sanitize_cell(cell, self.out) for cell in cells])
        if any(cell.whole for cell in cells):
            self._print(Text(" " * indent) + text, whole=True)
        else:
            self._print(text, indent)
        self._needs_gap &= bool(cells)

    def fields(self, fields: Sequence[Field], indent: int) -> None:
        """Write labels and values in two columns. Both fold; labels take at most a third of the width."""
        labels = [sanitize_cell(Cell(label, "dim"), self.out) for label, _ in fields]
        grid = Table.grid(padding=(0, COLUMN_GAP, 0, 0))
        room = min(max(map(cell_width, labels)), (self.out.width - indent) // 3)
        if room:
            grid.add_column(width=room, overflow="fold")
        grid.add_column(overflow="fold")
        for label, (_, cell) in zip(labels, fields, strict=True):
            value = _assemble([sanitize_cell(cell, self.out)])
            grid.add_row(*([_assemble([label])] if room else []), value)
        self._print(grid, indent)

    def rows(self, columns: Sequence[Column], rows: Iterator[list[Cell]], indent: int) -> int:
        """Write a table, unless it is empty; returns the number of rows."""
        sample = list(islice(rows, SAMPLE_ROWS))
        if not sample:
            return 0
        titles = [sanitize_cell(Cell(column.title, "bold"), self.out) for column in columns]
        natural = [max(cell_width(row[i]) for row in chain([titles], sample)) for i in range(len(columns))]
        used = [
            i
            for i, column in enumerate(columns)
            if self.out.columns or not column.rank or any(row[i].text or row[i].stem for row in sample)
        ] or [0]
        shown, widths = fit_columns(columns, natural, self.out.width - indent, used)
        if self.out.columns or self.out.format == "wide":  # of the default columns, those that fit are chosen here
            self._hidden += [columns[i].key for i in used if i not in shown]
        count = 0
        rest = chain(sample, rows)
        while block := list(islice(rest, BLOCK_ROWS)):
            table = Table(
                box=None, show_header=self.out.headers and not count, pad_edge=False, padding=(0, COLUMN_GAP, 0, 0)
            )
            for i, room in zip(shown, widths, strict=True):
                cut = columns[i].cut and self.out.format != "wide"
                table.add_column(
                    _assemble([titles[i]]),
                    width=room,
                    justify="right" if columns[i].right else "left",
                    no_wrap=cut,
                    overflow="fold" if not cut else "ellipsis" if self.out.unicode else "crop",
                )
            for row in block:
                table.add_row(*(Branch(row[i]) if row[i].stem else _assemble([row[i]]) for i in shown))
            self._print(table, indent)
            count += len(block)
        return count

    def note(self, text: str, *, whole: bool = False) -> None:
        """Write a note below the result, unless the output is quiet."""
        if self.out.quiet:
            return
        if self._needs_gap and not self._has_notes:
            self._print(Text())
        self._has_notes = True
        self._print(Text(sanitize_cell(Cell(text), self.out).text, "dim"), whole=whole)

    def finish(self) -> None:
        """Name the columns that had no room."""
        if self._hidden:
            self.note(f"Hidden columns: {', '.join(dict.fromkeys(self._hidden))}. Widen the terminal or use --columns.")

    def _print(self, renderable: RenderableType, indent: int = 0, *, whole: bool = False) -> None:
        padded = Padding.indent(renderable, indent) if indent else renderable
        self._console.print(padded, overflow=None if whole else "fold", soft_wrap=whole)
        self._needs_gap = True


class LineWriter(TerminalWriter):
    """Collects lines of segments instead of writing them, for a picture of limited height."""

    def __init__(self, out: Output, console: Console) -> None:
        super().__init__(out, console)
        self.lines: list[list[Segment]] = []

    def _print(self, renderable: RenderableType, indent: int = 0, *, whole: bool = False) -> None:  # noqa: ARG002 - lines are counted
        options = self._console.options.update(width=self.out.width, overflow="fold")
        padded = Padding.indent(renderable, indent) if indent else renderable
        self.lines += self._console.render_lines(padded, options, pad=False)


def _assemble(cells: Sequence[Cell]) -> Text:
    if len(cells) == 1:
        return Text(cells[0].stem + cells[0].signed, cells[0].style)
    return Text.assemble(*((cell.stem + cell.signed, cell.style) for cell in cells))


class Branch:
    """A cell behind the branches of a tree, which continue in the lines below if the text folds."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the lines of the cell."""
        stem, style = self._cell.stem, self._cell.style
        stem = _truncate_stem(stem, options.max_width - min(MIN_WRAPPED_WIDTH, options.max_width // 2))
        room = max(options.max_width - width(stem), 1)
        for number, line in enumerate(Text(self._cell.signed, style).wrap(console, room, overflow="fold")):
            yield Text.assemble((stem.translate(_CONTINUED_BRANCHES) if number else stem, style), line)


_CONTINUED_BRANCHES = str.maketrans("├└─`-", "│    ")


def _truncate_stem(stem: str, room: int) -> str:
    """Return the end of a tree's branches, after a sign that there are more."""
    if width(stem) <= room:
        return stem
    more = "~" if stem.isascii() else "⋯"
    return more + stem[len(stem) - max(room - 1, 0) :]
