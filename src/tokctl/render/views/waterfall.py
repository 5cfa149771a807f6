"""A time line in characters: an axis with ticks, and a bar for each token.

Stretches that dwarf all the rest, and in which nothing begins or ends, are cut short: cells marked ``⋯``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from tokctl.render.human import span

_BREAK = 3  # cells of a stretch that is left out
_DWARFS = 8  # times all the rest: then a stretch is left out
_MOST_BREAKS = 3
_LABEL = 9  # cells from tick to tick at least
_SECOND = 1_000_000
_STEPS = (
    *(n * 1000 for n in (1, 2, 5, 10, 20, 50, 100, 200, 500)),
    *(n * _SECOND for n in (1, 2, 5, 10, 15, 30)),
    *(n * 60 * _SECOND for n in (1, 2, 5, 10, 15, 30)),
    *(n * 3600 * _SECOND for n in (1, 2, 3, 6, 12)),
    *(n * 86400 * _SECOND for n in (1, 2, 5, 10, 20, 50, 100, 200, 365, 730, 1825, 3650, 36500, 365000, 3650000)),
)


class Signs(NamedTuple):
    """What bars are made of: cells filled by eighths, a bar that begins half-way, and marks."""

    eighths: str
    half: str
    instant: str
    left_out: str
    open: str
    unknown: str
    tick: str


UNICODE = Signs(" ▏▎▍▌▋▊▉█", "▐", "◆", "⋯", "…", "?", "╵")
ASCII = Signs(" ########", "#", "*", "~", ">", "?", "|")


class Piece(NamedTuple):
    """A stretch of the axis: its times (µs), its cells, and whether it is left out."""

    begin: int
    end: int
    left: float
    right: float
    left_out: bool


class Axis:
    """Where a time stands. ``left_out`` is the time (µs) of the stretches that are cut short."""

    def __init__(self, times: Iterable[int], cells: int) -> None:
        """``times`` are those at which something begins or ends, one at least; ``cells`` the room."""
        known = sorted(set(times))
        self.begin, self.end, self.cells = known[0], known[-1], cells
        broken = _gaps(known, cells)
        self.left_out = sum(end - begin for begin, end in broken)
        edges = [(self.begin, self.begin), *broken, (self.end, self.end)]
        shown = self.end - self.begin - self.left_out
        scale = (cells - _BREAK * len(broken)) / shown if shown else 0.0
        self._scale = scale
        self.pieces: list[Piece] = []
        x = 0.0
        for (_, begin), (end, after) in pairwise(edges):
            right = x + (end - begin) * scale
            self.pieces.append(Piece(begin, end, x, right, left_out=False))
            x = right
            if after > end:
                self.pieces.append(Piece(end, after, x, x + _BREAK, left_out=True))
                x += _BREAK

    def at(self, time: int) -> float:
        """Return the place of a time, in cells from the left."""
        for begin, end, left, right, _ in self.pieces:
            if time <= end:
                return left + (right - left) * (time - begin) / (end - begin) if end > begin else left
        return float(self.cells)

    def text(self, signs: Signs) -> str:
        """The axis as a line: ticks with the time since the begin."""
        line = [" "] * self.cells
        step = next((step for step in _STEPS if step * self._scale >= _LABEL), None)
        free = 0
        for piece in self.pieces:
            if piece.left_out:
                for cell in range(round(piece.left), min(round(piece.right), self.cells)):
                    line[cell] = signs.left_out
                free = max(free, round(piece.right))
                continue
            for offset in self._ticks(piece, step):
                cell = int(self.at(self.begin + offset))
                label = signs.tick + (span(offset / _SECOND) if offset else "0")
                if free <= cell and cell + len(label) <= min(self.cells, self._room(piece)):
                    line[cell : cell + len(label)] = label
                    free = cell + len(label) + 1
        return "".join(line).rstrip()

    def _room(self, piece: Piece) -> int:
        return self.cells if piece is self.pieces[-1] else round(piece.right)

    def _ticks(self, piece: Piece, step: int | None) -> Iterator[int]:
        if piece.begin == self.begin:
            yield 0
        elif step is not None:
            yield piece.begin - self.begin  # where a stretch was left out, its end says how late it is
        if step is not None:
            first = (piece.begin - self.begin) // step + 1
            last = (piece.end - self.begin) // step
            yield from (number * step for number in range(first, min(last, first + self.cells) + 1))

    def bar(
        self, begin: int, end: int, signs: Signs, *, live: bool, unknown_begin: bool = False, unknown_end: bool = False
    ) -> str:
        """Return the bar of a stretch of time, as wide as the axis."""
        last = self.cells - 1
        line = [" "] * self.cells
        left, right = self.at(begin), self.at(end)
        first = min(int(left), last)
        if end == begin and not live:
            line[first] = signs.instant
        elif right - left < 1:
            line[min(int((left + right) / 2), last)] = signs.eighths[max(1, round((right - left) * 8))]
        else:
            full = min(int(right), self.cells)
            line[first:full] = signs.eighths[8] * (full - first)
            if left - first >= 0.5:
                line[first] = signs.half
            if full <= last and (rest := int((right - full) * 8)):
                line[full] = signs.eighths[rest]
        for piece in self.pieces:
            if piece.left_out and begin <= piece.begin and piece.end <= end:
                for cell in range(round(piece.left), min(round(piece.right), self.cells)):
                    line[cell] = signs.left_out
        if live:
            line[min(max(int(right), first), last)] = signs.open
        if unknown_begin:
            line[first] = signs.unknown
        if unknown_end and not live:
            line[min(int(right), last)] = signs.unknown
        return "".join(line)


def _gaps(known: list[int], cells: int) -> list[tuple[int, int]]:
    """Return the stretches to leave out, in order.

    That is the longest one if it dwarfs all the rest, or the two longest if all the rest would have no more than
    an eighth of a cell; and so on with what is left, as long as there are two stretches to tell apart.
    """
    gaps = sorted(pairwise(known), key=lambda gap: gap[0] - gap[1])
    whole, chosen = known[-1] - known[0], 0
    most = min(_MOST_BREAKS, cells // (4 * _BREAK), len(gaps) - 2)
    while chosen < most:
        lengths = [end - begin for begin, end in gaps[chosen : min(chosen + 2, most)]]
        if lengths[0] >= _DWARFS * (whole - lengths[0]):
            number = 1
        elif len(lengths) == 2 and (whole - sum(lengths)) * cells * 8 <= whole:
            number = 2
        else:
            break
        chosen += number
        whole -= sum(lengths[:number])
    return sorted(gaps[:chosen])
