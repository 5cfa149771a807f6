"""A grid of characters with lines that cross and join, and text with a role that decides its style."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple
from unicodedata import lookup

from msgspec import Struct
from rich.cells import cell_len, set_cell_size

DASHED, PLAIN, HEAVY = 1, 2, 3
"""The weights of a line: not taken, plain or taken, and that of the critical path."""
UNREACHED, CRITICAL, TITLE, TYPE, COUNT, FLOW = "unreached", "critical", "title", "type", "count", "flow"
"""Roles of text: an element or flow that no token reached, one of the critical path, headings and labels."""
ROLES = {DASHED: UNREACHED, PLAIN: "", HEAVY: CRITICAL}
"""Weight of a line → role."""
_NORTH, _SOUTH, _WEST, _EAST = range(4)
_NAMES = {
    (True, True, False, False): "VERTICAL",
    (False, False, True, True): "HORIZONTAL",
    (True, False, True, False): "UP AND LEFT",
    (True, False, False, True): "UP AND RIGHT",
    (False, True, True, False): "DOWN AND LEFT",
    (False, True, False, True): "DOWN AND RIGHT",
    (True, True, True, False): "VERTICAL AND LEFT",
    (True, True, False, True): "VERTICAL AND RIGHT",
    (True, False, True, True): "UP AND HORIZONTAL",
    (False, True, True, True): "DOWN AND HORIZONTAL",
    (True, True, True, True): "VERTICAL AND HORIZONTAL",
}
_ASCII_SIGNS = {
    ("VERTICAL", False): "|",
    ("VERTICAL", True): ":",
    ("HORIZONTAL", False): "-",
    ("HORIZONTAL", True): ".",
}


class Span(NamedTuple):
    """Text and its role, which decides its style: ``state:STATE``, ``heat-N``, one of those above, or '' for none."""

    text: str
    role: str


class Glyphs(Struct, frozen=True):
    """The characters of a drawing, in Unicode or ASCII."""

    unicode: bool = True

    @property
    def ellipsis(self) -> str:
        """What stands for the end of a text that is cut."""
        return "…" if self.unicode else "..."

    @property
    def arrows(self) -> tuple[str, str]:
        """The tips of a line that leads to the right, and downwards."""
        return ("▶", "▼") if self.unicode else (">", "v")

    def line(self, arms: tuple[int, int, int, int]) -> str:
        """Return the character of a cell with these weights to the north, south, west and east; 0 for none."""
        return _line_sign(arms, self.unicode)

    def fit(self, text: str, cells: int) -> str:
        """Return a text cut to a width in cells, with an ellipsis if anything is missing."""
        if cell_len(text) <= cells:
            return text
        room = cells - len(self.ellipsis)
        return set_cell_size(text, room).rstrip() + self.ellipsis if room >= 0 else self.ellipsis[: max(cells, 0)]


@lru_cache(maxsize=256)
def _line_sign(arms: tuple[int, int, int, int], unicode: bool) -> str:
    north, south, west, east = map(bool, arms)
    if sum((north, south, west, east)) == 1:  # the end of a line
        north, south, west, east = north or south, north or south, west or east, west or east
    name = _NAMES[north, south, west, east]
    if not unicode:
        return _ASCII_SIGNS.get((name, max(arms) == DASHED), "+")
    if max(arms) == DASHED and name in {"VERTICAL", "HORIZONTAL"}:
        return "┆" if name == "VERTICAL" else "┄"
    heavy = all(weight == HEAVY for weight in arms if weight)
    return lookup(f"BOX DRAWINGS {'HEAVY' if heavy else 'LIGHT'} {name}")


class Canvas:
    """Cells by column and row, both from 0. Text hides lines."""

    def __init__(self, glyphs: Glyphs) -> None:
        self.glyphs = glyphs
        self.width = self.height = 0
        self._texts: dict[tuple[int, int], Span] = {}
        self._arms: dict[tuple[int, int], list[int]] = {}
        self._nets: dict[tuple[int, int], tuple[int, int]] = {}  # those of the vertical and the horizontal arms

    def write(self, x: int, y: int, text: str, role: str = "") -> int:
        """Write text from a cell to the right; returns the column behind it."""
        for sign in text:
            width = cell_len(sign)
            if width == 0:
                if (before := self._texts.get((x - 1, y))) is not None:
                    self._texts[x - 1, y] = Span(before.text + sign, before.role)
                continue
            self._texts[x, y] = Span(sign, role)
            for more in range(1, width):
                self._texts[x + more, y] = Span("", role)
            x += width
        self._grow(x, y + 1)
        return x

    def draw(self, start: tuple[int, int], end: tuple[int, int], weight: int, net: int) -> None:
        """Draw a horizontal or vertical line between two cells. Lines of the same net join, others cross."""
        (x1, y1), (x2, y2) = sorted((start, end))
        self._grow(x2 + 1, y2 + 1)
        horizontal = y1 == y2
        for n in range((x2 - x1) if horizontal else (y2 - y1)):
            here = (x1 + n, y1) if horizontal else (x1, y1 + n)
            there = (x1 + n + 1, y1) if horizontal else (x1, y1 + n + 1)
            self._join(here, _EAST if horizontal else _SOUTH, weight, net)
            self._join(there, _WEST if horizontal else _NORTH, weight, net)

    def _join(self, cell: tuple[int, int], arm: int, weight: int, net: int) -> None:
        arms = self._arms.setdefault(cell, [0, 0, 0, 0])
        arms[arm] = max(arms[arm], weight)
        vertical, horizontal = self._nets.get(cell, (-1, -1))
        self._nets[cell] = (net, horizontal) if arm in {_NORTH, _SOUTH} else (vertical, net)

    def is_crossed(self, x: int, y: int) -> bool:
        """Tell whether a cell has text or a vertical line."""
        arms = self._arms.get((x, y))
        return (x, y) in self._texts or (arms is not None and bool(arms[_NORTH] or arms[_SOUTH]))

    def is_blank(self, x: int, y: int) -> bool:
        """Tell whether nothing is in a cell."""
        return (x, y) not in self._texts and (x, y) not in self._arms

    def place(self, other: Canvas, x: int, y: int) -> None:
        """Put another canvas on this one, with its upper left corner at a cell."""
        for (column, row), span in other._texts.items():
            self._texts[x + column, y + row] = span
        for (column, row), arms in other._arms.items():
            self._arms[x + column, y + row] = arms
            self._nets[x + column, y + row] = other._nets[column, row]
        self._grow(x + other.width, y + other.height)

    def _grow(self, width: int, height: int) -> None:
        self.width, self.height = max(self.width, width), max(self.height, height)

    def lines(self) -> Iterator[list[Span]]:
        """Yield the lines from the top, without what is blank at their ends."""
        rows: list[list[int]] = [[] for _ in range(self.height)]
        for x, y in self._texts.keys() | self._arms.keys():
            rows[y].append(x)
        for y, columns in enumerate(rows):
            spans: list[Span] = []
            end = 0
            for x in sorted(columns):
                text, role = self._sign(x, y)
                if text == " " and not role:
                    continue
                if x > end:
                    spans.append(Span(" " * (x - end), ""))
                if x == end and spans and spans[-1].role == role:
                    spans[-1] = Span(spans[-1].text + text, role)
                else:
                    spans.append(Span(text, role))
                end = x + 1
            yield spans

    def _sign(self, x: int, y: int) -> Span:
        if (span := self._texts.get((x, y))) is not None:
            return span
        arms = self._arms.get((x, y))
        if arms is None:
            return Span(" ", "")
        vertical, horizontal = self._nets[x, y]
        if all(arms) and vertical != horizontal:  # where lines cross, the vertical one passes over the other
            arms = [*arms[:2], 0, 0]
        return Span(self.glyphs.line((arms[0], arms[1], arms[2], arms[3])), ROLES[max(arms)])
