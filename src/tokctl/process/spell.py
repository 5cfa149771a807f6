"""Spans of time as people read them."""

from __future__ import annotations

_STEPS = ((86400 * 365, "y", 86400, "d"), (86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s"))


def span(seconds: float) -> str:
    """A span of time in at most two units: ``5ms``, ``29.9s``, ``4m 05s``, ``3h 20m``, ``12d 4h``."""
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
            pad = 2 if part_unit in "ms" else 1
            return f"{sign}{major}{unit}" + (f" {minor:0{pad}}{part_unit}" if minor and major < 1000 else "")
    return f"{sign}{whole}s"
