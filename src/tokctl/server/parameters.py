"""Query parameters: one table for each endpoint drives the parsing, the refusals and the OpenAPI document.

Booleans are true, false, 1 or 0; times RFC 3339; a list is a parameter that is repeated, or holds several values
between commas. Patterns may hold commas themselves, so theirs are only repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import unquote_to_bytes

from msgspec import Struct

from tokctl.errors import UsageError
from tokctl.process.model import ELEMENT_TYPES, FAMILIES, STATES
from tokctl.process.query import check_states, check_types, parse_order, suggest
from tokctl.process.wire import parse_time
from tokctl.server.refusals import invalid

MOST_VALUES = 200
LARGEST = (1 << 53) - 1  # what every JSON parser counts to

Schema = dict[str, Any]


class Parameter(Struct, frozen=True, kw_only=True):
    """A query parameter: ``read`` makes its value of the texts that were given, or raises ValueError or UsageError.

    ``many`` ones may be repeated. ``schema`` is the JSON schema of its value, or of each of several.
    """

    name: str
    text: str
    read: Callable[[list[str]], Any]
    schema: Schema
    default: Any = None
    many: bool = False

    def described(self) -> Schema:
        """The parameter in an OpenAPI document."""
        schema = {"type": "array", "items": self.schema, "minItems": 1} if self.many else self.schema
        more = {"style": "form", "explode": True} if self.many else {}
        return {"name": self.name, "in": "query", "required": False, "description": self.text, "schema": schema} | more


def read_query(query: bytes, known: Mapping[str, Parameter]) -> tuple[dict[str, Any], str]:
    """Return the value of every known parameter, and the names of those that were given, in their order.

    Raises:
        Refusal: one is unknown, wrong, or given too often.
    """
    values = {name: parameter.default for name, parameter in known.items()}
    if not query:
        return values, ""
    given: dict[str, list[str]] = {}
    parts = query.split(b"&")
    if len(parts) > MOST_VALUES:
        raise invalid("", f"The query has more than {MOST_VALUES} parameters.")
    for part in filter(None, parts):
        encoded, _, value = part.partition(b"=")
        key = _decoded(encoded, "")
        given.setdefault(key, []).append(_decoded(value, key))
    for name, texts in given.items():
        parameter = known.get(name)
        if parameter is None:
            raise invalid(name, f"There is no parameter '{name}'{suggest(name, known)}. " + _valid(known))
        if len(texts) > 1 and not parameter.many:
            raise invalid(name, f"'{name}' is given {len(texts)} times.")
        try:
            values[name] = parameter.read(texts)
        except UsageError as error:
            raise invalid(name, f"'{name}': {error}") from None
        except ValueError as error:
            raise invalid(name, f"'{name}' has to be {error}.") from None
    return values, ", ".join(given)


def _valid(known: Mapping[str, Parameter]) -> str:
    return f"Valid: {', '.join(known)}." if known else "This endpoint takes none."


def _decoded(text: bytes, name: str) -> str:
    try:
        return unquote_to_bytes(text.replace(b"+", b" ")).decode()
    except UnicodeDecodeError:
        raise invalid(name, "The query is no UTF-8.") from None


# --- kinds of values --------------------------------------------------------------------------------


def _boolean(texts: list[str]) -> bool:
    value = {"true": True, "1": True, "false": False, "0": False}.get(texts[0].lower())
    if value is None:
        raise ValueError("true or false")
    return value


def _time(texts: list[str]) -> datetime:
    try:
        moment = parse_time(texts[0])
    except ValueError:
        moment = None
    if moment is None:
        raise ValueError("an RFC 3339 time such as 2025-01-11T10:30:00Z; a + in it is written %2B")
    return moment


def _number(least: int, most: int, texts: list[str]) -> int:
    text = texts[0]
    if not (text.isascii() and text.removeprefix("-").isdigit() and len(text) < 20 and least <= int(text) <= most):
        raise ValueError(f"a whole number from {least} to {most}" if most < LARGEST
                         else f"a whole number of at least {least}")  # fmt: skip
    return int(text)


def _text(texts: list[str], most: int = LARGEST) -> str:
    if not texts[0]:
        raise ValueError("more than nothing")
    if len(texts[0]) > most:
        raise ValueError(f"a text of at most {most:,} characters")
    return texts[0]


def _texts(texts: list[str]) -> tuple[str, ...]:
    return tuple(_text([text]) for text in texts)


def _words(texts: list[str]) -> list[str]:
    words = [word for text in texts for word in text.split(",") if word.strip()]
    if not words:
        raise ValueError("more than nothing")
    return words


def _choice(choices: tuple[str, ...], texts: list[str]) -> str:
    if texts[0] not in choices:
        raise ValueError(f"one of {', '.join(choices)}{suggest(texts[0], choices)}")
    return texts[0]


# --- the makers of parameters -----------------------------------------------------------------------


def flag(name: str, text: str, *, default: bool) -> Parameter:
    """A boolean."""
    return Parameter(name=name, text=text, read=_boolean, default=default,
                     schema={"type": "boolean", "default": default})  # fmt: skip


def moment(name: str, text: str) -> Parameter:
    """A time."""
    return Parameter(name=name, text=text, read=_time, schema={"type": "string", "format": "date-time"})


def number(name: str, text: str, *, least: int = 0, most: int = LARGEST, default: int | None = None) -> Parameter:
    """A whole number."""
    schema: Schema = {"type": "integer", "minimum": least, "maximum": most}
    return Parameter(name=name, text=text, read=partial(_number, least, most), default=default,
                     schema=schema if default is None else schema | {"default": default})  # fmt: skip


def text(name: str, text: str, *, least: int = 1, most: int | None = None) -> Parameter:
    """A text; not empty, unless ``least`` is 0, and of ``most`` characters."""
    schema: Schema = {"type": "string", "minLength": least}
    if most is not None:
        return Parameter(name=name, text=text, read=partial(_text, most=most), schema=schema | {"maxLength": most})
    return Parameter(name=name, text=text, read=_text if least else (lambda given: given[0]), schema=schema)


def texts(name: str, text: str) -> Parameter:
    """Texts, none of them empty, that may hold commas: the parameter is repeated."""
    return Parameter(name=name, text=text, read=_texts, default=(), many=True,
                     schema={"type": "string", "minLength": 1})  # fmt: skip


def choice(name: str, text: str, choices: tuple[str, ...]) -> Parameter:
    """One of several words, the first of them unless told."""
    return Parameter(name=name, text=text, read=partial(_choice, choices), default=choices[0],
                     schema={"type": "string", "enum": [*choices], "default": choices[0]})  # fmt: skip


def states(name: str, text: str) -> Parameter:
    """States, by their documented names or those of other engines."""
    return Parameter(name=name, text=text, read=lambda given: check_states(_words(given)), default=(), many=True,
                     schema={"type": "string", "enum": [*STATES]})  # fmt: skip


def types(name: str, text: str) -> Parameter:
    """Element types and families of them."""
    return Parameter(name=name, text=text, read=lambda given: check_types(_words(given)), default=(), many=True,
                     schema={"type": "string", "examples": [*FAMILIES, *ELEMENT_TYPES],
                             "pattern": r"[^\s,]"})  # fmt: skip


def order(name: str, text: str, columns: tuple[str, ...], default: str) -> Parameter:
    """What to sort by, with '-' in front for the reverse."""
    return Parameter(name=name, text=text, read=lambda given: parse_order(given[0], columns),
                     default=parse_order(default, columns),
                     schema={"type": "string", "default": default,
                             "enum": [sign + column for column in columns for sign in ("", "-")]})  # fmt: skip


def table(*parameters: Parameter) -> dict[str, Parameter]:
    """Parameters by name."""
    return {parameter.name: parameter for parameter in parameters}
