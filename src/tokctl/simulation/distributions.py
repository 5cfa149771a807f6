"""Random durations, variable values and arrival rates of a scenario.

Each is read from YAML once and drawn any number of times, with the caller's random source. Reading raises
``ScenarioValueError``, which describes the error; the scenario adds the place.
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

ValueGenerator = Callable[[Random, int], Any]
"""Draws a value, given the random source and the number of the instance (from 1)."""


class ScenarioValueError(ValueError):
    """A part of a scenario is invalid; the message describes the error."""


def parse_seconds(value: object) -> float:
    """Read a duration such as ``250ms``, ``1.5h`` or ``1h30m`` as seconds; a bare number is seconds."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0:
        if math.isfinite(value):
            return float(value)
    elif isinstance(value, str) and _SPAN.fullmatch(value.strip()):
        return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(value))
    raise ScenarioValueError(f"{_shorten(value)} is not a duration such as 250ms, 15s, 2m or 1h30m")


def parse_number(value: object) -> float:
    """Read a number that is finite."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ScenarioValueError(f"{_shorten(value)} is not a number")
    return float(value)


def parse_probability(value: object) -> float:
    """Read a probability from 0 to 1; ``true`` and ``false`` are 1 and 0, ``5%`` is 0.05."""
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, str) and re.fullmatch(r"\d+(\.\d+)?%", value.strip()):
        value = float(value.strip()[:-1]) / 100
    if isinstance(value, (int, float)) and 0 <= value <= 1:
        return float(value)
    raise ScenarioValueError(f"{_shorten(value)} is not a probability from 0 to 1")


def parse_start_time(value: object) -> datetime:
    """Read an RFC 3339 time; one without a zone is UTC."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            value = None
    elif isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)  # noqa: DTZ001 - given its zone below
    if not isinstance(value, datetime):
        raise ScenarioValueError("not a time such as 2025-01-11T10:30:00Z")
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


# --- spans of time ----------------------------------------------------------------------------------


def parse_duration_distribution(value: object) -> Callable[[Random], timedelta]:
    """Read a duration, fixed or random: a duration, or ``{distribution: its parameters}``."""
    if not isinstance(value, Mapping):
        span = _to_timedelta(parse_seconds(value))
        return lambda _random: span
    name, given = _read_single_key(value, tuple(_DISTRIBUTIONS))
    names, draw = _DISTRIBUTIONS[name]
    if isinstance(given, list):
        if len(given) != len(names):
            raise ScenarioValueError(f"{name} takes [{', '.join(names)}], not {_shorten(given)}")
        given = dict(zip(names, given, strict=True))
    elif not isinstance(given, Mapping):
        given = {names[0]: given}
    check_keys(given, names)
    missing = [parameter for parameter in names if parameter not in given]
    if missing:
        raise ScenarioValueError(f"{name} needs {' and '.join(missing)}")
    parameters = [parse_number(given[one]) if one == "sigma" else parse_seconds(given[one]) for one in names]
    if name == "uniform" and parameters[0] > parameters[1]:
        raise ScenarioValueError("uniform: the lower limit must come first")
    if name in {"lognormal", "exponential"} and parameters[0] <= 0:
        raise ScenarioValueError(f"{name}: {names[0]} must be greater than 0")
    return lambda random: _to_timedelta(draw(random, *parameters))


def _to_timedelta(seconds: float) -> timedelta:
    """Round to milliseconds, the precision of displayed times; a duration is never negative."""
    return timedelta(milliseconds=round(max(0.0, seconds) * 1000))


_DISTRIBUTIONS: dict[str, tuple[tuple[str, ...], Callable[..., float]]] = {
    "fixed": (("span",), lambda _random, span: span),
    "uniform": (("low", "high"), Random.uniform),
    "normal": (("mean", "deviation"), Random.normalvariate),
    "lognormal": (("median", "sigma"), lambda random, median, sigma: random.lognormvariate(math.log(median), sigma)),
    "exponential": (("mean",), lambda random, mean: random.expovariate(1 / mean)),
}
"""Parameters, and the function that draws a number of seconds."""

