"""What a scenario draws by lot: spans of time, and values of variables.

A draw is read from YAML once and then drawn from any number of times, with the random source that
the caller hands in. Reading raises ``DrawError`` with what is wrong; the scenario adds where.
"""

from __future__ import annotations

import math
import re
from bisect import bisect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from difflib import get_close_matches
from itertools import accumulate
from random import Random
from typing import Any

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_SPAN = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhdw])\s*)+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])")

Draw = Callable[[Random, int], Any]
"""Draws a value: the random source and the instance's number (from 1) in, the value out."""


class DrawError(ValueError):
    """A part of a scenario that cannot be read; the text says what is wrong."""


def read_span(value: object) -> float:
    """Read a span such as ``250ms``, ``1.5h`` or ``1h30m`` as seconds; a bare number is seconds."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0:
        if math.isfinite(value):
            return float(value)
    elif isinstance(value, str) and _SPAN.fullmatch(value.strip()):
        return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(value))
    raise DrawError(f"{_shown(value)} is no span of time such as 250ms, 15s, 2m or 1h30m")


def read_number(value: object) -> float:
    """Read a number that is finite."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise DrawError(f"{_shown(value)} is no number")
    return float(value)


def read_probability(value: object) -> float:
    """Read a probability from 0 to 1; ``true`` and ``false`` are 1 and 0, ``5%`` is 0.05."""
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, str) and re.fullmatch(r"\d+(\.\d+)?%", value.strip()):
        value = float(value.strip()[:-1]) / 100
    if isinstance(value, (int, float)) and 0 <= value <= 1:
        return float(value)
    raise DrawError(f"{_shown(value)} is no probability from 0 to 1")


