"""The live picture of watched instances: how they stand, what is live, what has changed, how fast it goes."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import Raw, Struct

from tokctl.process.model import Token, format_time
from tokctl.process.monitor import Change, Event, Watched
from tokctl.render.human import age_cell, count, duration_cell, seconds_since, span, state_cell
from tokctl.render.result import Cell, Column, Listing, Output
from tokctl.render.table import join_line, width, write_listing
from tokctl.render.views.tokens import headline

WINDOW = timedelta(minutes=5)  # over which rates are told
REMEMBERED = 300  # lines of what has changed
VALUE = 40  # characters of a value before and after
_TIMES = ("updated_at", "completed_at", "cancelled_at", "created_at")  # they change with all else, and say little


class Look(Struct, frozen=True, kw_only=True):
    """What there is to show beside the events: the instances, and how looking goes."""

    watched: Sequence[Watched]
    now: datetime
    looked_at: datetime | None
    interval: float
    more: int = 0  # instances that are open and not watched
    error: str = ""
    next_look: datetime | None = None


class Board:
    """Collects events as they come, and draws the picture for a terminal of any size."""

    def __init__(self, began: datetime, *, unicode: bool) -> None:
        self._began = began
        self._unicode = unicode
        self._log: deque[tuple[Cell, ...]] = deque(maxlen=REMEMBERED)
        self._rates: deque[tuple[datetime, int, int]] = deque()  # when, finished, begun
        self._marks: dict[tuple[str, str], str] = {}  # of tokens that changed when something changed last
        self._changed_at: datetime | None = None

    def take(self, events: Iterable[Event]) -> None:
        """Take in what a look has brought."""
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
                self._log.extend(self._lines(event))

    def _count(self, event: Event, *, new: bool) -> None:
        """Count and mark; of an instance that is new here, only what was begun or finished since there is a picture."""
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

    def _lines(self, event: Event) -> Iterable[tuple[Cell, ...]]:
        time = Cell(f"{(format_time(event.at) or '')[11:19]} ", "dim")
        if event.changes is not None:
            yield from self._changed(time, event)
        for token in event.tokens:
            late = span((event.at - token.context.timeout_at).total_seconds()) if token.context.timeout_at else "?"
            yield time, Cell("! ", "bold red"), *_who(token), Cell(f"  timed out {late} ago", "bold red")
        if event.event in {"watching", "ended", "instance_updated"}:
            status = event.facts.get("status") or event.facts.get("after", {}).get("status")
            who = event.instance_id
            said = {"watching": f"watching {who}  ", "ended": f"{who} has ended  "}.get(event.event, f"{who} is now  ")
            yield time, Cell("= ", "bold"), Cell(said), state_cell(status, unicode=self._unicode)
        elif event.event == "error":
            yield time, Cell("x ", "bold red"), Cell(event.facts["message"], "red")
        elif event.event == "recovered":
            yield time, Cell("= ", "bold"), Cell(f"there again, after {span(event.facts['after_ms'] / 1000)}", "green")

    def _changed(self, time: Cell, event: Event) -> Iterable[tuple[Cell, ...]]:
        changes = event.changes
        if changes is None:
            return
        for token in changes.added:
            yield time, Cell("+ ", "bold green"), *_who(token), self._state(token)
        for change in changes.changed:
            yield time, Cell("~ ", "bold yellow"), *_who(change.token), Cell(f"  {_what(change)}")
        sign = Cell("✓ " if self._unicode else "v ", "bold")
        for change in changes.finished:
            token = change.token
            took = duration_cell(_duration(token)).text
            cells = [time, sign, *_who(token), self._state(token)]
            yield (*cells, Cell(f"  took {took}", "dim")) if took else tuple(cells)
        for token_id in changes.removed:
            yield time, Cell("- ", "bold"), Cell(token_id), Cell("  is no longer there", "dim")

    def _state(self, token: Token) -> Cell:
        cell = state_cell(token.state, unicode=self._unicode)
        return Cell(f"  {cell.text}", cell.style)

    # --- the picture ---

    def frame(self, look: Look, out: Output, height: int) -> list[str]:
        """Return the picture's lines: no more than the height, each fitting the output's width."""
        lines = self._heads(look, out, max(height // 4, 1))
        lines += self._standing(look, out)
        room = height - len(lines) - 1
        for_log = len(self._recent(max(room // 3, 1), out)) + 1 if self._log and room > 3 else 0
        live = self._live(look, out, room - for_log)
        lines += ["", *live]
        if log := self._recent(height - len(lines) - 1, out):
            lines += ["", *log]
        return lines[:height]

    def _recent(self, room: int, out: Output) -> list[str]:
        """The end of the log, as much of it as there is room for."""
        lines: list[str] = []
        for cells in reversed(self._log):
            entry = _fold(cells, out)
            if len(lines) + len(entry) > room:
                break
            lines[:0] = entry
        return lines

    def _heads(self, look: Look, out: Output, room: int) -> list[str]:
        heads = [
            _fold(headline(one.status, one.summary, look.now, unicode=out.unicode), out)
            for one in look.watched[: max(room, 1)]
            if one.status is not None
        ]
        lines: list[str] = []
        shown = 0
        for head in heads:
            if shown and len(lines) + len(head) > room:
                break
            lines += head
            shown += 1
        more = len(look.watched) - shown
        if more and shown:
            lines += _fold([Cell(f"… and {count(more, 'more instance')} watched", "dim")], out)
        if look.more:
            lines += _fold([Cell(f"… and {count(look.more, 'more open instance')} not watched", "yellow")], out)
        if not look.watched:
            lines += _fold([Cell("No open instance; waiting for one.", "dim")], out)
        return lines

    def _standing(self, look: Look, out: Output) -> list[str]:
        parts = [f"every {span(look.interval)}"]
        if look.looked_at is not None:
            parts.append(f"last look {(format_time(look.looked_at) or '')[11:19]}Z")
        ago = seconds_since(self._changed_at, look.now)
        recent = "changed just now" if ago is not None and ago < 1 else f"changed {span(round(ago or 0))} ago"
        parts.append("no change yet" if ago is None else recent)
        parts.append(self._rate(look.now))
        lines = _fold([Cell(("" if n == 0 else "  ") + part, "dim") for n, part in enumerate(parts)], out)
        if look.error:
            wait = seconds_since(look.now, look.next_look) if look.next_look else None
            again = f" Trying again in {span(max(round(wait), 0))}." if wait is not None else ""
            lines += _fold([Cell(look.error + again, "bold red")], out)
        return lines

    def _rate(self, now: datetime) -> str:
        while self._rates and self._rates[0][0] < now - WINDOW:
            self._rates.popleft()
        finished, begun = sum(r[1] for r in self._rates), sum(r[2] for r in self._rates)
        watched = min(now - self._began, WINDOW)
        minutes = watched / timedelta(minutes=1)
        if minutes < 1:
            return f"finished {finished:,}, begun {begun:,} in {span(round(watched.total_seconds()))}"
        return (
            f"finished {finished / minutes:,.1f}/min, begun {begun / minutes:,.1f}/min in {span(round(minutes * 60))}"
        )

    def _live(self, look: Look, out: Output, room: int) -> list[str]:
        rows = [(one, token) for one in look.watched for token in one.live]
        if not rows:
            return _fold([Cell("No live token.", "dim")], out)[:room] if look.watched else []
        if room < 2:
            return _fold([Cell(count(len(rows), "live token"), "dim")], out)[: max(room, 0)]
        shown = min(len(rows), max(room - 1, 1))
        while True:
            lines = self._table(_most_urgent(rows, shown, look.now), look, out)
            if shown < len(rows):
                lines += _fold([Cell(f"… and {count(len(rows) - shown, 'more live token')}", "dim")], out)
            if len(lines) <= room or shown <= 1:
                return lines[:room]
            shown = max(shown - max((len(lines) - room) // 2, 1), 1)

    def _table(self, rows: list[tuple[Watched, Token]], look: Look, out: Output) -> list[str]:
        stream = io.StringIO()
        listing = Listing(
            key="live",
            items=rows,
            columns=self._columns(look),
            ident=lambda row: str(row[1].token_id),
            document=lambda _: {},
        )
        there = {"format": "table", "columns": None, "query": None, "stream": stream, "errors": io.StringIO()}
        write_listing(listing, msgspec.structs.replace(out, **there))
        return stream.getvalue().rstrip("\n").split("\n")

    def _columns(self, look: Look) -> tuple[Column, ...]:
        now = look.now

        def mark(row: tuple[Watched, Token]) -> Cell:
            one, token = row
            sign = self._marks.get((one.instance_id, token.token_id), "")
            due = token.context.timeout_at
            if due is not None and due <= now:
                return Cell(f"{sign}!", "bold red")
            return Cell(sign, {"+": "bold green", "~": "bold yellow"}.get(sign, ""))

        def timeout(row: tuple[Watched, Token]) -> Cell:
            due = row[1].context.timeout_at
            late = seconds_since(due, now)
            if late is None:
                return Cell("")
            return Cell(f"{span(late)} ago", "bold red") if late >= 0 else Cell(f"in {span(-late)}")

        def retries(row: tuple[Watched, Token]) -> Cell:
            used = row[1].context.retries_used
            return Cell(str(used) if used else "", "yellow" if used and used > 2 else "")

        def column(key: str, title: str, show: Any, **more: Any) -> Column:
            return Column(key=key, title=title, value=lambda _: None, show=show, **more)

        columns = [
            column("mark", "", mark),
            column("token_id", "TOKEN", lambda row: Cell(row[1].token_id)),
            column("element", "ELEMENT", lambda row: Cell(row[1].name), fold=True, rank=1),
            column("state", "STATE", lambda row: state_cell(row[1].state, unicode=self._unicode)),
            column("age", "AGE", lambda row: age_cell(row[1].created_at, now), right=True, rank=2),
            column("timeout", "TIMEOUT", timeout, right=True, rank=3),
            column("worker", "WORKER", lambda row: Cell(row[1].context.worker_id or ""), rank=6),
            column("retries", "RETRIES", retries, right=True, rank=5),
        ]
        if len(look.watched) > 1:
            columns.insert(1, column("instance", "INSTANCE", lambda row: Cell(row[0].instance_id), rank=4))
        return tuple(columns)


def _most_urgent(rows: list[tuple[Watched, Token]], number: int, now: datetime) -> list[tuple[Watched, Token]]:
    """Those whose timeouts have passed or come soonest, then the oldest; they stay in the order they have."""
    if number >= len(rows):
        return rows

    def urgency(position: int) -> tuple[bool, float, float]:
        token = rows[position][1]
        due, age = token.context.timeout_at, seconds_since(token.created_at, now)
        return due is None, (due - now).total_seconds() if due else 0.0, -(age or 0.0)

    return [rows[position] for position in sorted(sorted(range(len(rows)), key=urgency)[:number])]


def _fold(cells: Iterable[Cell], out: Output) -> list[str]:
    return join_line(cells, out).split("\n")


# --- words ------------------------------------------------------------------------------------------------


def _who(token: Token) -> tuple[Cell, ...]:
    return Cell(token.token_id), Cell(f"  {token.name}", "bold")


def _duration(token: Token) -> Any:
    from tokctl.process.model import duration

    return duration(token)


def _what(change: Change) -> str:
    """What differs, before and after: the parts of a JSON object by name; times only where nothing else does."""
    if change.before is None:
        return "changed (what it was is not kept)"
    names = list(dict.fromkeys((*change.before, *change.after)))
    telling = [name for name in names if name not in _TIMES] or names
    said = []
    for name in telling:
        said += _parts(name, change.before.get(name), change.after.get(name))
    return ", ".join(said)


def _parts(name: str, old: Any, new: Any) -> list[str]:
    before, after = _plain(old), _plain(new)
    if isinstance(before, dict) and isinstance(after, dict):
        inner = [key for key in dict.fromkeys((*before, *after)) if before.get(key) != after.get(key)]
        if inner:
            return [f"{key} {_short(before.get(key))} → {_short(after.get(key))}" for key in inner]
    if name == "state":
        return [f"{_short(before)} → {_short(after)}"]
    if isinstance(before, list | tuple) and isinstance(after, list | tuple):
        return [f"{name} {len(before)} → {count(len(after), 'item')}"]
    return [f"{name} {_short(before)} → {_short(after)}"]


def _plain(value: Any) -> Any:
    if not isinstance(value, Raw):
        return value
    try:
        return msgspec.json.decode(value)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return bytes(value).decode(errors="replace")


def _short(value: Any) -> str:
    if value is None:
        return "none"
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if width(text) <= VALUE else text[: VALUE - 1] + "…"
