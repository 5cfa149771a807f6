"""Short texts of reports, with the marks of what is derived, unknown, or not over yet."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from datetime import datetime
from typing import NamedTuple

import msgspec

from tokctl.analysis.performance.groups import VisitGroup
from tokctl.model.durations import Duration, format_milliseconds, format_timedelta
from tokctl.model.instance_status import InstanceStatus
from tokctl.model.times import LAST, format_time
from tokctl.model.tokens import NULL
from tokctl.text import count, shorten

MAX_JSON = 20_000
"""Characters of the variables of a token."""
UNKNOWN = "?"
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z)")


class TextPart(NamedTuple):
    """A part of a text: a time as it is shown, with its exact value, or else words, with none."""

    text: str
    exact: str = ""


def show_time(time: datetime | None) -> TextPart:
    """Return a time in UTC to the second, with its exact value (RFC 3339); ``?`` if it is unknown."""
    exact = format_time(time)
    return TextPart(UNKNOWN) if exact is None else _shorten_time(exact)


def split_times(text: str) -> Iterator[TextPart]:
    """Yield the parts of a sentence that may contain times in RFC 3339."""
    for number, part in enumerate(_TIME.split(text)):
        if number % 2:
            yield _shorten_time(part)
        elif part:
            yield TextPart(part)


def _shorten_time(exact: str) -> TextPart:
    return TextPart(f"{exact[:10]} {exact[11:19]}", exact)


def show_age(time: datetime | None, now: datetime) -> str:
    """Return how long ago a time was; nothing if that is unknown or not over."""
    return "" if time is None or time == LAST or time > now else f"{format_timedelta(now - time)} ago"


def show_duration(took: Duration | None, *, live: bool = False) -> str:
    """Return a duration: ``~`` marks a derived one, ``…`` one that is not over, ``?`` an unknown one."""
    if took is None or took.ms < 0:
        return UNKNOWN
    return ("~" if took.derived else "") + format_milliseconds(took.ms) + ("…" if live else "")


def show_milliseconds(ms: float | None) -> str:
    """Return a duration in ms; nothing if there is none, ``?`` if clocks made it negative."""
    return "" if ms is None else format_milliseconds(ms) if ms >= 0 else UNKNOWN


def show_statistic(group: VisitGroup, name: str) -> str:
    """Return a statistic of a group; ``≥`` marks a lower bound that tokens prove that have not ended."""
    bound = group.bound(name)
    return show_milliseconds(getattr(group.stats, name)) if bound is None else "≥ " + show_milliseconds(bound)


def show_status(status: InstanceStatus) -> str:
    """Return the status of an instance: ``~`` marks a derived one, ``?`` an unknown one."""
    return UNKNOWN if status.status is None else status.status + "~" * status.status_derived


def show_process(status: InstanceStatus) -> str:
    """Return the process of an instance, with its version if that is known."""
    instance = status.instance
    return (instance.process_id or UNKNOWN) + ("" if instance.version is None else f" v{instance.version}")


def show_json(raw: msgspec.Raw) -> str:
    """Return JSON for people to read, cut if it is very long; nothing if the source did not send it."""
    if raw == NULL or bytes(raw) == b"{}":
        return ""
    text = bytes(raw).decode("utf-8", "replace")
    if len(text) <= MAX_JSON:
        text = msgspec.json.format(text)
    return shorten(text, MAX_JSON)


def tell_omitted(shown: Collection[object], total: int, thing: str) -> str:
    """Return a sentence about what is left out; nothing if all is shown."""
    return f"{len(shown):,} of {count(total, thing)} shown." if total > len(shown) else ""
