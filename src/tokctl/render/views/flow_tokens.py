"""Parts of the flow views: the columns and cells of tokens, and the limit of rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TypeVar

from tokctl.analysis.encoding.flow import FlowEncoder
from tokctl.analysis.flow.critical_path import FlowAnalysis
from tokctl.model.durations import format_duration
from tokctl.model.times import format_time
from tokctl.render.result import Cell, Column
from tokctl.render.text import count, duration_cell, moment_cell, so_far, to_zone

Item = TypeVar("Item")


class RowLimit:
    """Limits the rows of each list that people see, and collects what was left out. None is no limit."""

    def __init__(self, rows: int | None) -> None:
        self.rows = rows
        self._truncated: list[str] = []

    def truncate(self, items: Sequence[Item], thing: str, things: str | None = None) -> Sequence[Item]:
        """Return the first rows of a list."""
        if self.rows is None or len(items) <= self.rows:
            return items
        self.add_truncated(f"{self.rows:,} of {count(len(items), thing, things)}")
        return items[: self.rows]

    def add_truncated(self, text: str) -> None:
        """Add a list to the note."""
        self._truncated.append(text)

    def notes(self) -> list[str]:
        """Return the note for people, if any list was truncated."""
        return [f"Showing {', '.join(self._truncated)}. Use --limit 0 for all."] if self._truncated else []


def slack_cell(flow: FlowAnalysis, n: int) -> Cell:
    """Return the slack of a token; ``critical`` if it is on the critical path."""
    if n in flow.critical_nodes:
        return Cell("critical", "bold")
    slack = flow.slack_us(n)
    if slack is None:
        return Cell("" if flow.visits[n].live else "?", "dim")
    return Cell(so_far(format_duration(slack / 1e6), still_open=flow.visits[n].live), "dim")


def took_cell(flow: FlowAnalysis, n: int) -> Cell:
    """Return how long a token took, or has taken so far; ``?`` if unknown."""
    took = flow.took(n)
    if took is None or took.ms < 0:
        return Cell("?", "dim")
    cell = duration_cell(took)
    return Cell(so_far(cell.text, still_open=flow.visits[n].live), "yellow" if flow.visits[n].live else "")


def format_clock(time: datetime | None, first: datetime | None, now: datetime) -> str:
    """Return the time of day. The date is added if it differs from that of ``first``."""
    if time is None:
        return "?"
    shown = to_zone(time, now)
    clock = f"{shown:%H:%M:%S}.{shown.microsecond // 1000:03}"
    return clock if first is not None and shown.date() == to_zone(first, now).date() else f"{shown:%Y-%m-%d} {clock}"


def completed_columns(flow: FlowAnalysis) -> tuple[Column, ...]:
    """Return the columns of the completed path. Its items are token numbers, see ``FlowAnalysis``."""
    visits, began = flow.visits, flow.began_us
    first = next((visits[n].completed_at for n in flow.completed), None)

    def took_ms(n: int) -> float | None:
        took = visits[n].duration
        return None if took is None else took.ms

    def offset_us(n: int) -> int | None:
        return None if began is None or n in flow.untimed else flow.ends[n] - began

    return (
        Column(
            "completedAt",
            "COMPLETED",
            lambda n: format_time(visits[n].completed_at),
            show=lambda n: Cell(format_clock(visits[n].completed_at, first, flow.now)),
            rank=4,
        ),
        Column("element", "ELEMENT", lambda n: visits[n].name, fold=True),
        Column("element_id", "ELEMENT ID", lambda n: visits[n].element_id, fold=True, wide=True, rank=8),
        Column("element_type", "TYPE", lambda n: visits[n].element_type, rank=6),
        Column("duration", "TOOK", took_ms, show=lambda n: duration_cell(visits[n].duration), right=True),
        Column("slack_ms", "SLACK", FlowEncoder(flow).slack_ms, show=lambda n: slack_cell(flow, n), right=True, rank=2),
        Column(
            "critical",
            "CRITICAL",
            lambda n: n in flow.critical_nodes,
            show=lambda n: Cell("yes" if n in flow.critical_nodes else ""),
            wide=True,
            rank=7,
        ),
        Column(
            "token_id", "TOKEN", lambda n: visits[n].token_id, show=lambda n: Cell(visits[n].token_id, "dim"), rank=5
        ),
        Column(
            "created_at",
            "CREATED",
            lambda n: format_time(visits[n].created_at),
            show=lambda n: moment_cell(visits[n].created_at, flow.now),
            wide=True,
            rank=9,
        ),
        Column(
            "offset_ms",
            "SINCE START",
            lambda n: None if (us := offset_us(n)) is None else us / 1000,
            show=lambda n: Cell("" if (us := offset_us(n)) is None else f"+{format_duration(us / 1e6)}"),
            right=True,
            wide=True,
            rank=9,
        ),
    )
