"""Tables for people: ``-o table`` and ``-o wide``.

A list is laid out here and written as it is read, with Rich's styles and cell widths.
``rich.table`` would hold the whole list to measure it, and takes 0.5 ms a row: of a list of 200,000
tokens that is more than a minute. The picture of one thing (``detail``) is made of the same parts.

Columns with nothing in them are not shown. Room is found in this order: text that may fold does, down
to the least that its column bears, and what is longer than any id should be, down to MAX_SOLID or half the room; then
the columns of the highest rank are left out, and a note on stderr names them; what is left folds as
narrow as it must. Ids fold last of all: they are there to be copied.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import chain, islice

from tokctl.render.human import ascii_text, safe
from tokctl.render.result import MIN_FOLD, Cell, Column, Detail, Listing, Output, Result, pick_columns

SAMPLE = 1000  # rows that decide the widths of a list; a wider cell further down folds
MAX_FOLD = 100  # cells of a column that folds, however much room there is
MAX_SOLID = 40
GAP = 2
_BATCH = 500


def emit(result: Result, out: Output) -> None:
    """Write a table, or the picture of one thing."""
    if isinstance(result, Detail):
        from tokctl.render.detail import emit_detail

        emit_detail(result, out)
        return
    headline = result.headline() if callable(result.headline) else result.headline
    if headline:
        out.stream.write(join_line(headline, out) + "\n\n")
    if result.sections is not None and out.columns is None:
        from tokctl.render.detail import write_sections

        write_sections(result.sections(), out, gap=False)
        for text in result.notes(0):
            note(text, out)
        return
    count = write_listing(result, out)
    if not count:
        note(result.empty, out)
    for text in result.notes(count):
        note(text, out)


def note(text: str, out: Output) -> None:
    """Say something that is no result, on stderr; one line, but for a terminal that is too narrow for it."""
    text = clean(Cell(text), out).text
    said = text.lstrip(" ")
    indent = text[: len(text) - len(said)]
    lines = wrap(said, out.width, indent) if out.errors.isatty() else [text]
    out.errors.write("\n".join(lines) + "\n")


def join_line(cells: Iterable[Cell], out: Output) -> str:
    """Return cells one after another on one line, or on as many as the room asks for."""
    cleaned = [clean(cell, out) for cell in cells]
    if sum(width(cell.text) for cell in cleaned) <= out.width:
        return "".join(paint(text, style, out) for text, style, _ in cleaned)
    lines, used = [""], 0
    for text, style, _ in cleaned:
        if used + width(text) <= out.width:
            first, more = text, []
        elif used:
            first, more = "", wrap(text.lstrip(), out.width - GAP)
        else:
            first, *more = wrap(text, out.width - GAP)
        lines[-1] += paint(first, style, out)
        lines += [" " * GAP + paint(piece, style, out) for piece in more]
        used = GAP + width(more[-1]) if more else used + width(first)
    return "\n".join(line.rstrip() for line in lines)


def write_listing(listing: Listing, out: Output, *, indent: str = "", left_out: list[str] | None = None) -> int:
    """Write the table of a list; returns the number of rows.

    Columns that found no room are added to ``left_out``, or told on stderr.
    """
    columns = pick_columns(listing, out)
    rows = ([clean(column.cell(item), out) for column in columns] for item in listing.items)
    sample = list(islice(rows, SAMPLE))
    if not sample:
        return 0
    titles = [clean(Cell(column.title, "bold"), out) for column in columns]
    natural = [max(_needs(row[i]) for row in chain([titles], sample)) for i in range(len(columns))]
    used = [
        i for i, column in enumerate(columns) if out.columns or not column.rank or any(_needs(row[i]) for row in sample)
    ] or [0]
    shown, widths = lay_out(columns, natural, out.width - len(indent), used)
    count = 0
    lines: list[str] = []
    for row in chain([titles], sample, rows):
        cells = [row[i] for i in shown]
        lines += (indent + line for line in _lines(cells, [columns[i] for i in shown], widths, out))
        count += 1
        if len(lines) >= _BATCH:
            out.stream.write("\n".join(lines) + "\n")
            lines.clear()
    if lines:
        out.stream.write("\n".join(lines) + "\n")
    left = [columns[i].key for i in used if i not in shown]
    if left_out is not None:
        left_out += left
    elif left:
        no_room(left, out, ", or choose with --columns")
    return count - 1


def no_room(columns: Iterable[str], out: Output, otherwise: str = "") -> None:
    """Say which columns were left out, and what to do."""
    wider = "widen the terminal" if out.tty else "set COLUMNS to a greater width"
    note(f"No room for {', '.join(dict.fromkeys(columns))}: {wider}{otherwise}.", out)


def lay_out(columns: list[Column], natural: list[int], room: int, used: list[int]) -> tuple[list[int], list[int]]:
    """Return which columns are shown and how wide.

    Args:
        columns: what each may do when the room is short.
        natural: the width that each would take, in cells.
        room: the width that there is.
        used: the columns that have something to show.
    """
    shown = list(used)
    while True:
        widths = _squeeze([columns[i] for i in shown], [natural[i] for i in shown], room)
        needed = sum(widths) + GAP * (len(shown) - 1)
        dearest = max((columns[i].rank for i in shown), default=0)
        if needed <= room or len(shown) == 1 or not dearest:
            break
        shown.remove(next(i for i in shown if columns[i].rank == dearest))
    while needed > room and max(widths) > 2:  # nothing else helps: take from the widest
        widest = widths.index(max(widths))
        widths[widest] -= 1
        needed -= 1
    return shown, widths


def _squeeze(columns: list[Column], natural: list[int], room: int) -> list[int]:
    widths = [min(cells, MAX_FOLD if column.fold else room) for cells, column in zip(natural, columns, strict=True)]
    least = [column.least if column.fold else max(MAX_SOLID, room // 2) for column in columns]
    excess = sum(widths) + GAP * (len(widths) - 1) - room
    while excess > 0:
        folding = [i for i, cells in enumerate(widths) if cells > least[i]]
        if not folding:
            break
        widest = max(folding, key=lambda i: widths[i])
        widths[widest] -= 1
        excess -= 1
    return widths


# --- cells ----------------------------------------------------------------------------------------


def clean(cell: Cell, out: Output) -> Cell:
    """Return the cell without anything that could steer a terminal, in ASCII where it must be."""
    text, style, stem = cell
    if text.isascii() and text.isprintable():
        return cell
    text = safe(text)
    return Cell(text if out.unicode else ascii_text(text), style, stem)


def width(text: str) -> int:
    """Cells that a text takes on a terminal."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _needs(cell: Cell) -> int:
    return width(cell.stem) + width(cell.text)


