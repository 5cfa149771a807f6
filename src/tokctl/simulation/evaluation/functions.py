"""The functions and methods that expressions and scripts may call; there are no others.

A function gets the language and its arguments. A ``TypeError``, ``ValueError`` or the like means that the arguments are
unsuitable.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import reduce
from typing import Any

from tokctl.simulation.evaluation.language import Language
from tokctl.simulation.evaluation.limits import CannotEvaluate

Function = Callable[..., Any]

ISO_DURATION = re.compile(
    r"P(?=\d|T\d)(?:(?P<years>\d+)Y)?(?:(?P<months>\d+)M)?(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+)D)?"
    r"(?:T(?=\d)(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+(?:\.\d{1,6})?)S)?)?"
)


def parse_duration(text: str) -> timedelta:
    """Return an ISO 8601 duration; raises ``ValueError`` for years and months, whose length varies."""
    match = ISO_DURATION.fullmatch(text)
    if match is None or match["years"] or match["months"]:
        raise ValueError(text)
    units = {name: value for name, value in match.groupdict().items() if value}
    seconds = Decimal(units.pop("seconds", "0"))
    return timedelta(**{name: int(value) for name, value in units.items()}, microseconds=int(seconds * 1_000_000))


def _scalar(value: Any) -> Any:
    if isinstance(value, (list, dict)):
        raise TypeError
    return value


def _numbers(values: tuple[Any, ...]) -> list[Any]:
    """Return numbers that are given one by one or as a list."""
    found = values[0] if len(values) == 1 and isinstance(values[0], list) else list(values)
    if any(isinstance(one, bool) or not isinstance(one, (int, float, Decimal)) for one in found):
        raise TypeError
    return found


def _number(value: Any) -> Any:
    return _numbers((value, value))[0]  # a list is not taken for its items


def _of_number(function: Callable[[Any], Any]) -> Function:
    return lambda _, number: function(_number(number))


def _of_numbers(function: Callable[[Any], Any]) -> Function:
    return lambda _, *numbers: function([_number(number) for number in numbers])


def _sized(language: Language, value: Any) -> int:
    return language.length(value)


def _contains(language: Language, within: Any, value: Any) -> bool:
    if isinstance(within, list):
        return any(language.equal(item, value) for item in within)
    if not isinstance(within, str):
        raise TypeError
    return value in within


def _item(_: Language, values: Any, key: Any, default: Any = None) -> Any:
    if isinstance(values, list):
        if isinstance(key, bool) or key < 0:
            raise TypeError
        return values[key]
    return values.get(key, default)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _round(_: Language, number: Any, digits: int | None = None) -> Any:
    if digits is not None and abs(digits) > 30:  # Python computes this power of ten
        raise ValueError(digits)
    return round(_number(number), digits)


def _round_half_up(number: Any) -> int:
    down: int = math.floor(number)
    return down + int(number - down >= 0.5)


def _modulo(language: Language, left: Any, right: Any) -> Any:
    _numbers((left, right))
    whole = math.floor(language.calculate("/", left, right))
    return language.calculate("-", left, language.calculate("*", right, whole))


def _sum(language: Language, values: Any) -> Any:
    return reduce(lambda left, right: language.calculate("+", left, right), _numbers((list.copy(values),)), 0)


def _has_key(_: Language, values: dict[str, Any], key: Any) -> bool:
    return key in values


def _property(_: Language, owner: dict[str, Any], key: str) -> Any:
    if key not in owner:
        raise KeyError(key)
    return owner[key]


def _integer(_: Language, value: Any) -> int:
    return int(_scalar(value))


def _decimal(_: Language, value: Any) -> float:
    return float(_scalar(value))


def _string(language: Language, value: Any) -> str:
    return language.text(value)


def _extreme(choose: Callable[[Any], Any]) -> Function:
    def function(_: Language, *values: Any) -> Any:
        found = list.copy(values[0]) if len(values) == 1 else list(values)
        if all(isinstance(one, str) for one in found):
            return choose(found)
        return choose(_numbers((found,)))

    return function


def _substring(_: Language, text: str, start: Any, length: Any = None) -> str:
    if start == 0 or start != int(start):
        raise ValueError(start)
    first = int(_number(start)) - 1 if start > 0 else len(_text(text)) + int(start)
    if not 0 <= first < len(_text(text)) or (length is not None and _number(length) < 1):
        raise ValueError(start)
    return text[first:] if length is None else text[first : first + int(length)]


def _feel_date_time(_: Language, text: str) -> datetime:
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[-+]\d\d:\d\d)?", text, re.ASCII):
        raise ValueError(text)
    return datetime.fromisoformat(text)


def _feel_date(_: Language, text: str) -> date:
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII):  # Python also reads weeks and dates without "-"
        raise ValueError(text)
    return date.fromisoformat(text)


def _feel_literal(language: Language, text: str) -> date | timedelta:
    if text.startswith("P"):
        return parse_duration(text)
    return _feel_date_time(language, text) if "T" in text else _feel_date(language, text)


def _nothing(_: Language, *__: Any) -> None:
    """Write a log line, in a real engine."""


def _next(_: Language, error: Any = None, value: Any = None) -> Any:
    """Complete a script of bpmn-engine: ``next(null, value)``."""
    if error is not None:
        raise TypeError
    return value


_MIN, _MAX = _extreme(min), _extreme(max)
_FLOOR, _CEILING = _of_number(math.floor), _of_number(math.ceil)
_ABS = _of_number(lambda number: number.copy_abs() if isinstance(number, Decimal) else abs(number))

_COMMON: dict[str, Function] = {
    **dict.fromkeys(("size", "length", "count"), _sized),
    "contains": _contains,
    "startsWith": lambda _, text, start: str.startswith(text, start),
    "endsWith": lambda _, text, end: str.endswith(text, end),
    "upper": lambda _, text: str.upper(text),
    "lower": lambda _, text: str.lower(text),
    "trim": lambda _, text: str.strip(text),
    "floor": _FLOOR,
    "ceiling": _CEILING,
}
_PYTHON: dict[str, Function] = {
    "len": _sized,
    "abs": _ABS,
    "min": _MIN,
    "max": _MAX,
    "sum": _sum,
    "round": _round,
    "int": _integer,
    "float": _decimal,
    "str": _string,
    "bool": lambda language, value: language.truth(value),
    "timedelta": lambda _, *args, **kwargs: timedelta(*args, **kwargs),
    "datetime": lambda _, *args, **kwargs: datetime(*args, **kwargs),  # noqa: DTZ001 - the model's own time
    "print": _nothing,
}
_MATH: dict[str, Function] = {"Math.abs": _ABS, "Math.min": _of_numbers(min), "Math.max": _of_numbers(max)}
_SPIN: dict[str, Function] = dict.fromkeys(("S", "JSON"), lambda _, value: value)
"""Functions of Camunda that return the JSON value of a variable."""
_JAVASCRIPT: dict[str, Function] = {
    **_MATH,
    **_SPIN,
    "Math.floor": _FLOOR,
    "Math.ceil": _CEILING,
    "Math.round": _of_number(_round_half_up),
    "String": _string,
    "Boolean": lambda language, value: language.truth(value),
    **dict.fromkeys(("console.log", "console.info", "console.error"), _nothing),
    "next": _next,
    "this.next": _next,
}
_FEEL: dict[str, Function] = {
    "contains": lambda _, text, part: str.__contains__(text, part),
    "starts with": _COMMON["startsWith"],
    "ends with": _COMMON["endsWith"],
    "string length": lambda _, text: len(_text(text)),
    "upper case": _COMMON["upper"],
    "lower case": _COMMON["lower"],
    "substring": _substring,
    "list contains": lambda language, values, value: _contains(language, list.copy(values), value),
    "count": lambda _, values: len(list.copy(values)),
    "sum": lambda language, values: None if values == [] else _sum(language, values),
    "min": _MIN,
    "max": _MAX,
    "abs": _ABS,
    "floor": _FLOOR,
    "ceiling": _CEILING,
    "modulo": _modulo,
    "string": _string,
    "number": lambda language, text: language.number(_text(text)),
    "not": lambda language, value: language.negate(value),
    "get or else": lambda _, value, default: default if value is None else value,
    "date": _feel_date,
    "date and time": _feel_date_time,
    "duration": lambda _, text: parse_duration(text),
    "@": _feel_literal,
}
FUNCTIONS: Mapping[str, Mapping[str, Function]] = {
    "Python": _PYTHON,
    "plain text": {**_COMMON, **_PYTHON, **_JAVASCRIPT, "System.out.println": _nothing},
    "JavaScript": _JAVASCRIPT,
    "Groovy": {**_MATH, **_SPIN, "println": _nothing, "System.out.println": _nothing},
    "FEEL": _FEEL,
    "JUEL": _SPIN,
}
"""Functions by the name of the language and their own, which may have dots."""
NULL_FUNCTIONS = frozenset({"not", "get or else", "list contains"})
"""Functions of FEEL that do something with null; the others return null."""

Method = tuple[type, str]
_PYTHON_METHODS: dict[Method, Function] = {
    (str, "upper"): _COMMON["upper"],
    (str, "lower"): _COMMON["lower"],
    (str, "strip"): _COMMON["trim"],
    (str, "startswith"): _COMMON["startsWith"],
    (str, "endswith"): _COMMON["endsWith"],
    (dict, "get"): _item,
}
_TEXT_METHODS: dict[Method, Function] = {
    (str, "toUpperCase"): _COMMON["upper"],
    (str, "toLowerCase"): _COMMON["lower"],
    (str, "trim"): _COMMON["trim"],
    (str, "startsWith"): _COMMON["startsWith"],
    (str, "endsWith"): _COMMON["endsWith"],
}
_SPIN_METHODS: dict[Method, Function] = {
    (dict, "hasProp"): _has_key,
    (dict, "prop"): _property,
    **{(kind, "value"): lambda _, value: value for kind in (str, int, float, bool)},
    (str, "stringValue"): lambda _, value: value,
    **{(kind, "numberValue"): lambda _, value: value for kind in (int, float)},
    (bool, "boolValue"): lambda _, value: value,
}
_JAVA_METHODS: dict[Method, Function] = {
    **_TEXT_METHODS,
    **_SPIN_METHODS,
    (str, "length"): _sized,
    (list, "size"): _sized,
    (dict, "size"): _sized,
    **{(kind, "isEmpty"): lambda _, value: not value for kind in (str, list, dict)},
    (str, "contains"): _contains,
    (list, "contains"): _contains,
    (str, "equals"): lambda _, text, other: text == _text(other),
    (str, "equalsIgnoreCase"): lambda _, text, other: text.lower() == _text(other).lower(),
    (list, "get"): _item,
    (dict, "get"): _item,
    (dict, "containsKey"): _has_key,
}
_JAVASCRIPT_METHODS: dict[Method, Function] = {
    **_TEXT_METHODS,
    **_SPIN_METHODS,
    (str, "includes"): _contains,
    (list, "includes"): _contains,
}
METHODS: Mapping[str, Mapping[Method, Function]] = {
    "Python": _PYTHON_METHODS,
    "plain text": {**_JAVASCRIPT_METHODS, **_JAVA_METHODS, **_PYTHON_METHODS},
    "JavaScript": _JAVASCRIPT_METHODS,
    "Groovy": _JAVA_METHODS,
    "FEEL": {},
    "JUEL": _JAVA_METHODS,
}
"""Methods by the name of the language, the type of the value that they belong to, and their name."""


def call(language: Language, name: str, function: Function, /, *arguments: Any, **named: Any) -> Any:
    """Call a function; raises ``CannotEvaluate`` if the arguments are unsuitable."""
    try:
        return function(language, *arguments, **named)
    except CannotEvaluate:
        raise
    except Exception:  # noqa: BLE001 - a model may call a function with any values
        raise CannotEvaluate(f"calls '{name}' with unsuitable values") from None
