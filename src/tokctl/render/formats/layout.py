"""Which columns of a table fit on a terminal, and how wide they are.

If a table is too wide, it is made narrower in this order:

1. Columns that may fold do so, down to their ``min_width``. Other columns fold only if they are longer than any id
   should be: down to MAX_UNWRAPPED_WIDTH or half the width of the table, whichever is more.
2. Columns are left out, the highest rank first.
3. The remaining columns fold as much as necessary.

Ids fold last because people copy them.
"""

from __future__ import annotations

from collections.abc import Sequence

from tokctl.render.result import Cell, Column, Output
from tokctl.render.text import escape_controls, to_ascii

MAX_WRAPPED_WIDTH = 100  # maximum width of a column that may fold
MAX_UNWRAPPED_WIDTH = 40
COLUMN_GAP = 2


def fit_columns(
    columns: Sequence[Column], natural: Sequence[int], room: int, used: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Return the indexes of the columns to show, and their widths in cells.

    ``natural`` are the widths of the longest cells, ``room`` is the available width, ``used`` are the indexes of the
    columns that are not empty.
    """
    shown = list(used)
    while True:
        widths = _shrink_widths([columns[i] for i in shown], [natural[i] for i in shown], room)
        needed = sum(widths) + COLUMN_GAP * (len(shown) - 1)
        dearest = max((columns[i].rank for i in shown), default=0)
        if needed <= room or len(shown) == 1 or not dearest:
            break
        shown.remove(next(i for i in shown if columns[i].rank == dearest))
    while needed > room and max(widths) > 2:  # nothing else helps: take from the widest
        widths[widths.index(max(widths))] -= 1
        needed -= 1
    return shown, widths


def _shrink_widths(columns: list[Column], natural: list[int], room: int) -> list[int]:
    widths = [
        min(cells, MAX_WRAPPED_WIDTH if column.fold else room) for cells, column in zip(natural, columns, strict=True)
    ]
    min_width = [column.min_width if column.fold else max(MAX_UNWRAPPED_WIDTH, room // 2) for column in columns]
    excess = sum(widths) + COLUMN_GAP * (len(widths) - 1) - room
    while excess > 0:
        folding = [i for i, cells in enumerate(widths) if cells > min_width[i]]
        if not folding:
            break
        widths[max(folding, key=lambda i: widths[i])] -= 1
        excess -= 1
    return widths


def sanitize_cell(cell: Cell, out: Output) -> Cell:
    """Return the cell without anything that could control a terminal, in ASCII if the output requires it."""
    text, _, stem, sign, _ = cell
    if text.isascii() and text.isprintable() and (out.unicode or not (stem or sign)):
        return cell
    text = escape_controls(text)
    if not out.unicode:
        text, stem, sign = to_ascii(text), to_ascii(stem), to_ascii(sign)
    return cell._replace(text=text, stem=stem, sign=sign)


def width(text: str) -> int:
    """Return the width of text on a terminal, in cells."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def cell_width(cell: Cell) -> int:
    """Return the width of a cell with its stem and its sign."""
    return width(cell.stem) + width(cell.signed)
