"""Rates of requests, such as 60/min."""

from __future__ import annotations

import re

from msgspec import Struct

from tokctl.errors import UsageError
from tokctl.text import one_line

UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0}
_FORM = re.compile(r"\s*([0-9]{1,6})\s*/\s*(s|min|h)\s*")


class RequestRate(Struct, frozen=True):
    """At most ``requests`` (1 or more) in any period of ``seconds``."""

    requests: int
    seconds: float

    def __str__(self) -> str:
        unit = next(name for name, seconds in UNITS.items() if seconds == self.seconds)
        return f"{self.requests}/{unit}"


def parse_rate(text: str) -> RequestRate:
    """Parse a rate: N/s, N/min or N/h. Raises UsageError."""
    found = _FORM.fullmatch(text)
    if found is None or int(found[1]) == 0:
        raise UsageError(f"invalid rate '{one_line(text, 40)}'.", "Write it as in 60/min. The units are s, min and h.")
    return RequestRate(int(found[1]), UNITS[found[2]])
