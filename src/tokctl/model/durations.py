"""Durations: computing them from tokens, formatting and parsing them."""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta

from msgspec import Struct

from tokctl.errors import UsageError
from tokctl.model.tokens import Token

_STEPS = ((86400 * 365, "y", 86400, "d"), (86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s"))
"""(seconds in a unit, unit, seconds in the next smaller unit, that unit)."""


def format_duration(seconds: float) -> str:
    """Return a duration in at most two units: ``5ms``, ``29.9s``, ``4m 05s``, ``3h 20m``, ``12d 4h``."""
    sign, seconds = ("-", -seconds) if seconds < 0 else ("", seconds)
    if seconds < 0.9995:
        return f"{sign}{round(seconds * 1000)}ms"
    if seconds < 59.95:
        return f"{sign}{seconds:.1f}s".replace(".0s", "s")
    whole = round(seconds)
    for size, unit, part, part_unit in _STEPS:
        if whole >= size:
            major, rest = divmod(whole, size)
            if major >= 1_000_000:
                return f"{sign}{major:.2e}{unit}"
            minor = rest // part
            pad = 2 if part_unit in {"m", "s"} else 1  # as on a clock
            return f"{sign}{major}{unit}" + (f" {minor:0{pad}}{part_unit}" if minor and major < 1000 else "")
    return f"{sign}{whole}s"


def format_timedelta(time: timedelta) -> str:
    """Return a duration in at most two units, as ``format_duration`` does."""
    return format_duration(time.total_seconds())


def format_milliseconds(milliseconds: float) -> str:
    """Return a duration in ms in at most two units; ``?`` if it is not finite."""
    return format_duration(milliseconds / 1000) if math.isfinite(milliseconds) else "?"


_MILLISECOND = timedelta(milliseconds=1)


class Duration(Struct, frozen=True):
    """A duration in ms. ``derived`` tells that it was computed from timestamps."""

    ms: float
    derived: bool


def compute_token_duration(token: Token) -> Duration | None:
    """Return how long a token took; None if it has not ended, or its times are unknown.

    That is ``duration_ms`` if given, even if it is 0; otherwise the time from ``created_at`` to the end, as derived.
    """
    return compute_duration(token.context.duration_ms, token.created_at, token.finished_at)


def compute_duration(given: float | None, created_at: datetime | None, finished_at: datetime | None) -> Duration | None:
    """Return the duration of a token by its fields (``given`` in ms); see ``compute_token_duration``."""
    if given is not None and math.isfinite(given):
        return Duration(given, derived=False)
    if finished_at is None or created_at is None:
        return None
    return Duration((finished_at - created_at) / _MILLISECOND, derived=True)


_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}

DURATION_PATTERN = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|[smhdw])")


def parse_duration(text: str) -> timedelta:
    """Parse a duration such as ``90s``, ``15m``, ``1h30m`` or ``2d``.

    Raises:
        UsageError: the text is not a duration, or longer than timedelta allows.
    """
    squeezed = text.strip().lower()
    parts = DURATION_PATTERN.findall(squeezed)
    if not parts or DURATION_PATTERN.sub("", squeezed).strip():
        raise UsageError(f"invalid duration: '{text}'.", "Use a duration such as 90s, 15m, 1h30m or 2d.")
    try:
        return timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in parts))
    except OverflowError:
        raise UsageError(f"invalid duration: '{text}' is too long.") from None
