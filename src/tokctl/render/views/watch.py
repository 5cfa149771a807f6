"""The dashboard of watched instances: their status, live tokens, changes, and rates."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import msgspec
from msgspec import Raw, Struct
from rich.segment import Segment

from tokctl.analysis.changes import InstanceWatch, TokenChange, WatchEvent
from tokctl.model.durations import compute_token_duration
from tokctl.model.json_values import decode_value
from tokctl.model.states import FAILED
from tokctl.model.tokens import Token
from tokctl.render.formats.layout import width
from tokctl.render.formats.table import write_listing
from tokctl.render.formats.terminal import LineWriter, open_console
from tokctl.render.result import Cell, Column, Output, table
from tokctl.render.text import (
    age_cell,
    count,
    duration_cell,
    error_cell,
    format_duration,
    retries_cell,
    seconds_since,
    state_cell,
    timeout_cell,
    to_zone,
)
from tokctl.render.views.tokens import headline

RATE_WINDOW = timedelta(minutes=5)  # period of the rates
MAX_LOG_ENTRIES = 300  # changes to keep
MAX_VALUE_WIDTH = 40  # characters
_TIMESTAMP_FIELDS = (
    "updated_at",
    "completed_at",
    "cancelled_at",
    "created_at",
)  # they change with every other field, and are of little interest


Lines = list[list[Segment]]
"""Lines of a terminal, each of pieces of text with a style."""


class DashboardState(Struct, frozen=True, kw_only=True):
    """What the dashboard shows besides events: the instances and the state of polling."""

    watched: Sequence[InstanceWatch]
    now: datetime
    polled_at: datetime | None
    interval: float
    more: int = 0  # open instances that are not watched
    error: str = ""
    next_poll_at: datetime | None = None


class Dashboard:
    """Collects events and renders the dashboard for a terminal of any size."""

    def __init__(self, began: datetime, out: Output) -> None:
        self._began = began
        self._console = open_console(out)
        self._shorten_instance_id = cache(out.shorten_instance_id)
        self._shorten_token_id = cache(out.shorten_token_id)
        self._log: deque[tuple[Cell, ...]] = deque(maxlen=MAX_LOG_ENTRIES)
        self._rates: deque[tuple[datetime, int, int]] = deque()  # time, finished tokens, created tokens
        self._marks: dict[tuple[str, str], str] = {}  # tokens of the last change
        self._changed_at: datetime | None = None

    def add_events(self, events: Iterable[WatchEvent]) -> None:
        """Add the events of a poll."""
        events = list(events)
        first = {event.instance_id for event in events if event.event == "watching"}
        updates = [e for e in events if e.changes is not None and e.instance_id not in first]
        if updates:
            self._marks.clear()
            self._changed_at = updates[-1].at
        for event in events:
            self._count(event, new=event.instance_id in first)
        for event in events:
            if event.changes is None or event.instance_id not in first:
                self._log.extend(self._log_entries(event))

    def _count(self, event: WatchEvent, *, new: bool) -> None:
        """Count and mark tokens; of a new instance, only count those created or finished since the start."""
        changes = event.changes
        if changes is None:
            return
        added, done = list(changes.added), [token for token in changes.added if not token.live]
        if new:
            added = [token for token in added if token.created_at is not None and token.created_at > self._began]
            done = [token for token in done if token.finished_at is not None and token.finished_at > self._began]
        if added or done or changes.finished:
            self._rates.append((event.at, len(changes.finished) + len(done), len(added)))
        if not new:
            instance = event.instance_id or ""
            self._marks |= {(instance, token.token_id): "+" for token in changes.added}
            self._marks |= {(instance, change.token.token_id): "~" for change in changes.changed}

    # --- the log ---

    def _log_entries(self, event: WatchEvent) -> Iterable[tuple[Cell, ...]]:
        time = Cell(f"{to_zone(event.at, self._began):%H:%M:%S} ", "dim")
        if event.changes is not None:
            yield from self._change_entries(time, event)
        for token in event.tokens:
            late = (
                format_duration((event.at - token.context.timeout_at).total_seconds())
                if token.context.timeout_at
                else "?"
            )
            yield time, Cell("! ", "bold red"), *_token_cells(token), Cell(f"  timed out {late} ago", "bold red")
        if event.event in {"watching", "ended", "instance_updated"}:
            status = event.facts.get("status") or event.facts.get("after", {}).get("status")
            who = event.instance_id
            texts = {"watching": f"watching {who}  ", "ended": f"{who} has ended  "}.get(event.event, f"{who} is now  ")
            yield time, Cell("= ", "bold"), Cell(texts), state_cell(status)
        elif event.event == "error":
            yield time, Cell("x ", "bold red"), Cell(event.facts["message"], "red")
        elif event.event == "recovered":
            yield (
                time,
                Cell("= ", "bold"),
                Cell(f"available again after {format_duration(event.facts['after_ms'] / 1000)}", "green"),
            )

    def _change_entries(self, time: Cell, event: WatchEvent) -> Iterable[tuple[Cell, ...]]:
        changes = event.changes
        if changes is None:
            return
        for token in changes.added:
            yield time, Cell("+ ", "bold green"), *_token_cells(token), self._state(token)
        for change in changes.changed:
            yield time, Cell("~ ", "bold yellow"), *_token_cells(change.token), Cell(f"  {_describe_change(change)}")
        sign = Cell("✓ ", "bold")
        for change in changes.finished:
            token = change.token
            took = duration_cell(compute_token_duration(token)).text
            cells = [time, sign, *_token_cells(token), self._state(token)]
            yield (*cells, Cell(f"  took {took}", "dim")) if took else tuple(cells)
        for token_id in changes.removed:
            yield time, Cell("- ", "bold"), Cell(token_id), Cell("  was removed", "dim")

    def _state(self, token: Token) -> Cell:
        return state_cell(token.state)._replace(stem="  ")

    # --- rendering ---

    def _fold(self, cells: Sequence[Cell], out: Output) -> Lines:
        writer = LineWriter(out, self._console)
        writer.line(cells)
        return writer.lines

    def render_lines(self, look: DashboardState, out: Output, height: int) -> Lines:
        """Return the lines of the dashboard: at most ``height``, none wider than the output."""
        lines = self._render_headlines(look, out, max(height // 4, 1))
        lines += self._render_status(look, out)
        room = height - len(lines) - 1
        for_log = len(self._render_log(max(room // 3, 1), out)) + 1 if self._log and room > 3 else 0
        live = self._render_live_tokens(look, out, room - for_log)
        lines += [[], *live]
        if log := self._render_log(height - len(lines) - 1, out):
            lines += [[], *log]
        return lines[:height]

    def _render_log(self, room: int, out: Output) -> Lines:
        """Return the latest entries of the log that fit into ``room`` lines."""
        lines: Lines = []
        for cells in reversed(self._log):
            entry = self._fold(cells, out)
            if len(lines) + len(entry) > room:
                break
            lines[:0] = entry
        return lines

    def _render_headlines(self, look: DashboardState, out: Output, room: int) -> Lines:
        heads = [
            self._fold(headline(one.status, one.summary, out), out)
            for one in look.watched[: max(room, 1)]
            if one.status is not None
        ]
        lines: Lines = []
        shown = 0
        for head in heads:
            if shown and len(lines) + len(head) > room:
                break
            lines += head
            shown += 1
        more = len(look.watched) - shown
        if more and shown:
            lines += self._fold([Cell(f"… and {count(more, 'more instance')} watched", "dim")], out)
        if look.more:
            lines += self._fold([Cell(f"… and {count(look.more, 'more open instance')} not watched", "yellow")], out)
        if not look.watched:
            lines += self._fold([Cell("No open instances. Waiting for one.", "dim")], out)
        return lines

    def _render_status(self, look: DashboardState, out: Output) -> Lines:
        parts = [f"every {format_duration(look.interval)}"]
        if look.polled_at is not None:
            parts.append(f"last poll {to_zone(look.polled_at, self._began):%H:%M:%S %Z}")
        ago = seconds_since(self._changed_at, look.now)
        recent = (
            "changed just now" if ago is not None and ago < 1 else f"changed {format_duration(round(ago or 0))} ago"
        )
        parts.append("no changes yet" if ago is None else recent)
        parts.append(self._format_rate(look.now))
        lines = self._fold([Cell(("" if n == 0 else "  ") + part, "dim") for n, part in enumerate(parts)], out)
        if look.error:
            wait = seconds_since(look.now, look.next_poll_at) if look.next_poll_at else None
            again = f" Retrying in {format_duration(max(round(wait), 0))}." if wait is not None else ""
            lines += self._fold([Cell(look.error + again, "bold red")], out)
        return lines

    def _format_rate(self, now: datetime) -> str:
        while self._rates and self._rates[0][0] < now - RATE_WINDOW:
            self._rates.popleft()
        finished, started = sum(r[1] for r in self._rates), sum(r[2] for r in self._rates)
        watched = min(now - self._began, RATE_WINDOW)
        minutes = watched / timedelta(minutes=1)
        if minutes < 1:
            return f"finished {finished:,}, started {started:,} in {format_duration(round(watched.total_seconds()))}"
        period = format_duration(round(minutes * 60))
        return f"finished {finished / minutes:,.1f}/min, started {started / minutes:,.1f}/min in {period}"

    def _render_live_tokens(self, look: DashboardState, out: Output, room: int) -> Lines:
        rows = [(one, token) for one in look.watched for token in one.live]
        if not rows:
            return self._fold([Cell("No live tokens.", "dim")], out)[:room] if look.watched else []
        if room < 2:
            return self._fold([Cell(count(len(rows), "live token"), "dim")], out)[: max(room, 0)]
        shown = min(len(rows), max(room - 1, 1))
        while True:
            lines = self._render_table(_most_urgent(rows, shown, look.now), look, out)
            if shown < len(rows):
                lines += self._fold([Cell(f"… and {count(len(rows) - shown, 'more live token')}", "dim")], out)
            if len(lines) <= room or shown <= 1:
                return lines[:room]
            shown = max(shown - max((len(lines) - room) // 2, 1), 1)

    def _render_table(self, rows: list[tuple[InstanceWatch, Token]], look: DashboardState, out: Output) -> Lines:
        plain = msgspec.structs.replace(out, format="table", columns=None, query=None)
        writer = LineWriter(plain, self._console)
        write_listing(table(rows, self._columns(look)), writer)
        return writer.lines

    def _columns(self, look: DashboardState) -> tuple[Column, ...]:
        now = look.now

        def mark(row: tuple[InstanceWatch, Token]) -> Cell:
            one, token = row
            sign = self._marks.get((one.instance_id, token.token_id), "")
            due = token.context.timeout_at
            if due is not None and due <= now:
                return Cell(f"{sign}!", "bold red")
            return Cell(sign, {"+": "bold green", "~": "bold yellow"}.get(sign, ""))

        columns = [
            Column("mark", "", show=mark),
            Column("token_id", "TOKEN", show=lambda row: Cell(self._shorten_token_id(row[1].token_id))),
            Column("element", "ELEMENT", show=lambda row: Cell(row[1].name), fold=True),
            Column("state", "STATE", show=lambda row: state_cell(row[1].state)),
            Column("error", "ERROR", show=lambda row: error_cell(row[1].error), fold=True, cut=True, rank=1),
            Column("age", "AGE", show=lambda row: age_cell(row[1].created_at, now), right=True, rank=2),
            Column(
                "timeout", "TIMEOUT", show=lambda row: timeout_cell(row[1].context.timeout_at, now), right=True, rank=3
            ),
            Column("worker", "WORKER", show=lambda row: Cell(row[1].context.worker_id or ""), rank=6),
            Column(
                "retries", "RETRIES", show=lambda row: retries_cell(row[1].context.retries_used), right=True, rank=5
            ),
        ]
        if len(look.watched) > 1:
            columns.insert(1, Column("instance", "INSTANCE", show=self._instance_cell, rank=4))
        return tuple(columns)

    def _instance_cell(self, row: tuple[InstanceWatch, Token]) -> Cell:
        return Cell(self._shorten_instance_id(row[0].instance_id))


def _most_urgent(
    rows: list[tuple[InstanceWatch, Token]], number: int, now: datetime
) -> list[tuple[InstanceWatch, Token]]:
    """Return ``number`` tokens in their original order: FAILED ones, then the earliest timeouts, then the oldest."""
    if number >= len(rows):
        return rows

    def urgency(position: int) -> tuple[bool, bool, float, float]:
        token = rows[position][1]
        due, age = token.context.timeout_at, seconds_since(token.created_at, now)
        return token.state != FAILED, due is None, (due - now).total_seconds() if due else 0.0, -(age or 0.0)

    return [rows[position] for position in sorted(sorted(range(len(rows)), key=urgency)[:number])]


# --- text -------------------------------------------------------------------------------------------------


def _token_cells(token: Token) -> tuple[Cell, ...]:
    return Cell(token.token_id), Cell(f"  {token.name}", "bold")


def _describe_change(change: TokenChange) -> str:
    """Return the differences, of JSON objects by member. Timestamps are included only if nothing else changed."""
    if change.before is None:
        return "changed (previous values not kept)"
    names = list(dict.fromkeys((*change.before, *change.after)))
    relevant = [name for name in names if name not in _TIMESTAMP_FIELDS] or names
    texts = []
    for name in relevant:
        texts += _describe_difference(name, change.before.get(name), change.after.get(name))
    return ", ".join(texts)


def _describe_difference(name: str, old: Any, new: Any) -> list[str]:
    before, after = _decode_value(old), _decode_value(new)
    if isinstance(before, dict) and isinstance(after, dict):
        inner = [key for key in dict.fromkeys((*before, *after)) if before.get(key) != after.get(key)]
        if inner:
            return [f"{key} {_truncate_value(before.get(key))} → {_truncate_value(after.get(key))}" for key in inner]
    if name == "state":
        return [f"{_truncate_value(before)} → {_truncate_value(after)}"]
    if isinstance(before, list | tuple) and isinstance(after, list | tuple):
        return [f"{name} {len(before)} → {count(len(after), 'item')}"]
    return [f"{name} {_truncate_value(before)} → {_truncate_value(after)}"]


def _decode_value(value: Any) -> Any:
    if not isinstance(value, Raw):
        return value
    try:
        return decode_value(value)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return bytes(value).decode(errors="replace")


def _truncate_value(value: Any) -> str:
    if value is None:
        return "none"
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if width(text) <= MAX_VALUE_WIDTH else text[: MAX_VALUE_WIDTH - 1] + "…"
