"""Times as users type them: absolute, or as an age."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime

import msgspec

from tokctl.errors import UsageError
from tokctl.model.durations import DURATION_PATTERN, parse_duration
from tokctl.model.times import to_utc


def parse_time_or_age(text: str, now: datetime) -> datetime:
    """Parse a time (RFC 3339, ``2025-01-11``, ``2025-01-11 10:30``, ``now``) or an age (``15m``, before ``now``).

    A time without a zone is in UTC if ``now`` is, else in the local zone.

    Raises:
        UsageError: the text is neither.
    """
    text = text.strip()
    if text.lower() == "now":
        return now
    if DURATION_PATTERN.match(text.lower()) and not re.match(r"\d{4}-", text):
        try:
            return now - parse_duration(text)
        except OverflowError:
            raise UsageError(f"invalid time: '{text}' is before the year 1.") from None
    candidate = text.upper().replace(" ", "T", 1)
    if re.fullmatch(r"\d{4}-\d\d-\d\d", candidate):
        candidate += "T00:00:00"
    elif minute := re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d)(Z|[+-]\d\d:\d\d)?", candidate):
        candidate = f"{minute[1]}:00{minute[2] or ''}"
    try:
        moment = msgspec.convert(candidate, datetime)
    except msgspec.ValidationError:
        moment = None
    if moment is not None and moment.tzinfo is None and now.tzinfo is not UTC:
        with suppress(OverflowError, ValueError):  # at the edges of the calendar
            moment = moment.astimezone()  # a time without a zone is in the local one
    moment = to_utc(moment)
    if moment is None:
        raise UsageError(
            f"invalid time: '{text}'.",
            "Use a time such as 2025-01-11T10:30:00Z or 2025-01-11, or an age such as 15m or 2h.",
        )
    return moment


def parse_period(since: str | None, until: str | None, now: datetime) -> tuple[datetime | None, datetime | None]:
    """Read the beginning and the end of a period. Raises UsageError where it is empty."""
    begin = parse_time_or_age(since, now) if since is not None else None
    end = parse_time_or_age(until, now) if until is not None else None
    if begin and end and begin >= end:
        raise UsageError("--since must be before --until.")
    return begin, end
