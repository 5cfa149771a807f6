"""A time line in characters: an axis with ticks, and a bar for each token.

Very long stretches in which nothing begins or ends are cut short; their cells are marked ``⋯``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from tokctl.render.text import format_duration

_BREAK_WIDTH = 3  # cells of an omitted stretch
_BREAK_RATIO = 8  # a stretch is omitted if it is this many times as long as all the rest
_MAX_BREAKS = 3
_MIN_TICK_DISTANCE = 9  # cells
_SECOND = 1_000_000
_TICK_STEPS_US = (
    *(n * 1000 for n in (1, 2, 5, 10, 20, 50, 100, 200, 500)),
    *(n * _SECOND for n in (1, 2, 5, 10, 15, 30)),
    *(n * 60 * _SECOND for n in (1, 2, 5, 10, 15, 30)),
    *(n * 3600 * _SECOND for n in (1, 2, 3, 6, 12)),
    *(n * 86400 * _SECOND for n in (1, 2, 5, 10, 20, 50, 100, 200, 365, 730, 1825, 3650, 36500, 365000, 3650000)),
)


class BarGlyphs(NamedTuple):
    """The characters of bars: cells filled by eighths, a cell filled in its right half, and marks."""

    eighths: str
    half: str
    instant: str
    omitted: str
    open: str
    unknown: str
    tick: str


UNICODE = BarGlyphs(" ▏▎▍▌▋▊▉█", "▐", "◆", "⋯", "…", "?", "╵")
ASCII = BarGlyphs(" ########", "#", "*", "~", ">", "?", "|")


class AxisSegment(NamedTuple):
    """A stretch of the axis: its times (µs), its cells, and whether it is omitted."""

    begin: int
    end: int
    left: float
    right: float
    omitted: bool


class Axis:
    """Maps times to cells. ``omitted`` is the total time (µs) of the omitted stretches."""

    def __init__(self, times: Iterable[int], cells: int) -> None:
        """``times`` (µs) are all begins and ends, at least one; ``cells`` is the width."""
        known = sorted(set(times))
        self.begin, self.end, self.cells = known[0], known[-1], cells
        broken = _find_breaks(known, cells)
        self.omitted = sum(end - begin for begin, end in broken)
        edges = [(self.begin, self.begin), *broken, (self.end, self.end)]
        shown = self.end - self.begin - self.omitted
        scale = (cells - _BREAK_WIDTH * len(broken)) / shown if shown else 0.0
        self._scale = scale
        self.segments: list[AxisSegment] = []
        x = 0.0
        for (_, begin), (end, after) in pairwise(edges):
            right = x + (end - begin) * scale
            self.segments.append(AxisSegment(begin, end, x, right, omitted=False))
            x = right
            if after > end:
                self.segments.append(AxisSegment(end, after, x, x + _BREAK_WIDTH, omitted=True))
                x += _BREAK_WIDTH

    def at(self, time: int) -> float:
        """Return the position of a time (µs), in cells from the left."""
        for begin, end, left, right, _ in self.segments:
            if time <= end:
                return left + (right - left) * (time - begin) / (end - begin) if end > begin else left
        return float(self.cells)

    def ticks(self, distance: float = _MIN_TICK_DISTANCE) -> list[tuple[float, int]]:
        """Return the places of ticks, at least ``distance`` cells apart, with the time since the begin (µs)."""
        step = next((step for step in _TICK_STEPS_US if step * self._scale >= distance), None)
        found: list[tuple[float, int]] = []
        for piece in self.segments:
            for offset in () if piece.omitted else self._ticks(piece, step):
                place = self.at(self.begin + offset)
                if not found or place - found[-1][0] >= distance:
                    found.append((place, offset))
        return found

    def text(self, signs: BarGlyphs) -> str:
        """Return the axis as a line: ticks with the time since the begin."""
        line = [" "] * self.cells
        step = next((step for step in _TICK_STEPS_US if step * self._scale >= _MIN_TICK_DISTANCE), None)
        free = 0
        for piece in self.segments:
            if piece.omitted:
                for cell in range(round(piece.left), min(round(piece.right), self.cells)):
                    line[cell] = signs.omitted
                free = max(free, round(piece.right))
                continue
            for offset in self._ticks(piece, step):
                cell = int(self.at(self.begin + offset))
                label = signs.tick + (format_duration(offset / _SECOND) if offset else "0")
                if free <= cell and cell + len(label) <= min(self.cells, self._segment_end(piece)):
                    line[cell : cell + len(label)] = label
                    free = cell + len(label) + 1
        return "".join(line).rstrip()

    def _segment_end(self, piece: AxisSegment) -> int:
        return self.cells if piece is self.segments[-1] else round(piece.right)

    def _ticks(self, piece: AxisSegment, step: int | None) -> Iterator[int]:
        if piece.begin == self.begin:
            yield 0
        elif step is not None:
            yield piece.begin - self.begin  # a tick after an omitted stretch shows how much time has passed
        if step is not None:
            first = (piece.begin - self.begin) // step + 1
            last = (piece.end - self.begin) // step
            yield from (number * step for number in range(first, min(last, first + self.cells) + 1))

    def bar(
        self,
        begin: int,
        end: int,
        signs: BarGlyphs,
        *,
        live: bool,
        unknown_begin: bool = False,
        unknown_end: bool = False,
    ) -> str:
        """Return the bar from ``begin`` to ``end`` (µs), as wide as the axis."""
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
        for piece in self.segments:
            if piece.omitted and begin <= piece.begin and piece.end <= end:
                for cell in range(round(piece.left), min(round(piece.right), self.cells)):
                    line[cell] = signs.omitted
        if live:
            line[min(max(int(right), first), last)] = signs.open
        if unknown_begin:
            line[first] = signs.unknown
        if unknown_end and not live:
            line[min(int(right), last)] = signs.unknown
        return "".join(line)


def _find_breaks(known: list[int], cells: int) -> list[tuple[int, int]]:
    """Return the stretches to omit, in order.

    The longest one is omitted if it is _BREAK_RATIO times as long as all the rest; the two longest are omitted if all
    the rest would take at most an eighth of a cell. This is repeated with the rest, but two stretches always remain.
    """
    gaps = sorted(pairwise(known), key=lambda gap: gap[0] - gap[1])
    whole, chosen = known[-1] - known[0], 0
    most = min(_MAX_BREAKS, cells // (4 * _BREAK_WIDTH), len(gaps) - 2)
    while chosen < most:
        lengths = [end - begin for begin, end in gaps[chosen : min(chosen + 2, most)]]
        if lengths[0] >= _BREAK_RATIO * (whole - lengths[0]):
            number = 1
        elif len(lengths) == 2 and (whole - sum(lengths)) * cells * 8 <= whole:
            number = 2
        else:
            break
        chosen += number
        whole -= sum(lengths[:number])
    return sorted(gaps[:chosen])