def read_time(value: object) -> datetime:
    """Read a time as RFC 3339 has it; one without a zone is UTC."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            value = None
    elif isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)  # noqa: DTZ001 - given its zone below
    if not isinstance(value, datetime):
        raise DrawError("no time such as 2025-01-11T10:30:00Z")
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


# --- spans of time ----------------------------------------------------------------------------------


def read_duration(value: object) -> Callable[[Random], timedelta]:
    """Read how long something takes: a span, or ``{distribution: its parameters}``."""
    if not isinstance(value, Mapping):
        return _fixed(read_span(value))
    name, given = _single(value, tuple(_DISTRIBUTIONS))
    names, make = _DISTRIBUTIONS[name]
    if isinstance(given, list):
        if len(given) != len(names):
            raise DrawError(f"{name} takes [{', '.join(names)}], not {_shown(given)}")
        given = dict(zip(names, given, strict=True))
    elif not isinstance(given, Mapping):
        given = {names[0]: given}
    known(given, names)
    missing = [parameter for parameter in names if parameter not in given]
    if missing:
        raise DrawError(f"{name} needs {' and '.join(missing)}")
    draw = make(*(read_number(given[p]) if p == "sigma" else read_span(given[p]) for p in names))
    return lambda random: _rounded(draw(random))


def _fixed(seconds: float) -> Callable[[Random], timedelta]:
    span = _rounded(seconds)
    return lambda _random: span


def _rounded(seconds: float) -> timedelta:
    """Round to milliseconds, as times are shown; nothing takes less than no time."""
    return timedelta(milliseconds=round(max(0.0, seconds) * 1000))


def _uniform(low: float, high: float) -> Callable[[Random], float]:
    if high < low:
        raise DrawError("uniform needs its low end first")
    return lambda random: random.uniform(low, high)


def _lognormal(median: float, sigma: float) -> Callable[[Random], float]:
    if median <= 0:
        raise DrawError("lognormal needs a median above 0")
    return lambda random: random.lognormvariate(math.log(median), sigma)


def _exponential(mean: float) -> Callable[[Random], float]:
    if mean <= 0:
        raise DrawError("exponential needs a mean above 0")
    return lambda random: random.expovariate(1 / mean)


_DISTRIBUTIONS: dict[str, tuple[tuple[str, ...], Callable[..., Callable[[Random], float]]]] = {
    "fixed": (("span",), lambda span: lambda _random: span),
    "uniform": (("low", "high"), _uniform),
    "normal": (("mean", "deviation"), lambda mean, dev: lambda random: random.normalvariate(mean, dev)),
    "lognormal": (("median", "sigma"), _lognormal),
    "exponential": (("mean",), _exponential),
}

# --- values -----------------------------------------------------------------------------------------


def read_value(value: object) -> Draw:
    """Read how a variable gets its value: a constant, or ``{choice|range|sequence: …}``.

    A mapping with any other key is itself a constant (a JSON object).
    """
    if isinstance(value, Mapping) and len(value) == 1:
        (name, given), *_ = value.items()
        if name in _VALUES:
            return _VALUES[name](given)
    if isinstance(value, (datetime, date)):  # YAML reads times, JSON has none
        value = value.isoformat()
    return lambda _random, _number: value


def _choice(given: object) -> Draw:
    if isinstance(given, list) and given:
        options = list(given)
        return lambda random, _number: random.choice(options)
    if not isinstance(given, Mapping) or not given:
        raise DrawError("choice needs a list of values, or values with their weights")
    values = list(given)
    bounds = list(accumulate(read_number(weight) for weight in given.values()))
    if bounds[-1] <= 0 or any(read_number(weight) < 0 for weight in given.values()):
        raise DrawError("choice needs weights of 0 or more, one of them above 0")

    def draw(random: Random, _number: int) -> Any:
        return values[min(bisect(bounds, random.random() * bounds[-1]), len(values) - 1)]

    return draw


def _range(given: object) -> Draw:
    if not isinstance(given, list) or len(given) != 2:
        raise DrawError("range needs [low, high]")
    low, high = (read_number(end) for end in given)
    if high < low:
        raise DrawError("range needs its low end first")
    if all(isinstance(end, int) for end in given):
        return lambda random, _number: random.randint(int(low), int(high))
    places = max(len(str(end).partition(".")[2]) for end in given)
    return lambda random, _number: round(random.uniform(low, high), places)


def _sequence(given: object) -> Draw:
    """Count the instances into a format (``ORD-{:05d}``), or go through a list again and again."""
    if isinstance(given, list) and given:
        items = list(given)
        return lambda _random, number: items[(number - 1) % len(items)]
    if not isinstance(given, str):
        raise DrawError("sequence needs a list, or a text with {} for the instance's number")
    try:
        given.format(1)
    except (IndexError, KeyError, ValueError) as error:
        raise DrawError(f"sequence cannot use {given!r}: {error}") from None
    return lambda _random, number: given.format(number)


_VALUES: dict[str, Callable[[object], Draw]] = {"choice": _choice, "range": _range, "sequence": _sequence}

# --- arrivals ---------------------------------------------------------------------------------------

_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*/\s*(\d*(?:\.\d+)?)\s*(s|sec|second|m|min|minute|h|hour|d|day)")


@dataclass(frozen=True, slots=True)
class Rate:
    """How often something comes: the mean seconds between two."""

    gap: float


def read_rate(value: object) -> Rate:
    """Read ``10/min``, ``0.5/s`` or ``3/h``."""
    match = _RATE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or float(match[1]) <= 0:
        raise DrawError(f"{_shown(value)} is no rate such as 2/s, 10/min or 30/h")
    return Rate(float(match[2] or 1) * _UNITS[match[3][0]] / float(match[1]))


# --- keys -------------------------------------------------------------------------------------------


def known(given: Mapping[Any, Any], names: tuple[str, ...]) -> None:
    """Raise ``DrawError`` for a key that is none of the names, with the nearest that is."""
    for key in given:
        if key not in names:
            near = get_close_matches(str(key), names, 1, 0.5)
            meant = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(names)}"
            raise DrawError(f"unknown key '{key}': {meant}")


def _single(given: Mapping[Any, Any], names: tuple[str, ...]) -> tuple[str, Any]:
    known(given, names)
    if len(given) != 1:
        raise DrawError(f"needs exactly one of {', '.join(names)}")
    return next(iter(given.items()))


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
