"""The time line of a flow: a bar for each token, its duration and its slack."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import nsmallest
from itertools import islice

from rich.cells import set_cell_size

from tokctl.analysis.flow.critical_path import FlowAnalysis
from tokctl.model.durations import format_duration
from tokctl.model.times import from_micros
from tokctl.render.formats.layout import sanitize_cell, width
from tokctl.render.result import Cell, Output, Section
from tokctl.render.text import count, format_zoned_time, state_cell, state_style
from tokctl.render.views.flow_tokens import RowLimit, slack_cell, took_cell
from tokctl.render.waterfall import ASCII, UNICODE, Axis

MAX_WIDTH = 160  # cells; longer bars are hard to follow
_MAX_NAME_WIDTH = 28
_MIN_BAR_WIDTH = 12
_GAP = "  "


def time_line_section(flow: FlowAnalysis, out: Output, limit: RowLimit) -> Section:
    """Return the waterfall. If there are too many tokens, show the live, the critical and the longest ones."""
    nodes: Sequence[int] = flow.by_begin
    title = "Time line"
    if limit.rows is not None and len(nodes) > limit.rows:
        title += ": live, critical and longest tokens"
        limit.add_truncated(f"{limit.rows:,} of {count(len(nodes), 'token')} in the time line")
        kept = _select_tokens(flow, limit.rows)
        nodes = [n for n in nodes if n in kept]
    time_line = _TimeLine(flow, out, nodes)
    return Section(
        title=(Cell(title, "bold"), *time_line.period()), lines=[time_line.head(), *map(time_line.line, nodes)]
    )


class _TimeLine:
    """The layout of a time line: name, bar, duration and slack of each token."""

    def __init__(self, flow: FlowAnalysis, out: Output, nodes: Sequence[int]) -> None:
        self._flow, self._out = flow, out
        self._signs = UNICODE if out.unicode else ASCII
        self._names = {n: self._truncate_name(flow.visits[n].name) for n in nodes}
        self._tooks = {n: sanitize_cell(took_cell(flow, n), out) for n in nodes}
        self._slacks = {n: sanitize_cell(slack_cell(flow, n), out) for n in nodes}
        self._name_room = max(map(width, self._names.values()), default=0)
        self._took_room = max(4, *(width(cell.text) for cell in self._tooks.values()))
        self._slack_room = max(5, *(width(cell.text) for cell in self._slacks.values()))
        self._bar_room = self._fit_bars()
        times = [t for n in nodes if n not in flow.untimed for t in (flow.begins[n], flow.ends[n])]
        self._axis = Axis(times, self._bar_room) if times else None

    def _fit_bars(self) -> int:
        """Return the cells for bars. If they are few, leave out the slack, then the durations."""
        columns = 2 + self._name_room + 2 + (2 + self._took_room) + (2 + self._slack_room)
        cells = min(self._out.width, MAX_WIDTH) - 2 - columns
        if cells < 2 * _MIN_BAR_WIDTH:  # the table of the completed path shows the slack too
            cells, self._slack_room = cells + 2 + self._slack_room, 0
        if cells < _MIN_BAR_WIDTH:
            cells, self._took_room = cells + 2 + self._took_room, 0
        return cells

    def period(self) -> list[Cell]:
        """Return when the axis begins, and how much time it leaves out."""
        axis = self._axis
        if axis is None:
            return []
        cells = [Cell(f"  from {format_zoned_time(from_micros(axis.begin), self._out.now)}", "dim")]
        if axis.omitted:
            omitted = format_duration(axis.omitted / 1e6)
            cells.append(Cell(f"  {self._signs.omitted} omits {omitted} without changes", "dim"))
        return cells

    def head(self) -> tuple[Cell, ...]:
        """Return the line with the axis and the titles."""
        head = " " * (2 + self._name_room) + _GAP
        head += (self._axis.text(self._signs) if self._axis else "").ljust(self._bar_room)
        for title, room in (("TOOK", self._took_room), ("SLACK", self._slack_room)):
            head += _GAP + title.rjust(room) if room else ""
        return (Cell(head.rstrip(), "dim"),)

    def line(self, n: int) -> tuple[Cell, ...]:
        """Return the line of a token."""
        visit, name, bar = self._flow.visits[n], self._names[n], self._bar(n)
        style = state_style(visit.state)
        bar_style = "cyan" if style == "dim" and n in self._flow.critical_nodes else style
        cells = [
            Cell(f"{state_cell(visit.state).sign or ' '} ", style),
            Cell(name + " " * (self._name_room - width(name)), "bold" if visit.live else ""),
            Cell(_GAP),
            Cell(bar if self._took_room else bar.rstrip(), bar_style),
        ]
        for cell, room in ((self._tooks[n], self._took_room), (self._slacks[n], self._slack_room)):
            if room and cell.text:
                cells += [Cell(_GAP + " " * (room - width(cell.text))), cell]
        return tuple(cells)

    def _bar(self, n: int) -> str:
        flow = self._flow
        if self._axis is None or n in flow.untimed:
            return self._signs.unknown.ljust(self._bar_room)
        live = flow.visits[n].live
        return self._axis.bar(
            flow.begins[n],
            flow.ends[n],
            self._signs,
            live=live,
            unknown_begin=n in flow.unknown_begin,
            unknown_end=n in flow.unknown_end and not live,
        )

    def _truncate_name(self, name: str) -> str:
        out = self._out
        text = sanitize_cell(Cell(name), out).text
        room = min(_MAX_NAME_WIDTH, max(12, out.width // 4), max(4, out.width - 14))
        if width(text) <= room:
            return text
        return set_cell_size(text, room - 1).rstrip() + "…"


def _select_tokens(flow: FlowAnalysis, number: int) -> set[int]:
    """Return ``number`` tokens: live ones first, then those on the critical path, then others; the longest of each."""
    begins, ends = flow.begins, flow.ends
    kept: dict[int, None] = {}
    for group in (flow.live, flow.critical_nodes, range(len(begins))):
        if len(kept) < number:
            kept |= dict.fromkeys(nsmallest(number, group, key=lambda n: begins[n] - ends[n]))
    return set(islice(kept, number))