def _lines(cells: list[Cell], columns: list[Column], widths: list[int], out: Output) -> Iterator[str]:
    last = len(cells) - 1
    free = [room - _needs(cell) for cell, room in zip(cells, widths, strict=True)]
    if min(free) >= 0:  # most rows: nothing folds
        parts = []
        for i, (text, style, stem) in enumerate(cells):
            painted, pad = paint(stem + text, style, out), " " * free[i]
            parts.append(pad + painted if columns[i].right else painted if i == last else painted + pad)
        yield (" " * GAP).join(parts).rstrip()
        return
    wrapped = [wrap(cell.text, room, cell.stem) for cell, room in zip(cells, widths, strict=True)]
    for number in range(max(map(len, wrapped))):
        parts = []
        for i, lines in enumerate(wrapped):
            text = lines[number] if number < len(lines) else ""
            pad = " " * (widths[i] - width(text))
            painted = paint(text, cells[i].style, out)
            if columns[i].right:
                parts.append(pad + painted)
            else:
                parts.append(painted if i == last else painted + pad)
        yield (" " * GAP).join(parts).rstrip()


def wrap(text: str, room: int, stem: str = "") -> list[str]:
    """Fold a text into lines of at most ``room`` cells: at spaces, else where they must be.

    A fold at spaces takes their place; every other character is kept. ``stem`` stands in front, and its
    branches go on in the lines below; of one that leaves too little room, the end is kept.
    """
    if width(stem) + width(text) <= room:
        return [stem + text]
    if stem:
        stem = _shorten(stem, room - min(MIN_FOLD, room // 2))
        room = max(room - width(stem), 1)
    lines = [""]
    for piece in _WORDS.findall(text):
        joined = lines[-1] + piece
        if width(joined) <= room:
            lines[-1] = joined
            continue
        pieces = _chop(piece.lstrip(" ") if lines[-1] else piece, room)
        lines[-1:] = [lines[-1], *pieces] if lines[-1] else pieces
    below = stem.translate(_BELOW)
    return [(below if number else stem) + line for number, line in enumerate(lines)]


_WORDS = re.compile(r" *[^ ]+| +")
_BELOW = str.maketrans("├└─`-", "│    ")


def _shorten(stem: str, room: int) -> str:
    """Return the end of a tree's branches, behind a sign that there are more."""
    if width(stem) <= room:
        return stem
    more = "~" if stem.isascii() else "⋯"
    return more + stem[len(stem) - max(room - 1, 0) :]


def _chop(word: str, room: int) -> list[str]:
    """Cut a word that is too long: behind a sign that joins parts of a name, else anywhere."""
    if width(word) <= room:
        return [word]
    lines = [""]
    for part in _PARTS.findall(word):
        if width(lines[-1]) + width(part) <= room:
            lines[-1] += part
            continue
        pieces = _cut(part, room)
        lines[-1:] = [lines[-1], *pieces] if lines[-1] else pieces
    return lines


_PARTS = re.compile(r"[^-_/.:]*[-_/.:]+|[^-_/.:]+")


def _cut(text: str, room: int) -> list[str]:
    if text.isascii():
        return [text[i : i + room] for i in range(0, len(text), room)]
    from rich.cells import chop_cells

    return chop_cells(text, room)


def paint(text: str, style: str, out: Output) -> str:
    """Text in a style, where colours are wanted."""
    if not style or not text or not out.color:
        return text
    before, after = _codes(style)
    return f"{before}{text}{after}"


@lru_cache(maxsize=64)
def _codes(style: str) -> tuple[str, str]:
    from rich.color import ColorSystem
    from rich.style import Style

    before, _, after = Style.parse(style).render("\0", color_system=ColorSystem.STANDARD).partition("\0")
    return before, after
