"""Query parameters: parsing, errors and OpenAPI of an endpoint come from one table.

Booleans are true, false, 1 or 0; times are RFC 3339. Lists of words are repeated parameters or comma-separated values.
Lists of patterns are repeated parameters only, because a pattern may contain a comma.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import unquote_to_bytes

from msgspec import Struct

from tokctl.errors import UsageError
from tokctl.model.durations import parse_duration
from tokctl.model.element_types import ELEMENT_TYPES, TYPE_FAMILIES
from tokctl.model.filters import parse_sort_order, validate_states, validate_types
from tokctl.model.states import STATES
from tokctl.model.times import parse_rfc3339
from tokctl.model.variables import parse_variable_condition
from tokctl.server.http_errors import invalid_parameter
from tokctl.text import suggest

MAX_PARAMETERS = 200
MAX_SAFE_INTEGER = (1 << 53) - 1  # exact in every JSON parser

Schema = dict[str, Any]


class Parameter(Struct, frozen=True, kw_only=True):
    """A query parameter: ``read`` parses the texts in the request; raises ValueError (what is expected) or UsageError.

    ``schema`` is the JSON schema of its value, or of each value if it ``is_repeatable``.
    """

    name: str
    text: str
    read: Callable[[list[str]], Any]
    schema: Schema
    default: Any = None
    is_repeatable: bool = False

    def describe(self) -> Schema:
        """Return the parameter as an OpenAPI object."""
        schema = {"type": "array", "items": self.schema, "minItems": 1} if self.is_repeatable else self.schema
        more = {"style": "form", "explode": True} if self.is_repeatable else {}
        return {"name": self.name, "in": "query", "required": False, "description": self.text, "schema": schema} | more


def read_query(query: bytes, known: Mapping[str, Parameter]) -> tuple[dict[str, Any], str]:
    """Return the value of every known parameter, and the names of those in the query, in their order.

    Raises:
        HTTPError: a parameter is unknown, invalid, or repeated without being a list.
    """
    values = {name: parameter.default for name, parameter in known.items()}
    if not query:
        return values, ""
    given: dict[str, list[str]] = {}
    parts = query.split(b"&")
    if len(parts) > MAX_PARAMETERS:
        raise invalid_parameter("", f"The query has too many parameters: the maximum is {MAX_PARAMETERS}.")
    for part in filter(None, parts):
        encoded, _, value = part.partition(b"=")
        key = _decode(encoded, "")
        given.setdefault(key, []).append(_decode(value, key))
    for name, texts in given.items():
        parameter = known.get(name)
        if parameter is None:
            raise invalid_parameter(name, f"Unknown parameter '{name}'{suggest(name, known)}. " + _list_valid(known))
        if len(texts) > 1 and not parameter.is_repeatable:
            raise invalid_parameter(name, f"'{name}' appears {len(texts)} times.")
        try:
            values[name] = parameter.read(texts)
        except UsageError as error:
            raise invalid_parameter(name, f"'{name}': {error}") from None
        except ValueError as error:
            raise invalid_parameter(name, f"'{name}' must be {error}.") from None
    return values, ", ".join(given)


def _list_valid(known: Mapping[str, Parameter]) -> str:
    return f"Valid: {', '.join(known)}." if known else "This endpoint has no parameters."


def _decode(text: bytes, name: str) -> str:
    try:
        return unquote_to_bytes(text.replace(b"+", b" ")).decode()
    except UnicodeDecodeError:
        raise invalid_parameter(name, "The query is not UTF-8.") from None


# --- parsers of values ------------------------------------------------------------------------------


def _parse_boolean(texts: list[str]) -> bool:
    value = {"true": True, "1": True, "false": False, "0": False}.get(texts[0].lower())
    if value is None:
        raise ValueError("true or false")
    return value


def _parse_time(texts: list[str]) -> datetime:
    try:
        return parse_rfc3339(texts[0])
    except ValueError:
        raise ValueError("an RFC 3339 time such as 2025-01-11T10:30:00Z; a + in it is written %2B") from None


def _parse_number(minimum: int, maximum: int, texts: list[str]) -> int:
    text = texts[0]
    if not (text.isascii() and text.removeprefix("-").isdigit() and len(text) < 20 and minimum <= int(text) <= maximum):
        raise ValueError(
            f"an integer from {minimum} to {maximum}"
            if maximum < MAX_SAFE_INTEGER
            else f"an integer of at least {minimum}"
        )
    return int(text)


def _parse_text(texts: list[str], maximum: int = MAX_SAFE_INTEGER) -> str:
    if not texts[0]:
        raise ValueError("a non-empty text")
    if len(texts[0]) > maximum:
        raise ValueError(f"a text of at most {maximum:,} characters")
    return texts[0]


def _parse_texts(texts: list[str]) -> tuple[str, ...]:
    return tuple(_parse_text([text]) for text in texts)


def _split_words(texts: list[str]) -> list[str]:
    words = [word for text in texts for word in text.split(",") if word.strip()]
    if not words:
        raise ValueError("a non-empty text")
    return words


def _parse_choice(choices: tuple[str, ...], texts: list[str]) -> str:
    if texts[0] not in choices:
        raise ValueError(f"one of {', '.join(choices)}{suggest(texts[0], choices)}")
    return texts[0]


# --- declarations of parameters ---------------------------------------------------------------------


def flag(name: str, text: str, *, default: bool) -> Parameter:
    """Return a boolean parameter."""
    schema = {"type": "boolean", "default": default}
    return Parameter(name=name, text=text, read=_parse_boolean, default=default, schema=schema)


def moment(name: str, text: str) -> Parameter:
    """Return a parameter for a time."""
    return Parameter(name=name, text=text, read=_parse_time, schema={"type": "string", "format": "date-time"})


def number(
    name: str, text: str, *, minimum: int = 0, maximum: int = MAX_SAFE_INTEGER, default: int | None = None
) -> Parameter:
    """Return an integer parameter."""
    schema: Schema = {"type": "integer", "minimum": minimum, "maximum": maximum}
    if default is not None:
        schema["default"] = default
    return Parameter(
        name=name, text=text, read=partial(_parse_number, minimum, maximum), default=default, schema=schema
    )


def text(name: str, text: str, *, minimum: int = 1, maximum: int | None = None) -> Parameter:
    """Return a parameter for a text of at most ``maximum`` characters; it may be empty if ``minimum`` is 0."""
    schema: Schema = {"type": "string", "minLength": minimum}
    read: Callable[[list[str]], str] = _parse_text if minimum else lambda given: given[0]
    if maximum is not None:
        schema["maxLength"] = maximum
        read = partial(_parse_text, maximum=maximum)
    return Parameter(name=name, text=text, read=read, schema=schema)


def texts(name: str, text: str) -> Parameter:
    """Return a repeatable parameter for texts that are not empty and may contain commas."""
    schema = {"type": "string", "minLength": 1}
    return Parameter(name=name, text=text, read=_parse_texts, default=(), is_repeatable=True, schema=schema)


def variables(name: str, text: str) -> Parameter:
    """Return a repeatable parameter for conditions on variables."""
    schema = {"type": "string", "pattern": "^[^=~]+[=~]", "examples": ["orderId=ORD-13", "orderId~ORD-1*"]}
    return Parameter(
        name=name,
        text=text,
        read=lambda given: tuple(map(parse_variable_condition, given)),
        default=(),
        is_repeatable=True,
        schema=schema,
    )


def duration(name: str, text: str, default: timedelta) -> Parameter:
    """Return a parameter for a duration such as 90s."""
    schema = {"type": "string", "examples": ["90s", "15m", "1h30m"], "default": f"{default.total_seconds():.0f}s"}
    return Parameter(name=name, text=text, read=lambda given: parse_duration(given[0]), default=default, schema=schema)


def choice(name: str, text: str, choices: tuple[str, ...]) -> Parameter:
    """Return a parameter for one of several words; the first is the default."""
    schema = {"type": "string", "enum": [*choices], "default": choices[0]}
    return Parameter(name=name, text=text, read=partial(_parse_choice, choices), default=choices[0], schema=schema)


def states(name: str, text: str) -> Parameter:
    """Return a parameter for states: documented names, or those of other engines."""
    return Parameter(
        name=name,
        text=text,
        read=lambda given: validate_states(_split_words(given)),
        default=(),
        is_repeatable=True,
        schema={"type": "string", "enum": [*STATES]},
    )


def types(name: str, text: str) -> Parameter:
    """Return a parameter for element types and their families."""
    return Parameter(
        name=name,
        text=text,
        read=lambda given: validate_types(_split_words(given)),
        default=(),
        is_repeatable=True,
        schema={"type": "string", "examples": [*TYPE_FAMILIES, *ELEMENT_TYPES], "pattern": r"[^\s,]"},
    )


def order(name: str, text: str, columns: tuple[str, ...], default: str) -> Parameter:
    """Return a parameter for a sort column; a leading '-' means descending."""
    schema = {
        "type": "string",
        "default": default,
        "enum": [sign + column for column in columns for sign in ("", "-")],
    }
    return Parameter(
        name=name,
        text=text,
        read=lambda given: parse_sort_order(given[0], columns),
        default=parse_sort_order(default, columns),
        schema=schema,
    )


def table(*parameters: Parameter) -> dict[str, Parameter]:
    """Return the parameters by name."""
    return {parameter.name: parameter for parameter in parameters}
