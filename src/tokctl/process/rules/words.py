"""How rules put figures into words."""

from __future__ import annotations

import math
from datetime import timedelta

from tokctl.process.spell import span
from tokctl.process.visit import Visit


def spell(time: timedelta) -> str:
    """A span in at most two units: ``45s``, ``4m 05s``, ``3h 20m``, ``12d 4h``."""
    return span(time.total_seconds())


def spell_ms(milliseconds: float) -> str:
    """The same of milliseconds."""
    return span(milliseconds / 1000) if math.isfinite(milliseconds) else "?"


def ago(time: timedelta | None) -> str:
    """How long ago something was, with a space before it; nothing where that is unknown, or still to come."""
    return f" {spell(time)} ago" if time is not None and time >= timedelta(0) else ""


def stays(visit: Visit, age: timedelta) -> str:
    """The state of a token of this age, and for how long: ``ACTIVE for 23m``; ``ACTIVE now, there for 23m``."""
    entered = visit.entered_at
    changed = entered is not None and visit.created_at is not None and entered > visit.created_at
    return f"{visit.state} now, there for {spell(age)}" if changed else f"{visit.state} for {spell(age)}"


def minutes(time: timedelta) -> int:
    """Whole minutes, rounded as the document rounds them: halves up."""
    return math.floor(time.total_seconds() / 60 + 0.5)
