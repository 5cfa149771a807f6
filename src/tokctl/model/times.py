"""Times: conversion to UTC and microseconds, parsing and formatting. A time is an aware datetime in UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, overload

import msgspec

from tokctl.text import shorten

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

LAST = datetime.max.replace(tzinfo=UTC)
"""The latest time that can be represented."""

ZERO_YEAR = 1
"""The year of the zero time of Go and .NET, ``0001-01-01T00:00:00Z``, which stands for an unknown time."""

_LEAP_SECOND = re.compile(r"(.{10}[Tt ]\d\d:\d\d):60(?:\.\d+)?(.*)")
_NEARLY_TEN_THOUSAND = re.compile(r"(9999-12-31[Tt ]23:59:59\.999999)\d+(.*)")  # the digits round up to the year 10000

_MICROSECOND = timedelta(microseconds=1)
_DAY_SECONDS, _SECOND_MICROS = 86_400, 1_000_000


@overload
def to_micros(time: datetime) -> int: ...
@overload
def to_micros(time: datetime | None) -> int | None: ...
def to_micros(time: datetime | None) -> int | None:
    """Return the number of microseconds since 1970-01-01 UTC."""
    if time is None:
        return None
    since = time - EPOCH
    return (since.days * _DAY_SECONDS + since.seconds) * _SECOND_MICROS + since.microseconds


@overload
def from_micros(micros: int) -> datetime: ...
@overload
def from_micros(micros: int | None) -> datetime | None: ...
def from_micros(micros: int | None) -> datetime | None:
    """Return the time that is a number of microseconds after 1970-01-01 UTC."""
    return None if micros is None else EPOCH + _MICROSECOND * micros


@overload
def to_utc(time: datetime) -> datetime: ...
@overload
def to_utc(time: datetime | None) -> datetime | None: ...
def to_utc(time: datetime | None) -> datetime | None:
    """Return the same time in UTC; a time without a zone is in UTC.

    A time that datetime can represent only in its own zone becomes the first or the last one it can represent.
    """
    if time is None or time.tzinfo is UTC:
        return time
    if time.tzinfo is None:
        return time.replace(tzinfo=UTC)
    try:
        return time.astimezone(UTC)
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC) if time.year == ZERO_YEAR else LAST


def to_known_utc(time: datetime | None) -> datetime | None:
    """Return the same time in UTC; None for the zero time, of year 1, by which sources say that it is unknown."""
    time = to_utc(time)
    return None if time is None or time.year == ZERO_YEAR else time


def format_time(time: datetime | None) -> str | None:
    """Return a time in RFC 3339, UTC: with milliseconds as documented, or with microseconds if it has them."""
    if time is None:
        return None
    time = to_utc(time)
    text: str = msgspec.to_builtins(time)  # ten times as fast as isoformat
    if len(text) == 20:  # without a fraction
        return text[:19] + ".000Z"
    return text[:23] + "Z" if text.endswith("000Z") else text


def parse_rfc3339(text: str) -> datetime:
    """Parse a time. A leap second is the last microsecond before midnight. Raises ValueError."""
    try:
        return to_utc(msgspec.convert(text, datetime))
    except msgspec.ValidationError:
        pass
    if nearly := _NEARLY_TEN_THOUSAND.fullmatch(text):
        return parse_rfc3339(nearly[1] + nearly[2])
    if leap := _LEAP_SECOND.fullmatch(text):
        second = parse_rfc3339(f"{leap[1]}:59.999999{leap[2]}")
        if (second.hour, second.minute) == (23, 59):
            return second
        raise ValueError(f"'{shorten(text)}' is not a time: second 60 exists only at 23:59:60 UTC")
    raise ValueError(f"'{shorten(text)}' is not an RFC 3339 time")


def parse_time(value: Any) -> datetime | None:
    """Parse a time in any form that engines send: RFC 3339, epoch seconds or milliseconds.

    None, '' and times of year 1 are None.

    Raises:
        ValueError: the value is none of these.
    """
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return to_known_utc(parse_rfc3339(value))
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("expected a time as text or as epoch seconds")  # noqa: TRY004 - callers handle one type
    try:
        seconds = value / 1000 if abs(value) >= 1e11 else value  # 1e11 s is the year 5138
        return to_known_utc(EPOCH + timedelta(seconds=seconds))
    except (OverflowError, ValueError):
        raise ValueError(f"{shorten(str(value))} is not a time") from None
