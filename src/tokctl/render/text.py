"""Text for terminals: times, durations, states, and untrusted text made safe."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import UTC, datetime

from tokctl.model.durations import Duration
from tokctl.model.durations import format_duration as format_duration  # noqa: PLC0414 - re-exported
from tokctl.model.states import ACTIVE, CANCELLED, COMPLETED, FAILED, SUSPENDED, WAITING
from tokctl.model.times import LAST
from tokctl.model.tokens import Certainty
from tokctl.render.result import Cell, Output
from tokctl.text import count as count  # noqa: PLC0414
from tokctl.text import size as size  # noqa: PLC0414

SHORT_HASH_LENGTH = 10  # characters of an abbreviated git commit or object name

# Control characters, characters that change the direction of text, and invisible characters.
_UNSAFE_CHARACTERS = (
    "\x00-\x1f\x7f-\x9f\u00ad\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\ud800-\udfff\U000e0000-\U000e00ff"
)
_UNSAFE_TEXT = re.compile(f"[{_UNSAFE_CHARACTERS}]")
_UNSAFE_LINES = re.compile(f"[{_UNSAFE_CHARACTERS}]".replace("\x00-\x1f", "\x00-\x09\x0b-\x1f"))
_UTC_TIME = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NOT_ASCII = re.compile("[^\x00-\x7f]")
_ASCII_SUBSTITUTES = str.maketrans(
    {"…": "...", "→": "->", "×": "x", "—": "-", "⋯": "~", "≥": ">=", "≈": "~", "·": "-"}
    | dict(zip("●◌‖✓⊘✗▲▼◆▪│├└─", "*o=+-x^v*-||`-", strict=True))  # states, severities, branches
    | dict(zip("▁▂▃▄▅▆▇█", ".:-=+*%#", strict=True))  # levels
    | dict.fromkeys("▏▎▍▌▋▊▉", "#")  # bars
)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    short = {9: "\\t", 10: "\\n", 13: "\\r"}.get(code)
    return short or (f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}")


def _escape_json(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))


def escape_controls(text: str) -> str:
    """Return text as one line that cannot control a terminal: unsafe characters are escaped."""
    return text if text.isascii() and text.isprintable() else _UNSAFE_TEXT.sub(_escape, text)


def escape_control_lines(text: str) -> str:
    """Return text that cannot control a terminal, with its line breaks."""
    return _UNSAFE_LINES.sub(_escape, text)


def replace_invalid_xml(text: str) -> str:
    """Replace the characters that XML cannot represent."""
    return _NOT_XML.sub("\ufffd", text)


def escape_json_controls(text: str) -> str:
    """Return JSON that cannot control a terminal and means the same."""
    return _UNSAFE_LINES.sub(_escape_json, text)


def to_ascii(text: str) -> str:
    """Return text as ASCII: signs of this program are replaced by similar ones, everything else is escaped."""
    return text if text.isascii() else _NOT_ASCII.sub(_escape, text.translate(_ASCII_SUBSTITUTES))


class DataStream:
    """Writes data, escaped if the stream is a terminal or accepts only ASCII."""

    def __init__(self, out: Output) -> None:
        self.stream = out.stream
        json = out.format in {"json", "ndjson"}
        self._safe = (escape_json_controls if json else escape_control_lines) if out.tty else None
        self._escape = None if out.unicode else _escape_json if json else _escape

    def write(self, text: str) -> int:
        """Write text, escaped as the stream requires."""
        if self._safe:
            text = self._safe(text)
        if self._escape and not text.isascii():
            text = _NOT_ASCII.sub(self._escape, text)
        return self.stream.write(text)


# --- states ---------------------------------------------------------------------------------------

_STATE_STYLES = {
    ACTIVE: ("●", "green"),
    WAITING: ("◌", "yellow"),
    SUSPENDED: ("‖", "magenta"),
    COMPLETED: ("✓", "dim"),
    CANCELLED: ("⊘", "dim"),
    FAILED: ("✗", "bold red"),
}
_UNKNOWN_STATE_STYLE = "?", "bold cyan"


def state_cell(state: str | None, *, derived: bool = False) -> Cell:
    """Return a state as sign, word and colour; an unknown state keeps its word. ``~`` marks a derived state."""
    if state is None:
        return Cell("?", "dim")
    sign, style = _STATE_STYLES.get(state, _UNKNOWN_STATE_STYLE)
    return Cell(escape_controls(state) + "~" * derived, style, sign=sign)


def overdue_cell(state: Cell, what: str = "overdue") -> Cell:
    """Return the state of something that takes too long."""
    return state._replace(text=f"{state.text}, {what}", style="yellow", sign="▲")


def state_style(state: str) -> str:
    """Return the Rich style of a state."""
    return _STATE_STYLES.get(state, _UNKNOWN_STATE_STYLE)[1]


def error_cell(message: str | None) -> Cell:
    """Return the first line of an error message."""
    return Cell(message.partition("\n")[0].rstrip() if message else "", "red")


# --- times ----------------------------------------------------------------------------------------


def duration_cell(took: Duration | None, running: float | None = None) -> Cell:
    """Return how long a token took (``~``: derived), or how long a live one has been ``running`` (s).

    A negative duration only shows that clocks differ: how long it took is unknown.
    """
    if (took.ms if took is not None else running or 0) < 0:
        return Cell("?", "dim")
    if took is not None:
        return Cell(("~" if took.derived else "") + format_duration(took.ms / 1000))
    return Cell(f"{format_duration(running)}…", "dim") if running is not None else Cell("")


def ms_cell(ms: float | None, style: str = "") -> Cell:
    """Return a duration in milliseconds; nothing if it is unknown, ``?`` if clocks made it negative."""
    if ms is not None and ms < 0:
        return Cell("?", "dim")
    return Cell("" if ms is None else format_duration(ms / 1000), style)


def so_far(text: str, *, still_open: bool) -> str:
    """Mark a duration that is still growing."""
    return f"{text} so far" if still_open else text


def spent_cell(ms: float, *, still_open: bool) -> Cell:
    """Return a duration in milliseconds, marked if part of it is still growing."""
    return Cell(so_far(format_duration(ms / 1000), still_open=still_open), "yellow" if still_open else "")


def format_range(low_ms: float, high_ms: float) -> str:
    """Return the shortest and the longest of several durations, once if they look the same."""
    low, high = format_duration(low_ms / 1000), format_duration(high_ms / 1000)
    return low if low == high else f"{low} to {high}"


def timeout_cell(due: datetime | None, now: datetime) -> Cell:
    """Return the time until a timeout, or since it has passed."""
    late = seconds_since(due, now)
    if late is None:
        return Cell("")
    return Cell(f"{format_duration(late)} ago", "bold red") if late >= 0 else Cell(f"in {format_duration(-late)}")


def retries_cell(used: int | None) -> Cell:
    """Return the retries used, marked if they are many."""
    return Cell(str(used) if used else "", "yellow" if used and used > 2 else "")


def seconds_since(time: datetime | None, now: datetime) -> float | None:
    """Return the seconds from a time until now; negative if it is in the future.

    None if the time is unknown, or the latest that can be represented: that stands for all later ones.
    """
    return None if time is None or time == LAST else (now - time).total_seconds()


def age_cell(time: datetime | None, now: datetime) -> Cell:
    """Return how long ago a time was, or ``in …`` if it is in the future."""
    seconds = seconds_since(time, now)
    if seconds is None:
        return Cell("?", "dim")
    return Cell(format_duration(seconds) if seconds >= 0 else f"in {format_duration(-seconds)}")


def to_zone(time: datetime, now: datetime) -> datetime:
    """Return a time in the zone that times are shown in: UTC if ``now`` is in UTC, else the local zone."""
    try:
        return time.astimezone(UTC) if now.tzinfo is UTC else time.astimezone()
    except OverflowError:  # at the edges of the calendar
        return time


def format_clock_time(time: datetime) -> str:
    """Return the time of day, with milliseconds unless they are 0."""
    milliseconds = time.microsecond // 1000
    return f"{time:%H:%M:%S}" + (f".{milliseconds:03}" if milliseconds else "")


def format_zoned_time(time: datetime, now: datetime) -> str:
    """Return a time with the name of its zone; see ``to_zone``."""
    shown = to_zone(time, now)
    return f"{shown:%Y-%m-%d} {format_clock_time(shown)} {shown.tzname()}"


def localize_times(text: str, now: datetime) -> str:
    """Return a text with its RFC 3339 times in UTC written as ``format_zoned_time`` does."""
    return _UTC_TIME.sub(lambda found: format_zoned_time(datetime.fromisoformat(found[0]), now), text)


def moment_cell(time: datetime | None, now: datetime) -> Cell:
    """Return a time in full; nothing if it is unknown."""
    return Cell("" if time is None else format_zoned_time(time, now))


def time_cell(time: datetime | None, now: datetime) -> Cell:
    """Return a time in full and how long ago it was."""
    if time is None:
        return Cell("—", "dim")
    age = f"  ({_format_age(time, now)})" if time != LAST else ""
    return Cell(format_zoned_time(time, now) + age)


def format_clock(time: datetime, began: datetime, now: datetime, *, first: bool) -> str:
    """Return the time of day of an event, with the date if it is not that of the beginning.

    The ``first`` line has the date if that is not today's.
    """
    time, began, now = to_zone(time, now), to_zone(began, now), to_zone(now, now)
    clock = f"{time:%H:%M:%S}.{time.microsecond // 1000:03}"
    if first:
        return clock if time.date() == now.date() else f"{time:%Y-%m-%d} {clock}"
    return clock if time.date() == began.date() else f"{time:%Y-%m-%d %H:%M:%S}"


CERTAINTY_SIGNS = {Certainty.RECORDED: "", Certainty.RECONSTRUCTED: "≈", Certainty.AMBIGUOUS: "?"}
"""The mark of a hop that is not recorded."""


def explain_certainty(certainties: Collection[Certainty]) -> list[str]:
    """Return notes that explain the marks of hops with these certainties."""
    notes = {
        Certainty.RECONSTRUCTED: "≈ The engine does not record this step. It follows from the times and the model.",
        Certainty.AMBIGUOUS: "? The engine does not record this step, and several ways are possible.",
    }
    return [note for certainty, note in notes.items() if certainty in certainties]


def since_start_cell(ms: float | None, *, derived: bool) -> Cell:
    """Return the time since the beginning; ``~`` marks a derived one."""
    return Cell("?" if ms is None else f"+{format_duration(ms / 1000)}{'~' * derived}", "dim")


def _format_age(time: datetime | None, now: datetime) -> str:
    text = age_cell(time, now).text
    return text if text.startswith("in ") else f"{text} ago"