# --- values -----------------------------------------------------------------------------------------


def parse_value_generator(value: object) -> ValueGenerator:
    """Read the value of a variable: a constant, or ``{choice|range|sequence: …}``.

    A mapping with any other key is itself a constant (a JSON object).
    """
    if isinstance(value, Mapping) and len(value) == 1:
        (name, given), *_ = value.items()
        if name in _VALUES:
            return _VALUES[name](given)
    if isinstance(value, (datetime, date)):  # YAML reads times, JSON has none
        value = value.isoformat()
    return lambda _random, _number: value


def _choice(given: object) -> ValueGenerator:
    if isinstance(given, list) and given:
        options = list(given)
        return lambda random, _number: random.choice(options)
    if not isinstance(given, Mapping) or not given:
        raise ScenarioValueError("choice: expected a list of values, or values with weights")
    values = list(given)
    bounds = list(accumulate(parse_number(weight) for weight in given.values()))
    if bounds[-1] <= 0 or any(parse_number(weight) < 0 for weight in given.values()):
        raise ScenarioValueError("choice: weights must be 0 or more, at least one greater than 0")

    def draw(random: Random, _number: int) -> Any:
        return values[min(bisect(bounds, random.random() * bounds[-1]), len(values) - 1)]

    return draw


def _range(given: object) -> ValueGenerator:
    if not isinstance(given, list) or len(given) != 2:
        raise ScenarioValueError("range: expected [low, high]")
    low, high = (parse_number(end) for end in given)
    if high < low:
        raise ScenarioValueError("range: the lower limit must come first")
    if all(isinstance(end, int) for end in given):
        return lambda random, _number: random.randint(int(low), int(high))
    places = max(len(str(end).partition(".")[2]) for end in given)
    return lambda random, _number: round(random.uniform(low, high), places)


def _sequence(given: object) -> ValueGenerator:
    """Format the instance number (``ORD-{:05d}``), or cycle through a list."""
    if isinstance(given, list) and given:
        items = list(given)
        return lambda _random, number: items[(number - 1) % len(items)]
    if not isinstance(given, str):
        raise ScenarioValueError("sequence: expected a list, or a text with {} for the instance number")
    try:
        given.format(1)
    except (IndexError, KeyError, ValueError) as error:
        raise ScenarioValueError(f"sequence: invalid text {given!r}: {error}") from None
    return lambda _random, number: given.format(number)


_VALUES: dict[str, Callable[[object], ValueGenerator]] = {"choice": _choice, "range": _range, "sequence": _sequence}

# --- arrivals ---------------------------------------------------------------------------------------

_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*/\s*(\d*(?:\.\d+)?)\s*(s|sec|second|m|min|minute|h|hour|d|day)")


@dataclass(frozen=True, slots=True)
class Rate:
    """How often instances start: the mean seconds between two."""

    gap: float


def parse_rate(value: object) -> Rate:
    """Read ``10/min``, ``0.5/s`` or ``3/h``."""
    match = _RATE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or float(match[1]) <= 0:
        raise ScenarioValueError(f"{_shorten(value)} is not a rate such as 2/s, 10/min or 30/h")
    return Rate(float(match[2] or 1) * _UNITS[match[3][0]] / float(match[1]))


# --- keys -------------------------------------------------------------------------------------------


def check_keys(given: Mapping[Any, Any], names: tuple[str, ...]) -> None:
    """Raise ``ScenarioValueError`` for an unknown key, with the nearest valid name."""
    for key in given:
        if key not in names:
            near = get_close_matches(str(key), names, 1, 0.5)
            meant = f"did you mean '{near[0]}'?" if near else f"valid: {', '.join(names)}"
            raise ScenarioValueError(f"unknown key '{key}': {meant}")


def _read_single_key(given: Mapping[Any, Any], names: tuple[str, ...]) -> tuple[str, Any]:
    check_keys(given, names)
    if len(given) != 1:
        raise ScenarioValueError(f"expected exactly one of {', '.join(names)}")
    return next(iter(given.items()))


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
