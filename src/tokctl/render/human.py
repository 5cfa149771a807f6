"""Times, spans, states and foreign text as a person reads them in a terminal."""

from __future__ import annotations

import re
from datetime import datetime

from tokctl.process.model import (
    ACTIVE,
    CANCELLED,
    COMPLETED,
    FAILED,
    SUSPENDED,
    WAITING,
    Duration,
    format_time,
)
from tokctl.process.spell import span as span  # noqa: PLC0414 - others take it from here
from tokctl.render.result import Cell, Output

# Control characters, those that turn the direction of text, and those that pretend to be nothing.
_UNSAFE = (
    "\x00-\x1f\x7f-\x9f\u00ad\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\ud800-\udfff\U000e0000-\U000e00ff"
)
_UNSAFE_TEXT = re.compile(f"[{_UNSAFE}]")
_UNSAFE_LINES = re.compile(f"[{_UNSAFE}]".replace("\x00-\x1f", "\x00-\x09\x0b-\x1f"))
_NOT_ASCII = re.compile("[^\x00-\x7f]")
_ASCII_SIGNS = str.maketrans({"…": "...", "→": "->", "×": "x", "—": "-", "⋯": "~"})


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    short = {9: "\\t", 10: "\\n", 13: "\\r"}.get(code)
    return short or (f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}")


def _escape_json(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))


def safe(text: str) -> str:
    """Text on one line that cannot steer a terminal: what could is written as an escape."""
    return text if text.isascii() and text.isprintable() else _UNSAFE_TEXT.sub(_escape, text)


def safe_lines(text: str) -> str:
    """The same, with line breaks left alone."""
    return _UNSAFE_LINES.sub(_escape, text)


def safe_json(text: str) -> str:
    """The same for JSON, which stays JSON of the same meaning."""
    return _UNSAFE_LINES.sub(_escape_json, text)


def ascii_text(text: str) -> str:
    """Text for a stream that takes only ASCII: our own signs by their likes, all else as escapes."""
    return text if text.isascii() else _NOT_ASCII.sub(_escape, text.translate(_ASCII_SIGNS))


class DataStream:
    """Writes data: to a terminal with everything that could steer it escaped, in ASCII where it must be."""

    def __init__(self, out: Output) -> None:
        self.stream = out.stream
        json = out.format in {"json", "ndjson"}
        self._safe = (safe_json if json else safe_lines) if out.tty else None
        self._escape = None if out.unicode else _escape_json if json else _escape

    def write(self, text: str) -> int:
        """Write text, made fit for the stream."""
        if self._safe:
            text = self._safe(text)
        if self._escape and not text.isascii():
            text = _NOT_ASCII.sub(self._escape, text)
        return self.stream.write(text)


# --- states ---------------------------------------------------------------------------------------

_STATES = {
    ACTIVE: ("●", "*", "bold green"),
    WAITING: ("◌", "o", "yellow"),
    SUSPENDED: ("‖", "=", "magenta"),
    COMPLETED: ("✓", "+", "dim"),
    CANCELLED: ("⊘", "-", "dim strike"),
    FAILED: ("✗", "x", "bold red"),
}


def state_cell(state: str | None, *, unicode: bool = True, derived: bool = False) -> Cell:
    """A state by sign, word and colour; one that nobody knows by its own word."""
    if state is None:
        return Cell("?", "dim")
    sign, ascii_sign, style = _STATES.get(state, ("?", "?", "bold cyan"))
    style = style.replace(" strike", "")
    return Cell(f"{sign if unicode else ascii_sign} {safe(state)}{'~' * derived}", style)


def state_style(state: str) -> str:
    """The style of a state."""
    return _STATES.get(state, ("", "", "bold cyan"))[2].replace(" strike", "")


# --- times ----------------------------------------------------------------------------------------


def duration_cell(took: Duration | None, running: float | None = None) -> Cell:
    """How long a token took: ``~`` marks what was derived; ``running`` (s) is for one still live."""
    if took is not None:
        return Cell(("~" if took.derived else "") + span(took.ms / 1000))
    return Cell(f"{span(running)}…", "dim") if running is not None else Cell("")


def seconds_since(time: datetime | None, now: datetime) -> float | None:
    """Seconds from a time until now; negative where it lies ahead."""
    return None if time is None else (now - time).total_seconds()


def age_cell(time: datetime | None, now: datetime) -> Cell:
    """How long ago something was; ``in …`` where it lies ahead."""
    seconds = seconds_since(time, now)
    if seconds is None:
        return Cell("?", "dim")
    return Cell(span(seconds) if seconds >= 0 else f"in {span(-seconds)}")


def time_cell(time: datetime | None, now: datetime | None = None) -> Cell:
    """A time in full, and how long ago it was."""
    text = format_time(time)
    if text is None:
        return Cell("—", "dim")
    return Cell(text if now is None else f"{text}  ({_ago(time, now)})")


def _ago(time: datetime | None, now: datetime) -> str:
    text = age_cell(time, now).text
    return text if text.startswith("in ") else f"{text} ago"


def count(number: int, thing: str, things: str | None = None) -> str:
    """``1 token``, ``12,345 tokens``."""
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"


def size(octets: float) -> str:
    """A number of bytes: ``512 B``, ``1.4 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if octets < 1000:
            return f"{octets:.0f} {unit}" if unit == "B" or octets >= 100 else f"{octets:.1f} {unit}"
        octets /= 1000
    return f"{octets:.1f} TB"
